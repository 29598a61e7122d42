/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How clients that come to this node reach the replicas of a service by its tcp and udp endpoints:
 * carried by the kernel, so that a replica sees them, or by the relay, and why
 * (docs/decisions/017). It is judged as dataplane does it, by the same rows.
 */
#include <string.h>
#include "api/nodes.h"
#include "api/route.h"
#include "api/rows.h"
#include "api/target.h"
#include "api/view.h"
#include "base/text.h"
#include "ring/clients.h"
#include "spec/config.h"

enum { ANSWER_MAX = 8 << 20 };

#define TELLS "stream.proxy_protocol: true in the document tells a replica its client in any case"

struct clients {
	struct server *server;
	const struct msg_datapath *path; /* NULL: it has not begun yet */
	bool has_uplink;
	struct rows peers; /* by the addresses of their containers */
	struct rows nodes, backends;
};

/* ---- an endpoint ---- */

static bool
is_of(const void *row, void *arg)
{
	const struct msg_stream *e = row;

	return e->service == *(const uint64_t *)arg && e->flags & MSG_STREAM_PUBLIC &&
	       MSG_OK(e->endpoint);
}

static int
by_name(const void *a, const void *b)
{
	const struct msg_stream *x = *(const void *const *)a, *y = *(const void *const *)b;

	return strncmp(x->endpoint, y->endpoint, sizeof(x->endpoint));
}

/* Whether the kernel takes packets for it at all; why not, or what of it does not. */
static bool
is_balanced(const struct clients *c, const struct msg_stream *e, struct err *why)
{
	const struct msg_datapath *d = c->path;

	if (e->flags & MSG_STREAM_PROXY_PROTOCOL)
		err_set(why, ERR_UNSUPPORTED, "stream.proxy_protocol is true");
	else if (e->flags & MSG_STREAM_TLS)
		err_set(why, ERR_UNSUPPORTED, "its TLS is ended here");
	else if (!d)
		err_set(why, ERR_UNREACHABLE, "the data path has not begun yet");
	else if (!d->bpf)
		msg_reason_to(&d->reason, why);
	else if (d->edge_reason.kind)
		msg_reason_to(&d->edge_reason, why);
	else if (!d->xdp)
		err_set(why, ERR_UNREACHABLE, "no interface has its program yet");
	return d && d->bpf && d->edge && d->xdp &&
	       !(e->flags & (MSG_STREAM_PROXY_PROTOCOL | MSG_STREAM_TLS));
}

/* ---- a replica ---- */

static bool
is_backend(const void *row, void *arg)
{
	return ((const struct msg_backend *)row)->service == *(const uint64_t *)arg;
}

static int
by_replica(const void *a, const void *b)
{
	const struct msg_backend *x = *(const void *const *)a, *y = *(const void *const *)b;

	return strncmp(x->name, y->name, sizeof(x->name));
}

static int
by_prefix(const void *a, const void *b)
{
	const struct msg_peer *x = *(const void *const *)a, *y = *(const void *const *)b;

	return memcmp(x->v4.base.ip, y->v4.base.ip, sizeof(x->v4.base.ip));
}

/* No two prefixes overlap: it is the last one that does not begin behind the address, or none. */
static const struct msg_peer *
peer_of(const struct clients *c, const struct addr *addr)
{
	size_t low = 0, high = c->peers.count;

	while (low < high) {
		size_t at = low + (high - low) / 2;
		const struct msg_peer *p = c->peers.items[at];

		if (memcmp(p->v4.base.ip, addr->ip, sizeof(addr->ip)) > 0)
			high = at;
		else
			low = at + 1;
	}
	const struct msg_peer *last = low > 0 ? c->peers.items[low - 1] : NULL;
	return last && addr_in_prefix(addr, &last->v4) ? last : NULL;
}

static bool
this_only_dials_out(const struct clients *c)
{
	size_t bytes;
	const struct config *config = station_config(c->server->station, &bytes);

	return bytes >= sizeof(*config) && config->node.advertise_none;
}

static void
say_refuses(const struct clients *c, const char node[MSG_NAME], struct err *why)
{
	const struct msg_member *m = nodes_among(&c->nodes, node);

	if (this_only_dials_out(c)) {
		err_set(why, ERR_UNSUPPORTED, "this node only dials out");
		err_why(why,
			"clients are carried between nodes that others can open connections to");
		err_fix(why, TELLS);
	} else if (m && m->dials_out) {
		err_set(why, ERR_UNSUPPORTED, "%s only dials out", node);
		err_why(why,
			"clients are carried between nodes that others can open connections to");
		err_fix(why, TELLS);
	} else {
		err_set(why, ERR_UNSUPPORTED, "%s does not take clients' packets", node);
		err_why(why, "dataplane.mode is off there, or BPF is not in force, or it is older");
		err_fix(why, "zlayer status, on %s, says which; " TELLS, node);
	}
}

