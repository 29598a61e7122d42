/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A replica's life under random tables and orders, contradictions included. Always:
 *  - an attempt never goes back, and grows by one at a time unless the runtime shows a later one;
 *  - nothing is in balancing that has not passed its gate in this attempt;
 *  - what is ordered away is never claimed to run, unless it drains;
 *  - "gone" comes only when the runtime was read and shows nothing.
 *  - what holds a place gets neither requests nor probes.
 * When faults stop, a replica that is to run is ready (isolated, if that is what it came to), one
 * that is to stop has stopped, one that is to be removed is gone.
 */
#include "scheduler/lifecycle.h"
#include <string.h>
#include "tests/support/prop.h"

#define S 1000000000ull

enum { RUNS = 20000, STEPS = 80 };

static void
random_event(struct prop *p, const struct lifecycle *l, struct lifecycle_event *e)
{
	e->now_ns += prop_below(p, 3) ? prop_below(p, 5) * S : prop_below(p, 100) * S;
	e->kind = prop_below(p, 8) ? LIFECYCLE_SEEN : LIFECYCLE_ORDER;
	e->order = (enum lifecycle_order)(1 + prop_below(p, 3));
	if (e->order == LIFECYCLE_REMOVE && prop_below(p, 4))
		e->order = LIFECYCLE_RUN;
	e->runtime_known = prop_below(p, 4) != 0;
	e->container = (uint32_t)prop_below(p, MSG_CONTAINER_FAILED + 1);
	e->attempt = l->attempt;
	if (prop_below(p, 5) == 0)
		e->attempt = l->attempt + 1 - (uint32_t)prop_below(p, 3);
	e->started_wall_ns = (int64_t)(e->attempt * 10 + prop_below(p, 20) / 19);
	e->checks = (uint32_t)prop_below(p, 3);
	e->passed = (uint32_t)prop_below(p, 4);
	e->failed_max = (uint32_t)prop_below(p, 6);
	e->drained = prop_below(p, 2);
	e->hold = prop_below(p, 20) == 0;
}

static void
check(const struct lifecycle *before, const struct lifecycle *l, const struct lifecycle_event *e,
      const struct lifecycle_notes *notes)
{
	uint32_t claim = lifecycle_claim(l);

	prop_check(notes->count <= LIFECYCLE_NOTES_MAX);
	prop_check(l->state >= MSG_REPLICA_PENDING && l->state <= MSG_REPLICA_ISOLATED);
	prop_check(l->attempt >= before->attempt);
	prop_check(l->attempt <= before->attempt + 1 || l->attempt <= e->attempt + 1);
	if (lifecycle_balance(l) == MSG_BACKEND_ACTIVE)
		prop_check(l->ready_attempt == l->attempt);
	if (l->order == LIFECYCLE_REMOVE && claim)
		prop_check(claim == MSG_REMOVE || l->state == MSG_REPLICA_DRAINING);
	if (l->order == LIFECYCLE_STOP && claim)
		prop_check(claim == MSG_STOP || l->state == MSG_REPLICA_DRAINING);
	if (claim == MSG_HOLD || l->state == MSG_REPLICA_ISOLATED)
		prop_check(l->hold && !lifecycle_balance(l) && !lifecycle_probing(l));
	if (l->gone && !before->gone)
		prop_check(e->runtime_known && !e->container);
}

static void
step(struct lifecycle *l, const struct lifecycle_event *e)
{
	struct lifecycle_notes notes = {0};
	struct lifecycle before = *l;

	lifecycle_step(l, e, &notes);
	check(&before, l, e, &notes);
}

/* A runtime that does what the claim says, checks that pass, proxies that let go. */
static void
calm(struct lifecycle *l, struct lifecycle_event *e)
{
	for (int i = 0; i < 300; i++) {
		uint32_t claim = lifecycle_claim(l);

		e->now_ns += S;
		e->kind = LIFECYCLE_SEEN;
		e->runtime_known = true;
		e->attempt = l->attempt;
		e->started_wall_ns = (int64_t)l->attempt * 10;
		e->hold = claim == MSG_HOLD;
		e->container = claim == MSG_RUN || e->hold ? MSG_CONTAINER_RUNNING
			       : claim == MSG_STOP         ? MSG_CONTAINER_EXITED
							   : 0;
		e->checks = e->passed = 1;
		e->failed_max = 0;
		e->drained = true;
		step(l, e);
	}
}

int
main(int argc, char **argv)
{
	struct prop p;

	prop_init(&p, argc, argv);
	for (int run = 0; run < RUNS; run++) {
		struct lifecycle_policy policy = {
			.weak = prop_below(&p, 3) == 0,
			.stay_up_ns = prop_below(&p, 20) * S,
			.grace_ns = prop_below(&p, 10) * S,
			.patience_ns = prop_below(&p, 40) * S,
			.retries = 1 + (uint32_t)prop_below(&p, 4),
			.drain_max_ns = prop_below(&p, 40) * S,
			.panic = prop_below(&p, 4) ? LIFECYCLE_RESTART : LIFECYCLE_ISOLATE,
		};
		struct lifecycle_event e = {.now_ns = 1000 * S};
		struct lifecycle l;

		lifecycle_init(&l, &policy);
		for (int i = 0; i < STEPS; i++) {
			random_event(&p, &l, &e);
			step(&l, &e);
			if (prop_below(&p, 40) == 0 && l.order != LIFECYCLE_IDLE && !l.gone) {
				struct lifecycle old = l;

				lifecycle_init(&l, &policy);
				lifecycle_restore(&l,
						  old.order == LIFECYCLE_RUN
							  ? (old.hold ? MSG_HOLD : MSG_RUN)
						  : old.order == LIFECYCLE_STOP ? MSG_STOP
										: MSG_REMOVE,
						  old.attempt, old.ready_attempt,
						  old.ready_started_wall_ns, old.restarts);
			}
		}
		calm(&l, &e);
		if (l.order == LIFECYCLE_RUN)
			prop_check(l.state == (l.hold ? MSG_REPLICA_ISOLATED : MSG_REPLICA_READY));
		if (l.order == LIFECYCLE_STOP)
			prop_check(l.state == MSG_REPLICA_STOPPED);
		if (l.order == LIFECYCLE_REMOVE)
			prop_check(l.gone);
	}
	printf("%d lives\n", RUNS);
	return 0;
}
