/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The observer plays the store, the way to it, and on each node what acts: for a lease something
 * with a dead-man timer on the node's own clock, for a firing a container. Both outlive a crash of
 * the process and not of the machine. The store stands beside node 1: to all others the network is
 * in between; besides, it may be deaf, mute or slow for all, or one node away from it.
 *
 *   two       no two act for a lease at a time, if their clocks go (each less than 1 % wrong)
 *   stale     who acts on since its whole machine stood still has a lower epoch than who has it now
 *   epoch     who has a lease is refused by nobody: its epoch is the greatest that has acted
 *   record    one firing per job and time, in the order of time, at a time of the schedule
 *   judged    not early, caught up as the rule says, passed over only for a reason
 *   overlap   with `forbid` nothing else of the job is recorded as running
 *   start     with skip a firing starts once at most; with retry each try
 *   held      in the end each lease that is wanted is held, by one that wants it
 *   runs      in the end what was recorded has ended; with retry it has run to its end; time is
 *             dealt with as it passes
 *   missed    in a seed without faults all that was recorded has run
 */
#include "tests/sim/profile_lease.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"
#include "tests/sim/lease_store.h"

enum {
	ASK_BYTES = 200,
	STALE_S = 20, /* a firing that has not ended after that is looked at */
	DRAW_STORE = 92,
	DRAW_OBSERVER,
};

#define WALL_S 1790000000
#define NEAR_NS (200 * SIM_MS / 1000)
#define STOP_NS (150 * SIM_MS)
#define RUN_NS (1200 * SIM_MS)
#define DEAD_NS (5 * SIM_S)

enum later { ARRIVES = 1, STOPS, ENDS, DIES, LIVES };

struct monitor {
	bool acts;
	uint64_t stop; /* number of the order that ends it */
	uint64_t epoch;
	uint64_t until_ns; /* local */
	uint64_t stood;    /* how often its machine's clock had, when its lease was asked for */
	uint64_t asked_stood;
};

struct container {
	struct lease_run run;
	uint32_t node;
	bool ended;
	bool lost; /* with its machine; nothing is known of it any more */
};

struct observer {
	struct lease_rules rules;
	struct lease_store store;
	struct draw draw;
	uint32_t nodes;
	struct monitor (*monitors)[LEASE_LEASES]; /* node n at n - 1 */
	bool (*wanted)[LEASE_LEASES];
	bool *dead; /* as the living hold it */
	uint64_t top_epoch[LEASE_LEASES];
	uint32_t top_node[LEASE_LEASES];
	struct container *containers;
	size_t containers_count, containers_room;
	uint64_t deaf_ns, mute_ns, slow_ns; /* until then */
	uint64_t slow_by_ns;                /* mean */
	uint64_t *away_ns;                  /* until then that node does not reach the store */
	uint64_t orders;
};

/* ---- what acts for a lease ---- */

static struct sim_node *
node_of(struct sim *s, uint32_t node)
{
	return &s->nodes[node - 1];
}

static struct monitor *
monitor(struct observer *o, uint32_t node, uint32_t lease)
{
	return &o->monitors[node - 1][lease];
}

static bool
stands_now(struct sim *s, uint32_t node)
{
	return node_of(s, node)->state == SIM_PAUSED && node_of(s, node)->clock_stands;
}

static bool
acts(struct observer *o, struct sim *s, uint32_t node, uint32_t lease)
{
	const struct monitor *m = monitor(o, node, lease);

	return m->acts && !stands_now(s, node) && sim_local_ns(s, node) < m->until_ns;
}

/* Since it was asked for, no time has passed that its clock does not show. */
static bool
is_honest(struct observer *o, struct sim *s, uint32_t node, uint32_t lease)
{
	return monitor(o, node, lease)->stood == node_of(s, node)->stood;
}

static void
compare(struct observer *o, struct sim *s, uint32_t lease, uint32_t node, uint32_t other)
{
	uint64_t mine = monitor(o, node, lease)->epoch, its = monitor(o, other, lease)->epoch;
	bool good = is_honest(o, s, node, lease), its_good = is_honest(o, s, other, lease);

	if (good && its_good)
		sim_fail(s, "two", node, "acts for lease %u in epoch %llu, and so does %u in %llu",
			 lease, (unsigned long long)mine, other, (unsigned long long)its);
	else if (mine == its || (good && its > mine) || (its_good && mine > its))
		sim_fail(s, "stale", node,
			 "acts for lease %u in epoch %llu, %u in %llu: the wrong one is refused",
			 lease, (unsigned long long)mine, other, (unsigned long long)its);
}

