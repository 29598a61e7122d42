/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows out of objects. For each table all keys of this pass are collected; a row whose object has
 * gone is removed, found by the keys of the pass before.
 *
 * Routes follow the revision in force: the one that serves, or, as long as there is none, the one
 * that is being deployed (so that its names answer 503 and not 404). The ports of a backend stand
 * in the order of that revision's endpoints, found by name in the document the replica was made
 * from; 0 where it has no such endpoint.
 */
#include "scheduler/publish.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "ring/metrics.h"
#include "scheduler/gate.h"
#include "scheduler/ports.h"

enum { FAST_MS = 500, SESSION_TIMEOUT_MS = 60000, TABLES = 10 };

static const struct ring_table_layout layouts[TABLES] = {
	{MSG_TABLE_DEPLOYMENT, 1, sizeof(struct msg_deployment), MODEL_DEPLOYMENTS_MAX},
	{MSG_TABLE_SERVICE, 1, sizeof(struct msg_service), MODEL_SERVICES_MAX},
	{MSG_TABLE_REPLICA, 1, sizeof(struct msg_replica), MODEL_REPLICAS_MAX},
	{MSG_TABLE_OPERATION, 1, sizeof(struct msg_operation), MODEL_OPERATIONS_MAX * 2},
	{MSG_TABLE_CLAIM, 1, sizeof(struct msg_claim), MODEL_REPLICAS_MAX},
	{MSG_TABLE_PROBE, 1, sizeof(struct msg_probe), MODEL_REPLICAS_MAX},
	{MSG_TABLE_ROUTE, 1, sizeof(struct msg_route), MODEL_SERVICES_MAX * 2},
	{MSG_TABLE_BACKEND, 1, sizeof(struct msg_backend), MODEL_REPLICAS_MAX},
	{MSG_TABLE_PIN, 1, sizeof(struct msg_pin), MSG_PINS_MAX},
	{MSG_TABLE_STREAM, 1, sizeof(struct msg_stream), MODEL_SERVICES_MAX},
};

void
publish_layout(struct ring_layout *layout)
{
	for (size_t i = 0; i < TABLES; i++)
		layout->tables[layout->tables_count++] = layouts[i];
}

/* ---- one table ---- */

struct table {
	struct model *m;
	uint16_t id;
	struct map *before; /* key -> marker of the pass that published it last */
	uintptr_t pass;
};

static void
table_begin(struct table *t, struct model *m, uint16_t id)
{
	t->m = m;
	t->id = id;
	t->before = &m->published[id];
	t->pass = (uintptr_t)++m->passes;
	ring_table_begin(m->writer, id);
}

static void
table_row(struct table *t, uint64_t key, const void *row)
{
	enum ring_status status;

	/* A key that cannot be remembered is not published now: it could not be removed. */
	if (map_put_u64(t->before, key, (void *)t->pass) < 0)
		status = RING_NO_MEM;
	else
		status = ring_table_set(t->m->writer, t->id, key, row, NULL);
	if (status != RING_OK)
		log_event(LOG_ERROR, "a row found no place", log_u("table", t->id),
			  log_u("key", key), LOG_END);
}

static void
table_commit(struct table *t)
{
	struct map_iter it = {0};

	while (map_next(t->before, &it)) {
		uint64_t key;

		if ((uintptr_t)it.value == t->pass)
			continue;
		memcpy(&key, it.key, sizeof(key));
		ring_table_remove(t->m->writer, t->id, key);
		map_remove(t->before, &key, sizeof(key));
	}
	ring_table_commit(t->m->writer, t->id);
}

/* An empty table that is published differs from one that is not: by its version. */
static void
mark_published(struct model *m, uint16_t id)
{
	static const struct msg_route nothing;
	_Static_assert(sizeof(nothing) >= sizeof(struct msg_backend), "as long as any row here");
	_Static_assert(sizeof(nothing) >= sizeof(struct msg_stream), "as long as any row here");
	_Static_assert(sizeof(nothing) >= sizeof(struct msg_claim), "as long as any row here");

	if (ring_table_own_version(m->writer, id) > 1)
		return;
	ring_table_begin(m->writer, id);
	if (ring_table_set(m->writer, id, UINT64_MAX, &nothing, NULL) == RING_OK)
		ring_table_remove(m->writer, id, UINT64_MAX);
	ring_table_commit(m->writer, id);
}

