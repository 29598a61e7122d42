/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_FAR_WIRE_H
#define SCHEDULER_FAR_WIRE_H

/*
 * What two nodes say to each other on a channel of kind CHANNEL_CALL, on which one asks the other
 * for something of that one alone: the log of a replica, a command in it, why nodes do not take a
 * service, a run of a job, its events, what its data path has seen. Frames of
 *
 *   u8 kind, u8 0, u16 0, u32 length of what follows, body
 *
 * little-endian.
 *
 *   CALL    of who asks, the first and only one: u8 version, u8 what, then by what:
 *             LOGS  u64 replica, i64 since, i64 until, u32 tail, u32 attempt, u8 follow
 *             EXEC  u64 replica, u8 tty, u32 rows, u32 columns, u32 argc, text user, text workdir,
 *                   blob of the command (ring/words.h)
 *             WHY   u64 service
 *             RUN   u32 uid of who asks, u32 argc, text deployment, text service, blob of the words
 *             EVENTS u64 since, u32 limit, u8 wait
 *             FLOWS u64 since, u32 limit, u8 wait, u8 observe, u8 verdict, texts deployment,
 *                   service, peer
 *           A later version adds fields at the end; an older one passes over them.
 *   ANSWER  of who was asked, its first one: an error or none (store_wire_put_err), then for
 *           WHY, EVENTS and FLOWS the rows, for RUN the run. After an error nothing follows.
 *   DATA    whole frames of ring/msg.h: to the one that was asked input, sizes and signals, back
 *           output, the exit or lines.
 *   END     nothing more comes from this side.
 *   ALIVE   nothing. Said every few seconds, since a way can end without a word.
 *
 * Both sides take the other's bytes as hostile: what is longer than its kind may be, or not what
 * may come, ends the connection. Pure functions; no I/O, no clock.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "ring/msg_cluster.h"
#include "ring/msg_container.h"
#include "ring/msg_deploy.h"
#include "ring/msg_flows.h"
#include "ring/words.h"

enum far_kind { FAR_CALL = 1, FAR_ANSWER, FAR_DATA, FAR_END, FAR_ALIVE };
enum far_what { FAR_LOGS = 1, FAR_EXEC, FAR_WHY, FAR_RUN, FAR_EVENTS, FAR_FLOWS };

enum {
	FAR_VERSION = 1,
	FAR_HEAD = 8,
	FAR_DATA_MAX = MSG_FRAME_MAX + MSG_FRAME_HEAD,
	FAR_CALL_MAX = WORDS_BYTES_MAX + 1024,
	FAR_ANSWER_MAX = 640 << 10,
};

struct far_frame {
	enum far_kind kind;
	const uint8_t *data; /* borrowed */
	size_t bytes;
};

/* The frame that the bytes begin with: 1; 0: there is none whole yet; -1: they are no frame. */
int far_wire_next(const void *data, size_t bytes, struct far_frame *out);
/* Check buf_ok(). */
void far_wire_put(struct buf *out, enum far_kind kind, const void *data, size_t bytes);

struct far_call {
	enum far_what what;
	struct msg_logs logs;
	struct msg_exec exec;
	const void *words; /* of EXEC and RUN: argc texts with their NULs; borrowed */
	size_t words_bytes;
	uint64_t service;            /* of WHY */
	struct msg_target_op target; /* of RUN: names and who_uid */
	uint32_t argc;               /* of RUN, may be 0 */
	struct msg_events_op events; /* of EVENTS */
	bool wait;                   /* of EVENTS: for some above `since` */
	struct msg_flows_op flows;   /* of FLOWS */
};

/* A whole frame. */
void far_wire_put_call(struct buf *out, const struct far_call *c);
/* The body of one. False: not what a node writes. `what` may be one that this version does not
 * know, and then nothing else is set. */
bool far_wire_get_call(const void *data, size_t bytes, struct far_call *out);

/* err NULL: good. rest: what goes with it. */
void far_wire_put_answer(struct buf *out, const struct err *err, const void *rest, size_t bytes);
bool far_wire_get_answer(const void *data, size_t bytes, struct err *err_out, const void **rest_out,
			 size_t *rest_bytes_out);

/* Rows of a WHY, one after the other: text node, u32 id, u8 flags, u32 cpu, u64 memory, text. */
void far_wire_put_why(struct buf *out, const struct msg_why *row);
/* False: no further one, or not what a node writes: then *bad is set. */
bool far_wire_next_why(struct cursor *in, struct msg_why *out, bool *bad);

/* Rows of an EVENTS, one after the other: u64 id, i64 time, texts type, deployment, service, u32
 * index, u32 revision, u64 replica, u64 operation, u32 severity, text, u32 kind of the reason, and
 * if that is not 0: u32 code, texts what, why, why2, fix. */
void far_wire_put_event(struct buf *out, const struct msg_event *e);
/* False: no further one, or not what a node writes: then *bad is set. */
bool far_wire_next_event(struct cursor *in, struct msg_event *out, bool *bad);

/* Of a FLOWS, in far_wire_flow.c; what is asked is checked (flows_op_ok). */
void far_wire_put_flows_op(struct buf *out, const struct msg_flows_op *op);
bool far_wire_get_flows_op(struct cursor *in, struct msg_flows_op *out);
/* Its rows, one after the other, the mark last: u64 id, i64 time, u8 verdict, u32 reason, u8 way,
 * u8 place, u32 ifindex, u32 length, u8 protocol, u8 flags of TCP, u32 lost, u64 peer, the two ends
 * (address of 16 bytes, u16 port, u64 replica, u64 service, u64 deployment, u32 node, texts
 * deployment, service, node, u32 index), text peer. */
void far_wire_put_flow(struct buf *out, const struct msg_flow_row *row);
/* False: no further one, or not what a node writes: then *bad is set. */
bool far_wire_next_flow(struct cursor *in, struct msg_flow_row *out, bool *bad);

/* Of a RUN: u64 id, u32 number, blob of what its node says of it by gossip (tidings.h). */
void far_wire_put_run(struct buf *out, const struct msg_run_answer *run, const void *tidings,
		      size_t bytes);
bool far_wire_get_run(const void *data, size_t bytes, struct msg_run_answer *out,
		      const void **tidings_out, size_t *bytes_out);

/* How many of the bytes are whole frames of ring/msg.h; -1: they are none. */
long far_wire_whole(const void *data, size_t bytes);
/* They are whole frames that may go to the one that was asked (input), or that may come back. */
bool far_wire_may_go(const void *data, size_t bytes);
bool far_wire_may_come(const void *data, size_t bytes);

#endif
