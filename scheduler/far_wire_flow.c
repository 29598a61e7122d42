/* SPDX-License-Identifier: Apache-2.0 */
/* Flows between nodes: what is asked (FLOWS), and the rows of the answer. */
#include "scheduler/far_wire.h"

#include "scheduler/flows.h"
#include "scheduler/store_wire.h"

#define GET_TEXT(in, field) store_wire_get_text((in), (field), sizeof(field))

void
far_wire_put_flows_op(struct buf *out, const struct msg_flows_op *op)
{
	buf_u64(out, op->since);
	buf_u32(out, op->limit);
	buf_u8(out, op->wait != 0);
	buf_u8(out, op->observe != 0);
	buf_u8(out, (uint8_t)op->verdict);
	buf_text(out, op->deployment);
	buf_text(out, op->service);
	buf_text(out, op->peer);
}

bool
far_wire_get_flows_op(struct cursor *in, struct msg_flows_op *out)
{
	out->since = cursor_u64(in);
	out->limit = cursor_u32(in);
	out->wait = cursor_u8(in) != 0;
	out->observe = cursor_u8(in) != 0;
	out->verdict = cursor_u8(in);
	return GET_TEXT(in, out->deployment) && GET_TEXT(in, out->service) &&
	       GET_TEXT(in, out->peer) && cursor_ok(in) && flows_op_ok(out);
}

/* ---- rows ---- */

static void
put_end(struct buf *out, const struct msg_flow_end *e, const struct msg_flow_name *n)
{
	buf_put(out, e->addr.ip, sizeof(e->addr.ip));
	buf_u16(out, e->addr.port);
	buf_u64(out, e->replica);
	buf_u64(out, e->service);
	buf_u64(out, e->deployment);
	buf_u32(out, e->node);
	buf_text(out, n->deployment);
	buf_text(out, n->service);
	buf_text(out, n->node);
	buf_u32(out, n->index);
}

void
far_wire_put_flow(struct buf *out, const struct msg_flow_row *row)
{
	const struct msg_flow *f = &row->flow;

	buf_u64(out, row->id);
	buf_u64(out, (uint64_t)f->wall_ns);
	buf_u8(out, (uint8_t)f->verdict);
	buf_u32(out, f->reason);
	buf_u8(out, (uint8_t)f->way);
	buf_u8(out, (uint8_t)f->place);
	buf_u32(out, f->ifindex);
	buf_u32(out, f->length);
	buf_u8(out, f->protocol);
	buf_u8(out, f->tcp_flags);
	buf_u32(out, f->lost);
	buf_u64(out, f->peer);
	put_end(out, &f->source, &row->source);
	put_end(out, &f->destination, &row->destination);
	buf_text(out, row->peer);
}

static bool
get_end(struct cursor *in, struct msg_flow_end *e, struct msg_flow_name *n)
{
	const uint8_t *ip = cursor_take(in, sizeof(e->addr.ip));

	for (size_t i = 0; ip && i < sizeof(e->addr.ip); i++)
		e->addr.ip[i] = ip[i];
	e->addr.port = cursor_u16(in);
	e->replica = cursor_u64(in);
	e->service = cursor_u64(in);
	e->deployment = cursor_u64(in);
	e->node = cursor_u32(in);
	if (!GET_TEXT(in, n->deployment) || !GET_TEXT(in, n->service) || !GET_TEXT(in, n->node))
		return false;
	n->index = cursor_u32(in);
	return cursor_ok(in);
}

static bool
get_flow(struct cursor *in, struct msg_flow_row *out)
{
	struct msg_flow *f = &out->flow;

	out->id = cursor_u64(in);
	f->wall_ns = (int64_t)cursor_u64(in);
	f->verdict = cursor_u8(in);
	f->reason = cursor_u32(in);
	f->way = cursor_u8(in);
	f->place = cursor_u8(in);
	f->ifindex = cursor_u32(in);
	f->length = cursor_u32(in);
	f->protocol = cursor_u8(in);
	f->tcp_flags = cursor_u8(in);
	f->lost = cursor_u32(in);
	f->peer = cursor_u64(in);
	return get_end(in, &f->source, &out->source) &&
	       get_end(in, &f->destination, &out->destination) && GET_TEXT(in, out->peer);
}

bool
far_wire_next_flow(struct cursor *in, struct msg_flow_row *out, bool *bad)
{
	*out = (struct msg_flow_row){0};
	*bad = false;
	if (cursor_left(in) == 0)
		return false;
	*bad = !get_flow(in, out);
	return !*bad;
}