typedef void (*replica_fn)(struct table *t, struct replica *p);
typedef void (*service_fn)(struct table *t, struct service *s);

static void
each_service(struct table *t, service_fn visit)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &t->m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		if (d->gone)
			continue;
		list_each (at, after, &d->services)
			visit(t, container_of(at, struct service, link));
	}
}

static void
each_replica(struct table *t, replica_fn visit)
{
	struct map_iter it = {0};

	while (map_next(&t->m->replicas, &it)) {
		struct replica *p = it.value;

		if (!p->life.gone && !p->service->deployment->gone)
			visit(t, p);
	}
}

/* ---- replicas ---- */

static void
full_name(const struct replica *p, char *out, size_t cap)
{
	text_format(out, cap, "%s/%s.%u", p->service->deployment->row.name, p->service->row.name,
		    p->row.index);
}

static void
put_replica(struct table *t, struct replica *p)
{
	uint32_t seen = p->has_container && p->container.attempt == p->life.attempt
				? p->container.conditions
				: 0;
	struct msg_replica row = {
		.id = p->row.id,
		.service = p->service->row.id,
		.index = p->row.index,
		.revision = p->row.revision,
		.state = p->life.state,
		.conditions = MSG_SCHEDULED | (seen & (MSG_IMAGE_READY | MSG_VOLUME_READY |
						       MSG_NETWORK_READY | MSG_STARTED)),
		.restarts = p->life.restarts,
		.attempt = p->life.attempt,
		.since_wall_ns = p->since_wall_ns,
		.created_wall_ns = p->row.created_wall_ns,
		.reason = p->reason,
		.job = p->row.job,
	};

	if (p->life.state == MSG_REPLICA_READY)
		row.conditions |= MSG_READY;
	if (p->waits.kind) {
		row.state = MSG_REPLICA_PENDING;
		row.conditions = 0;
		row.reason = p->waits;
	}
	text_copy(row.deployment_name, sizeof(row.deployment_name),
		  p->service->deployment->row.name);
	text_copy(row.service_name, sizeof(row.service_name), p->service->row.name);
	text_copy(row.node, sizeof(row.node), t->m->node);
	table_row(t, p->row.id, &row);
}

static void
put_claim(struct table *t, struct replica *p)
{
	uint32_t desired = lifecycle_claim(&p->life);
	const struct doc_service *spec = desired ? model_spec(t->m, p) : NULL;
	struct msg_claim row = {
		.replica = p->row.id,
		.service = p->service->row.id,
		.index = p->row.index,
		.revision = p->row.revision,
		.attempt = p->life.attempt,
		.desired = desired,
		.stop_grace_ms = p->row.stop_grace_ms,
		.stop_signal = spec ? (uint32_t)spec->stop_signal : 15,
		.remove_volumes = p->row.remove_volumes,
		.held = p->held,
	};

	if (!desired)
		return;
	if (!row.stop_grace_ms)
		row.stop_grace_ms = spec ? (uint32_t)spec->stop_grace_period_ms : 10000;
	text_copy(row.deployment_name, sizeof(row.deployment_name),
		  p->service->deployment->row.name);
	text_copy(row.service_name, sizeof(row.service_name), p->service->row.name);
	memcpy(row.plan_sha256, p->row.plan_sha256, sizeof(row.plan_sha256));
	table_row(t, p->row.id, &row);
}

static bool
address(const struct replica *p, struct addr *out)
{
	if (!p->has_container || p->container.attempt != p->life.attempt)
		return false;
	*out = addr_is_zero(&p->container.addr4) ? p->container.addr6 : p->container.addr4;
	return !addr_is_zero(out);
}

