/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What proxies and the data path serve: backends, routes and streams.
 *
 * Routes follow the revision in force (model_in_force), so that the names of what is being deployed
 * answer 503 and not 404. The ports of a backend stand in the order of that revision's endpoints,
 * found by name in the document the replica was made from; 0 where it has no such endpoint.
 *
 * Nobody else adds backends: a replica whose lease is older than that of another one of its name is
 * refused here, and so by proxies and BPF maps.
 */
#include "scheduler/publish_parts.h"

#include "base/text.h"
#include "scheduler/drains.h"
#include "scheduler/ports.h"
#include "scheduler/publish_table.h"
#include "scheduler/remote.h"
#include "scheduler/unique.h"

enum { SESSION_TIMEOUT_MS = 60000 };

/* ---- routes and streams ---- */

static bool
is_routed(const struct doc_endpoint *e)
{
	return e->expose == DOC_EXPOSE_PUBLIC &&
	       (e->protocol == DOC_PROTOCOL_HTTP || e->protocol == DOC_PROTOCOL_HTTPS ||
		e->protocol == DOC_PROTOCOL_WEBSOCKET);
}

static uint32_t
route_flags(const struct doc_endpoint *e)
{
	uint32_t flags = MSG_ROUTE_PUBLIC | (e->strip_path ? MSG_ROUTE_STRIP_PATH : 0);

	switch (e->protocol) {
	case DOC_PROTOCOL_HTTPS:
		return flags | MSG_ROUTE_TLS;
	case DOC_PROTOCOL_WEBSOCKET:
		return flags | MSG_ROUTE_WEBSOCKET |
		       (e->port == 443 ? MSG_ROUTE_TLS : MSG_ROUTE_PLAIN);
	case DOC_PROTOCOL_HTTP:
	case DOC_PROTOCOL_TCP:
	case DOC_PROTOCOL_UDP:
		break;
	}
	return flags | MSG_ROUTE_PLAIN;
}

static uint32_t
put_prefixes(const struct doc_prefixes *from, struct addr_prefix out[8])
{
	uint32_t count = from->count < 8 ? (uint32_t)from->count : 8;

	for (uint32_t i = 0; i < count; i++)
		out[i] = from->items[i];
	return count;
}

static uint32_t
balance_of(const struct doc_endpoint *e)
{
	return e->balance.kind == DOC_BALANCE_ROUND_ROBIN ? MSG_BALANCE_ROUND_ROBIN
							  : MSG_BALANCE_P2C;
}

static void
put_route(struct publish_table *t, const struct service *s, uint64_t id,
	  const struct doc_endpoint *e, uint32_t index)
{
	struct msg_route row = {
		.id = id,
		.service = s->row.id,
		.endpoint_index = index,
		.flags = route_flags(e) | (scaling_follows(s) ? MSG_ROUTE_COUNTED : 0u) |
			 (scaling_wakes(s) ? MSG_ROUTE_SLEEPS : 0u),
		.balance = balance_of(e),
		.body_bytes_max = e->limits.body_bytes,
		.header_bytes_max = e->limits.header_bytes,
	};

	model_label(s, row.service_label);
	text_copy(row.endpoint, sizeof(row.endpoint), e->name);
	text_copy(row.host, sizeof(row.host), e->host ? e->host : "");
	text_copy(row.path, sizeof(row.path), e->path ? e->path : "/");
	row.prefixes_allow = put_prefixes(&e->limits.allow, row.allow);
	row.prefixes_deny = put_prefixes(&e->limits.deny, row.deny);
	publish_table_row(t, id, &row);
}

static uint64_t
route_id(const struct service *s, const char *endpoint)
{
	for (size_t i = 0; i < s->routes_count; i++) {
		if (text_equal(s->routes[i].endpoint, endpoint))
			return s->routes[i].id;
	}
	return 0;
}

static void
put_stream(struct publish_table *t, const struct service *s, uint64_t id,
	   const struct doc_endpoint *e, uint32_t index)
{
	struct msg_stream row = {
		.id = id,
		.service = s->row.id,
		.endpoint_index = index,
		.protocol = e->protocol == DOC_PROTOCOL_UDP ? MSG_STREAM_UDP : MSG_STREAM_TCP,
		.flags = (e->expose == DOC_EXPOSE_PUBLIC ? MSG_STREAM_PUBLIC : 0u) |
			 (e->stream.tls ? MSG_STREAM_TLS : 0u) |
			 (e->stream.proxy_protocol ? MSG_STREAM_PROXY_PROTOCOL : 0u) |
			 (scaling_follows(s) ? MSG_STREAM_COUNTED : 0u) |
			 (scaling_wakes(s) ? MSG_STREAM_SLEEPS : 0u),
		.port = e->port,
		.balance = balance_of(e),
		.session_timeout_ms = e->stream.session_timeout_ms
					      ? (uint32_t)e->stream.session_timeout_ms
					      : SESSION_TIMEOUT_MS,
	};

	model_label(s, row.service_label);
	text_copy(row.endpoint, sizeof(row.endpoint), e->name);
	text_copy(row.host, sizeof(row.host), e->host ? e->host : "");
	row.prefixes_allow = put_prefixes(&e->limits.allow, row.allow);
	row.prefixes_deny = put_prefixes(&e->limits.deny, row.deny);
	publish_table_row(t, id, &row);
}

/* What the edge offers of a service, or NULL: what is being removed is not served any more. */
static const struct doc_service *
offered(struct model *m, struct service *s)
{
	const struct operation *o = s->deployment->operation;

	return o && o->row.kind == MSG_OPERATION_REMOVE ? NULL : model_in_force(m, s);
}

