/* SPDX-License-Identifier: Apache-2.0 */
/* How rows look outside. A name here is a promise: it changes only with a line in CHANGELOG. */
#include "api/view.h"

#include <string.h>
#include "api/crons.h"
#include "api/nodes.h"
#include "api/rows.h"
#include "api/view_scale.h"
#include "base/log.h"
#include "base/text.h"

#define NAME_OF(names, value) \
	((value) < sizeof(names) / sizeof(names[0]) && names[value] ? names[value] : "unknown")

static const char *const deployment_states[] = {
	[MSG_DEPLOYMENT_STABLE] = "stable",     [MSG_DEPLOYMENT_DEPLOYING] = "deploying",
	[MSG_DEPLOYMENT_DEGRADED] = "degraded", [MSG_DEPLOYMENT_STOPPED] = "stopped",
	[MSG_DEPLOYMENT_REMOVING] = "removing", [MSG_DEPLOYMENT_FAILED] = "failed",
	[MSG_DEPLOYMENT_PAUSED] = "paused",
};
static const char *const service_states[] = {
	[MSG_SERVICE_STARTING] = "starting", [MSG_SERVICE_READY] = "ready",
	[MSG_SERVICE_DEGRADED] = "degraded", [MSG_SERVICE_STOPPED] = "stopped",
	[MSG_SERVICE_FAILED] = "failed",     [MSG_SERVICE_IDLE] = "idle",
	[MSG_SERVICE_SCALING] = "scaling",
};
static const char *const replica_states[] = {
	[MSG_REPLICA_PENDING] = "pending",     [MSG_REPLICA_CREATING] = "creating",
	[MSG_REPLICA_STARTING] = "starting",   [MSG_REPLICA_READY] = "ready",
	[MSG_REPLICA_UNHEALTHY] = "unhealthy", [MSG_REPLICA_DRAINING] = "draining",
	[MSG_REPLICA_STOPPING] = "stopping",   [MSG_REPLICA_STOPPED] = "stopped",
	[MSG_REPLICA_BACKOFF] = "backoff",     [MSG_REPLICA_FAILED] = "failed",
	[MSG_REPLICA_ISOLATED] = "isolated",
};
static const char *const container_states[] = {
	[MSG_CONTAINER_PREPARING] = "preparing", [MSG_CONTAINER_RUNNING] = "running",
	[MSG_CONTAINER_STOPPING] = "stopping",   [MSG_CONTAINER_EXITED] = "exited",
	[MSG_CONTAINER_FAILED] = "failed",
};
static const char *const operation_kinds[] = {
	[MSG_OPERATION_DEPLOY] = "deploy", [MSG_OPERATION_SCALE] = "scale",
	[MSG_OPERATION_STOP] = "stop",     [MSG_OPERATION_START] = "start",
	[MSG_OPERATION_REMOVE] = "remove", [MSG_OPERATION_RESTART] = "restart",
};
static const char *const operation_states[] = {
	[MSG_OPERATION_RUNNING] = "running",
	[MSG_OPERATION_DONE] = "done",
	[MSG_OPERATION_FAILED] = "failed",
	[MSG_OPERATION_ROLLED_BACK] = "rolled_back",
};
static const char *const severities[] = {
	[LOG_DEBUG] = "debug",
	[LOG_INFO] = "info",
	[LOG_WARN] = "warn",
	[LOG_ERROR] = "error",
};
static const struct {
	uint32_t bit;
	const char *name;
} conditions[] = {
	{MSG_SCHEDULED, "Scheduled"},      {MSG_IMAGE_READY, "ImageReady"},
	{MSG_VOLUME_READY, "VolumeReady"}, {MSG_NETWORK_READY, "NetworkReady"},
	{MSG_STARTED, "Started"},          {MSG_READY, "Ready"},
};

void
view_text(struct json *j, const char *key, const char *field, size_t cap)
{
	size_t length = strnlen(field, cap);

	if (length)
		json_textn(j, key, field, length);
	else
		json_null(j, key);
}

void
view_time(struct json *j, const char *key, int64_t wall_ns)
{
	char text[48];

	if (wall_ns <= 0) {
		json_null(j, key);
		return;
	}
	text_time(wall_ns, 9, text, sizeof(text));
	json_text(j, key, text);
}

