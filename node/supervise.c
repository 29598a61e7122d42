/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Supervision. A unit is in one of five situations, and each has at most one deadline:
 *
 *   starting   spawned, READY has not come        deadline: killed
 *   up         at work
 *   broken     up, but its leash ended            deadline: killed
 *   backoff    ended by itself                    deadline: started again
 *   leaving    told to stop                       deadline: killed
 *
 * The first restart is at once, so that the edge is back before anybody notices; a process that
 * ends again and again waits 100 ms, 200 ms ... 10 s. Whoever was up for half a minute starts with
 * a clean slate.
 *
 * Replacement (upgrade) goes through the table's `replace` order. A role that exists once is
 * stopped and started; its readers keep their last copy meanwhile. A proxy's successor is started
 * first, on the same sockets and with a free index; the old one drains when the new one is ready.
 */
#include "node/supervise.h"

#include <assert.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

enum {
	START_MS = 60000,
	BROKEN_MS = 1000,
	BACKOFF_MIN_MS = 100,
	BACKOFF_MAX_MS = 10000,
	STEADY_MS = 30000,
	STOP_MS = 5000, /* a role's grace at the end */
	STOP_PROXY_MS = 10000,
	KILL_AFTER_MS = 1000, /* past its grace */
};

enum mode { MODE_RUN, MODE_REPLACE, MODE_STOP };

struct supervise {
	struct unit_env *env;
	bool has[ROLES_];
	const struct supervise_events *events;
	void *arg;
	struct list units;
	uv_timer_t *timer;
	enum mode mode;
	unsigned level; /* MODE_STOP: start order that is being stopped */
	bool settled;
	bool told; /* `stopped` was said */
};

static struct unit *
unit_of(struct list *link)
{
	return container_of(link, struct unit, link);
}

/* ---- deadlines ---- */

static void timer_event(uv_timer_t *timer);
static void look_settled(struct supervise *s);

static void
rearm(struct supervise *s)
{
	uint64_t next = 0, now = uv_now(s->env->loop);
	struct list *it, *tmp;

	list_each (it, tmp, &s->units) {
		uint64_t due = unit_of(it)->due_ms;

		if (due && (!next || due < next))
			next = due;
	}
	if (next)
		uv_timer_start(s->timer, timer_event, next > now ? next - now : 0, 0);
	else
		uv_timer_stop(s->timer);
}

static void
due(struct supervise *s, struct unit *u, uint64_t after_ms)
{
	uv_update_time(s->env->loop);
	u->due_ms = uv_now(s->env->loop) + after_ms;
	rearm(s);
}

static void
undue(struct supervise *s, struct unit *u)
{
	u->due_ms = 0;
	rearm(s);
}

/* ---- starting ---- */

static void
back_off(struct supervise *s, struct unit *u)
{
	uint64_t delay = 0;

	u->failures++;
	if (u->failures > 1) {
		unsigned shift = u->failures - 2 > 7 ? 7 : u->failures - 2;

		delay = (uint64_t)BACKOFF_MIN_MS << shift;
	}
	if (delay > BACKOFF_MAX_MS)
		delay = BACKOFF_MAX_MS;
	u->state = MSG_PROCESS_BACKOFF;
	unit_publish(u);
	due(s, u, delay);
}

static void
start(struct supervise *s, struct unit *u)
{
	struct err err = {0};

	u->due_ms = 0;
	u->again = false;
	u->old = false;
	if (unit_spawn(u, &err) == 0) {
		due(s, u, START_MS);
		return;
	}
	(void)err_where(&err, "process %s", u->component);
	log_err(LOG_ERROR, "a process was not started", &err);
	text_copy(u->exit_text, sizeof(u->exit_text), err.what);
	back_off(s, u);
}

static unsigned
free_index(struct supervise *s, const struct roles_entry *role)
{
	for (unsigned index = 0; index < ROLE_PROXIES_MAX; index++) {
		bool taken = false;
		struct list *it, *tmp;

		list_each (it, tmp, &s->units) {
			taken |= unit_of(it)->role == role && unit_of(it)->index == index;
		}
		if (!taken)
			return index;
	}
	return ROLE_PROXIES_MAX;
}

