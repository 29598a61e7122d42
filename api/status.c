/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node as a whole: its health, its processes, everything on one page. How packets go:
 * status_ways.c; what needs somebody's attention: warnings.c.
 */
#include <string.h>
#include "api/cluster.h"
#include "api/events.h"
#include "api/nodes.h"
#include "api/openapi.h"
#include "api/route.h"
#include "api/rows.h"
#include "api/status_ways.h"
#include "api/view.h"
#include "api/warnings.h"

enum { ANSWER_MAX = 32 << 20 };

static const char *
process_state(uint32_t state)
{
	static const char *const names[] = {
		[MSG_PROCESS_STARTING] = "starting",
		[MSG_PROCESS_UP] = "up",
		[MSG_PROCESS_BACKOFF] = "backoff",
		[MSG_PROCESS_LEAVING] = "leaving",
	};

	return state < sizeof(names) / sizeof(names[0]) && names[state] ? names[state] : "unknown";
}

void
status_healthz(struct call *call)
{
	call_reply(call, 200, "text/plain; charset=utf-8", NULL, "ok\n", 3);
}

/* True when every process is up. A leaving one is not needed: its successor is. */
static bool
put_processes(struct json *j, struct call *call)
{
	struct rows rows;
	bool good = true;

	json_array(j, "processes");
	rows_collect(call->server, ROLE_NODE, MSG_TABLE_PROCESS, NULL, NULL, rows_by_process,
		     &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_process *p = rows.items[i];
		const char *role = role_name(p->role);

		json_object(j, NULL);
		json_text(j, "role", role ? role : "unknown");
		json_u64(j, "index", p->index);
		json_u64(j, "generation", p->generation);
		json_text(j, "state", process_state(p->state));
		json_u64(j, "pid", p->pid);
		json_u64(j, "uid", p->uid);
		json_u64(j, "restarts", p->restarts);
		view_time(j, "started", p->started_wall_ns);
		VIEW_TEXT(j, "exit", p->exit_text);
		view_reason(j, "reason", &p->reason);
		json_end(j);
		good = good && (p->state == MSG_PROCESS_UP || p->state == MSG_PROCESS_LEAVING);
	}
	good = good && rows.count > 0;
	rows_fini(&rows);
	json_end(j);
	return good;
}

void
status_readyz(struct call *call)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	bool good = put_processes(&j, call);
	json_bool(&j, "ready", good);
	json_end(&j);
	call_json(call, good ? 200 : 503, NULL, &b);
}

/* As the others of its cluster know it (zlayer join --name), else as node.yaml says. */
static void
put_own_name(struct json *j, const char *key, struct server *s)
{
	char name[MSG_NAME];

	events_own_node(s, name);
	json_text(j, key, name[0] ? name : station_welcome(s->station)->node);
}

static void
put_node(struct json *j, struct call *call)
{
	const struct msg_node *n = rows_get(call->server, ROLE_NODE, MSG_TABLE_NODE, 1);
	char address[ADDR_TEXT_BYTES];

	if (!n) {
		json_null(j, "node");
		return;
	}
	json_object(j, "node");
	put_own_name(j, "name", call->server);
	VIEW_TEXT(j, "instance", n->instance);
	VIEW_TEXT(j, "zone", n->zone);
	json_text(j, "state", "alive");
	VIEW_TEXT(j, "version", n->version);
	VIEW_TEXT(j, "kernel", n->kernel);
	view_time(j, "started", n->started_wall_ns);
	json_u64(j, "cpus", n->cpus);
	json_u64(j, "memory_bytes", n->memory_bytes);
	json_u64(j, "cgroup_mode", n->cgroup_mode);
	view_time(j, "configured", n->configured_wall_ns);
	view_reason(j, "config_error", &n->config_error);
	json_array(j, "addresses");
	for (uint32_t i = 0; i < n->addresses_count && i < 16; i++) {
		addr_put_ip(&n->addresses[i], address, sizeof(address));
		json_text(j, NULL, address);
	}
	json_end(j);
	json_end(j);
}

static void
put_listeners(struct json *j, struct call *call)
{
	struct rows rows;
	char address[ADDR_TEXT_BYTES];

	json_array(j, "listeners");
	rows_collect(call->server, ROLE_NODE, MSG_TABLE_LISTENER, NULL, NULL, NULL, &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_listener *l = rows.items[i];

		json_object(j, NULL);
		VIEW_TEXT(j, "name", l->name);
		addr_put(&l->addr, address, sizeof(address));
		json_text(j, "address", addr_is_zero(&l->addr) && !l->addr.port ? NULL : address);
		json_bool(j, "up", l->up != 0);
		view_reason(j, "reason", &l->reason);
		json_end(j);
	}
	rows_fini(&rows);
	json_end(j);
}

static void
put_deployments(struct json *j, struct call *call)
{
	struct rows rows;

	json_array(j, "deployments");
	rows_collect(call->server, ROLE_SCHEDULER, MSG_TABLE_DEPLOYMENT, NULL, NULL,
		     rows_by_deployment, &rows);
	for (size_t i = 0; i < rows.count; i++)
		view_deployment(j, call->server, rows.items[i]);
	rows_fini(&rows);
	json_end(j);
}

void
status_get(struct call *call)
{
	bool told = rows_whole(call->server, ROLE_SCHEDULER);
	struct buf b;
	struct json j;

	call->server->lacked = false;
	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	put_node(&j, call);
	status_ways_put(&j, call);
	if (told) {
		cluster_put(&j, "cluster", call->server);
		nodes_put(&j, "nodes", call->server);
	} else {
		json_null(&j, "cluster");
		json_null(&j, "nodes");
	}
	put_processes(&j, call);
	put_listeners(&j, call);
	if (told)
		put_deployments(&j, call);
	else
		json_null(&j, "deployments");
	warnings_put(&j, call, told);
	json_end(&j);
	if (call->server->lacked) {
		struct err err = {0};

		/* A part of the picture would be a wrong one. */
		err_set(&err, ERR_NO_MEMORY, "no memory for the whole status");
		call_problem(call, &err);
		buf_fini(&b);
		return;
	}
	call_json(call, 200, NULL, &b);
}

void
status_version(struct call *call)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, 4096);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_text(&j, "version", ZLAYER_VERSION);
	json_text(&j, "api", "v1");
	put_own_name(&j, "node", call->server);
	json_text(&j, "instance", station_welcome(call->server->station)->instance);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

void
status_openapi(struct call *call)
{
	call_reply(call, 200, "application/json", NULL, openapi_text, openapi_bytes);
}