void
view_second(struct json *j, const char *key, int64_t wall_s)
{
	const int64_t second_ns = 1000000000;
	char text[48];

	if (wall_s <= 0 || wall_s > INT64_MAX / second_ns) {
		json_null(j, key);
		return;
	}
	text_time(wall_s * second_ns, 0, text, sizeof(text));
	json_text(j, key, text);
}

void
view_reason(struct json *j, const char *key, const struct msg_reason *reason)
{
	struct err err = {0};

	if (!reason->kind) {
		json_null(j, key);
		return;
	}
	msg_reason_to(reason, &err);
	json_object(j, key);
	json_text(j, "kind", err_kind_name(err.kind));
	json_text(j, "what", err.what);
	json_array(j, "why");
	for (unsigned i = 0; i < err.whys; i++)
		json_text(j, NULL, err.why[i]);
	json_end(j);
	json_text(j, "fix", err.fix);
	json_end(j);
}

/* The scheduler knows the name and the path; which port the world finds them at, the listeners. */
static void
put_url(struct json *j, struct server *server, const struct msg_service *s)
{
	char plain[sizeof(s->url) + 1], url[sizeof(plain) + 8];
	struct rows rows;
	uint16_t port = 0;

	text_ncopy(plain, sizeof(plain), s->url, strnlen(s->url, sizeof(s->url)));
	bool tls = text_starts(plain, "https://");
	const char *name = strstr(plain, "://");
	if (!name || !text_starts(plain, "http")) { /* others say their port */
		json_text(j, "url", plain);
		return;
	}
	name += 3;
	rows_collect(server, ROLE_NODE, MSG_TABLE_LISTENER, NULL, NULL, NULL, &rows);
	for (size_t i = 0; i < rows.count && !port; i++) {
		const struct msg_listener *l = rows.items[i];

		if (strncmp(l->name, tls ? "https" : "http", sizeof(l->name)) == 0)
			port = l->addr.port;
	}
	rows_fini(&rows);
	int host = (int)strcspn(name, "/");
	if (!port || port == (tls ? 443 : 80))
		text_copy(url, sizeof(url), plain);
	else
		text_format(url, sizeof(url), "%s://%.*s:%u%s", tls ? "https" : "http", host, name,
			    port, name + host);
	json_text(j, "url", url);
}

static bool
is_over(const struct msg_replica *r)
{
	return r->state == MSG_REPLICA_STOPPED || r->state == MSG_REPLICA_FAILED;
}

static bool
is_run_of(const void *row, void *arg)
{
	const struct msg_replica *r = row;

	return r->job && r->service == *(const uint64_t *)arg;
}

/* Of a job: how many runs are kept and under way, and the newest one. */
static void
put_runs(struct json *j, struct server *server, const struct msg_service *s)
{
	uint64_t id = s->id, running = 0;
	struct rows rows;

	if (!s->job) {
		json_null(j, "runs");
		return;
	}
	rows_collect(server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, is_run_of, &id, rows_by_replica,
		     &rows);
	const struct msg_replica *last = NULL;
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_replica *r = rows.items[i];

		running += !is_over(r);
		last = !last || r->index > last->index ? r : last;
	}
	json_object(j, "runs");
	json_u64(j, "kept", rows.count);
	json_u64(j, "running", running);
	if (last) {
		view_replica(j, "last", server, last);
	} else {
		json_null(j, "last");
	}
	json_end(j);
	rows_fini(&rows);
}

void
view_service(struct json *j, struct server *server, const struct msg_service *s)
{
	json_object(j, NULL);
	json_u64(j, "id", s->id);
	VIEW_TEXT(j, "deployment", s->deployment_name);
	VIEW_TEXT(j, "name", s->name);
	json_text(j, "rtype", s->cron ? "cron" : s->job ? "job" : "service");
	put_runs(j, server, s);
	crons_view(j, server, s);
	json_text(j, "state", NAME_OF(service_states, s->state));
	json_u64(j, "revision", s->revision);
	view_scale(j, server, s);
	json_u64(j, "desired", s->desired);
	json_u64(j, "running", s->running);
	json_u64(j, "ready", s->ready);
	json_bool(j, "weak_gate", s->weak_gate != 0);
	json_bool(j, "waits", s->waits != 0);
	json_bool(j, "unplaced", s->waits == MSG_WAITS_NODE);
	VIEW_TEXT(j, "image", s->image);
	put_url(j, server, s);
	view_reason(j, "reason", &s->reason);
	json_end(j);
}