static void
put_streams(struct publish_table *t, struct service *s)
{
	const struct doc_service *spec = offered(t->m, s);

	for (size_t i = 0; spec && i < spec->endpoints_count && i < MSG_ENDPOINTS_MAX; i++) {
		uint64_t id = route_id(s, spec->endpoints[i].name);

		if (id && ports_is_stream(&spec->endpoints[i]))
			put_stream(t, s, id, &spec->endpoints[i], (uint32_t)i);
	}
}

static void
put_routes(struct publish_table *t, struct service *s)
{
	const struct doc_service *spec = offered(t->m, s);

	for (size_t i = 0; spec && i < spec->endpoints_count && i < MSG_ENDPOINTS_MAX; i++) {
		uint64_t id = route_id(s, spec->endpoints[i].name);

		if (id && is_routed(&spec->endpoints[i]))
			put_route(t, s, id, &spec->endpoints[i], (uint32_t)i);
	}
}

void
publish_traffic_url(const struct model *m, const struct doc_service *spec, char *out, size_t cap)
{
	const struct doc_endpoint *stream = NULL;

	for (size_t i = 0; i < spec->endpoints_count; i++) {
		const struct doc_endpoint *e = &spec->endpoints[i];
		bool tls = route_flags(e) & MSG_ROUTE_TLS;

		if (!stream && e->expose == DOC_EXPOSE_PUBLIC && ports_is_stream(e))
			stream = e;
		if (!is_routed(e))
			continue;
		text_format(out, cap, "%s://%s%s", tls ? "https" : "http",
			    e->host ? e->host : m->node, text_equal(e->path, "/") ? "" : e->path);
		return;
	}
	if (stream)
		text_format(out, cap, "%s://%s:%u",
			    stream->protocol == DOC_PROTOCOL_UDP ? "udp" : "tcp",
			    stream->host ? stream->host : m->node, stream->port);
}

/* ---- backends ---- */

static void
full_name(const struct replica *p, char *out, size_t cap)
{
	text_format(out, cap, "%s/%s.%u", p->service->deployment->row.name, p->service->row.name,
		    p->row.index);
}

/* Packets of this node come to it. */
static bool
is_reachable(const struct model *m, const struct replica *p)
{
	return !p->remote || remote_is_reachable(m, p);
}

static uint32_t
state_of(struct model *m, struct replica *p)
{
	bool served = is_reachable(m, p) && unique_may_serve(m, p);
	uint32_t state = served ? lifecycle_balance(&p->life) : 0;

	if (state == MSG_BACKEND_ACTIVE && drains_parts(m, p))
		state = MSG_BACKEND_DRAINING;
	else if (state == MSG_BACKEND_ACTIVE)
		p->kept_ns = 0;
	if (state == MSG_BACKEND_DRAINING && drains_keeps(m, p))
		state = MSG_BACKEND_ACTIVE;
	return state == MSG_BACKEND_ACTIVE && p->remote && remote_is_doubted(m, p)
		       ? MSG_BACKEND_DOUBTED
		       : state;
}

static void
put_backend(struct publish_table *t, struct replica *p)
{
	uint32_t state = state_of(t->m, p);
	const struct doc_service *order = state ? model_in_force(t->m, p->service) : NULL;
	const struct doc_service *own = state ? model_spec(t->m, p) : NULL;
	struct msg_backend row = {
		.replica = p->row.id,
		.service = p->service->row.id,
		.state = state,
	};

	if (!own || !model_address(p, &row.addr))
		return;
	if (!order)
		order = own;
	full_name(p, row.name, sizeof(row.name));
	for (size_t i = 0; i < order->endpoints_count && i < MSG_ENDPOINTS_MAX; i++) {
		const struct doc_endpoint *e = doc_endpoint_find(own, order->endpoints[i].name);

		row.ports[row.ports_count++] = e ? e->target_port : 0;
	}
	publish_table_row(t, p->row.id, &row);
}

static void
note_draining(struct publish_table *t, struct replica *p)
{
	const struct msg_backend *row = ring_table_own(t->m->writer, MSG_TABLE_BACKEND, p->row.id);

	if (!p->remote && p->life.state == MSG_REPLICA_DRAINING && !p->draining_version &&
	    !(row && row->state != MSG_BACKEND_DRAINING))
		p->draining_version = ring_table_own_version(t->m->writer, MSG_TABLE_BACKEND);
}

bool
publish_traffic_settled(struct model *m)
{
	struct map_iter it = {0};
	bool waiting = false;

	if (m->settled)
		return true;
	while (map_next(&m->replicas, &it)) {
		const struct replica *p = it.value;

		waiting |= p->row.ready_attempt && p->row.ready_attempt == p->row.attempt &&
			   p->life.order == LIFECYCLE_RUN && !p->has_container;
	}
	if (waiting && m->now_ns < m->settle_by_ns) {
		model_wake_at(m, m->settle_by_ns);
		return false;
	}
	m->settled = true;
	return true;
}

void
publish_traffic(struct model *m)
{
	struct publish_table t;

	if (!publish_traffic_settled(m))
		return;
	/* New backends before what leads to them; routes last: they say that all is there. */
	publish_table_begin(&t, m, MSG_TABLE_BACKEND);
	publish_table_replicas(&t, put_backend);
	publish_table_commit(&t);
	publish_table_mark(m, MSG_TABLE_BACKEND);
	publish_table_replicas(&t, note_draining);
	publish_table_begin(&t, m, MSG_TABLE_STREAM);
	publish_table_services(&t, put_streams);
	publish_table_commit(&t);
	publish_table_mark(m, MSG_TABLE_STREAM);
	publish_table_begin(&t, m, MSG_TABLE_ROUTE);
	publish_table_services(&t, put_routes);
	publish_table_commit(&t);
	publish_table_mark(m, MSG_TABLE_ROUTE);
}