static struct unit *
add(struct supervise *s, const struct roles_entry *role, unsigned worker)
{
	unsigned index = role->many ? free_index(s, role) : 0;
	struct unit *u = index < ROLE_PROXIES_MAX ? unit_new(s->env, role, index, worker) : NULL;

	if (!u) {
		log_event(LOG_ERROR, "no room for another process",
			  log_s("role", role_name(role->role)), LOG_END);
		return NULL;
	}
	list_push(&s->units, &u->link);
	return u;
}

/* The process that stands for (role, worker) now; old ones that drain do not count. */
static struct unit *
current(struct supervise *s, const struct roles_entry *role, unsigned worker)
{
	struct list *it, *tmp;

	list_each (it, tmp, &s->units) {
		struct unit *u = unit_of(it);

		if (u->role == role && u->worker == worker && u->conn < 0 &&
		    (u->state != MSG_PROCESS_LEAVING || u->again))
			return u;
	}
	return NULL;
}

void
supervise_start(struct supervise *s)
{
	for (size_t i = 0; i < ROLES_COUNT; i++) {
		const struct roles_entry *role = roles_at(i);

		for (unsigned w = 0; w < (role->many ? s->env->workers : 1); w++) {
			if (!s->has[role->role] || current(s, role, w))
				continue;
			struct unit *u = add(s, role, w);
			if (u)
				start(s, u);
		}
	}
	look_settled(s);
}

void
supervise_collected(struct supervise *s, struct collect_found *found)
{
	struct err err = {0};
	struct unit *u = unit_new(s->env, roles_get(ROLE_PROXY), found->index, 0);

	if (!u) {
		fd_close(&found->pidfd);
		fd_close(&found->conn);
		fd_close(&found->segment);
		return;
	}
	u->generation = found->generation;
	u->pid = found->pid;
	u->conn = fd_take(&found->conn);
	u->state = MSG_PROCESS_UP;
	list_push(&s->units, &u->link);
	if (unit_adopt(u, fd_take(&found->pidfd), -1, fd_take(&found->segment), &err) < 0) {
		log_err(LOG_WARN, "a proxy of the last run is left alone", &err);
		unit_free(u);
	}
}

/* ---- replacing ---- */

static void
leave(struct supervise *s, struct unit *u, uint64_t grace_ms)
{
	unit_stop(u, grace_ms);
	due(s, u, grace_ms + KILL_AFTER_MS);
}

static struct unit *
next_old(struct supervise *s)
{
	struct unit *next = NULL;
	struct list *it, *tmp;

	list_each (it, tmp, &s->units) {
		struct unit *u = unit_of(it);

		if (u->old && (!next || u->role->replace < next->role->replace))
			next = u;
	}
	return next;
}

static bool
replacing(struct supervise *s)
{
	struct list *it, *tmp;

	list_each (it, tmp, &s->units) {
		struct unit *u = unit_of(it);

		if (u->again || u->renewed || u->replaces)
			return true;
	}
	return false;
}

bool
supervise_in_between(struct supervise *s)
{
	struct list *it, *tmp;

	list_each (it, tmp, &s->units) {
		const struct unit *u = unit_of(it);

		if (u->again || (u->replaces && u->state == MSG_PROCESS_STARTING))
			return true;
	}
	return false;
}

static void
replace_one(struct supervise *s, struct unit *u)
{
	struct unit *successor;

	u->old = false;
	if (!s->has[u->role->role]) {
		leave(s, u, STOP_MS);
		return;
	}
	if (u->state == MSG_PROCESS_BACKOFF) {
		u->renewed = true;
		start(s, u);
		return;
	}
	if (!u->role->many) {
		u->again = true;
		leave(s, u, STOP_MS);
		return;
	}
	successor = add(s, u->role, u->worker);
	if (!successor)
		return;
	successor->replaces = u;
	start(s, successor);
}

static void
replace_step(struct supervise *s)
{
	struct unit *u;

	while (s->mode == MODE_REPLACE && !replacing(s)) {
		u = next_old(s);
		if (!u) {
			s->mode = MODE_RUN;
			log_event(LOG_INFO, "all processes were replaced", LOG_END);
			return;
		}
		replace_one(s, u);
	}
}