static bool
of_deployment(const void *row, void *arg)
{
	return ((const struct msg_service *)row)->deployment == *(const uint64_t *)arg;
}

void
view_deployment(struct json *j, struct server *s, const struct msg_deployment *d)
{
	struct rows services;
	uint64_t id = d->id;

	json_object(j, NULL);
	json_u64(j, "id", d->id);
	VIEW_TEXT(j, "name", d->name);
	json_text(j, "state", NAME_OF(deployment_states, d->state));
	if (d->revision)
		json_u64(j, "revision", d->revision);
	else
		json_null(j, "revision");
	json_u64(j, "target_revision", d->target_revision);
	json_u64(j, "operation", d->operation);
	view_time(j, "created", d->created_wall_ns);
	view_time(j, "updated", d->updated_wall_ns);
	view_reason(j, "reason", &d->reason);
	json_array(j, "services");
	rows_collect(s, ROLE_SCHEDULER, MSG_TABLE_SERVICE, of_deployment, &id, rows_by_service,
		     &services);
	for (size_t i = 0; i < services.count; i++)
		view_service(j, s, services.items[i]);
	rows_fini(&services);
	json_end(j);
	json_end(j);
}

static bool
initialising(const struct msg_container *c)
{
	return c && c->state == MSG_CONTAINER_PREPARING && c->pid && c->init_done < c->init_count;
}

/* The condition that a reason belongs to is the first that does not hold: those before it do. */
static void
put_conditions(struct json *j, const struct msg_replica *r, const struct msg_container *c)
{
	/* The runtime's own word says what is missing; the replica's, what came of it. */
	const struct msg_reason *reason = c && c->reason.kind ? &c->reason : &r->reason;
	uint32_t holds = r->conditions | (c ? c->conditions : 0);
	struct err err = {0};
	bool said = false;

	if (reason->kind)
		msg_reason_to(reason, &err);
	json_array(j, "conditions");
	for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
		bool status = (holds & conditions[i].bit) != 0;

		json_object(j, NULL);
		json_text(j, "type", conditions[i].name);
		json_bool(j, "status", status);
		if (!status && !said && err.kind) {
			json_text(j, "reason", err_kind_name(err.kind));
			json_text(j, "message", err.what);
			said = true;
		} else if (!status && !said && initialising(c)) {
			json_text(j, "reason", "init");
			json_textf(j, "message", "init step %.*s runs (%u of %u)",
				   (int)strnlen(c->init_step, sizeof(c->init_step)), c->init_step,
				   c->init_done + 1, c->init_count);
			said = true;
		}
		json_end(j);
	}
	json_end(j);
}

static void
put_pull(struct json *j, const struct msg_container *c)
{
	if (!c->pulling && !c->pull_layers) {
		json_null(j, "pull");
		return;
	}
	json_object(j, "pull");
	json_bool(j, "active", c->pulling != 0);
	json_u64(j, "bytes", c->pull_bytes);
	json_u64(j, "total_bytes", c->pull_total_bytes);
	json_u64(j, "layers", c->pull_layers);
	json_u64(j, "layers_here", c->pull_layers_here);
	json_end(j);
}

