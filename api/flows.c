/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows for people: names instead of addresses where there are some, and for what was dropped the
 * key of the document that decides about it. Both lists and streams are samples: what the data path
 * could not tell, or nobody kept, is counted and said.
 */
#include "api/flows.h"

#include <string.h>
#include "api/route.h"
#include "api/view.h"
#include "base/fd.h"
#include "base/text.h"
#include "ring/flow.h"

enum { FLOWS_DEFAULT = 200 };

_Static_assert(sizeof(struct msg_flows_op) <= EVENTS_FILTER_MAX, "a filter has room");

/* ---- the kind ---- */

static int
ask_flows(struct station *st, const struct events_ask *q, station_answer_fn done, void *arg,
	  struct err *err)
{
	struct msg_flows_op op;

	memcpy(&op, q->filter, sizeof(op));
	op.node = q->node;
	op.limit = q->limit < MSG_FLOWS_GIVEN_MAX ? q->limit : MSG_FLOWS_GIVEN_MAX;
	op.since = q->since;
	op.wait = q->wait;
	return station_ask(st, ROLE_SCHEDULER, 0, MSG_OP_FLOWS, &op, sizeof(op), NULL, 0,
			   CALL_ASK_MS, done, arg, err);
}

static bool
name_ok(const struct msg_flow_name *n)
{
	return MSG_OK(n->deployment) && MSG_OK(n->service) && MSG_OK(n->node);
}

/* Rows, and a mark behind them. */
static bool
read_flows(const int *fds, size_t count, struct buf *out)
{
	struct err ignored = {0};

	if (count != 1 || !fd_is_sealed(fds[0]) || fd_read_all(fds[0], out, &ignored) < 0 ||
	    out->length == 0 || out->length % sizeof(struct msg_flow_row))
		return false;
	const struct msg_flow_row *rows = (const void *)out->data;
	size_t last = out->length / sizeof(*rows) - 1;
	for (size_t i = 0; i <= last; i++) {
		bool is_mark = rows[i].flow.verdict == 0;

		if (is_mark != (i == last) || !MSG_OK(rows[i].peer) || !name_ok(&rows[i].source) ||
		    !name_ok(&rows[i].destination))
			return false;
	}
	return true;
}

static uint64_t
flow_id(const void *row)
{
	return ((const struct msg_flow_row *)row)->id;
}

static int64_t
flow_wall_ns(const void *row)
{
	return ((const struct msg_flow_row *)row)->flow.wall_ns;
}

static uint64_t
flow_lost(const void *mark)
{
	return ((const struct msg_flow_row *)mark)->flow.lost;
}

/* ---- for people ---- */

static const char *
protocol_name(unsigned protocol, char out[8])
{
	switch (protocol) {
	case 0:
		return NULL;
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return "icmp";
	default:
		text_format(out, 8, "%u", protocol);
		return out;
	}
}

/* The key of the document by which it was dropped, as far as what is told of both ends says which;
 * NULL: it is none. Who is no service has no document. */
static const char *
rule_of(const struct msg_flow *f)
{
	const struct msg_flow_end *s = &f->source, *d = &f->destination;

	if (f->reason == FLOW_DENIED && d->service)
		return "endpoints.limits";
	if (!s->service || !d->service)
		return NULL;
	switch (f->reason) {
	case FLOW_ISOLATED:
		return s->service == d->service         ? "network.overlays.service.enabled"
		       : s->deployment == d->deployment ? "network.overlays"
							: "network.overlays.global";
	case FLOW_UNSEALED:
		return s->service == d->service         ? "network.overlays.service.encrypted"
		       : s->deployment == d->deployment ? "network.overlays"
							: "network.overlays.global.encrypted";
	default:
		return NULL;
	}
}

static void
put_end(struct json *j, const char *key, const struct msg_flow_end *e,
	const struct msg_flow_name *n)
{
	char text[ADDR_TEXT_BYTES];

	json_object(j, key);
	addr_put_ip(&e->addr, text, sizeof(text));
	json_text(j, "address", text);
	if (e->addr.port)
		json_u64(j, "port", e->addr.port);
	if (n->service[0]) {
		json_text(j, "deployment", n->deployment);
		json_text(j, "service", n->service);
	}
	if (n->index)
		json_u64(j, "index", n->index);
	if (e->replica)
		json_u64(j, "replica", e->replica);
	if (n->node[0])
		json_text(j, "node", n->node);
	json_end(j);
}