static void
hold(struct observer *o, struct sim *s, uint32_t node, const uint8_t *data)
{
	struct lease_hold h;
	struct monitor *m;

	memcpy(&h, data, sizeof(h));
	m = monitor(o, node, h.lease);
	*m = (struct monitor){.acts = true,
			      .epoch = h.epoch,
			      .until_ns = h.until_ns,
			      .stood = m->asked_stood,
			      .asked_stood = m->asked_stood};
	if (!acts(o, s, node, h.lease))
		return;
	for (uint32_t other = 1; other <= o->nodes; other++)
		if (other != node && acts(o, s, other, h.lease))
			compare(o, s, h.lease, node, other);
	if (is_honest(o, s, node, h.lease) &&
	    (h.epoch < o->top_epoch[h.lease] ||
	     (h.epoch == o->top_epoch[h.lease] && o->top_node[h.lease] != node)))
		sim_fail(s, "epoch", node, "holds lease %u in epoch %llu, %u acted in %llu",
			 h.lease, (unsigned long long)h.epoch, o->top_node[h.lease],
			 (unsigned long long)o->top_epoch[h.lease]);
	if (h.epoch > o->top_epoch[h.lease]) {
		o->top_epoch[h.lease] = h.epoch;
		o->top_node[h.lease] = node;
	}
}

/* It takes a moment to stop what acts. */
static void
lose(struct observer *o, struct sim *s, uint32_t node, uint32_t lease)
{
	struct monitor *m = monitor(o, node, lease);
	uint64_t order[2] = {++o->orders, lease};

	m->stop = order[0];
	sim_later(s, draw_wait(&o->draw, STOP_NS), STOPS, node, order, sizeof(order));
}

static void
stop(struct observer *o, struct sim *s, uint32_t node, const uint64_t *order)
{
	uint32_t lease = (uint32_t)order[1];
	struct monitor *m = monitor(o, node, lease);

	if (m->stop != order[0])
		return;
	m->acts = false;
	m->stop = 0;
	if (sim_core(s, node))
		sim_local(s, node, LEASE_STOPPED, lease, NULL, 0);
}

/* ---- the way to the store ---- */

/* UINT64_MAX: it does not come. */
static uint64_t
travel_ns(struct observer *o, struct sim *s, uint32_t from, uint32_t to)
{
	uint64_t at[2] = {s->now_ns + NEAR_NS}, more = 0;

	if (from != to &&
	    (sim_link_is_cut(&s->link, s->now_ns, from - 1, to - 1) ||
	     sim_link_send(&s->link, s->now_ns, from - 1, to - 1, ASK_BYTES, at) == 0))
		return UINT64_MAX;
	if (s->now_ns < o->slow_ns && !s->healed)
		more = draw_wait(&o->draw, o->slow_by_ns);
	return at[0] - s->now_ns + more;
}

static void
ask(struct observer *o, struct sim *s, uint32_t node, const uint8_t *data)
{
	uint64_t way = travel_ns(o, s, node, 1);
	struct lease_ask a;

	memcpy(&a, data, sizeof(a));
	if (s->now_ns < o->away_ns[node - 1] && !s->healed)
		way = UINT64_MAX;
	if (a.verb == LEASE_TAKE || a.verb == LEASE_KEEP)
		monitor(o, node, a.thing)->asked_stood = node_of(s, node)->stood;
	if (way != UINT64_MAX && (s->now_ns >= o->deaf_ns || s->healed))
		sim_later(s, way, ARRIVES, node, &a, sizeof(a));
}

/* ---- rules of what is recorded ---- */

static uint32_t
due_between(const struct cron *schedule, int64_t after, int64_t until, uint32_t most)
{
	uint32_t count = 0;
	int64_t at = after;

	while (count < most && cron_next(schedule, at, &at) && at <= until)
		count++;
	return count;
}