static void
put_container(struct json *j, const struct msg_container *c)
{
	char address[ADDR_TEXT_BYTES];

	if (!c) {
		json_null(j, "container");
		return;
	}
	json_object(j, "container");
	json_text(j, "state", NAME_OF(container_states, c->state));
	json_u64(j, "attempt", c->attempt);
	if (c->pid)
		json_u64(j, "pid", c->pid);
	else
		json_null(j, "pid");
	addr_put_ip(&c->addr4, address, sizeof(address));
	json_text(j, "address", addr_is_zero(&c->addr4) ? NULL : address);
	addr_put_ip(&c->addr6, address, sizeof(address));
	json_text(j, "address6", addr_is_zero(&c->addr6) ? NULL : address);
	view_time(j, "created", c->created_wall_ns);
	view_time(j, "started", c->started_wall_ns);
	view_time(j, "exited", c->exited_wall_ns);
	if (c->exited_wall_ns && c->exit_status >= 0)
		json_i64(j, "exit_status", c->exit_status);
	else
		json_null(j, "exit_status");
	if (c->exit_signal)
		json_u64(j, "exit_signal", c->exit_signal);
	else
		json_null(j, "exit_signal");
	json_bool(j, "oom_killed", c->oom_killed != 0);
	json_u64(j, "memory_bytes", c->memory_bytes);
	json_u64(j, "memory_peak_bytes", c->memory_peak);
	if (c->memory_limit)
		json_u64(j, "memory_limit_bytes", c->memory_limit);
	else
		json_null(j, "memory_limit_bytes");
	json_f64(j, "cpu_seconds", (double)c->cpu_ns / 1e9);
	json_u64(j, "pids", c->pids);
	VIEW_TEXT(j, "image_digest", c->image_digest);
	put_pull(j, c);
	if (c->init_count) {
		json_object(j, "init");
		json_u64(j, "steps", c->init_count);
		json_u64(j, "done", c->init_done);
		VIEW_TEXT(j, "step", c->init_step);
		json_end(j);
	} else {
		json_null(j, "init");
	}
	view_reason(j, "reason", &c->reason);
	json_end(j);
}

/* Of a run on another node no more is known here than how it ended; NULL: nor that. */
static const struct msg_container *
ended_elsewhere(const struct msg_replica *r, struct msg_container *out)
{
	uint32_t signal = r->exit >> MSG_EXIT_SIGNAL_SHIFT & MSG_EXIT_BYTE;

	if (!(r->exit & MSG_EXIT_KNOWN))
		return NULL;
	*out = (struct msg_container){
		.replica = r->id,
		.attempt = r->attempt,
		.state = MSG_CONTAINER_EXITED,
		.exited_wall_ns = r->since_wall_ns,
		.exit_status = signal ? -1 : (int32_t)(r->exit & MSG_EXIT_BYTE),
		.exit_signal = signal,
	};
	return out;
}

/* Of another node's replica: as that one said last. */
static void
put_memory(struct json *j, struct server *s, const struct msg_replica *r,
	   const struct msg_container *c)
{
	const struct msg_usage *u = c ? NULL : rows_get(s, ROLE_SCHEDULER, MSG_TABLE_USAGE, r->id);
	uint64_t bytes = c ? c->memory_bytes : u ? u->memory_bytes : 0;

	if (bytes)
		json_u64(j, "memory_bytes", bytes);
	else
		json_null(j, "memory_bytes");
}

void
view_replica(struct json *j, const char *key, struct server *s, const struct msg_replica *r)
{
	const struct msg_container *c = rows_get(s, ROLE_RUNTIME, MSG_TABLE_CONTAINER, r->id);
	struct msg_container ended;

	json_object(j, key);
	json_u64(j, "id", r->id);
	json_textf(j, "name", "%.*s/%.*s.%u",
		   (int)strnlen(r->deployment_name, sizeof(r->deployment_name)), r->deployment_name,
		   (int)strnlen(r->service_name, sizeof(r->service_name)), r->service_name,
		   r->index);
	VIEW_TEXT(j, "deployment", r->deployment_name);
	VIEW_TEXT(j, "service", r->service_name);
	json_u64(j, "index", r->index);
	json_u64(j, "revision", r->revision);
	json_text(j, "state", NAME_OF(replica_states, r->state));
	put_conditions(j, r, c);
	json_bool(j, "job", r->job != 0);
	view_second(j, "due", r->due_s);
	if (r->lease_epoch)
		json_u64(j, "lease_epoch", r->lease_epoch);
	else
		json_null(j, "lease_epoch");
	json_u64(j, "restarts", r->restarts);
	json_u64(j, "attempt", r->attempt);
	view_time(j, "since", r->since_wall_ns);
	view_time(j, "created", r->created_wall_ns);
	VIEW_TEXT(j, "node", r->node);
	json_bool(j, "here", nodes_has_here(s, r));
	put_memory(j, s, r, c);
	view_reason(j, "reason", &r->reason);
	put_container(j, c ? c : ended_elsewhere(r, &ended));
	json_end(j);
}