static void
put_probes(struct table *t, struct replica *p)
{
	enum lifecycle_probing probing = lifecycle_probing(&p->life);
	const struct doc_service *spec = probing ? model_spec(t->m, p) : NULL;
	struct gate_check checks[MODEL_CHECKS_MAX];
	struct addr addr;

	if (!spec || !address(p, &addr))
		return;
	size_t count = gate_checks(spec, checks);
	for (size_t i = 0; i < count; i++) {
		const struct gate_check *c = &checks[i];
		struct msg_probe row = {
			.replica = p->row.id,
			.attempt = p->life.attempt,
			.check = c->check == CAUSE_HTTP  ? MSG_CHECK_HTTP
				 : c->check == CAUSE_UDP ? MSG_CHECK_UDP
							 : MSG_CHECK_TCP,
			.addr = addr,
			.expect_status = c->expect_status,
			.interval_ms = c->interval_ms,
			.timeout_ms = c->timeout_ms,
		};

		if (c->n == MODEL_COMMAND_CHECK)
			continue;
		if (probing == LIFECYCLE_PROBE_FAST && row.interval_ms > FAST_MS)
			row.interval_ms = FAST_MS;
		row.addr.port = c->port;
		text_copy(row.host, sizeof(row.host), c->host ? c->host : "");
		text_copy(row.path, sizeof(row.path), c->path ? c->path : "");
		text_copy(row.request, sizeof(row.request), c->request ? c->request : "");
		text_copy(row.expect, sizeof(row.expect), c->expect ? c->expect : "");
		text_format(row.service_label, sizeof(row.service_label), "%s/%s",
			    p->service->deployment->row.name, p->service->row.name);
		table_row(t, p->row.id << 8 | c->n, &row);
	}
}

/* ---- routes and backends ---- */