static void
check_judged(struct sim *s, const struct lease_job *j, const struct lease_ask *a, int64_t mark_s)
{
	bool late = a->wall_s - a->at_s > FIRING_GRACE_S;
	const char *wrong = NULL;

	if (a->at_s > a->wall_s)
		wrong = "before its time";
	else if (a->fire && j->catch_up == FIRING_NONE && late)
		wrong = "too late, and nothing is caught up";
	else if (a->fire && j->catch_up != FIRING_ALL &&
		 due_between(&j->schedule, a->at_s, a->wall_s, 1) > 0)
		wrong = "though a later one is due";
	else if (j->catch_up == FIRING_ALL &&
		 due_between(&j->schedule, mark_s, a->at_s - 1, 1) > 0 &&
		 due_between(&j->schedule, a->at_s, a->wall_s, FIRING_CATCH_UP_MAX - 1) <
			 FIRING_CATCH_UP_MAX - 1)
		wrong = "though an earlier one is due";
	else if (!a->fire && a->reason == FIRING_MISSED && !late)
		wrong = "as missed, and it is not";
	if (wrong)
		sim_fail(s, "judged", a->node, "%s time %lld of job %u at %lld: %s",
			 a->fire ? "fires" : "passes over", (long long)a->at_s, a->thing,
			 (long long)a->wall_s, wrong);
}

static void
check_mark(struct observer *o, struct sim *s, const struct lease_ask *a)
{
	const struct lease_job *j = &o->rules.jobs[a->thing];
	int64_t mark_s = o->store.jobs[a->thing].mark_s;
	size_t open = lease_store_open(&o->store, a->thing);

	if (a->at_s <= mark_s || !cron_matches(&j->schedule, a->at_s) ||
	    (a->fire && lease_store_firing(&o->store, a->thing, a->at_s)))
		sim_fail(s, "record", a->node, "deals with time %lld of job %u; %lld was the last",
			 (long long)a->at_s, a->thing, (long long)mark_s);
	check_judged(s, j, a, mark_s);
	if (j->overlap == FIRING_FORBID && a->fire && open > 0)
		sim_fail(s, "overlap", a->node, "fires job %u while %zu of it run", a->thing, open);
	if (!a->fire && a->reason == FIRING_OVERLAPS && open == 0)
		sim_fail(s, "judged", a->node, "passes over a time of job %u, and none runs",
			 a->thing);
}

static void
arrive(struct observer *o, struct sim *s, uint32_t node, const struct lease_ask *a)
{
	struct lease_answer answer;
	uint64_t way;
	size_t bytes;

	if (a->verb == LEASE_MARK && a->version == o->store.jobs[a->thing].version)
		check_mark(o, s, a);
	if (s->failure.failed)
		return;
	bytes = lease_store_do(&o->store, s->now_ns, a, &answer);
	way = travel_ns(o, s, 1, node);
	if (way != UINT64_MAX && (s->now_ns >= o->mute_ns || s->healed))
		sim_local_in(s, node, way, LEASE_ANSWER, 0, &answer, bytes);
}

/* ---- containers ---- */

static void
check_start(struct observer *o, struct sim *s, uint32_t node, const struct lease_run *run)
{
	struct lease_firing *f = lease_store_firing(&o->store, run->job, run->at_s);
	bool again = false;

	for (size_t i = 0; i < o->containers_count; i++)
		again |= memcmp(&o->containers[i].run, run, sizeof(*run)) == 0;
	if (!f || run->tries > f->tries)
		sim_fail(s, "start", node, "starts try %u of job %u at %lld, which nobody recorded",
			 run->tries, run->job, (long long)run->at_s);
	else if (again || (f->starts > 0 && !o->rules.jobs[run->job].retry))
		sim_fail(s, "start", node, "starts try %u of job %u at %lld again", run->tries,
			 run->job, (long long)run->at_s);
	else
		f->starts++;
}