static void
view_flow(struct json *j, const char *node, const void *data)
{
	const struct msg_flow_row *row = data;
	const struct msg_flow *f = &row->flow;
	char number[8];

	json_object(j, NULL);
	json_u64(j, "id", row->id);
	json_text(j, "node", node[0] ? node : NULL);
	view_time(j, "ts", f->wall_ns);
	json_text(j, "verdict", flow_verdict_name(f->verdict));
	if (f->reason) {
		const char *name = flow_reason_name(f->reason);

		json_text(j, "reason", name ? name : "other");
		json_text(j, "text", flow_reason_text(f->reason));
		if (rule_of(f))
			json_text(j, "rule", rule_of(f));
	}
	json_text(j, "protocol", protocol_name(f->protocol, number));
	put_end(j, "source", &f->source, &row->source);
	put_end(j, "destination", &f->destination, &row->destination);
	json_text(j, "way", flow_way_name(f->way));
	json_text(j, "seen", flow_place_name(f->place));
	json_u64(j, "bytes", f->length);
	json_text(j, "peer", row->peer[0] ? row->peer : NULL);
	json_end(j);
}

const struct events_kind flows_kind = {
	.message = "flow",
	.row_bytes = sizeof(struct msg_flow_row),
	.rows_max = MSG_FLOWS_GIVEN_MAX + 1,
	.marks = true,
	.own = true,
	.ask = ask_flows,
	.read = read_flows,
	.id = flow_id,
	.wall_ns = flow_wall_ns,
	.lost = flow_lost,
	.view = view_flow,
};

/* ---- what is asked for ---- */

/* A name, or two with a slash between. */
static bool
take_service(const char *text, struct msg_flows_op *out)
{
	const char *slash = strchr(text, '/');
	const char *service = slash ? slash + 1 : text;

	return (!slash || text_ncopy(out->deployment, sizeof(out->deployment), text,
				     (size_t)(slash - text))) &&
	       text_copy(out->service, sizeof(out->service), service) &&
	       text_is_label(out->service) && (!slash || text_is_label(out->deployment));
}

static bool
take_verdict(const char *text, struct msg_flows_op *out)
{
	for (unsigned v = MSG_FLOW_FORWARDED; v <= MSG_FLOW_DROPPED; v++) {
		if (text_equal(text, flow_verdict_name(v)))
			out->verdict = v;
	}
	return out->verdict != 0;
}

static bool
take_peer(const char *text, struct msg_flows_op *out)
{
	return text_copy(out->peer, sizeof(out->peer), text) && text_is_label(out->peer);
}

bool
flows_query(struct call *call, struct msg_flows_op *out)
{
	static const struct {
		const char *name;
		bool (*take)(const char *text, struct msg_flows_op *out);
		const char *is;
	} parameters[] = {
		{"verdict", take_verdict, "forwarded or dropped"},
		{"service", take_service, "the name of a service, or DEPLOYMENT/SERVICE"},
		{"peer", take_peer, "the name of a node"},
	};
	struct err err = {0};
	char text[MSG_TARGET];

	*out = (struct msg_flows_op){0};
	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
		if (!call_query(call, parameters[i].name, text, sizeof(text))) {
			if (call->answered)
				return false;
			continue;
		}
		if (parameters[i].take(text, out))
			continue;
		err_set(&err, ERR_INVALID, "%s must be %s", parameters[i].name, parameters[i].is);
		call_problem(call, &err);
		return false;
	}
	return true;
}

void
flows_list(struct call *call)
{
	const struct msg_member *only;
	struct msg_flows_op filter;
	uint64_t limit = FLOWS_DEFAULT;
	struct err err = {0};

	if (!flows_query(call, &filter) ||
	    !call_query_u64(call, "limit", MSG_FLOWS_GIVEN_MAX, &limit) ||
	    !events_query_node(call, &only))
		return;
	if (limit == 0) {
		err_set(&err, ERR_INVALID, "limit must be 1 to %d", MSG_FLOWS_GIVEN_MAX);
		call_problem(call, &err);
		return;
	}
	events_list_all(call, &flows_kind, only, &filter, sizeof(filter), (uint32_t)limit);
}