void
view_operation(struct json *j, const struct msg_operation *o)
{
	json_object(j, NULL);
	json_u64(j, "id", o->id);
	VIEW_TEXT(j, "deployment", o->deployment_name);
	json_text(j, "kind", NAME_OF(operation_kinds, o->kind));
	json_text(j, "state", NAME_OF(operation_states, o->state));
	json_u64(j, "revision", o->revision);
	if (o->previous_revision)
		json_u64(j, "previous_revision", o->previous_revision);
	else
		json_null(j, "previous_revision");
	json_u64(j, "steps_done", o->steps_done);
	json_u64(j, "steps_total", o->steps_total);
	view_time(j, "started", o->started_wall_ns);
	view_time(j, "ended", o->ended_wall_ns);
	json_u64(j, "who_uid", o->who_uid);
	view_reason(j, "reason", &o->reason);
	json_end(j);
}

void
view_event(struct json *j, const char *node, const struct msg_event *e)
{
	json_object(j, NULL);
	json_u64(j, "id", e->id);
	json_text(j, "node", node[0] ? node : NULL);
	view_time(j, "ts", e->wall_ns);
	VIEW_TEXT(j, "type", e->type);
	json_text(j, "severity", NAME_OF(severities, e->severity));
	VIEW_TEXT(j, "deployment", e->deployment);
	VIEW_TEXT(j, "service", e->service);
	if (e->index)
		json_u64(j, "index", e->index);
	if (e->revision)
		json_u64(j, "revision", e->revision);
	if (e->replica)
		json_u64(j, "replica", e->replica);
	if (e->operation)
		json_u64(j, "operation", e->operation);
	VIEW_TEXT(j, "text", e->text);
	view_reason(j, "reason", &e->reason);
	json_end(j);
}

void
view_image(struct json *j, const struct msg_image *i)
{
	json_object(j, NULL);
	VIEW_TEXT(j, "name", i->name);
	VIEW_TEXT(j, "digest", i->digest);
	VIEW_TEXT(j, "architecture", i->architecture);
	json_u64(j, "bytes", i->bytes);
	json_u64(j, "layers", i->layers);
	json_u64(j, "in_use", i->in_use);
	json_bool(j, "kept", i->kept != 0);
	view_time(j, "imported", i->imported_wall_ns);
	json_end(j);
}

void
view_certificate(struct json *j, const struct msg_certificate *c)
{
	static const char *const sources[] = {
		[MSG_CERT_FILE] = "file",
		[MSG_CERT_LOCAL] = "local",
		[MSG_CERT_AUTHORITY] = "authority",
	};
	size_t at = 0;
	const char *name;

	json_object(j, NULL);
	/* A digest: cut to what every reader of JSON keeps exactly (RFC 8259 6). */
	json_u64(j, "id", c->id >> 11);
	json_text(j, "source", NAME_OF(sources, c->source));
	json_text(j, "key_type", c->key_type == MSG_KEY_RSA ? "rsa" : "ec");
	json_array(j, "names");
	for (uint32_t i = 0; i < c->names_count && (name = msg_certificate_name(c, &at)); i++)
		json_text(j, NULL, name);
	json_end(j);
	VIEW_TEXT(j, "serial", c->serial);
	view_time(j, "not_before", c->not_before_s * 1000000000);
	view_time(j, "not_after", c->not_after_s * 1000000000);
	json_end(j);
}

void
view_route(struct json *j, const struct msg_route *r)
{
	json_object(j, NULL);
	json_u64(j, "id", r->id);
	VIEW_TEXT(j, "service", r->service_label);
	VIEW_TEXT(j, "endpoint", r->endpoint);
	VIEW_TEXT(j, "host", r->host);
	VIEW_TEXT(j, "path", r->path);
	json_bool(j, "https", (r->flags & MSG_ROUTE_TLS) != 0);
	json_bool(j, "http", (r->flags & MSG_ROUTE_PLAIN) != 0);
	json_bool(j, "websocket", (r->flags & MSG_ROUTE_WEBSOCKET) != 0);
	json_bool(j, "public", (r->flags & MSG_ROUTE_PUBLIC) != 0);
	json_bool(j, "strip_path", (r->flags & MSG_ROUTE_STRIP_PATH) != 0);
	json_end(j);
}