static void
start_run(struct observer *o, struct sim *s, uint32_t node, const uint8_t *data)
{
	struct lease_run run;
	uint64_t index = o->containers_count;

	memcpy(&run, data, sizeof(run));
	check_start(o, s, node, &run);
	if (o->containers_count == o->containers_room) {
		o->containers_room = o->containers_room ? 2 * o->containers_room : 64;
		o->containers = mem_resize(MEM_BASE, o->containers, o->containers_room,
					   sizeof(o->containers[0]));
		assert(o->containers);
	}
	o->containers[o->containers_count++] = (struct container){.run = run, .node = node};
	sim_later(s, 20 * SIM_MS + draw_wait(&o->draw, RUN_NS), ENDS, index, NULL, 0);
}

static void
end_run(struct observer *o, struct sim *s, uint64_t index)
{
	struct container *c = &o->containers[index];

	if (c->lost)
		return;
	c->ended = true;
	if (sim_core(s, c->node))
		sim_local(s, c->node, LEASE_ENDED, 0, &c->run, sizeof(c->run));
}

static bool
is_open(struct observer *o, const struct lease_run *run)
{
	const struct lease_firing *f = lease_store_firing(&o->store, run->job, run->at_s);

	return f && !f->over && f->tries == run->tries;
}

/* What the runtime finds when its node's process starts again. */
static void
say_what_runs(struct observer *o, struct sim *s, uint32_t node)
{
	for (uint32_t lease = 0; lease < LEASE_LEASES; lease++) {
		const struct monitor *m = monitor(o, node, lease);
		const struct lease_hold hold = {m->epoch, m->until_ns, lease, 0};

		if (m->acts)
			sim_local(s, node, LEASE_ACTS, 0, &hold, sizeof(hold));
	}
	for (size_t i = 0; i < o->containers_count; i++) {
		const struct container *c = &o->containers[i];

		if (c->node == node && !c->lost && is_open(o, &c->run))
			sim_local(s, node, c->ended ? LEASE_ENDED : LEASE_RUNNING, 0, &c->run,
				  sizeof(c->run));
	}
	sim_local(s, node, LEASE_BOOTED, 0, NULL, 0);
}

static void
lose_machine(struct observer *o, uint32_t node)
{
	for (uint32_t lease = 0; lease < LEASE_LEASES; lease++)
		monitor(o, node, lease)->acts = false;
	for (size_t i = 0; i < o->containers_count; i++)
		if (o->containers[i].node == node)
			o->containers[i].lost = true;
}

/* ---- who lives ---- */

static void
say_peer(struct sim *s, uint32_t to, uint32_t node, bool dead)
{
	const uint8_t word = dead;

	if (to != node && sim_core(s, to))
		sim_local(s, to, LEASE_PEER, node, &word, 1);
}

static void
say_dead(struct observer *o, struct sim *s, uint32_t node, bool dead)
{
	o->dead[node - 1] = dead;
	for (uint32_t to = 1; to <= o->nodes; to++)
		say_peer(s, to, node, dead);
}

static void
say_want(struct observer *o, struct sim *s, uint32_t node, uint32_t lease)
{
	const uint8_t want = o->wanted[node - 1][lease];

	sim_local(s, node, LEASE_WANT, lease, &want, 1);
}

static void
turned(void *observer, struct sim *s, uint32_t node, bool up)
{
	struct observer *o = observer;

	if (!up) {
		if (node_of(s, node)->power)
			lose_machine(o, node);
		sim_later(s, draw_between(&o->draw, DEAD_NS / 2, 2 * DEAD_NS), DIES, node,
			  &node_of(s, node)->boot, sizeof(uint64_t));
		return;
	}
	if (o->dead[node - 1])
		say_dead(o, s, node, false);
	for (uint32_t other = 1; other <= o->nodes; other++)
		say_peer(s, node, other, o->dead[other - 1]);
	for (uint32_t lease = 0; lease < LEASE_LEASES; lease++)
		say_want(o, s, node, lease);
	say_what_runs(o, s, node);
}

static void
later(void *observer, struct sim *s, uint16_t what, uint64_t number, const void *data)
{
	struct observer *o = observer;
	uint32_t node = (uint32_t)number;
	uint64_t words[2] = {0};
	struct lease_ask a;

	switch ((enum later)what) {
	case ARRIVES:
		memcpy(&a, data, sizeof(a));
		arrive(o, s, node, &a);
		break;
	case STOPS:
		memcpy(words, data, sizeof(words));
		stop(o, s, node, words);
		break;
	case ENDS:
		end_run(o, s, number);
		break;
	case DIES:
		memcpy(words, data, sizeof(words[0]));
		if (!sim_core(s, node) && node_of(s, node)->boot == words[0])
			say_dead(o, s, node, true);
		break;
	case LIVES:
		if (sim_core(s, node))
			say_dead(o, s, node, false);
		break;
	}
}

