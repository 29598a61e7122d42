/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_FLOWS_H
#define SCHEDULER_FLOWS_H

/*
 * The newest flows that this node's data path has told of, by number from 1 on, and what is given
 * of them to who asks (ring/msg_flows.h). Names are put in when they are given: those that count
 * are today's. Memory is taken with the first flow. No I/O, no clock.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "ring/msg_flows.h"

enum { FLOWS_KEPT_MAX = 2048 };

/* Ids above this one: none is given, but the mark. */
#define FLOWS_NONE UINT64_MAX

struct flows {
	struct msg_flow *items; /* at id % FLOWS_KEPT_MAX; NULL before the first */
	uint64_t newest;        /* 0: there was none */
	uint64_t lost;          /* since the newest, or since ever */
};

/* Who is who. What is not known stays as it is: empty. */
struct flows_names {
	void *arg;
	void (*end)(void *arg, const struct msg_flow_end *end, struct msg_flow_name *out);
	void (*peer)(void *arg, uint64_t id, char out[MSG_NAME]);
};

void flows_init(struct flows *f);
void flows_fini(struct flows *f);
/* lost: so many were before it that did not come here. What is not a flow, or finds no memory,
 * counts as one of them for the next. */
void flows_put(struct flows *f, const struct msg_flow *flow, uint64_t lost);
/* There are some above that id, or it is one of another life of this process. */
bool flows_has(const struct flows *f, uint64_t since);
/* Rows, and the mark: check buf_ok. */
void flows_give(const struct flows *f, const struct msg_flows_op *op,
		const struct flows_names *names, struct buf *out);
/* From another process: its texts are texts, and its numbers in range. */
bool flows_op_ok(const struct msg_flows_op *op);

#endif
