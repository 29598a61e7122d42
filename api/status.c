/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node as a whole: its health, its processes, everything on one page, and what needs somebody's
 * attention, with what to do about it.
 */
#include <string.h>
#include "api/cluster.h"
#include "api/nodes.h"
#include "api/openapi.h"
#include "api/route.h"
#include "api/rows.h"
#include "api/view.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/clients.h"

enum { ANSWER_MAX = 32 << 20, WARNINGS_MAX = 100 };

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
	VIEW_TEXT(j, "name", n->name);
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

static const char *
xdp_name(uint32_t mode)
{
	return mode == MSG_XDP_NATIVE ? "native" : mode == MSG_XDP_GENERIC ? "generic" : "off";
}

static void
put_links(struct json *j, const struct msg_datapath *d)
{
	json_array(j, "interfaces");
	for (uint32_t i = 0; i < d->links_count && i < MSG_EDGE_LINKS; i++)
		VIEW_TEXT(j, NULL, d->links[i]);
	json_end(j);
	json_array(j, "attached");
	for (uint32_t i = 0; i < d->links_count && i < MSG_EDGE_LINKS; i++) {
		json_object(j, NULL);
		VIEW_TEXT(j, "interface", d->links[i]);
		json_text(j, "xdp", xdp_name(d->modes[i]));
		json_bool(j, "shared", d->shared[i] != 0);
		json_end(j);
	}
	json_end(j);
}

static void
put_datapath(struct json *j, struct call *call)
{
	const struct msg_datapath *d =
		rows_get(call->server, ROLE_DATAPLANE, MSG_TABLE_DATAPATH, 1);

	if (!d) {
		json_null(j, "datapath");
		return;
	}
	json_object(j, "datapath");
	json_text(j, "mode",
		  !d->bpf                      ? "off"
		  : d->hook == MSG_HOOK_TCX    ? "bpf (tcx)"
		  : d->hook == MSG_HOOK_CLSACT ? "bpf (clsact)"
					       : "bpf");
	view_reason(j, "reason", &d->reason);
	json_text(j, "xdp", xdp_name(d->xdp));
	put_links(j, d);
	view_reason(j, "xdp_reason", &d->edge_reason);
	json_end(j);
}

static void
put_uplink(struct json *j, struct call *call)
{
	static const char *const states[] = {
		[MSG_UPLINK_OFF] = "off",
		[MSG_UPLINK_WAITS] = "no default route",
		[MSG_UPLINK_UP] = "up",
		[MSG_UPLINK_FAILED] = "failed",
	};
	const struct msg_uplink *u = rows_get(call->server, ROLE_NODE, MSG_TABLE_UPLINK, 1);

	if (!u || u->state == 0 || u->state > MSG_UPLINK_FAILED) {
		json_null(j, "uplink");
		return;
	}
	json_object(j, "uplink");
	json_text(j, "state", states[u->state]);
	VIEW_TEXT(j, "link", u->name);
	view_reason(j, "reason", &u->reason);
	json_end(j);
}

/* By which way what nothing else decides about goes: proxies' packets, for one. */
static const char *
way_of(uint32_t ways)
{
	if (ways & MSG_WAY_TRUSTED)
		return "plain";
	return ways & MSG_WAY_SEALED ? "sealed" : NULL;
}

/* Whether there is a peer that is gone to so. */
static bool
goes(struct call *call, const char *way)
{
	struct rows rows;
	bool some = false;

	rows_collect(call->server, ROLE_OVERLAY, MSG_TABLE_PEER, NULL, NULL, NULL, &rows);
	for (size_t i = 0; i < rows.count && !some; i++) {
		const char *is = way_of(((const struct msg_peer *)rows.items[i])->ways);

		some = is && strcmp(is, way) == 0;
	}
	rows_fini(&rows);
	return some;
}

/* Of one that only dials out no address is known that is good for anything: its prefix stands for
 * it (scheduler/cluster_mesh.c). */
static void
put_place(struct json *j, struct call *call, const struct msg_peer *p)
{
	const struct msg_member *m = NULL;
	char text[ADDR_TEXT_BYTES], name[MSG_NAME];

	if (text_ncopy(name, sizeof(name), p->name, strnlen(p->name, sizeof(p->name))))
		m = nodes_find(call->server, name);
	addr_put_ip(&p->address, text, sizeof(text));
	json_text(j, "address", addr_equal_ip(&p->address, &p->v6.base) ? NULL : text);
	nodes_put_name(j, "via", call->server, m ? m->via : 0);
}