/* ---- acts ---- */

static void
do_act(void *observer, struct sim *s, uint32_t node, uint64_t number)
{
	struct observer *o = observer;
	struct draw d = draw_of(number, 1);
	uint32_t lease = (uint32_t)draw_below(&d, LEASE_LEASES);
	uint64_t until = s->now_ns + draw_scale(&d, 500 * SIM_MS, 20 * SIM_S);

	switch (draw_below(&d, s->plan->quiet ? 3 : 9)) {
	case 3:
		o->deaf_ns = until;
		break;
	case 4:
		o->mute_ns = until;
		break;
	case 5:
		o->slow_ns = until;
		o->slow_by_ns = draw_scale(&d, 50 * SIM_MS, 5 * SIM_S);
		break;
	case 6: /* held dead by the others, who cannot know better */
		say_dead(o, s, node, true);
		sim_later(s, until - s->now_ns, LIVES, node, NULL, 0);
		break;
	case 7:
	case 8: /* who holds a lease, most of the time */
		node = draw_below(&d, 4) && o->top_node[lease] ? o->top_node[lease] : node;
		o->away_ns[node - 1] = until + 2 * o->rules.ttl_ms * SIM_MS;
		break;
	default:
		o->wanted[node - 1][lease] = !o->wanted[node - 1][lease];
		say_want(o, s, node, lease);
	}
}

static void
told(void *observer, struct sim *s, uint32_t node, const struct step_action *a, const uint8_t *data)
{
	struct observer *o = observer;

	switch ((enum lease_word)a->what) {
	case LEASE_ASK:
		ask(o, s, node, data);
		break;
	case LEASE_HOLD:
		hold(o, s, node, data);
		break;
	case LEASE_LOSE:
		lose(o, s, node, (uint32_t)a->token);
		break;
	case LEASE_RUN:
		start_run(o, s, node, data);
		break;
	default:
		assert(!"a word of the observer's own");
	}
}

/* ---- in the end ---- */

static bool
lease_held(void *observer, struct sim *s, char *why, size_t cap)
{
	struct observer *o = observer;

	for (uint32_t lease = 0; lease < LEASE_LEASES; lease++) {
		unsigned wanting = 0, acting = 0, unwanted = 0;

		for (uint32_t node = 1; node <= o->nodes; node++) {
			bool want = sim_core(s, node) && o->wanted[node - 1][lease];

			wanting += want;
			acting += acts(o, s, node, lease);
			unwanted += acts(o, s, node, lease) && !want;
		}
		snprintf(why, cap, "lease %u: %u want it, %u act for it, %u of them do not want it",
			 lease, wanting, acting, unwanted);
		if (acting != (wanting > 0) || unwanted)
			return false;
	}
	return true;
}

static bool
walls_are_right(const struct sim *s)
{
	for (size_t i = 0; i < s->plan->item_count; i++)
		if (s->plan->items[i].kind == PLAN_WALL && !s->plan->items[i].dropped)
			return false;
	return true;
}

static bool
firing_settled(struct observer *o, struct sim *s, uint32_t job, const struct lease_firing *f)
{
	bool retry = o->rules.jobs[job].retry;
	bool away = node_of(s, f->node)->back_at_ns == PLAN_FOR_EVER && !sim_core(s, f->node);

	if (s->now_ns - f->recorded_ns < STALE_S * SIM_S)
		return true;
	/* Nobody can know what became of it. */
	if (!retry && away)
		return true;
	return f->over && (!retry || (f->well && f->starts > 0));
}

static bool
somebody_judges(struct observer *o, struct sim *s)
{
	for (uint32_t node = 1; node <= o->nodes && !o->rules.all_judge; node++)
		if (sim_core(s, node) && o->wanted[node - 1][LEASE_CRON])
			return true;
	return o->rules.all_judge;
}

