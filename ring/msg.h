/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_H
#define RING_MSG_H

/*
 * What the processes of a node say to each other: every table row, log record, request and answer.
 * All are fixed-size structs of naturally aligned fixed-width integers and NUL-terminated text, in
 * host order (one machine). A row that grows gets new fields at its end; readers zero-pad the rows
 * of an older producer (ring/ring.h), so that one version back is readable.
 *
 * Everything read from another process is untrusted: call msg_text_ok() (or text_copy from a field
 * with a bounded length) before treating a char array as a string, and check every index and enum.
 *
 * Who writes what:
 *   node           process, listener, node, uplink, underlay, tunnel, edge, etcd
 *   scheduler      deployment, service, replica, operation, claim, probe, route, backend, stream,
 *                  pin, cron, member, cluster, mesh, identity, observe, etcd_order, usage; events
 *   runtime        container, veth, image, result (command checks), attachment
 *   fetch          transfer
 *   dataplane      attached, datapath, applied (when it balances), drain, demand; flows
 *   probe          result
 *   overlay        prefix, peer, sealed, heard
 *   signer         certificate
 *   proxy          applied, drain, demand; access records
 *   api            observe
 *
 * Keys are u64, never 0; what the key is stands at each row.
 *
 * Here are the kinds: tables, records, operations. Rows and bodies stand by subject in the headers
 * below; who has to do with one subject only may include that one.
 */

#include "ring/msg_attachment.h"
#include "ring/msg_base.h"
#include "ring/msg_claim.h"
#include "ring/msg_cluster.h"
#include "ring/msg_container.h"
#include "ring/msg_deploy.h"
#include "ring/msg_flows.h"
#include "ring/msg_image.h"
#include "ring/msg_network.h"
#include "ring/msg_node.h"
#include "ring/msg_tls.h"
#include "ring/msg_traffic.h"
#include "ring/role.h"

enum msg_table {
	MSG_TABLE_PROCESS = 1,
	MSG_TABLE_LISTENER,
	MSG_TABLE_NODE,
	MSG_TABLE_DEPLOYMENT,
	MSG_TABLE_SERVICE,
	MSG_TABLE_REPLICA,
	MSG_TABLE_OPERATION,
	MSG_TABLE_CLAIM,
	MSG_TABLE_PROBE,
	MSG_TABLE_ROUTE,
	MSG_TABLE_BACKEND,
	MSG_TABLE_CONTAINER,
	MSG_TABLE_VETH,
	MSG_TABLE_IMAGE,
	MSG_TABLE_RESULT,
	MSG_TABLE_ATTACHED,
	MSG_TABLE_DATAPATH,
	MSG_TABLE_PREFIX,
	MSG_TABLE_CERTIFICATE,
	MSG_TABLE_APPLIED,
	MSG_TABLE_DRAIN,
	MSG_TABLE_STREAM,
	MSG_TABLE_UPLINK,
	MSG_TABLE_PIN,
	MSG_TABLE_TRANSFER,
	MSG_TABLE_UNDERLAY,
	MSG_TABLE_PEER,
	MSG_TABLE_EDGE,
	MSG_TABLE_MEMBER,
	MSG_TABLE_CLUSTER,
	MSG_TABLE_MESH,
	MSG_TABLE_DEMAND,
	MSG_TABLE_CRON,
	MSG_TABLE_FIGURES,
	MSG_TABLE_ETCD_ORDER,
	MSG_TABLE_ETCD,
	MSG_TABLE_TUNNEL,
	MSG_TABLE_SEALED,
	MSG_TABLE_IDENTITY,
	MSG_TABLE_OBSERVE,
	MSG_TABLE_ATTACHMENT,
	MSG_TABLE_GUEST,
	MSG_TABLE_HEARD,
	MSG_TABLE_USAGE,
	MSG_TABLES_,
};

enum msg_record { MSG_RECORD_EVENT = 1, MSG_RECORD_ACCESS, MSG_RECORD_FLOW };

/*
 * Answer status: 0, or an enum err_kind with a struct err as body (see msg_err_body).
 * MSG_OP_FD in op: a descriptor travels with the request; MSG_ANSWER_FD in status: with the answer.
 *
 * Every request can be given to its answerer twice: when that one dies before it has answered, its
 * successor is given what stands, and nobody knows how far the first one came. Hence:
 *   APPLY              the same text again is no change (`unchanged`); with has_expect the second
 *                      try finds its own revision and says conflict, which the asker must expect
 *   SCALE STOP START   state what is to be, not a step towards it; so do PAUSE RESUME ABORT
 *   ENABLE DISABLE     as these
 *   RUN                runs the job a second time
 *   ROLLBACK RESTART   a second one meets the first (conflict), or does it once more
 *   REMOVE             of what is gone: ERR_NOT_FOUND
 *   IMAGE_*, UNPACK    content is found by its digest and kept once
 *   INVITE             makes a second ticket; the first one is told to nobody
 *   JOIN               with the same key it is the same node
 *   LEAVE MEMBER ADMIT state what is to be
 *   EXEC FAR_EXEC      runs the command again; the first run's stream has ended with its process
 *   FETCH_BLOB         passes records that say where they belong: what the reader has is dropped
 *   FAR_LOGS WHY       only read
 *   ATTACH             finds its own, and says conflict
 *   DETACH             of what is gone: removed 0
 *   DOCUMENT REVISIONS EVENTS FLOWS PLAN LOGS SIGN FETCH_IMAGE IMAGE_RESOLVE   only read
 *   ATTACH_CHECK ATTACH_READY   only read
 */