static const struct doc_service *
in_force(struct model *m, struct service *s)
{
	const struct store_deployment *d = &s->deployment->row;

	return model_service_doc(m, s, d->revision ? d->revision : d->target);
}

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
put_route(struct table *t, const struct service *s, uint64_t id, const struct doc_endpoint *e,
	  uint32_t index)
{
	struct msg_route row = {
		.id = id,
		.service = s->row.id,
		.endpoint_index = index,
		.flags = route_flags(e),
		.balance = balance_of(e),
		.body_bytes_max = e->limits.body_bytes,
		.header_bytes_max = e->limits.header_bytes,
	};

	text_format(row.service_label, sizeof(row.service_label), "%s/%s", s->deployment->row.name,
		    s->row.name);
	text_copy(row.endpoint, sizeof(row.endpoint), e->name);
	text_copy(row.host, sizeof(row.host), e->host ? e->host : "");
	text_copy(row.path, sizeof(row.path), e->path ? e->path : "/");
	row.prefixes_allow = put_prefixes(&e->limits.allow, row.allow);
	row.prefixes_deny = put_prefixes(&e->limits.deny, row.deny);
	table_row(t, id, &row);
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
put_stream(struct table *t, const struct service *s, uint64_t id, const struct doc_endpoint *e,
	   uint32_t index)
{
	struct msg_stream row = {
		.id = id,
		.service = s->row.id,
		.endpoint_index = index,
		.protocol = e->protocol == DOC_PROTOCOL_UDP ? MSG_STREAM_UDP : MSG_STREAM_TCP,
		.flags = (e->expose == DOC_EXPOSE_PUBLIC ? MSG_STREAM_PUBLIC : 0u) |
			 (e->stream.tls ? MSG_STREAM_TLS : 0u) |
			 (e->stream.proxy_protocol ? MSG_STREAM_PROXY_PROTOCOL : 0u),
		.port = e->port,
		.balance = balance_of(e),
		.session_timeout_ms = e->stream.session_timeout_ms
					      ? (uint32_t)e->stream.session_timeout_ms
					      : SESSION_TIMEOUT_MS,
	};

	text_format(row.service_label, sizeof(row.service_label), "%s/%s", s->deployment->row.name,
		    s->row.name);
	text_copy(row.endpoint, sizeof(row.endpoint), e->name);
	text_copy(row.host, sizeof(row.host), e->host ? e->host : "");
	row.prefixes_allow = put_prefixes(&e->limits.allow, row.allow);
	row.prefixes_deny = put_prefixes(&e->limits.deny, row.deny);
	table_row(t, id, &row);
}

/* What the edge offers of a service, or NULL: what is being removed is not served any more. */
static const struct doc_service *
offered(struct model *m, struct service *s)
{
	const struct operation *o = s->deployment->operation;

	return o && o->row.kind == MSG_OPERATION_REMOVE ? NULL : in_force(m, s);
}

static void
put_streams(struct table *t, struct service *s)
{
	const struct doc_service *spec = offered(t->m, s);

	for (size_t i = 0; spec && i < spec->endpoints_count && i < MSG_ENDPOINTS_MAX; i++) {
		uint64_t id = route_id(s, spec->endpoints[i].name);

		if (id && ports_is_stream(&spec->endpoints[i]))
			put_stream(t, s, id, &spec->endpoints[i], (uint32_t)i);
	}
}

static void
put_routes(struct table *t, struct service *s)
{
	const struct doc_service *spec = offered(t->m, s);

	for (size_t i = 0; spec && i < spec->endpoints_count && i < MSG_ENDPOINTS_MAX; i++) {
		uint64_t id = route_id(s, spec->endpoints[i].name);

		if (id && is_routed(&spec->endpoints[i]))
			put_route(t, s, id, &spec->endpoints[i], (uint32_t)i);
	}
}

static void
put_backend(struct table *t, struct replica *p)
{
	uint32_t state = lifecycle_balance(&p->life);
	const struct doc_service *order = state ? in_force(t->m, p->service) : NULL;
	const struct doc_service *own = state ? model_spec(t->m, p) : NULL;
	struct msg_backend row = {
		.replica = p->row.id,
		.service = p->service->row.id,
		.state = state,
	};

	if (!own || !address(p, &row.addr))
		return;
	if (!order)
		order = own;
	full_name(p, row.name, sizeof(row.name));
	for (size_t i = 0; i < order->endpoints_count && i < MSG_ENDPOINTS_MAX; i++) {
		const struct doc_endpoint *e = doc_endpoint_find(own, order->endpoints[i].name);

		row.ports[row.ports_count++] = e ? e->target_port : 0;
	}
	table_row(t, p->row.id, &row);
}

static void
note_draining(struct table *t, struct replica *p)
{
	if (p->life.state == MSG_REPLICA_DRAINING && !p->draining_version)
		p->draining_version = ring_table_own_version(t->m->writer, MSG_TABLE_BACKEND);
}

/* Whether all that was in balancing before a restart has been seen again. */
static bool
settled(struct model *m)
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

/* ---- services, deployments, operations ---- */

struct tally {
	uint32_t all, running, ready, stopped, failed;
	uint32_t states[MSG_REPLICA_ISOLATED + 1];
	const struct msg_reason *reason;
};

static void
tally_service(const struct service *s, struct tally *out)
{
	struct list *it, *next;

	memset(out, 0, sizeof(*out));
	list_each (it, next, &s->replicas) {
		const struct replica *p = container_of(it, struct replica, link);

		if (p->life.gone)
			continue;
		out->states[p->life.state]++;
		out->all++;
		out->running += p->has_container && !p->container.hold &&
				p->container.state == MSG_CONTAINER_RUNNING;
		out->ready += p->life.state == MSG_REPLICA_READY;
		out->stopped += p->life.state == MSG_REPLICA_STOPPED;
		out->failed += lifecycle_in_trouble(&p->life);
		if (p->reason.kind && p->life.state != MSG_REPLICA_READY)
			out->reason = &p->reason;
	}
}

static enum msg_service_state
service_state(const struct service *s, const struct tally *t)
{
	if (t->all && t->stopped == t->all)
		return MSG_SERVICE_STOPPED;
	if (t->ready >= s->row.desired && t->all)
		return MSG_SERVICE_READY;
	if (t->failed && !t->ready)
		return MSG_SERVICE_FAILED;
	if (t->ready)
		return MSG_SERVICE_DEGRADED;
	return MSG_SERVICE_STARTING;
}

static void
put_url(const struct model *m, const struct doc_service *spec, char *out, size_t cap)
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

static uint32_t
scale_mode(enum doc_scale_mode mode)
{
	switch (mode) {
	case DOC_SCALE_ADAPTIVE:
		return MSG_SCALE_ADAPTIVE;
	case DOC_SCALE_MANUAL:
		return MSG_SCALE_MANUAL;
	case DOC_SCALE_FIXED:
		break;
	}
	return MSG_SCALE_FIXED;
}

static void
count_states(struct model *m, const char *label, const struct tally *t)
{
	static const char *const names[] = {
		[MSG_REPLICA_PENDING] = "pending",     [MSG_REPLICA_CREATING] = "creating",
		[MSG_REPLICA_STARTING] = "starting",   [MSG_REPLICA_READY] = "ready",
		[MSG_REPLICA_UNHEALTHY] = "unhealthy", [MSG_REPLICA_DRAINING] = "draining",
		[MSG_REPLICA_STOPPING] = "stopping",   [MSG_REPLICA_STOPPED] = "stopped",
		[MSG_REPLICA_BACKOFF] = "backoff",     [MSG_REPLICA_FAILED] = "failed",
		[MSG_REPLICA_ISOLATED] = "isolated",
	};

	for (unsigned i = MSG_REPLICA_PENDING; m->metrics && i <= MSG_REPLICA_ISOLATED; i++) {
		struct metric_labels labels = {0};

		metric_label(&labels, "service", label);
		metric_label(&labels, "state", names[i]);
		metric_set(metrics_get(m->metrics, METRICS_SERVICE_REPLICAS, &labels),
			   t->states[i]);
	}
}

static void
put_endpoints(const struct doc_service *spec, struct msg_service *row)
{
	for (size_t i = 0; i < spec->endpoints_count && i < MSG_ENDPOINTS_MAX; i++) {
		const struct doc_endpoint *e = &spec->endpoints[i];
		struct msg_service_endpoint *out = &row->endpoints[row->endpoints_count++];

		text_copy(out->name, sizeof(out->name), e->name);
		out->protocol = e->protocol == DOC_PROTOCOL_UDP ? IPPROTO_UDP : IPPROTO_TCP;
	}
}

/* Rates and alerts need a series from before its first event on. */
static void
begin_counter(struct model *m, enum metrics_id id, const char *name, const char *value,
	      const char *name2, const char *value2)
{
	struct metric_labels labels = {0};

	if (!m->metrics)
		return;
	metric_label(&labels, name, value);
	metric_label(&labels, name2, value2);
	(void)metrics_get(m->metrics, id, &labels);
}

static void
begin_service(struct model *m, const char *label)
{
	static const char *const reasons[] = {"error", "exit", "oom", "seccomp", "signal"};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		begin_counter(m, METRICS_CONTAINER_RESTARTS, "service", label, "reason",
			      reasons[i]);
	begin_counter(m, METRICS_SCHEDULER_DECISIONS, "service", label, "outcome", "create");
	begin_counter(m, METRICS_SCHEDULER_DECISIONS, "service", label, "outcome", "remove");
}

static void
begin_deployment(struct model *m, const char *name)
{
	static const char *const results[] = {"ok", "failed", "rolled_back"};

	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		begin_counter(m, METRICS_DEPLOYS, "deployment", name, "result", results[i]);
}

static void
put_service(struct table *t, struct service *s)
{
	const struct doc_service *spec = in_force(t->m, s);
	char label[MSG_TARGET];
	struct tally tally;

	tally_service(s, &tally);
	text_format(label, sizeof(label), "%s/%s", s->deployment->row.name, s->row.name);
	count_states(t->m, label, &tally);
	begin_service(t->m, label);
	/* Left over from a revision that is not in force. */
	if (!spec && !tally.all)
		return;
	struct msg_service row = {
		.id = s->row.id,
		.deployment = s->deployment->row.id,
		.state = service_state(s, &tally),
		.revision = s->deployment->row.revision,
		.desired = s->deployment->row.revision ? s->row.desired : s->row.wanted,
		.running = tally.running,
		.ready = tally.ready,
	};
	text_copy(row.deployment_name, sizeof(row.deployment_name), s->deployment->row.name);
	text_copy(row.name, sizeof(row.name), s->row.name);
	if (spec && spec->rtype != DOC_RTYPE_SERVICE)
		row.state = MSG_SERVICE_READY;
	if (spec) {
		row.scale_mode = scale_mode(spec->scale.mode);
		row.scale_min = spec->scale.min;
		row.scale_max = spec->scale.max;
		row.weak_gate = !spec->health.node;
		text_copy(row.image, sizeof(row.image), spec->image.name);
		put_url(t->m, spec, row.url, sizeof(row.url));
		put_endpoints(spec, &row);
	}
	if (spec && ports_trouble(t->m, spec, &row.reason) && row.state == MSG_SERVICE_READY)
		row.state = MSG_SERVICE_DEGRADED;
	row.waits = s->waits.kind != 0;
	if (row.waits)
		row.reason = s->waits;
	else if (tally.reason)
		row.reason = *tally.reason;
	table_row(t, s->row.id, &row);
}

static bool
all_ready(struct model *m, struct deployment *d)
{
	struct list *it, *next;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);
		const struct doc_service *spec = in_force(m, s);
		struct msg_reason reason;
		struct tally tally;

		tally_service(s, &tally);
		if (spec && spec->rtype == DOC_RTYPE_SERVICE &&
		    service_state(s, &tally) != MSG_SERVICE_READY &&
		    service_state(s, &tally) != MSG_SERVICE_STOPPED)
			return false;
		if (spec && ports_trouble(m, spec, &reason))
			return false;
	}
	return true;
}

