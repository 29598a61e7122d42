/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring by id. What is given is looked for from the newest on, so that the newest are given when
 * there are more than were asked for, and all rows are put in order behind one another as they
 * happened. What is lost is counted, from whatever side: in the kernel, on the ring, here.
 */
#include "scheduler/flows.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "ring/flow.h"

void
flows_init(struct flows *f)
{
	*f = (struct flows){0};
}

void
flows_fini(struct flows *f)
{
	mem_free(f->items);
	*f = (struct flows){0};
}

void
flows_put(struct flows *f, const struct msg_flow *flow, uint64_t lost)
{
	if (!f->items)
		f->items = mem_array(MEM_SCHEDULER, FLOWS_KEPT_MAX, sizeof(*f->items));
	f->lost += lost;
	if (!f->items || !flow_verdict_name(flow->verdict)) {
		f->lost++;
		return;
	}
	lost = f->lost + flow->lost;
	f->lost = 0;
	struct msg_flow *kept = &f->items[++f->newest % FLOWS_KEPT_MAX];
	*kept = *flow;
	kept->lost = lost < UINT32_MAX ? (uint32_t)lost : UINT32_MAX;
}

static const struct msg_flow *
get(const struct flows *f, uint64_t id)
{
	return &f->items[id % FLOWS_KEPT_MAX];
}

/* The id below the oldest that is kept. */
static uint64_t
below(const struct flows *f)
{
	return f->newest > FLOWS_KEPT_MAX ? f->newest - FLOWS_KEPT_MAX : 0;
}

bool
flows_has(const struct flows *f, uint64_t since)
{
	return f->newest != since;
}

bool
flows_op_ok(const struct msg_flows_op *op)
{
	return op->limit > 0 && op->limit <= MSG_FLOWS_GIVEN_MAX && MSG_OK(op->deployment) &&
	       MSG_OK(op->service) && MSG_OK(op->peer) &&
	       (!op->verdict || flow_verdict_name(op->verdict));
}

/* ---- giving ---- */

static bool
is_end(const struct msg_flows_op *op, const struct msg_flow_name *name)
{
	return (!op->service[0] || text_equal(op->service, name->service)) &&
	       (!op->deployment[0] || text_equal(op->deployment, name->deployment));
}

static bool
matches(const struct msg_flows_op *op, const struct msg_flow_row *row)
{
	if (op->verdict && row->flow.verdict != op->verdict)
		return false;
	if (op->peer[0] && !text_equal(op->peer, row->peer) &&
	    !text_equal(op->peer, row->source.node) && !text_equal(op->peer, row->destination.node))
		return false;
	return is_end(op, &row->source) || is_end(op, &row->destination);
}

static void
make(const struct flows *f, uint64_t id, const struct flows_names *names, struct msg_flow_row *out)
{
	*out = (struct msg_flow_row){.id = id, .flow = *get(f, id)};
	names->end(names->arg, &out->flow.source, &out->source);
	names->end(names->arg, &out->flow.destination, &out->destination);
	if (out->flow.peer)
		names->peer(names->arg, out->flow.peer, out->peer);
}

/* The id of the first one to be given. */
static uint64_t
first_of(const struct flows *f, const struct msg_flows_op *op, uint64_t since,
	 const struct flows_names *names)
{
	struct msg_flow_row row;
	uint64_t first = f->newest + 1;
	uint32_t count = 0;

	for (uint64_t id = f->newest; id > since && count < op->limit; id--) {
		make(f, id, names, &row);
		if (!matches(op, &row))
			continue;
		first = id;
		count++;
	}
	return first;
}

/* Whether they would have matched is not known. */
static uint64_t
lost_since(const struct flows *f, uint64_t asked, uint64_t since)
{
	uint64_t lost = since - asked + f->lost;

	for (uint64_t id = since + 1; id <= f->newest; id++)
		lost += get(f, id)->lost;
	return lost;
}

void
flows_give(const struct flows *f, const struct msg_flows_op *op, const struct flows_names *names,
	   struct buf *out)
{
	uint64_t asked = op->since == FLOWS_NONE  ? f->newest
			 : op->since <= f->newest ? op->since
						  : 0;
	uint64_t since = asked < below(f) ? below(f) : asked;
	struct msg_flow_row row, mark = {.id = f->newest};
	uint64_t lost = lost_since(f, asked, since);

	for (uint64_t id = first_of(f, op, since, names); id <= f->newest; id++) {
		make(f, id, names, &row);
		if (matches(op, &row))
			buf_put(out, &row, sizeof(row));
	}
	mark.flow.lost = lost < UINT32_MAX ? (uint32_t)lost : UINT32_MAX;
	buf_put(out, &mark, sizeof(mark));
}