void
supervise_replace(struct supervise *s)
{
	struct list *it, *tmp;

	if (s->mode == MODE_STOP)
		return;
	list_each (it, tmp, &s->units) {
		struct unit *u = unit_of(it);

		u->old = u->conn < 0 && u->state != MSG_PROCESS_LEAVING;
	}
	s->mode = MODE_REPLACE;
	s->settled = false;
	replace_step(s);
	look_settled(s);
}

/* ---- stopping ---- */

static void
stop_unit(struct supervise *s, struct unit *u)
{
	u->again = u->renewed = u->old = false;
	u->replaces = NULL;
	if (u->pid == 0) {
		unit_unpublish(u);
		unit_free(u);
	} else if (u->state != MSG_PROCESS_LEAVING) {
		leave(s, u, u->role->role == ROLE_PROXY ? STOP_PROXY_MS : STOP_MS);
	}
}

static void
stop_step(struct supervise *s)
{
	struct list *it, *tmp;

	while (s->level > 0) {
		bool some = false;

		list_each (it, tmp, &s->units) {
			if (unit_of(it)->role->start == s->level)
				stop_unit(s, unit_of(it));
		}
		list_each (it, tmp, &s->units) {
			some |= unit_of(it)->role->start == s->level;
		}
		if (some)
			return;
		s->level--;
	}
	if (!s->told) {
		s->told = true;
		s->events->stopped(s->arg);
	}
}

void
supervise_stop(struct supervise *s)
{
	struct list *it, *tmp;

	if (s->mode == MODE_STOP) {
		list_each (it, tmp, &s->units) {
			unit_kill(unit_of(it), "stop");
		}
		return;
	}
	s->mode = MODE_STOP;
	for (size_t i = 0; i < ROLES_COUNT; i++)
		if (roles_at(i)->start > s->level)
			s->level = roles_at(i)->start;
	stop_step(s);
}

/* ---- what happens to units ---- */

static void
drain_collected(struct supervise *s)
{
	struct list *it, *tmp;

	list_each (it, tmp, &s->units) {
		struct unit *u = unit_of(it);

		if (u->conn >= 0 && u->state == MSG_PROCESS_UP)
			leave(s, u, s->env->config->deploy.drain_timeout_ms);
	}
}

static void
look_settled(struct supervise *s)
{
	bool proxies = true, all = true;
	struct list *it, *tmp;

	list_each (it, tmp, &s->units) {
		struct unit *u = unit_of(it);

		if (u->conn >= 0 || u->state == MSG_PROCESS_LEAVING)
			continue;
		all &= u->state == MSG_PROCESS_UP;
		proxies &= !u->role->many || u->state == MSG_PROCESS_UP;
	}
	if (proxies)
		drain_collected(s);
	if (all && !s->settled && s->mode == MODE_RUN) {
		s->settled = true;
		s->events->settled(s->arg);
	}
}

static void
unit_is_ready(void *arg, struct unit *u)
{
	struct supervise *s = arg;

	undue(s, u);
	u->renewed = false;
	if (u->replaces) {
		struct unit *before = u->replaces;

		u->replaces = NULL;
		if (before->state != MSG_PROCESS_LEAVING)
			leave(s, before, s->env->config->deploy.drain_timeout_ms);
	}
	if (s->mode == MODE_REPLACE)
		replace_step(s);
	look_settled(s);
}

static void
forget(struct supervise *s, struct unit *u)
{
	struct list *it, *tmp;

	list_each (it, tmp, &s->units) {
		if (unit_of(it)->replaces == u)
			unit_of(it)->replaces = NULL;
	}
	unit_unpublish(u);
	unit_free(u);
}

static const char *
why(const struct unit *u)
{
	if (u->reason)
		return u->reason;
	if (text_starts(u->exit_text, "killed"))
		return "signal";
	return text_starts(u->exit_text, "ended by") ? "filter" : "exit";
}

static void
unit_has_ended(void *arg, struct unit *u)
{
	struct supervise *s = arg;

	undue(s, u);
	if (s->mode == MODE_STOP) {
		forget(s, u);
		stop_step(s);
		return;
	}
	if (u->again) {
		u->renewed = true;
		start(s, u);
	} else if (u->state == MSG_PROCESS_LEAVING || u->conn >= 0 || !s->has[u->role->role]) {
		forget(s, u);
	} else {
		u->restarts++;
		usage_restart(ring_writer_metrics(s->env->own), u->component, why(u));
		back_off(s, u);
	}
	rearm(s);
}

