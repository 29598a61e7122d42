/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One replica's life, one small function per state. Each looks at the whole event and says where to
 * go next; lifecycle_step() repeats until nothing moves, so that a late event may lead over several
 * states at once (created, running, ready).
 *
 * Rules: an attempt that was asked for is never asked for again; results of another attempt or of
 * another process of the same attempt (after a reboot) do not count; a row that is absent means
 * something only when the runtime's tables were read.
 */
#include "scheduler/lifecycle.h"

#include <assert.h>
#include <string.h>

#define SECOND_NS 1000000000ull

static const uint64_t WINDOW_NS = 300 * SECOND_NS;
static const uint64_t LOOP_NS = 30 * SECOND_NS;
static const uint64_t BACKOFF_MAX_NS = 60 * SECOND_NS;

static void
note(struct lifecycle_notes *notes, enum lifecycle_note what)
{
	if (notes->count < LIFECYCLE_NOTES_MAX)
		notes->items[notes->count++] = what;
}

void
lifecycle_init(struct lifecycle *l, const struct lifecycle_policy *policy)
{
	memset(l, 0, sizeof(*l));
	l->policy = *policy;
	l->state = MSG_REPLICA_PENDING;
}

void
lifecycle_restore(struct lifecycle *l, uint32_t desired, uint32_t attempt, uint32_t ready_attempt,
		  int64_t ready_started_wall_ns, uint32_t restarts)
{
	l->attempt = attempt;
	l->ready_attempt = ready_attempt;
	l->ready_started_wall_ns = ready_started_wall_ns;
	l->restarts = restarts;
	switch (desired) {
	case MSG_RUN:
	case MSG_HOLD:
		l->order = LIFECYCLE_RUN;
		l->hold = desired == MSG_HOLD;
		l->state = attempt ? MSG_REPLICA_CREATING : MSG_REPLICA_PENDING;
		break;
	case MSG_STOP:
		l->order = LIFECYCLE_STOP;
		l->state = attempt ? MSG_REPLICA_STOPPING : MSG_REPLICA_STOPPED;
		break;
	default:
		l->order = LIFECYCLE_REMOVE;
		l->state = MSG_REPLICA_STOPPING;
		break;
	}
}

/* ---- ends and new tries ---- */

static void
try_again(struct lifecycle *l, struct lifecycle_notes *notes)
{
	l->attempt++;
	l->state = MSG_REPLICA_CREATING;
	l->due_ns = 0;
	l->started_wall_ns = 0;
	note(notes, LIFECYCLE_CREATED);
}

static void
back_off(struct lifecycle *l, uint64_t now, uint64_t wait, struct lifecycle_notes *notes)
{
	l->state = MSG_REPLICA_BACKOFF;
	l->due_ns = now + wait;
	note(notes, l->crash_loop ? LIFECYCLE_CRASH_LOOPS : LIFECYCLE_BACKED_OFF);
}

static uint64_t
doubled(uint32_t times)
{
	uint64_t wait = times < 6 ? SECOND_NS << times : BACKOFF_MAX_NS;

	return wait < BACKOFF_MAX_NS ? wait : BACKOFF_MAX_NS;
}

/* Ends within the window before now, the new one not counted; it takes the oldest one's place. */
static unsigned
count_end(struct lifecycle *l, uint64_t now)
{
	unsigned recent = 0, oldest = 0;

	for (unsigned i = 0; i < LIFECYCLE_LOOP; i++) {
		if (l->ends[i] && now - l->ends[i] < WINDOW_NS)
			recent++;
		if (l->ends[i] < l->ends[oldest])
			oldest = i;
	}
	l->ends[oldest] = now ? now : 1;
	return recent;
}

static void
give_up(struct lifecycle *l, struct lifecycle_notes *notes)
{
	l->state = MSG_REPLICA_FAILED;
	l->due_ns = 0;
	note(notes, LIFECYCLE_GAVE_UP);
}

static void
isolate(struct lifecycle *l, struct lifecycle_notes *notes)
{
	l->attempt++;
	l->hold = true;
	l->state = MSG_REPLICA_CREATING;
	l->due_ns = 0;
	l->started_wall_ns = 0;
	l->crash_loop = false;
	l->init_failing = false;
	note(notes, LIFECYCLE_ISOLATED);
}