static void
put_peers(struct json *j, struct call *call)
{
	struct rows rows;
	char text[ADDR_TEXT_BYTES];

	json_array(j, "peers");
	rows_collect(call->server, ROLE_OVERLAY, MSG_TABLE_PEER, NULL, NULL, NULL, &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_peer *p = rows.items[i];

		json_object(j, NULL);
		VIEW_TEXT(j, "name", p->name);
		put_place(j, call, p);
		addr_put_prefix(&p->v4, text, sizeof(text));
		json_text(j, "prefix4", text);
		addr_put_prefix(&p->v6, text, sizeof(text));
		json_text(j, "prefix6", text);
		json_text(j, "way", way_of(p->ways));
		json_text(j, "clients", clients_are_taken(p->ways) ? "kernel" : "relay");
		json_end(j);
	}
	rows_fini(&rows);
	json_end(j);
}

/* Whether, and how, traffic to other nodes is sealed. */
static void
put_sealed(struct json *j, struct call *call)
{
	static const char *const states[] = {
		[MSG_TUNNEL_OFF] = "off",
		[MSG_TUNNEL_UP] = "up",
		[MSG_TUNNEL_FAILED] = "failed",
	};
	static const char *const backends[] = {
		[MSG_BACKEND_ENGINE] = "engine",
		[MSG_BACKEND_KERNEL] = "kernel",
	};
	const struct msg_tunnel *t = rows_get(call->server, ROLE_NODE, MSG_TABLE_TUNNEL, 1);
	const struct msg_sealed *s = rows_get(call->server, ROLE_OVERLAY, MSG_TABLE_SEALED, 1);
	char address[ADDR_TEXT_BYTES], key[64];

	if (!t || t->state == 0 || t->state > MSG_TUNNEL_FAILED) {
		json_null(j, "sealed");
		return;
	}
	bool serves = s && s->serves;
	json_object(j, "sealed");
	json_text(j, "state",
		  t->state == MSG_TUNNEL_UP && !serves ? states[MSG_TUNNEL_FAILED]
						       : states[t->state]);
	json_text(j, "backend", t->backend <= MSG_BACKEND_KERNEL ? backends[t->backend] : NULL);
	addr_put(&t->listen, address, sizeof(address));
	json_text(j, "address", t->listen.port ? address : NULL);
	text_base64(serves ? s->key : (const uint8_t[MSG_KEY]){0}, MSG_KEY, key, sizeof(key));
	json_text(j, "key", serves ? key : NULL);
	json_u64(j, "peers", s ? s->peers : 0);
	view_reason(j, "reason", t->reason.kind || !s ? &t->reason : &s->reason);
	json_end(j);
}

