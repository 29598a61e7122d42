/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roll-outs in a world where replicas fail, recover and vanish at random, and the scheduler forgets
 * all it kept in memory. At every step:
 *  - never more replicas of a service than max(want, had) + surge;
 *  - with start-first and no unavailability allowed, a ready old replica never leaves before as
 *    many as before are ready without it.
 * When faults stop, it comes to an end: exactly the replicas of the target, or of the previous.
 * Then some of them are not to stay where they are (misfits): they are replaced, and no service
 * ever has fewer ready than its rules say.
 */
#include "scheduler/rollout.h"
#include "tests/support/prop.h"
#include "tests/support/rollout_world.h"

enum { A = 1, B = 2, RUNS = 3000, STEPS = 60 };

struct guard {
	uint32_t ready[WORLD_SERVICES]; /* not leaving, before the step */
};

static uint32_t
count(const struct rollout_world *w, uint32_t service, bool ready_only)
{
	uint32_t n = 0;

	for (size_t i = 0; i < WORLD_REPLICAS; i++) {
		const struct world_replica *p = &w->replicas[i];

		n += p->used && p->service == service && (!ready_only || (p->ready && !p->leaving));
	}
	return n;
}

static void
check_limits(const struct rollout_world *w)
{
	for (uint32_t i = 0; i < w->services_count; i++)
		prop_check(count(w, i, false) <= rollout_limit(&w->services[i]));
}

static void
check_floor(const struct rollout_world *w, const struct guard *before, enum rollout_phase phase)
{
	for (uint32_t i = 0; i < w->services_count; i++) {
		const struct rollout_service *s = &w->services[i];
		uint32_t now = count(w, i, true);

		if (s->stop_first || s->unavailable || now >= before->ready[i])
			continue;
		/* Something ready was told to leave. */
		if (phase == ROLLOUT_FORWARD)
			prop_check(now >= (s->had < before->ready[i] ? s->had : before->ready[i]));
		if (phase == ROLLOUT_IDLE || phase == ROLLOUT_COMMITTED)
			prop_check(now >= s->want);
	}
}

static void
step(struct rollout_world *w)
{
	static struct rollout_replica list[WORLD_REPLICAS];
	struct rollout_actions actions;
	struct rollout_view view;

	for (int turn = 0; turn < 200; turn++) {
		enum rollout_phase phase = w->r.phase;
		struct guard g;

		for (uint32_t i = 0; i < w->services_count; i++)
			g.ready[i] = count(w, i, true);
		world_view(w, list, &view);
		rollout_step(&w->r, &view, &actions);
		for (size_t i = 0; i < actions.count; i++)
			world_do(w, &actions.items[i]);
		w->trace[0] = 0;
		check_limits(w);
		check_floor(w, &g, phase);
		if (!actions.count)
			return;
	}
	prop_check(!"it comes to rest");
}

static void
fault(struct rollout_world *w, struct prop *p)
{
	struct world_replica *r = &w->replicas[prop_below(p, WORLD_REPLICAS)];

	if (!r->used)
		return;
	switch (prop_below(p, 7)) {
	case 0:
		r->ready = false;
		r->trouble = !r->leaving;
		break;
	case 1:
		r->ready = false;
		r->draining = false;
		break;
	case 2:
		r->used = false;
		break;
	default:
		if (!r->leaving)
			world_make_ready(w, r);
		break;
	}
	if (r->leaving && prop_below(p, 2))
		r->used = false;
}

static void
begin(struct rollout_world *w, struct prop *p)
{
	memset(w, 0, sizeof(*w));
	w->now_ns = 1000 * WORLD_S;
	w->services_count = 1 + prop_below(p, WORLD_SERVICES);
	for (uint32_t i = 0; i < w->services_count; i++) {
		static const char *const names[] = {"a", "b", "c", "d"};
		bool unchanged = prop_below(p, 4) == 0;

		w->names[i] = names[i];
		w->services[i] = (struct rollout_service){
			.want = (uint32_t)prop_below(p, 5),
			.had = (uint32_t)prop_below(p, 5),
			.surge = (uint32_t)prop_below(p, 3),
			.unavailable = prop_below(p, 4) == 0,
			.stop_first = prop_below(p, 5) == 0,
			.monitor_ns = 5 * WORLD_S,
			.ready_max_ns = 20 * WORLD_S,
		};
		w->target[i] = w->services[i].want ? (unchanged ? A : B) : 0;
		w->previous[i] = w->services[i].had ? A : 0;
		for (uint32_t n = 1; n <= w->services[i].had; n++)
			world_make_ready(w, world_add(w, i, n, A));
	}
	rollout_init(&w->r, ROLLOUT_FORWARD, false, w->now_ns);
}