static void
exited(struct lifecycle *l, bool lease_over, uint64_t now, struct lifecycle_notes *notes)
{
	/* What holds a place has no business to end: again, though not in a hurry. */
	if (l->hold) {
		back_off(l, now, SECOND_NS, notes);
		return;
	}
	note(notes, LIFECYCLE_EXITED);
	l->start_failures = 0;
	if (l->policy.job) {
		l->order = LIFECYCLE_STOP;
		l->state = MSG_REPLICA_STOPPED;
		l->due_ns = 0;
		return;
	}
	/* Nothing is wrong with it: it goes on as soon as it may. */
	if (lease_over) {
		try_again(l, notes);
		return;
	}
	if (l->policy.panic == LIFECYCLE_ISOLATE) {
		isolate(l, notes);
		return;
	}
	if (l->policy.panic != LIFECYCLE_RESTART) {
		give_up(l, notes);
		return;
	}
	unsigned recent = count_end(l, now);
	l->restarts++;
	l->crash_loop = recent >= LIFECYCLE_LOOP;
	if (recent < LIFECYCLE_AT_ONCE)
		try_again(l, notes);
	else if (l->crash_loop)
		back_off(l, now, LOOP_NS, notes);
	else
		back_off(l, now, doubled(recent - LIFECYCLE_AT_ONCE), notes);
}

/* errors.on_init_failure; true when that was all. */
static bool
init_failed(struct lifecycle *l, struct lifecycle_notes *notes)
{
	l->init_failing = true;
	switch (l->policy.init) {
	case LIFECYCLE_INIT_BACKOFF:
		return false;
	case LIFECYCLE_INIT_RESTART:
		if (l->start_failures++ < LIFECYCLE_AT_ONCE) {
			l->restarts++;
			try_again(l, notes);
			return true;
		}
		break;
	case LIFECYCLE_INIT_FAIL:
		break;
	}
	l->init_failing = false;
	give_up(l, notes);
	return true;
}

static void
start_failed(struct lifecycle *l, bool init, uint64_t now, struct lifecycle_notes *notes)
{
	note(notes, LIFECYCLE_START_FAILED);
	l->crash_loop = false;
	l->init_failing = false;
	if (init && init_failed(l, notes))
		return;
	if (l->policy.job && !init) {
		give_up(l, notes);
		return;
	}
	back_off(l, now, doubled(l->start_failures), notes);
	if (l->start_failures < 16)
		l->start_failures++;
}

/* ---- the states ---- */

static bool
is_ours(const struct lifecycle *l, const struct lifecycle_event *e)
{
	return e->container && e->attempt == l->attempt;
}

/* The process this core believes in has ended, or never began: true when that was dealt with. */
static bool
ended(struct lifecycle *l, const struct lifecycle_event *e, struct lifecycle_notes *notes)
{
	if (!is_ours(l, e))
		return false;
	if (e->container == MSG_CONTAINER_EXITED) {
		exited(l, e->lease_over, e->now_ns, notes);
		return true;
	}
	if (e->container == MSG_CONTAINER_FAILED) {
		start_failed(l, e->init_failed, e->now_ns, notes);
		return true;
	}
	return false;
}

static void
ready(struct lifecycle *l, struct lifecycle_notes *notes)
{
	l->state = MSG_REPLICA_READY;
	l->ready_attempt = l->attempt;
	l->ready_started_wall_ns = l->started_wall_ns;
	l->start_failures = 0;
	l->init_failing = false;
	l->due_ns = 0;
	note(notes, LIFECYCLE_READY);
}

static void
creating(struct lifecycle *l, const struct lifecycle_event *e, struct lifecycle_notes *notes)
{
	/* The store may be behind: what runs was asked for by somebody with this store. */
	if (e->container && e->attempt > l->attempt) {
		l->attempt = e->attempt;
		l->hold = e->hold;
	}
	if (ended(l, e, notes) || !is_ours(l, e) || e->container != MSG_CONTAINER_RUNNING)
		return;
	l->started_wall_ns = e->started_wall_ns;
	l->started_ns = e->now_ns;
	if (l->hold) {
		l->state = MSG_REPLICA_ISOLATED;
		l->start_failures = 0;
		return;
	}
	if (l->ready_attempt == l->attempt && l->ready_started_wall_ns == e->started_wall_ns) {
		/* Passed its gate before the scheduler was restarted. */
		l->state = MSG_REPLICA_READY;
		return;
	}
	l->state = MSG_REPLICA_STARTING;
	note(notes, LIFECYCLE_STARTED);
}