enum {
	MSG_OP_FD = 0x8000,
	MSG_ANSWER_FD = 0x8000,
};

enum msg_op {
	/* api -> scheduler */
	MSG_OP_APPLY = 1, /* struct msg_apply, fds: the document's canonical text, and maybe an
			     array of msg_apply_pin; answer msg_apply_answer */
	MSG_OP_SCALE,     /* struct msg_target_op */
	MSG_OP_STOP,      /* struct msg_target_op */
	MSG_OP_START,     /* struct msg_target_op */
	MSG_OP_REMOVE,    /* struct msg_target_op */
	MSG_OP_DOCUMENT,  /* struct msg_document_op; answer fd: canonical YAML text of the revision
			   */
	MSG_OP_REVISIONS, /* struct msg_document_op; answer fd: JSON array */
	MSG_OP_EVENTS,    /* struct msg_events_op; answer fd: array of struct msg_event */
	/* runtime -> scheduler */
	MSG_OP_PLAN, /* struct msg_plan_op; answer fd: ring/plan.h encoding */
	/* api -> runtime; EXEC and LOGS also scheduler -> runtime, for another node */
	MSG_OP_IMAGE_IMPORT, /* struct msg_import, fd: tar archive of an OCI layout; answer
				msg_imported */
	MSG_OP_IMAGE_REMOVE, /* struct msg_import: name */
	MSG_OP_EXEC,         /* struct msg_exec, fds: stream, the command (ring/words.h) */
	MSG_OP_LOGS,         /* struct msg_logs, fd: stream */
	/* runtime -> unpack */
	MSG_OP_UNPACK, /* struct msg_import, fds: archive; answer fd: image record */
	/* proxy -> signer */
	MSG_OP_SIGN, /* struct msg_sign; answer: the signature's bytes */
	/* api -> runtime */
	MSG_OP_IMAGE_PULL,    /* struct msg_pull; answer msg_imported */
	MSG_OP_IMAGE_RESOLVE, /* struct msg_pull; answer msg_resolved */
	MSG_OP_IMAGE_PRUNE,   /* struct msg_prune; answer msg_pruned */
	/* runtime -> fetch */
	MSG_OP_FETCH_IMAGE, /* struct msg_fetch; answer msg_fetched, fd (unless head): the
			       documents, runtime/documents.h */
	MSG_OP_FETCH_BLOB, /* struct msg_fetch_blob, fd: SOCK_SEQPACKET; answer none. Each packet is
			      a u64 offset and bytes of the blob from there */
	/* runtime -> unpack */
	MSG_OP_UNPACK_LOOK,   /* struct msg_commit, fd: documents; answer fd: array of msg_layer */
	MSG_OP_UNPACK_LAYER,  /* struct msg_layer, fd: the packets; answer msg_unpacked */
	MSG_OP_UNPACK_COMMIT, /* struct msg_commit, fd: documents; answer msg_imported, fd: record
			       */
	MSG_OP_UNPACK_DROP,   /* struct msg_unpacked: a layer that nobody wants; answer none */
	/* api -> scheduler */
	MSG_OP_ROLLBACK, /* struct msg_rollback; answer msg_apply_answer */
	MSG_OP_RESTART,  /* struct msg_target_op */
	MSG_OP_PAUSE,    /* struct msg_target_op: the roll-out of a deployment */
	MSG_OP_RESUME,   /* struct msg_target_op */
	MSG_OP_ABORT,    /* struct msg_target_op */
	MSG_OP_RUN,      /* struct msg_target_op: a job, maybe a fd: ring/words.h, more arguments;
			    answer msg_run_answer */
	/* api -> scheduler: the cluster */
	MSG_OP_INVITE, /* struct msg_invite; answer msg_invited, fd */
	MSG_OP_JOIN,   /* struct msg_join, fd: the ticket; answer msg_joined */
	MSG_OP_LEAVE,  /* struct msg_leave; answer none */
	MSG_OP_MEMBER, /* struct msg_node_op; answer msg_member */
	MSG_OP_ADMIT,  /* struct msg_admit; answer none */
	/* api -> scheduler: crons */
	MSG_OP_ENABLE,  /* struct msg_target_op */
	MSG_OP_DISABLE, /* struct msg_target_op */
	/* api -> scheduler: the store as a file */
	MSG_OP_BACKUP,  /* struct msg_backup; answer msg_backed_up, fd: the file */
	MSG_OP_RESTORE, /* struct msg_restore, fd: the file; answer msg_restored */
	MSG_OP_RECOVER, /* struct msg_recover, maybe a fd: keys; answer msg_recovered */
	/* api -> scheduler: what another node has alone */
	MSG_OP_FAR_LOGS,   /* struct msg_far_logs, fd: stream */
	MSG_OP_FAR_EXEC,   /* struct msg_far_exec, fds: stream, the command (ring/words.h) */
	MSG_OP_WHY,        /* struct msg_why_op; answer msg_why_answer, fd */
	MSG_OP_FAR_EVENTS, /* struct msg_far_events; answer as MSG_OP_EVENTS, as much as fits */
	/* api -> runtime: containers of others */
	MSG_OP_ATTACH,       /* struct msg_attach; answer msg_attach_answer */
	MSG_OP_DETACH,       /* struct msg_attach_key; answer msg_detached */
	MSG_OP_ATTACH_CHECK, /* struct msg_attach; answer msg_attach_answer, or what is not whole */
	MSG_OP_ATTACH_READY, /* none; answer none, or why nothing can be attached now */
	/* api -> scheduler: what data paths have seen */
	MSG_OP_FLOWS, /* struct msg_flows_op; answer fd: ring/msg_flows.h */
};

#endif
