/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events of this node for the others, and theirs for this one (cluster_far.c). Each node has its
 * own, with ids of its own, in its own file: nothing of them is shared, who wants those of all asks
 * all. What does not fit into an answer is the oldest.
 */
#include "scheduler/cluster_inside.h"

#include "scheduler/far_wire.h"
#include "scheduler/request.h"

enum {
	EVENT_BYTES_MAX = 2048, /* as it is sent */
	ROWS_BYTES_MAX = CLUSTER_EVENTS_MAX * sizeof(struct msg_event),
};

bool
cluster_events_has(const struct cluster *c, uint64_t since)
{
	return c->m->next_event - 1 != since;
}

/* The first of those that fit together with all that follow. */
static size_t
first_that_fits(const struct msg_event *events, size_t count, size_t cap)
{
	struct buf one;
	size_t used = 0;

	while (count > 0) {
		buf_init(&one, MEM_SCHEDULER, EVENT_BYTES_MAX);
		far_wire_put_event(&one, &events[count - 1]);
		used += buf_ok(&one) ? one.length : cap;
		buf_fini(&one);
		if (used > cap)
			break;
		count--;
	}
	return count;
}

int
cluster_events_give(struct cluster *c, const struct msg_events_op *op, struct buf *out,
		    struct err *err)
{
	struct msg_events_op asked = *op;
	struct buf rows;

	/* Ids of another life of this node's file. */
	if (asked.since > c->m->next_event - 1)
		asked.since = 0;
	buf_init(&rows, MEM_SCHEDULER, ROWS_BYTES_MAX);
	int rc = request_events(c->m, &asked, sizeof(asked), &rows, err);
	if (rc == 0) {
		const struct msg_event *events = (const void *)rows.data;
		size_t count = rows.length / sizeof(*events);

		for (size_t i = first_that_fits(events, count, out->cap_bytes); i < count; i++)
			far_wire_put_event(out, &events[i]);
	}
	buf_fini(&rows);
	return rc;
}
