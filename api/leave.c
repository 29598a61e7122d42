/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaving, step by step:
 *
 *   told    nobody is accepted: new clients wait in the listener's queue for the successor. Streams
 *           without an end are ended. Every answer says that the connection ends with it.
 *   linger  who is between two requests may send the next one until then, sessions of exec may end
 *           by themselves.
 *   drain   a request that is under way gets its answer, and so does the first one of a client that
 *           was accepted and has not sent it: to that client nobody could have said anything.
 *   cut     requests without an answer are told that they get none here; the rest is closed.
 *
 * Each step is the end of the process if no connection is left.
 */
#include "api/leave.h"

#include "api/conn.h"
#include "api/server.h"

static void
each(struct server *s, void (*visit)(struct conn *c))
{
	struct list *it, *next;

	list_each (it, next, &s->conns) {
		visit(container_of(it, struct conn, link));
	}
}

static void
on_cut(uv_timer_t *timer)
{
	struct server *s = timer->data;

	s->left(s);
}

static void
next_step(struct server *s, uv_timer_cb step, uint64_t ms)
{
	if (s->conns_count > 0)
		uv_timer_start(&s->leaving, step, ms, 0);
}

static void
on_drain(uv_timer_t *timer)
{
	struct server *s = timer->data;

	each(s, conn_cut);
	next_step(s, on_cut, SERVER_CUT_MS);
}

static void
on_linger(uv_timer_t *timer)
{
	struct server *s = timer->data;

	each(s, conn_stop_raw);
	next_step(s, on_drain, s->drain_ms - s->linger_ms);
}

void
leave_look(struct server *s)
{
	/* Not from within what ended it. */
	if (s->stopping && s->conns_count == 0)
		uv_timer_start(&s->leaving, on_cut, 0, 0);
}

void
leave_begin(struct server *s, uint64_t grace_ms, void (*left)(struct server *s))
{
	s->left = left;
	s->stopping = true;
	uv_timer_init(station_loop(s->station), &s->leaving);
	s->leaving.data = s;
	if (s->listener_fd >= 0)
		uv_poll_stop(&s->listener);
	each(s, conn_stop);
	if (s->drain_ms > grace_ms)
		s->drain_ms = grace_ms;
	if (s->linger_ms > s->drain_ms)
		s->linger_ms = s->drain_ms;
	next_step(s, on_linger, s->linger_ms);
	leave_look(s);
}