static enum msg_deployment_state
deployment_state(struct model *m, struct deployment *d)
{
	if (d->operation && d->operation->row.kind == MSG_OPERATION_REMOVE)
		return MSG_DEPLOYMENT_REMOVING;
	if (d->rollout.phase == ROLLOUT_PAUSED)
		return MSG_DEPLOYMENT_PAUSED;
	if (d->operation && (d->operation->row.kind == MSG_OPERATION_DEPLOY ||
			     d->operation->row.kind == MSG_OPERATION_SCALE ||
			     d->operation->row.kind == MSG_OPERATION_RESTART))
		return MSG_DEPLOYMENT_DEPLOYING;
	if (d->row.failed)
		return MSG_DEPLOYMENT_FAILED;
	if (d->row.stopped)
		return MSG_DEPLOYMENT_STOPPED;
	return all_ready(m, d) ? MSG_DEPLOYMENT_STABLE : MSG_DEPLOYMENT_DEGRADED;
}

static void
put_deployment(struct table *t, struct deployment *d)
{
	struct list *it, *next;
	struct msg_deployment row = {
		.id = d->row.id,
		.state = deployment_state(t->m, d),
		.revision = d->row.revision,
		.target_revision = d->row.target,
		.operation = d->row.operation,
		.created_wall_ns = d->row.created_wall_ns,
		.updated_wall_ns = d->row.updated_wall_ns,
		.reason = d->row.reason,
	};

	list_each (it, next, &d->services)
		row.services += in_force(t->m, container_of(it, struct service, link)) != NULL;
	text_copy(row.name, sizeof(row.name), d->row.name);
	begin_deployment(t->m, d->row.name);
	table_row(t, d->row.id, &row);
}

