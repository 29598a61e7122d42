/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the data paths of the nodes have seen (flows.h): of this node for who asks here, for other
 * nodes, and theirs for this one (cluster_far.c). As long as somebody wants flows that are let
 * through, the data path is told to tell of them; nobody wants it any more when nobody has asked
 * for OBSERVE_MS.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/far_wire.h"

enum {
	OBSERVE_MS = 20000, /* longer than an asker waits for an answer, and asks again */
	ROWS_BYTES_MAX = (MSG_FLOWS_GIVEN_MAX + 1) * sizeof(struct msg_flow_row),
};

void
cluster_flows_take(struct cluster *c, struct ring_reader *dataplane)
{
	uint64_t before = c->flows.newest;
	struct ring_record record;

	while (ring_log_next(dataplane, &record) == RING_OK) {
		struct msg_flow flow = {0};

		if (record.type == MSG_RECORD_FLOW)
			memcpy(&flow, record.data,
			       record.bytes < sizeof(flow) ? record.bytes : sizeof(flow));
		flows_put(&c->flows, &flow, record.lost);
	}
	if (c->flows.newest != before)
		station_kick(c->st); /* who follows them asks again */
}

/* ---- names ---- */

static void
name_node(struct cluster *c, uint32_t node, char out[MSG_NAME])
{
	const struct cluster_node *n = c->member ? cluster_roster_find(c, node) : NULL;

	if (node == c->m->node_id || n)
		text_copy(out, MSG_NAME, n ? n->row.name : c->m->node);
}

static void
name_end(void *arg, const struct msg_flow_end *end, struct msg_flow_name *out)
{
	struct cluster *c = arg;
	const struct replica *p = end->replica ? model_replica(c->m, end->replica) : NULL;
	const struct service *s = p              ? p->service
				  : end->service ? model_service_by_id(c->m, end->service)
						 : NULL;

	if (s) {
		text_copy(out->deployment, sizeof(out->deployment), s->deployment->row.name);
		text_copy(out->service, sizeof(out->service), s->row.name);
	}
	if (p)
		out->index = p->row.index;
	if (end->replica || end->node)
		name_node(c, end->node, out->node);
}

static void
name_peer(void *arg, uint64_t id, char out[MSG_NAME])
{
	struct cluster *c = arg;
	struct ring_reader *overlay = station_reader(c->st, ROLE_OVERLAY, 0);

	if (!overlay)
		return;
	ring_table_sync(overlay, MSG_TABLE_PEER, sizeof(struct msg_peer), NULL, NULL);
	const struct msg_peer *row = ring_table_get(overlay, MSG_TABLE_PEER, id);
	if (row && MSG_OK(row->name))
		text_copy(out, MSG_NAME, row->name);
}

/* ---- giving ---- */

/* Flows that are let through are told from now on. */
static void
observe(struct cluster *c)
{
	const struct msg_observe row = {.until_mono_ns =
						world_mono_ns() + OBSERVE_MS * UINT64_C(1000000)};

	if (ring_table_set(c->m->writer, MSG_TABLE_OBSERVE, 1, &row, NULL) == RING_OK)
		station_kick(c->st);
}

bool
cluster_flows_has(struct cluster *c, const struct msg_flows_op *op)
{
	if (op->observe)
		observe(c);
	return flows_has(&c->flows, op->since);
}

static void
give(struct cluster *c, const struct msg_flows_op *op, struct buf *rows)
{
	const struct flows_names names = {c, name_end, name_peer};

	if (op->observe)
		observe(c);
	flows_give(&c->flows, op, &names, rows);
}

int
cluster_flows_give(struct cluster *c, const struct msg_flows_op *op, struct buf *out,
		   struct err *err)
{
	struct buf rows;

	buf_init(&rows, MEM_SCHEDULER, ROWS_BYTES_MAX);
	give(c, op, &rows);
	const struct msg_flow_row *row = (const void *)rows.data;
	for (size_t i = 0; buf_ok(&rows) && i < rows.length / sizeof(*row); i++)
		far_wire_put_flow(out, &row[i]);
	int rc = buf_ok(&rows) && buf_ok(out)
			 ? 0
			 : err_set(err, ERR_NO_MEMORY, "no memory for what was observed");
	buf_fini(&rows);
	return rc;
}

int
cluster_flows_own(struct cluster *c, const struct msg_flows_op *op, struct err *err)
{
	struct buf rows;

	buf_init(&rows, MEM_SCHEDULER, ROWS_BYTES_MAX);
	give(c, op, &rows);
	int fd = buf_ok(&rows) ? fd_memfd_sealed("flows", rows.data, rows.length) : -1;
	if (fd < 0)
		err_set(err, ERR_NO_MEMORY, "no memory for what was observed");
	buf_fini(&rows);
	return fd;
}