static void
put_overlay(struct json *j, struct call *call)
{
	static const char *const states[] = {
		[MSG_UNDERLAY_OFF] = "off",
		[MSG_UNDERLAY_UP] = "vxlan",
		[MSG_UNDERLAY_FAILED] = "failed",
	};
	const struct msg_underlay *u = rows_get(call->server, ROLE_NODE, MSG_TABLE_UNDERLAY, 1);
	const struct msg_prefix *p = rows_get(call->server, ROLE_OVERLAY, MSG_TABLE_PREFIX, 1);
	const struct msg_datapath *d =
		rows_get(call->server, ROLE_DATAPLANE, MSG_TABLE_DATAPATH, 1);
	bool known = u && u->state && u->state <= MSG_UNDERLAY_FAILED;
	bool no_program = known && u->state == MSG_UNDERLAY_UP && d && !d->bpf;
	bool plain = known && (u->state == MSG_UNDERLAY_FAILED || goes(call, "plain"));
	bool sealed = goes(call, "sealed");
	char v4[ADDR_TEXT_BYTES], v6[ADDR_TEXT_BYTES];

	if (!p) {
		json_null(j, "overlay");
		return;
	}
	addr_put_prefix(&p->v4, v4, sizeof(v4));
	addr_put_prefix(&p->v6, v6, sizeof(v6));
	json_object(j, "overlay");
	json_text(j, "state",
		  no_program ? "failed"
		  : plain    ? states[u->state]
		  : sealed   ? "wireguard"
			     : "off");
	json_text(j, "prefix4", v4);
	json_text(j, "prefix6", v6);
	json_u64(j, "mtu", p->mtu);
	put_peers(j, call);
	put_sealed(j, call);
	if (known)
		view_reason(j, "reason", no_program ? &d->reason : &u->reason);
	else
		json_null(j, "reason");
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

/* ---- warnings ---- */

struct warnings {
	struct json *j;
	size_t count;
};

static void
warn(struct warnings *w, const char *deployment, size_t deployment_cap, const char *who,
     const struct msg_reason *reason)
{
	struct err err = {0};

	if (w->count++ >= WARNINGS_MAX)
		return;
	msg_reason_to(reason, &err);
	json_object(w->j, NULL);
	view_text(w->j, "deployment", deployment, deployment_cap);
	json_textf(w->j, "text", "%s: %s", who, err.what);
	json_array(w->j, "why");
	for (unsigned i = 0; i < err.whys; i++)
		json_text(w->j, NULL, err.why[i]);
	json_end(w->j);
	json_text(w->j, "fix", err.fix);
	json_end(w->j);
}

static bool
replica_is_wrong(const struct msg_replica *r)
{
	return r->reason.kind && r->state != MSG_REPLICA_READY && r->state != MSG_REPLICA_STOPPED &&
	       r->state != MSG_REPLICA_STOPPING && r->state != MSG_REPLICA_DRAINING;
}

static void
warn_replicas(struct warnings *w, struct call *call)
{
	struct rows rows;
	char who[MSG_TARGET];

	rows_collect(call->server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, NULL, NULL, rows_by_replica,
		     &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_replica *r = rows.items[i];

		if (!replica_is_wrong(r))
			continue;
		text_format(who, sizeof(who), "%.63s/%.63s.%u", r->deployment_name, r->service_name,
			    r->index);
		warn(w, r->deployment_name, sizeof(r->deployment_name), who, &r->reason);
	}
	rows_fini(&rows);
}

static void
warn_deployments(struct warnings *w, struct call *call)
{
	struct rows rows;
	char who[MSG_TARGET];

	rows_collect(call->server, ROLE_SCHEDULER, MSG_TABLE_DEPLOYMENT, NULL, NULL,
		     rows_by_deployment, &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_deployment *d = rows.items[i];

		text_format(who, sizeof(who), "%.63s", d->name);
		if (d->reason.kind)
			warn(w, d->name, sizeof(d->name), who, &d->reason);
	}
	rows_fini(&rows);
	rows_collect(call->server, ROLE_SCHEDULER, MSG_TABLE_SERVICE, NULL, NULL, rows_by_service,
		     &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_service *s = rows.items[i];

		text_format(who, sizeof(who), "%.63s/%.63s", s->deployment_name, s->name);
		if (s->reason.kind)
			warn(w, s->deployment_name, sizeof(s->deployment_name), who, &s->reason);
	}
	rows_fini(&rows);
}

static void
warn_processes(struct warnings *w, struct call *call)
{
	struct msg_reason reason = {.kind = ERR_UNREACHABLE};
	struct rows rows;

	rows_collect(call->server, ROLE_NODE, MSG_TABLE_PROCESS, NULL, NULL, rows_by_process,
		     &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_process *p = rows.items[i];
		const char *role = role_name(p->role);

		if (p->state != MSG_PROCESS_BACKOFF)
			continue;
		text_format(reason.what, sizeof(reason.what), "the process is down, %u restarts",
			    p->restarts);
		text_ncopy(reason.why, sizeof(reason.why), p->exit_text,
			   strnlen(p->exit_text, sizeof(p->exit_text) - 1));
		text_copy(reason.fix, sizeof(reason.fix), "the log of zlayer serve says why");
		warn(w, "", 0, role ? role : "unknown", &reason);
	}
	rows_fini(&rows);
}

static void
warn_config(struct warnings *w, struct call *call)
{
	const struct msg_node *n = rows_get(call->server, ROLE_NODE, MSG_TABLE_NODE, 1);

	if (n && n->config_error.kind)
		warn(w, "", 0,
		     "configuration: the last reload was refused, the old one is in force",
		     &n->config_error);
}

static void
warn_listeners(struct warnings *w, struct call *call)
{
	struct rows rows;
	char who[64];

	rows_collect(call->server, ROLE_NODE, MSG_TABLE_LISTENER, NULL, NULL, NULL, &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_listener *l = rows.items[i];

		text_format(who, sizeof(who), "listener %.31s", l->name);
		if (!l->up && l->reason.kind)
			warn(w, "", 0, who, &l->reason);
	}
	rows_fini(&rows);
}

static void
warn_ways(struct warnings *w, struct call *call)
{
	const struct msg_uplink *u = rows_get(call->server, ROLE_NODE, MSG_TABLE_UPLINK, 1);
	const struct msg_underlay *o = rows_get(call->server, ROLE_NODE, MSG_TABLE_UNDERLAY, 1);

	if (u && u->state == MSG_UPLINK_FAILED && u->reason.kind)
		warn(w, "", 0, "uplink", &u->reason);
	if (o && o->state == MSG_UNDERLAY_FAILED && o->reason.kind)
		warn(w, "", 0, "overlay", &o->reason);
	const struct msg_tunnel *t = rows_get(call->server, ROLE_NODE, MSG_TABLE_TUNNEL, 1);
	/* A socket that is not had is said of its listener. */
	if (t && t->state == MSG_TUNNEL_FAILED && !t->ifindex && t->reason.kind)
		warn(w, "", 0, "overlay", &t->reason);
}

static void
warn_nodes(struct warnings *w, struct call *call)
{
	const struct msg_cluster *c = cluster_row(call->server);
	struct msg_reason reason = {.kind = ERR_UNREACHABLE};
	struct rows rows;
	char who[MSG_TARGET], since[48];

	if (c && !c->writable && c->why.kind)
		warn(w, "", 0, "changes are refused", &c->why);
	if (c && c->trouble.kind)
		warn(w, "", 0, "cluster", &c->trouble);
	nodes_collect(call->server, &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_member *m = rows.items[i];
		const struct msg_member *accuser = nodes_get(call->server, m->accuser);

		if (m->state != MSG_MEMBER_DEAD)
			continue;
		text_format(who, sizeof(who), "node %.63s", m->name);
		text_copy(reason.what, sizeof(reason.what), "does not answer");
		if (m->since_wall_ns > 0) {
			text_time(m->since_wall_ns, 0, since, sizeof(since));
			text_format(reason.what, sizeof(reason.what), "does not answer since %s",
				    since);
		}
		reason.why[0] = 0;
		if (accuser)
			text_format(reason.why, sizeof(reason.why), "%.63s said so", accuser->name);
		text_format(reason.fix, sizeof(reason.fix),
			    "start it again, or when it is gone for good: zlayer node rm %.63s",
			    m->name);
		warn(w, "", 0, who, &reason);
	}
	rows_fini(&rows);
}

/* Nobody may read an empty list as "nothing is deployed". */
static void
warn_scheduler(struct warnings *w)
{
	struct msg_reason reason = {.kind = ERR_UNREACHABLE};

	text_copy(reason.what, sizeof(reason.what),
		  "it has not told what is deployed, and which nodes there are");
	text_copy(reason.fix, sizeof(reason.fix), "look again in a moment");
	warn(w, "", 0, "scheduler", &reason);
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

static void
put_warnings(struct json *j, struct call *call, bool told)
{
	struct warnings w = {.j = j};

	json_array(j, "warnings");
	warn_config(&w, call);
	warn_processes(&w, call);
	warn_listeners(&w, call);
	warn_ways(&w, call);
	if (told) {
		warn_nodes(&w, call);
		warn_deployments(&w, call);
		warn_replicas(&w, call);
	} else {
		warn_scheduler(&w);
	}
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
	put_datapath(&j, call);
	put_uplink(&j, call);
	put_overlay(&j, call);
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
	put_warnings(&j, call, told);
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
	json_text(&j, "node", station_welcome(call->server->station)->node);
	json_text(&j, "instance", station_welcome(call->server->station)->instance);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

void
status_openapi(struct call *call)
{
	call_reply(call, 200, "application/json", NULL, openapi_text, openapi_bytes);
}