static void
unit_is_late(struct supervise *s, struct unit *u)
{
	u->due_ms = 0;
	switch (u->state) {
	case MSG_PROCESS_BACKOFF:
		start(s, u);
		break;
	case MSG_PROCESS_STARTING:
		unit_kill(u, "start");
		break;
	case MSG_PROCESS_UP:
		unit_kill(u, "leash");
		break;
	case MSG_PROCESS_LEAVING:
		unit_kill(u, "stop");
		break;
	}
}

static void
timer_event(uv_timer_t *timer)
{
	struct supervise *s = timer->data;
	uint64_t now = uv_now(s->env->loop);
	struct list *it, *tmp;

	list_each (it, tmp, &s->units) {
		struct unit *u = unit_of(it);

		if (u->due_ms && u->due_ms <= now)
			unit_is_late(s, u);
	}
	rearm(s);
}

void
supervise_broken(struct supervise *s, struct unit *u, const char *how)
{
	if (u->state != MSG_PROCESS_UP && u->state != MSG_PROCESS_STARTING)
		return;
	log_event(LOG_WARN, "a process lost touch with node", log_s("process", u->component),
		  log_s("how", how), LOG_END);
	/* It may be ending by itself: its own reason is the better one. */
	due(s, u, BROKEN_MS);
}

void
supervise_tick(struct supervise *s, bool usage)
{
	uint64_t now = uv_now(s->env->loop);
	struct list *it, *tmp;

	list_each (it, tmp, &s->units) {
		struct unit *u = unit_of(it);

		if (u->state == MSG_PROCESS_UP && !unit_beats(u))
			unit_kill(u, "heartbeat");
		if (usage && u->pid)
			usage_update(ring_writer_metrics(s->env->own), u->component, &u->usage);
		if (u->state == MSG_PROCESS_UP && u->up_ms && now - u->up_ms > STEADY_MS)
			u->failures = 0;
	}
}

void
supervise_listeners(struct supervise *s)
{
	struct list *it, *tmp;

	list_each (it, tmp, &s->units) {
		struct unit *u = unit_of(it);

		if (u->state == MSG_PROCESS_STARTING || u->state == MSG_PROCESS_UP)
			unit_send_listeners(u, true);
	}
	listeners_settle(s->env->listeners);
}

/* ---- the hub's view ---- */

static void
unit_was_spawned(void *arg, struct unit *u)
{
	struct supervise *s = arg;

	unit_send_listeners(u, false);
	s->events->spawned(s->arg, u);
}

struct list *
supervise_units(struct supervise *s)
{
	return &s->units;
}

void
supervise_add(struct supervise *s, struct unit *unit)
{
	list_push(&s->units, &unit->link);
	if (unit->state == MSG_PROCESS_STARTING)
		due(s, unit, START_MS);
	if (unit->state == MSG_PROCESS_LEAVING)
		due(s, unit, s->env->config->deploy.drain_timeout_ms + KILL_AFTER_MS);
}

struct supervise *
supervise_new(struct unit_env *env, const unsigned *roles, size_t count,
	      const struct supervise_events *events, void *arg)
{
	struct supervise *s = mem_zalloc(MEM_NODE, sizeof(*s));
	uv_timer_t *timer = mem_zalloc(MEM_NODE, sizeof(*timer));

	if (!s || !timer) {
		mem_free(s);
		mem_free(timer);
		return NULL;
	}
	s->env = env;
	s->events = events;
	s->arg = arg;
	s->timer = timer;
	list_init(&s->units);
	uv_timer_init(env->loop, timer);
	timer->data = s;
	for (size_t i = 0; i < count; i++)
		s->has[roles[i]] = roles_get(roles[i]) != NULL;
	env->spawned = unit_was_spawned;
	env->ready = unit_is_ready;
	env->ended = unit_has_ended;
	env->arg = s;
	return s;
}

static void
timer_closed(uv_handle_t *handle)
{
	mem_free(handle);
}

void
supervise_free(struct supervise *s)
{
	if (!s)
		return;
	assert(list_empty(&s->units));
	uv_timer_stop(s->timer);
	uv_close((uv_handle_t *)s->timer, timer_closed);
	mem_free(s);
}
