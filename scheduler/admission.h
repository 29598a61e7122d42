/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_ADMISSION_H
#define SCHEDULER_ADMISSION_H

/*
 * Who may become a node of the cluster, and stay one. Two questions are asked over a channel
 * (channel.h) and judged here, as a core: rows and time come in, a verdict comes out; whoever asks
 * it writes the rows that the verdict says (one transaction) before the answer leaves.
 *
 *   JOIN   by a stranger with a ticket: gets an id, a certificate and the list of nodes. The key
 *          that it speaks with is the one that is admitted, so a ticket that somebody copied admits
 *          him as himself, never as another. Asked again with the same key, the answer is the same
 *          and no use is taken: the first answer may have been lost.
 *   RENEW  by a node whose certificate ends soon or has ended: gets a new one while it is admitted,
 *          however long it slept.
 *   STORE  by a node, with a certificate in time: gets one to call the cluster's etcd with
 *          (credentials.h), for the key that it speaks with.
 *   KEY    by a node, likewise, whose row says that it is to admit others: gets the authority's
 * key.
 *
 * All but JOIN write nothing that the answer would have to wait for.
 *
 * What goes over the channel, all little endian: u32 length, then that many bytes of message:
 *
 *   question  u8 version (1), u8 what (1 join, 2 renew, 3 store, 4 key); join: u64 ticket id,
 *             16 bytes secret, 32 bytes gossip key, text name, address; others: address
 *   answer    u8 version, u8 result; refused: text what, text why, text fix; else u32 node id, blob
 *             chain, blob authority (DER), u32 count, count * {u32 id, 32 gossip key, 32 sign key,
 *             text name, address}. store: chain and authority are PEM; key: chain is the
 *             authority's key and certificate, PEM. Both list no nodes.
 *   text, blob: u32 length and the bytes; address: 16 bytes IP (v4-mapped), u16 port (0: unknown)
 *
 * No I/O, no clock; decoding allocates only the list of nodes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "scheduler/identity.h"
#include "scheduler/ticket.h"

enum {
	ADMISSION_VERSION = 1,
	ADMISSION_QUESTION_MAX = 512,     /* of a message, without its length */
	ADMISSION_ANSWER_MAX = 4 << 20,   /* likewise */
	ADMISSION_NODES_MAX = 16384,      /* of a cluster, removed ones counted */
	ADMISSION_MEMBERS_MAX = 10000,    /* at a time: what all others have room for */
	ADMISSION_ID_MAX = INT32_MAX,     /* of a node: replicas' ids begin with it */
	ADMISSION_TICKETS_MAX = 1024,     /* that are kept at a time */
	ADMISSION_TTL_MAX_S = 30 * 86400, /* of a ticket */
	ADMISSION_USES_MAX = 10000,
	ADMISSION_KEEPERS_MAX = 7, /* with more of them nobody gets the key: the rows are wrong */
};

/* ---- what is kept ---- */

struct admission_node {
	uint32_t id; /* not 0, never used again */
	char name[IDENTITY_NAME_BYTES];
	uint8_t sign_public[IDENTITY_KEY];
	uint8_t gossip_public[IDENTITY_KEY];
	struct addr address; /* where it said it can be reached */
	bool removed; /* was sent away: keeps its id and name from being used again by chance */
	bool keeper;  /* is to have the authority's key */
};

struct admission_ticket {
	uint64_t id;
	uint8_t secret_sha256[32]; /* the secret itself is in the word alone */
	int64_t expires_s;
	uint32_t uses_left;
};

enum admission_mode {
	ADMISSION_TOKEN, /* a ticket is asked for */
	ADMISSION_OPEN,  /* a ticket that has ended or is used up serves as well */
	ADMISSION_CLOSED,
};

struct admission_state {
	enum admission_mode mode;
	const struct admission_node *nodes;
	size_t nodes_count;
	const struct admission_ticket *tickets;
	size_t tickets_count;
};

/* ---- questions ---- */

enum admission_what { ADMISSION_JOIN = 1, ADMISSION_RENEW, ADMISSION_STORE, ADMISSION_KEY };

struct admission_question {
	enum admission_what what;
	uint64_t ticket;
	uint8_t secret[TICKET_SECRET];
	char name[IDENTITY_NAME_BYTES];
	uint8_t gossip_public[IDENTITY_KEY];
	struct addr address; /* port 0: unknown, it is where it comes from */
};

void admission_put_question(const struct admission_question *q, struct buf *out);
/* One message without its length. ERR_INVALID, or ERR_UNSUPPORTED for a newer version. */
int admission_take_question(const void *data, size_t bytes, struct admission_question *out,
			    struct err *err) MUST_CHECK;

/* ---- the judge ---- */

struct admission_verdict {
	struct admission_node node; /* as it is to be kept */
	bool add;                   /* a new row; else it is there and equal, or renewed */
	bool take_use;              /* of the ticket at index `ticket` */
	size_t ticket;
};

/* peer: what the channel says of the other side (its sign key, and as a member its id). from: where
 * it comes from. 0, or -1 with the reason as it may be told to the peer. */
int admission_judge(const struct admission_state *s, const struct admission_question *q,
		    const struct identity *peer, const struct addr *from, int64_t wall_s,
		    struct admission_verdict *out, struct err *err) MUST_CHECK;

/* ---- answers ---- */

struct admission_answer {
	bool admitted;
	struct err refused; /* else */
	uint32_t node;
	const uint8_t *chain; /* borrowed from the message */
	size_t chain_bytes;
	const uint8_t *authority;
	size_t authority_bytes;
	struct admission_node *nodes; /* owned: admission_answer_fini */
	size_t nodes_count;
};

void admission_put_refusal(const struct err *why, struct buf *out);
void admission_put_answer(uint32_t node, const void *chain, size_t chain_bytes,
			  const void *authority, size_t authority_bytes,
			  const struct admission_node *nodes, size_t count, struct buf *out);
int admission_take_answer(const void *data, size_t bytes, struct admission_answer *out,
			  struct err *err) MUST_CHECK;
void admission_answer_fini(struct admission_answer *a);

/* A name as a node may have it: 1 to 63 letters, digits and hyphens, as a label of DNS. */
bool admission_name_fits(const char *name);

#endif