/* Another process runs under the same attempt: the machine was restarted. */
static bool
replaced(struct lifecycle *l, const struct lifecycle_event *e)
{
	if (!is_ours(l, e) ||
	    (e->container == MSG_CONTAINER_RUNNING && e->started_wall_ns == l->started_wall_ns))
		return false;
	if (e->container != MSG_CONTAINER_RUNNING && e->container != MSG_CONTAINER_PREPARING)
		return false;
	l->state = MSG_REPLICA_CREATING;
	l->started_wall_ns = 0;
	l->due_ns = 0;
	return true;
}

static void
starting(struct lifecycle *l, const struct lifecycle_event *e, struct lifecycle_notes *notes)
{
	uint64_t up = l->started_ns + l->policy.stay_up_ns;
	uint64_t late = l->started_ns + l->policy.grace_ns + l->policy.patience_ns;
	bool answers = is_ours(l, e) && e->passed >= e->checks;

	if (ended(l, e, notes) || l->policy.job || replaced(l, e))
		return;
	if (l->policy.weak && !l->ready_attempt && e->now_ns < up) {
		l->due_ns = up;
		return;
	}
	if (answers) {
		ready(l, notes);
	} else if (e->now_ns >= late) {
		l->state = MSG_REPLICA_UNHEALTHY;
		l->due_ns = 0;
		note(notes, LIFECYCLE_UNHEALTHY);
	} else {
		l->due_ns = late;
	}
}

static void
is_ready(struct lifecycle *l, const struct lifecycle_event *e, struct lifecycle_notes *notes)
{
	if (ended(l, e, notes) || replaced(l, e))
		return;
	if (!is_ours(l, e) || e->failed_max < l->policy.retries || !e->checks)
		return;
	if (e->now_ns < l->started_ns + l->policy.grace_ns) {
		l->due_ns = l->started_ns + l->policy.grace_ns;
		return;
	}
	l->state = MSG_REPLICA_UNHEALTHY;
	note(notes, LIFECYCLE_UNHEALTHY);
}

static void
unhealthy(struct lifecycle *l, const struct lifecycle_event *e, struct lifecycle_notes *notes)
{
	if (ended(l, e, notes) || replaced(l, e))
		return;
	if (is_ours(l, e) && e->passed >= e->checks && e->failed_max < l->policy.retries)
		ready(l, notes);
}

static void
isolated(struct lifecycle *l, const struct lifecycle_event *e, struct lifecycle_notes *notes)
{
	if (!ended(l, e, notes))
		(void)replaced(l, e);
}

static void
draining(struct lifecycle *l, const struct lifecycle_event *e, struct lifecycle_notes *notes)
{
	uint64_t limit = l->drain_ns + l->policy.drain_max_ns;
	bool dead = is_ours(l, e) && e->container != MSG_CONTAINER_RUNNING;

	if (!e->drained && !dead && e->now_ns < limit) {
		l->due_ns = limit;
		return;
	}
	l->state = MSG_REPLICA_STOPPING;
	l->due_ns = 0;
	note(notes, LIFECYCLE_STOPS);
}

static void
stopping(struct lifecycle *l, const struct lifecycle_event *e, struct lifecycle_notes *notes)
{
	bool nothing = e->runtime_known && !e->container;
	bool ended_now =
		e->container == MSG_CONTAINER_EXITED || e->container == MSG_CONTAINER_FAILED;

	if (l->order == LIFECYCLE_REMOVE && nothing) {
		l->state = MSG_REPLICA_STOPPED;
		l->gone = true;
		note(notes, LIFECYCLE_GONE);
	} else if (l->order == LIFECYCLE_STOP && (nothing || ended_now)) {
		l->state = MSG_REPLICA_STOPPED;
		note(notes, LIFECYCLE_STOPPED);
	}
}

static void
backoff(struct lifecycle *l, const struct lifecycle_event *e, struct lifecycle_notes *notes)
{
	if (e->now_ns >= l->due_ns)
		try_again(l, notes);
}

/* ---- orders ---- */

static void
order_run(struct lifecycle *l, struct lifecycle_notes *notes)
{
	switch (l->state) {
	case MSG_REPLICA_PENDING:
	case MSG_REPLICA_STOPPED:
	case MSG_REPLICA_FAILED:
	case MSG_REPLICA_STOPPING:
		memset(l->ends, 0, sizeof(l->ends));
		l->start_failures = 0;
		l->init_failing = false;
		l->crash_loop = false;
		l->hold = false;
		try_again(l, notes);
		break;
	case MSG_REPLICA_DRAINING:
		l->state = MSG_REPLICA_READY;
		l->due_ns = 0;
		note(notes, LIFECYCLE_READY);
		break;
	default:
		break;
	}
}

