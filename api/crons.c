/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crons: services whose runs are made by a schedule. One is a service like any other, with a member
 * that says when it runs next and what became of its last times; a run by hand is jobs.c's.
 */
#include "api/crons.h"

#include <string.h>
#include "api/route.h"
#include "api/rows.h"
#include "api/target.h"
#include "api/view.h"
#include "base/text.h"

#define NAME_OF(names, value) \
	((value) < sizeof(names) / sizeof(names[0]) && names[value] ? names[value] : "unknown")

static const char *const states[] = {
	[MSG_CRON_WAITING] = "waiting", [MSG_CRON_DISABLED] = "disabled",
	[MSG_CRON_STOPPED] = "stopped", [MSG_CRON_BEHIND] = "behind",
	[MSG_CRON_OVER] = "over",       [MSG_CRON_PENDING] = "pending",
};
static const char *const overlaps[] = {
	[MSG_OVERLAP_FORBID] = "forbid",
	[MSG_OVERLAP_ALLOW] = "allow",
	[MSG_OVERLAP_REPLACE] = "replace",
};
static const char *const catch_ups[] = {
	[MSG_CATCH_UP_LAST] = "last",
	[MSG_CATCH_UP_ALL] = "all",
	[MSG_CATCH_UP_NONE] = "none",
};
static const char *const losses[] = {
	[MSG_ON_LOSS_SKIP] = "skip",
	[MSG_ON_LOSS_RETRY] = "retry",
};
static const char *const firing_states[] = {
	[MSG_FIRING_DUE] = "due",     [MSG_FIRING_STARTED] = "running",
	[MSG_FIRING_DONE] = "failed", [MSG_FIRING_PASSED] = "passed",
	[MSG_FIRING_LOST] = "lost",
};
static const char *const firing_reasons[] = {
	[MSG_FIRING_ON_TIME] = "on_time",
	[MSG_FIRING_CAUGHT_UP] = "caught_up",
	[MSG_FIRING_MISSED] = "missed",
	[MSG_FIRING_OVERLAPS] = "overlaps",
};

static void
put_firing(struct json *j, const struct msg_service *s, const struct msg_firing *f)
{
	bool done = f->state == MSG_FIRING_DONE;
	bool good = done && f->exit_status == 0 && !f->exit_signal;

	json_object(j, NULL);
	view_second(j, "at", f->at_s);
	json_text(j, "state", good ? "ok" : NAME_OF(firing_states, f->state));
	json_text(j, "reason", NAME_OF(firing_reasons, f->reason));
	json_u64(j, "skipped", f->skipped);
	json_bool(j, "skipped_more", f->skipped_more != 0);
	if (f->run)
		json_textf(j, "run", "%.*s/%.*s.%u",
			   (int)strnlen(s->deployment_name, sizeof(s->deployment_name)),
			   s->deployment_name, (int)strnlen(s->name, sizeof(s->name)), s->name,
			   f->run);
	else
		json_null(j, "run");
	json_u64(j, "tries", f->tries);
	if (done && f->exit_status >= 0 && !f->exit_signal)
		json_i64(j, "exit_status", f->exit_status);
	else
		json_null(j, "exit_status");
	if (done && f->exit_signal)
		json_u64(j, "exit_signal", f->exit_signal);
	else
		json_null(j, "exit_signal");
	view_time(j, "ended", f->ended_wall_ns);
	json_end(j);
}

void
crons_view(struct json *j, struct server *server, const struct msg_service *s)
{
	const struct msg_cron *c =
		s->cron ? rows_get(server, ROLE_SCHEDULER, MSG_TABLE_CRON, s->id) : NULL;

	if (!c) {
		json_null(j, "cron");
		return;
	}
	json_object(j, "cron");
	VIEW_TEXT(j, "schedule", c->schedule);
	json_text(j, "state", NAME_OF(states, c->state));
	json_bool(j, "enabled", c->state != MSG_CRON_DISABLED);
	view_second(j, "next", c->next_s);
	json_text(j, "overlap", NAME_OF(overlaps, c->overlap));
	json_text(j, "catch_up", NAME_OF(catch_ups, c->catch_up));
	json_text(j, "on_loss", NAME_OF(losses, c->on_loss));
	json_array(j, "firings");
	for (uint32_t i = 0; i < c->firings_count && i < MSG_FIRINGS_MAX; i++)
		put_firing(j, s, &c->firings[i]);
	json_end(j);
	view_reason(j, "reason", &c->reason);
	json_end(j);
}

/* ---- handlers ---- */

struct wanted {
	char deployment[MSG_NAME]; /* "": of all */
	char service[MSG_NAME];
};

static bool
is_named(const char *field, size_t cap, const char *name)
{
	return !name[0] || strncmp(field, name, cap) == 0;
}

static bool
is_wanted(const void *row, void *arg)
{
	const struct msg_service *s = row;
	const struct wanted *w = arg;

	return s->cron && is_named(s->deployment_name, sizeof(s->deployment_name), w->deployment) &&
	       is_named(s->name, sizeof(s->name), w->service);
}

static void
put_service(struct json *j, struct server *s, const void *row)
{
	view_service(j, s, row);
}

void
crons_list(struct call *call)
{
	struct wanted w = {0};

	call_query(call, "deployment", w.deployment, sizeof(w.deployment));
	if (call->answered)
		return;
	call_query(call, "service", w.service, sizeof(w.service));
	if (call->answered)
		return;
	rows_answer(call, &(struct rows_list){ROLE_SCHEDULER, MSG_TABLE_SERVICE, is_wanted, &w,
					      rows_by_service, put_service});
}

static void
turn(struct call *call, uint16_t op)
{
	struct msg_target_op t = {0};

	if (!rows_service(call->server, call->param[0], call->param[1])) {
		target_no_service(call, call->param[0], call->param[1]);
		return;
	}
	text_copy(t.deployment, sizeof(t.deployment), call->param[0]);
	text_copy(t.service, sizeof(t.service), call->param[1]);
	target_ask(call, op, &t);
}

void
crons_enable(struct call *call)
{
	turn(call, MSG_OP_ENABLE);
}

void
crons_disable(struct call *call)
{
	turn(call, MSG_OP_DISABLE);
}
