/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An empty table reads as "there is no such thing", and that must be true. So no handler runs
 * before what it reads is whole; it runs once, when that is so, and knows nothing of the wait.
 *
 * Nothing was done for a call that waits: whoever gets its 503 may simply ask again. What has been
 * asked of another role is not held here; the ring gives it to the successor.
 */
#include "api/hold.h"

#include <string.h>
#include "api/call.h"
#include "api/route.h"
#include "api/rows.h"

void
hold_init(struct server *s, uint64_t ms)
{
	list_init(&s->held);
	s->held_count = 0;
	s->hold_ms = ms ? ms : HOLD_MS;
	uv_timer_init(station_loop(s->station), &s->hold);
	s->hold.data = s;
}

/* The first role that has not told all that the call needs; 0: none. */
static uint16_t
missing(const struct call *call)
{
	for (uint16_t role = 1; role < ROLES_; role++) {
		if (call->route->needs & 1u << role && !rows_whole(call->server, role))
			return role;
	}
	return 0;
}

void
hold_why_down(const struct msg_process *p, struct err *err)
{
	struct err said;

	err_set(err, ERR_UNREACHABLE, "the process is down, %u restarts", p->restarts);
	if (!p->reason.kind) {
		err_why(err, "%.*s", (int)strnlen(p->exit_text, sizeof(p->exit_text)),
			p->exit_text);
		err_fix(err, "the log of zlayer serve says why");
		return;
	}
	msg_reason_to(&p->reason, &said);
	err_why(err, "%s", said.what);
	for (unsigned i = 0; i < said.whys; i++)
		err_why(err, "%s", said.why[i]);
	err_fix(err, "%s", said.fix[0] ? said.fix : "the log of zlayer serve says more");
}

/* What node knows of that process. */
static void
say_why(struct server *s, uint16_t role, struct err *err)
{
	const struct msg_process *p =
		rows_get(s, ROLE_NODE, MSG_TABLE_PROCESS, (uint64_t)role << 16 | 1);

	struct err down = {0};

	if (p && p->state == MSG_PROCESS_BACKOFF)
		hold_why_down(p, &down);
	for (unsigned i = 0; i < down.whys; i++)
		err_why(err, "%s%s", i ? "" : "it is down: ", down.why[i]);
	if (p && p->state == MSG_PROCESS_BACKOFF && p->reason.kind)
		err_fix(err, "%s", down.fix);
	if (down.kind)
		return;
	if (station_reader(s->station, role, 0))
		err_why(err, "it has just begun, and has not heard everything yet");
	else
		err_why(err, "it is being started again");
}

static void
refuse(struct call *call, uint16_t role)
{
	struct err err = {0};

	err_set(&err, ERR_UNREACHABLE, "the %s process of this node cannot answer yet",
		role_name(role));
	err_fix(&err, "try again in a moment; zlayer status shows the processes");
	say_why(call->server, role, &err);
	call_problem(call, &err);
}

void
hold_drop(struct call *call)
{
	if (!call->held_until_ms)
		return;
	call->held_until_ms = 0;
	list_remove(&call->held);
	call->server->held_count--;
}

static void
give_up(struct call *call)
{
	uint16_t role = missing(call);

	if (role && !call->route->anyway)
		refuse(call, role);
	else
		call_handle(call);
}

/* ---- time ---- */

static void on_time(uv_timer_t *timer);

static struct call *
first(const struct server *s)
{
	return list_empty(&s->held) ? NULL : container_of(s->held.next, struct call, held);
}

static void
arm(struct server *s)
{
	uint64_t now = uv_now(s->hold.loop);
	const struct call *call = first(s);

	if (call)
		uv_timer_start(&s->hold, on_time,
			       call->held_until_ms > now ? call->held_until_ms - now : 0, 0);
	else
		uv_timer_stop(&s->hold);
}

static void
on_time(uv_timer_t *timer)
{
	struct server *s = timer->data;
	struct call *call;

	while ((call = first(s)) && call->held_until_ms <= uv_now(timer->loop)) {
		hold_drop(call);
		call_ref(call);
		give_up(call);
		call_unref(call);
	}
	arm(s);
}

/* ---- waiting ---- */

static void
keep(struct call *call)
{
	struct server *s = call->server;

	call->held_until_ms = uv_now(s->hold.loop) + s->hold_ms;
	list_push(&s->held, &call->held);
	s->held_count++;
	if (call->conn->state == CONN_BODY)
		call_pause(call, true);
	arm(s);
}

bool
hold_may_go(struct call *call)
{
	for (uint16_t role = 1; role < ROLES_; role++) {
		if (call->route->needs & 1u << role)
			rows_sync_role(call->server, role);
	}
	uint16_t role = missing(call);
	if (!role)
		return true;
	if (call->server->held_count < HOLD_CALLS_MAX) {
		keep(call);
		return false;
	}
	if (!call->route->anyway)
		refuse(call, role);
	return call->route->anyway;
}

void
hold_wake(struct server *s)
{
	struct list *it = s->held.next;

	while (it != &s->held) {
		struct call *call = container_of(it, struct call, held);

		it = it->next;
		if (missing(call))
			continue;
		hold_drop(call);
		call_handle(call);
		it = s->held.next; /* others may have come or gone */
	}
	arm(s);
}