static void
order_end(struct lifecycle *l, uint64_t now, struct lifecycle_notes *notes)
{
	switch (l->state) {
	case MSG_REPLICA_READY:
		l->state = MSG_REPLICA_DRAINING;
		l->drain_ns = now;
		note(notes, LIFECYCLE_DRAINS);
		break;
	case MSG_REPLICA_DRAINING:
	case MSG_REPLICA_STOPPING:
		break;
	case MSG_REPLICA_STOPPED:
		if (l->order == LIFECYCLE_REMOVE)
			l->state = MSG_REPLICA_STOPPING;
		break;
	default:
		l->state = MSG_REPLICA_STOPPING;
		l->due_ns = 0;
		note(notes, LIFECYCLE_STOPS);
		break;
	}
}

static void
take_order(struct lifecycle *l, enum lifecycle_order order, uint64_t now,
	   struct lifecycle_notes *notes)
{
	/* What is being removed cannot come back. */
	if (l->order == order || (l->order == LIFECYCLE_REMOVE && l->state != MSG_REPLICA_DRAINING))
		return;
	l->order = order;
	if (order == LIFECYCLE_RUN)
		order_run(l, notes);
	else
		order_end(l, now, notes);
}

static void
look(struct lifecycle *l, const struct lifecycle_event *e, struct lifecycle_notes *notes)
{
	switch (l->state) {
	case MSG_REPLICA_CREATING:
		creating(l, e, notes);
		break;
	case MSG_REPLICA_STARTING:
		starting(l, e, notes);
		break;
	case MSG_REPLICA_READY:
		is_ready(l, e, notes);
		break;
	case MSG_REPLICA_UNHEALTHY:
		unhealthy(l, e, notes);
		break;
	case MSG_REPLICA_DRAINING:
		draining(l, e, notes);
		break;
	case MSG_REPLICA_STOPPING:
		stopping(l, e, notes);
		break;
	case MSG_REPLICA_BACKOFF:
		backoff(l, e, notes);
		break;
	case MSG_REPLICA_ISOLATED:
		isolated(l, e, notes);
		break;
	case MSG_REPLICA_PENDING:
	case MSG_REPLICA_STOPPED:
	case MSG_REPLICA_FAILED:
		break;
	}
}

void
lifecycle_step(struct lifecycle *l, const struct lifecycle_event *event,
	       struct lifecycle_notes *notes)
{
	if (event->kind == LIFECYCLE_ORDER) {
		take_order(l, event->order, event->now_ns, notes);
		return;
	}
	/* No way through the states is longer than there are states. */
	for (unsigned turn = 0; turn <= MSG_REPLICA_ISOLATED; turn++) {
		enum msg_replica_state before = l->state;

		look(l, event, notes);
		/* A new attempt has not been seen by anybody yet. */
		if (l->state == before || l->state == MSG_REPLICA_CREATING)
			return;
	}
}

/* ---- what to publish ---- */

uint32_t
lifecycle_claim(const struct lifecycle *l)
{
	if (!l->attempt || l->gone)
		return 0;
	switch (l->state) {
	case MSG_REPLICA_PENDING:
		return 0;
	case MSG_REPLICA_STOPPING:
	case MSG_REPLICA_STOPPED:
		return l->order == LIFECYCLE_REMOVE ? MSG_REMOVE : MSG_STOP;
	default:
		return l->hold ? MSG_HOLD : MSG_RUN;
	}
}

uint32_t
lifecycle_balance(const struct lifecycle *l)
{
	switch (l->state) {
	case MSG_REPLICA_READY:
		return MSG_BACKEND_ACTIVE;
	case MSG_REPLICA_DRAINING:
		return MSG_BACKEND_DRAINING;
	default:
		return 0;
	}
}

enum lifecycle_probing
lifecycle_probing(const struct lifecycle *l)
{
	switch (l->state) {
	case MSG_REPLICA_STARTING:
		return l->policy.job ? LIFECYCLE_NO_PROBES : LIFECYCLE_PROBE_FAST;
	case MSG_REPLICA_READY:
	case MSG_REPLICA_UNHEALTHY:
		return LIFECYCLE_PROBE;
	default:
		return LIFECYCLE_NO_PROBES;
	}
}

bool
lifecycle_in_trouble(const struct lifecycle *l)
{
	return (l->state == MSG_REPLICA_BACKOFF && !l->init_failing) ||
	       l->state == MSG_REPLICA_FAILED || l->state == MSG_REPLICA_ISOLATED ||
	       (l->state == MSG_REPLICA_CREATING && l->hold);
}