static void
count_steps(struct model *m, const struct operation *o, struct msg_operation *row)
{
	struct map_iter it = {0};

	while (map_next(&m->replicas, &it)) {
		const struct replica *p = it.value;

		if (p->row.operation != o->row.id || p->life.order == LIFECYCLE_REMOVE)
			continue;
		row->steps_total++;
		row->steps_done += p->life.state == MSG_REPLICA_READY;
	}
}

static void
put_operation(struct table *t, struct operation *o)
{
	struct msg_operation row = {
		.id = o->row.id,
		.deployment = o->row.deployment,
		.kind = o->row.kind,
		.state = o->row.state,
		.revision = o->row.revision,
		.previous_revision = o->row.previous_revision,
		.started_wall_ns = o->row.started_wall_ns,
		.ended_wall_ns = o->row.ended_wall_ns,
		.who_uid = o->row.who_uid,
		.reason = o->row.reason,
	};

	text_copy(row.deployment_name, sizeof(row.deployment_name), o->row.deployment_name);
	count_steps(t->m, o, &row);
	table_row(t, o->row.id, &row);
}

/* ---- images ---- */

/* A revision that failed is no place to go back to. */
static bool
is_kept(const struct deployment *d, const struct revision *r)
{
	if (r->row.revision == d->row.revision || r->row.revision == d->row.target)
		return true;
	return r->row.result == STORE_RESULT_GOOD || r->row.result == STORE_RESULT_PENDING;
}

