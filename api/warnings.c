/* SPDX-License-Identifier: Apache-2.0 */
/* The first ones are about the node, which the others may be due to. */
#include "api/warnings.h"

#include <string.h>
#include "api/cluster.h"
#include "api/hold.h"
#include "api/nodes.h"
#include "api/rows.h"
#include "api/view.h"
#include "base/text.h"

enum { WARNINGS_MAX = 100 };

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
	struct rows rows;

	rows_collect(call->server, ROLE_NODE, MSG_TABLE_PROCESS, NULL, NULL, rows_by_process,
		     &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct msg_process *p = rows.items[i];
		const char *role = role_name(p->role);
		struct msg_reason reason;
		struct err err = {0};

		if (p->state != MSG_PROCESS_BACKOFF)
			continue;
		hold_why_down(p, &err);
		msg_reason_from(&err, &reason);
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

void
warnings_put(struct json *j, struct call *call, bool told)
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