/* All that is left becomes ready, all that leaves goes. */
static void
calm(struct rollout_world *w)
{
	for (int i = 0; i < 200; i++) {
		for (size_t k = 0; k < WORLD_REPLICAS; k++) {
			struct world_replica *r = &w->replicas[k];

			if (r->used && !r->leaving && !r->ready)
				world_make_ready(w, r);
		}
		world_reap(w);
		step(w);
		w->now_ns += WORLD_S;
	}
}

static void
check_end(const struct rollout_world *w)
{
	prop_check(w->r.phase == ROLLOUT_IDLE);
	for (uint32_t i = 0; i < w->services_count; i++) {
		prop_check(w->services[i].want == w->services[i].had);
		prop_check(count(w, i, false) == w->services[i].want);
		prop_check(count(w, i, true) == w->services[i].want);
	}
	for (size_t k = 0; k < WORLD_REPLICAS; k++) {
		const struct world_replica *r = &w->replicas[k];

		prop_check(!r->used || r->make == w->target[r->service]);
	}
}

/* ---- at rest: nodes are drained, and come back ---- */

static uint32_t
misfits(const struct rollout_world *w)
{
	uint32_t n = 0;

	for (size_t k = 0; k < WORLD_REPLICAS; k++)
		n += w->replicas[k].used && w->replicas[k].misfit;
	return n;
}

static void
check_budget(const struct rollout_world *w)
{
	for (uint32_t i = 0; i < w->services_count; i++) {
		const struct rollout_service *s = &w->services[i];
		uint32_t less = s->stop_first && !s->unavailable ? 1 : s->unavailable;

		prop_check(count(w, i, true) + less >= s->want);
		prop_check(count(w, i, false) <= rollout_limit(s));
	}
}

static void
move(struct rollout_world *w, struct prop *p)
{
	for (uint32_t i = 0; i < w->services_count; i++)
		w->services[i].room = true;
	for (size_t k = 0; k < WORLD_REPLICAS; k++)
		w->replicas[k].misfit = w->replicas[k].used && prop_below(p, 2);
	for (int i = 0; i < 400; i++) {
		for (size_t k = 0; k < WORLD_REPLICAS; k++) {
			struct world_replica *r = &w->replicas[k];

			if (r->used && r->leaving && prop_below(p, 2))
				r->used = false;
			else if (r->used && !r->leaving && !r->ready && prop_below(p, 2))
				world_make_ready(w, r);
		}
		if (i < 20 && prop_below(p, 8) == 0) {
			struct world_replica *r = &w->replicas[prop_below(p, WORLD_REPLICAS)];

			r->misfit = r->used && !r->misfit;
		}
		step(w);
		check_budget(w);
		w->now_ns += WORLD_S;
	}
	prop_check(misfits(w) == 0);
	check_end(w);
}

int
main(int argc, char **argv)
{
	static struct rollout_world w;
	struct prop p;

	prop_init(&p, argc, argv);
	for (int run = 0; run < RUNS; run++) {
		begin(&w, &p);
		for (int i = 0; i < STEPS; i++) {
			for (uint64_t k = prop_below(&p, 6); k > 0; k--)
				fault(&w, &p);
			w.now_ns += prop_below(&p, 8) * WORLD_S;
			/* The process is another one: only the phase was kept. */
			if (prop_below(&p, 10) == 0)
				rollout_init(&w.r, w.r.phase, false, w.now_ns);
			step(&w);
		}
		calm(&w);
		check_end(&w);
		move(&w, &p);
	}
	printf("%d roll-outs\n", RUNS);
	return 0;
}