static uint64_t
pin_key(const char *digest)
{
	const char *hex = strchr(digest, ':');
	uint8_t first[8] = {0};
	uint64_t key = 0;

	if (!hex || text_unhex(hex + 1, 16, first, sizeof(first)) != (long)sizeof(first))
		return 0;
	for (size_t i = 0; i < sizeof(first); i++)
		key = key << 8 | first[i];
	return key > MSG_PIN_MORE ? key : MSG_PIN_MORE + 1;
}

static void
put_pins(struct table *t, const struct revision *r, size_t *count)
{
	for (size_t i = 0; i < r->pins_count; i++) {
		uint64_t key = pin_key(r->pins[i].image_digest);
		struct msg_pin row = {0};

		if (!key)
			continue;
		if (*count >= MSG_PINS_MAX - 1) {
			table_row(t, MSG_PIN_MORE, &row);
			return;
		}
		text_copy(row.digest, sizeof(row.digest), r->pins[i].image_digest);
		table_row(t, key, &row);
		*count = map_count(t->before);
	}
}

static void
publish_pins(struct model *m)
{
	struct list *it, *next, *at, *after;
	struct table t;
	size_t count = 0;

	table_begin(&t, m, MSG_TABLE_PIN);
	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->revisions) {
			const struct revision *r = container_of(at, struct revision, link);

			if (!d->gone && is_kept(d, r))
				put_pins(&t, r, &count);
		}
	}
	table_commit(&t);
	mark_published(m, MSG_TABLE_PIN);
}

/* ---- */

static void
publish_objects(struct model *m)
{
	struct list *it, *next;
	struct table t;

	table_begin(&t, m, MSG_TABLE_DEPLOYMENT);
	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		if (!d->gone)
			put_deployment(&t, d);
	}
	table_commit(&t);
	table_begin(&t, m, MSG_TABLE_SERVICE);
	each_service(&t, put_service);
	table_commit(&t);
	table_begin(&t, m, MSG_TABLE_REPLICA);
	each_replica(&t, put_replica);
	table_commit(&t);
	table_begin(&t, m, MSG_TABLE_OPERATION);
	list_each (it, next, &m->operations)
		put_operation(&t, container_of(it, struct operation, link));
	table_commit(&t);
}

static void
publish_replicas(struct model *m)
{
	struct table t;

	table_begin(&t, m, MSG_TABLE_CLAIM);
	each_replica(&t, put_claim);
	table_commit(&t);
	mark_published(m, MSG_TABLE_CLAIM);
	table_begin(&t, m, MSG_TABLE_PROBE);
	each_replica(&t, put_probes);
	table_commit(&t);
	if (!settled(m))
		return;
	/* New backends before what leads to them; routes last: they say that all is there. */
	table_begin(&t, m, MSG_TABLE_BACKEND);
	each_replica(&t, put_backend);
	table_commit(&t);
	mark_published(m, MSG_TABLE_BACKEND);
	each_replica(&t, note_draining);
	table_begin(&t, m, MSG_TABLE_STREAM);
	each_service(&t, put_streams);
	table_commit(&t);
	mark_published(m, MSG_TABLE_STREAM);
	table_begin(&t, m, MSG_TABLE_ROUTE);
	each_service(&t, put_routes);
	table_commit(&t);
	mark_published(m, MSG_TABLE_ROUTE);
}

void
publish_all(struct model *m)
{
	if (!m->writer)
		return;
	publish_objects(m);
	/* Before the claims: what a replica needs is kept before it is asked for. */
	publish_pins(m);
	publish_replicas(m);
}