static bool
runs_settled(void *observer, struct sim *s, char *why, size_t cap)
{
	struct observer *o = observer;
	int64_t wall_s = WALL_S + (int64_t)(s->now_ns / SIM_S);

	if (!somebody_judges(o, s))
		return true;
	for (uint32_t job = 0; job < LEASE_JOBS; job++) {
		const struct lease_store_job *j = &o->store.jobs[job];

		for (size_t i = 0; i < j->count; i++) {
			const struct lease_firing *f = &j->firings[i];

			if (firing_settled(o, s, job, f))
				continue;
			snprintf(why, cap, "job %u at %lld on %u: try %u, %u starts, %s", job,
				 (long long)f->at_s, f->node, f->tries, f->starts,
				 f->over ? "lost" : "not over");
			return false;
		}
		snprintf(why, cap, "job %u: %lld was dealt with last, it is %lld", job,
			 (long long)j->mark_s, (long long)wall_s);
		if (walls_are_right(s) && j->mark_s + STALE_S + 20 < wall_s)
			return false;
	}
	return true;
}

static void
all_ran(void *observer, struct sim *s)
{
	struct observer *o = observer;

	for (uint32_t job = 0; job < LEASE_JOBS && s->plan->quiet; job++) {
		const struct lease_store_job *j = &o->store.jobs[job];

		for (size_t i = 0; i < j->count; i++)
			if (s->now_ns - j->firings[i].recorded_ns > STALE_S * SIM_S &&
			    j->firings[i].starts != 1)
				sim_fail(s, "missed", j->firings[i].node,
					 "started job %u at %lld %u times", job,
					 (long long)j->firings[i].at_s, j->firings[i].starts);
	}
}

/* ---- */

static void *
observer_new(struct sim *s)
{
	struct observer *o = mem_zalloc(MEM_BASE, sizeof(*o));
	struct draw d = draw_of(s->plan->seed, DRAW_STORE);
	int32_t rate;

	assert(o);
	o->nodes = s->plan->nodes;
	o->draw = draw_of(s->plan->seed, DRAW_OBSERVER);
	o->monitors = mem_array(MEM_BASE, o->nodes, sizeof(o->monitors[0]));
	o->wanted = mem_array(MEM_BASE, o->nodes, sizeof(o->wanted[0]));
	o->dead = mem_array(MEM_BASE, o->nodes, sizeof(o->dead[0]));
	o->away_ns = mem_array(MEM_BASE, o->nodes, sizeof(o->away_ns[0]));
	assert(o->monitors && o->wanted && o->dead && o->away_ns);
	for (uint32_t n = 0; n < o->nodes; n++)
		for (uint32_t lease = 0; lease < LEASE_LEASES; lease++)
			o->wanted[n][lease] = draw_below(&d, 4) > 0;
	rate = (int32_t)draw_below(&d, 2ull * s->plan->rate_max_ppb + 1) -
	       (int32_t)s->plan->rate_max_ppb;
	lease_rules_draw(&o->rules, s->plan->seed);
	lease_store_init(&o->store, &o->rules, rate, WALL_S);
	return o;
}

static void
observer_free(void *observer)
{
	struct observer *o = observer;

	lease_store_fini(&o->store);
	mem_free(o->monitors);
	mem_free(o->wanted);
	mem_free(o->dead);
	mem_free(o->away_ns);
	mem_free(o->containers);
	mem_free(o);
}

const struct sim_profile *
profile_lease(void)
{
	static const struct sim_check checks[] = {
		{.name = "held", .settled = lease_held},
		{.name = "runs", .settled = runs_settled, .end = all_ran},
	};
	static const struct sim_profile profile = {
		.name = "lease",
		.core = &lease_core_calls,
		.wish = {.nodes_max = 16,
			 .acts_per_minute = 24,
			 .bound_ns = 120 * SIM_S,
			 .disk = true,
			 .wire_low = 1,
			 .wire_high = 1},
		.observer_new = observer_new,
		.observer_free = observer_free,
		.act = do_act,
		.turned = turned,
		.told = told,
		.later = later,
		.checks = checks,
		.check_count = sizeof(checks) / sizeof(checks[0]),
	};

	return &profile;
}