/* One of another node: whether the kernel brings it packets. */
static bool
is_reached(const struct clients *c, const struct msg_replica *r, const char node[MSG_NAME],
	   struct err *why)
{
	const struct msg_identity *id =
		rows_get(c->server, ROLE_SCHEDULER, MSG_TABLE_IDENTITY, r->id);
	const struct msg_peer *peer = id && addr_is_v4(&id->addr4) ? peer_of(c, &id->addr4) : NULL;

	if (!c->path->across)
		err_set(why, ERR_UNSUPPORTED, "this node's programs for that are not in force");
	else if (!c->has_uplink)
		err_set(why, ERR_UNSUPPORTED, "there is no uplink here");
	else if (!id || !peer)
		err_set(why, ERR_UNREACHABLE, "%s has not said yet where its containers are", node);
	else if (!(peer->ways & (MSG_WAY_SEALED | MSG_WAY_PLAIN)))
		err_set(why, ERR_UNREACHABLE, "no way leads to the containers of %s", node);
	else if (!clients_are_taken(peer->ways))
		say_refuses(c, node, why);
	return why->kind == ERR_NONE;
}

static void
put_replica(struct json *j, const struct clients *c, const struct msg_stream *e, bool balanced,
	    const struct msg_backend *b)
{
	const struct msg_replica *r =
		rows_get(c->server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, b->replica);
	struct msg_reason reason = {0};
	struct err why = {0};
	char node[MSG_NAME];

	if (!r)
		return;
	text_copy(node, sizeof(node), r->node);
	bool kernel = balanced && (nodes_has_here(c->server, r) || is_reached(c, r, node, &why));
	if (why.kind)
		msg_reason_from(&why, &reason);
	json_object(j, NULL);
	VIEW_TEXT(j, "name", b->name);
	json_u64(j, "index", r->index);
	VIEW_TEXT(j, "node", r->node);
	json_text(j, "by", kernel ? "kernel" : "relay");
	json_text(j, "sees",
		  kernel                                 ? "client"
		  : e->flags & MSG_STREAM_PROXY_PROTOCOL ? "header"
							 : "node");
	view_reason(j, "reason", &reason);
	json_end(j);
}

/* ---- all of them ---- */

static void
put_endpoint(struct json *j, const struct clients *c, const struct msg_stream *e)
{
	static const char *const modes[] = {
		[MSG_XDP_NATIVE] = "native", [MSG_XDP_GENERIC] = "generic"};
	struct msg_reason reason = {0};
	struct err why = {0};
	bool balanced = is_balanced(c, e, &why);

	if (why.kind)
		msg_reason_from(&why, &reason);
	json_object(j, NULL);
	VIEW_TEXT(j, "endpoint", e->endpoint);
	json_text(j, "protocol", e->protocol == MSG_STREAM_UDP ? "udp" : "tcp");
	json_u64(j, "port", e->port);
	json_text(j, "xdp",
		  balanced && c->path->xdp <= MSG_XDP_GENERIC ? modes[c->path->xdp] : "off");
	view_reason(j, "reason", &reason);
	json_array(j, "replicas");
	for (size_t i = 0; i < c->backends.count; i++)
		put_replica(j, c, e, balanced, c->backends.items[i]);
	json_end(j);
	json_end(j);
}

static void
collect(struct call *call, uint64_t service, struct clients *c, struct rows *endpoints)
{
	const struct msg_uplink *uplink = rows_get(call->server, ROLE_NODE, MSG_TABLE_UPLINK, 1);

	*c = (struct clients){
		.server = call->server,
		.path = rows_get(call->server, ROLE_DATAPLANE, MSG_TABLE_DATAPATH, 1),
		.has_uplink = uplink && uplink->state == MSG_UPLINK_UP,
	};
	rows_collect(call->server, ROLE_OVERLAY, MSG_TABLE_PEER, NULL, NULL, by_prefix, &c->peers);
	nodes_collect(call->server, &c->nodes);
	rows_collect(call->server, ROLE_SCHEDULER, MSG_TABLE_BACKEND, is_backend, &service,
		     by_replica, &c->backends);
	rows_collect(call->server, ROLE_SCHEDULER, MSG_TABLE_STREAM, is_of, &service, by_name,
		     endpoints);
}

void
clients_service(struct call *call)
{
	const struct msg_service *s = rows_service(call->server, call->param[0], call->param[1]);
	struct rows endpoints;
	struct clients c;
	struct buf b;
	struct json j;

	if (!s) {
		target_no_service(call, call->param[0], call->param[1]);
		return;
	}
	call->server->lacked = false;
	collect(call, s->id, &c, &endpoints);
	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_array(&j, "items");
	for (size_t i = 0; i < endpoints.count; i++)
		put_endpoint(&j, &c, endpoints.items[i]);
	json_end(&j);
	json_end(&j);
	rows_fini(&endpoints);
	rows_fini(&c.backends);
	rows_fini(&c.nodes);
	rows_fini(&c.peers);
	if (call->server->lacked)
		b.failed = true; /* not by whom, for want of memory */
	call_json(call, 200, NULL, &b);
}
