/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_FOLLOW_H
#define SCHEDULER_STORE_FOLLOW_H

/*
 * The store's engine of all nodes of a small cluster but the writing one (store_serve.h). It keeps
 * a verified copy of the writer's store; all reading is from that. A change is worked out here,
 * sent to the writer, and kept when it is on the writer's disk; when somebody else was faster it is
 * worked out again. It counts once, also when a connection ends on the way.
 *
 * Somebody else connects to the writer, again and again, and brings the bytes. Without a connection
 * changes are refused at once: store_status() says since when, and why.
 *
 * Threading: the loop's thread. The calls below may not be made after the store was freed; it may
 * not be freed from within a callback of its own.
 */

#include <uv.h>
#include "scheduler/store_serve.h"

enum { STORE_FOLLOW_TIMEOUT_MS = 2000, STORE_FOLLOW_WRITER_BYTES = 128 };

struct store_follow;

struct store_follow_options {
	uv_loop_t *loop;
	const char *writer;  /* its name, for people */
	uint32_t timeout_ms; /* 0: STORE_FOLLOW_TIMEOUT_MS */
	/* The store has moved to etcd, and the file is a copy of that one now, or will be when it
	 * is opened: free this one and open the other, later. NULL is fine. */
	void (*moved)(void *arg);
	void *arg;
};

/* copy: an embedded store that is empty, was a copy before or is marked by store_copy_expect; taken
 * over, also on failure. *follow_out is valid until *out is freed. */
int store_follow_open(const struct store_follow_options *options, struct store *copy,
		      struct store **out, struct store_follow **follow_out,
		      struct err *err) MUST_CHECK;

/* A new connection to the writer, who is known to be it; one that was before is closed. */
void store_follow_up(struct store_follow *f, const struct store_stream *calls, void *arg);
/* The writer is this node itself: a copy has nobody to follow until somebody recovers one. */
void store_follow_orphan(struct store_follow *f);
void store_follow_data(struct store_follow *f, const void *data, size_t bytes);
void store_follow_room(struct store_follow *f);
/* It ended, or (without a connection) could not be made. why: NULL or of kind ERR_NONE: in order.
 */
void store_follow_down(struct store_follow *f, const struct err *why);
bool store_follow_is_up(const struct store_follow *f);
/* False: what the writer says could not be written here. A connection is of no use then. */
bool store_follow_can_take(const struct store_follow *f);
void store_follow_rename(struct store_follow *f, const char *writer);

#endif
