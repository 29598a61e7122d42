/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that another node has sent (far_wire.h), as this one keeps them. More than an answer may
 * have are left out. */
#include "scheduler/cluster_far_inside.h"

static bool
next_why(struct cursor *in, void *row, bool *bad)
{
	return far_wire_next_why(in, row, bad);
}

static bool
next_event(struct cursor *in, void *row, bool *bad)
{
	return far_wire_next_event(in, row, bad);
}

static bool
next_flow(struct cursor *in, void *row, bool *bad)
{
	return far_wire_next_flow(in, row, bad);
}

struct kind {
	size_t row_bytes, rows_max;
	bool (*next)(struct cursor *in, void *row, bool *bad);
};

static const struct kind kinds[] = {
	[FAR_WHY] = {sizeof(struct msg_why), CLUSTER_FAR_WHY_ROWS_MAX, next_why},
	[FAR_EVENTS] = {sizeof(struct msg_event), CLUSTER_EVENTS_MAX, next_event},
	[FAR_FLOWS] = {sizeof(struct msg_flow_row), MSG_FLOWS_GIVEN_MAX + 1, next_flow},
};

int
cluster_far_rows(enum far_what what, const void *data, size_t bytes, struct buf *out,
		 struct err *err)
{
	const struct kind *k = &kinds[what];
	union {
		struct msg_why why;
		struct msg_event event;
		struct msg_flow_row flow;
	} row;
	struct cursor in;
	bool bad = false;

	cursor_init(&in, data, bytes);
	buf_init(out, MEM_SCHEDULER, k->rows_max * k->row_bytes);
	while (out->length < out->cap_bytes && k->next(&in, &row, &bad)) {
		buf_put(out, &row, k->row_bytes);
		if (!buf_ok(out))
			return err_set(err, ERR_NO_MEMORY, "no memory for what another node said");
	}
	return bad ? err_set(err, ERR_CORRUPT, "what the other node said is damaged") : 0;
}
