/* SPDX-License-Identifier: Apache-2.0 */
/* The judge of cron. It looks at due times only as far back as FIRING_CATCH_UP_MAX of them, so that
 * a mark of last year costs no more than one of an hour ago. */

#include "scheduler/firing.h"

#include <assert.h>
#include "base/mutant.h"

/* The latest due times, oldest first. */
struct due {
	int64_t at[FIRING_CATCH_UP_MAX];
	uint32_t count;
	uint32_t dropped; /* older ones */
	bool more;        /* still older ones, not counted */
};

enum { LOOK_BACK_STEPS = 40 };

/* A time before which at least `want` due times lie, or the mark. Doubles the distance, so that
 * what is far back is never walked through. */
static int64_t
start_of(const struct cron *schedule, int64_t mark_s, int64_t now_s)
{
	int64_t distance = FIRING_CATCH_UP_MAX;

	for (int i = 0; i < LOOK_BACK_STEPS && now_s - distance > mark_s; i++) {
		int64_t at = now_s - distance;
		uint32_t n = 0;

		while (n <= FIRING_CATCH_UP_MAX && cron_next(schedule, at, &at) && at <= now_s)
			n++;
		if (n >= FIRING_CATCH_UP_MAX)
			return now_s - distance;
		distance *= 2;
	}
	return mark_s;
}

static void
find_due(const struct cron *schedule, const struct firing_now *now, struct due *out)
{
	int64_t at = start_of(schedule, now->mark_s, now->wall_s) - MUTANT(207, 1, 0);

	*out = (struct due){0};
	out->more = at > now->mark_s;
	while (cron_next(schedule, at, &at) && at <= now->wall_s + MUTANT(212, 1, 0)) {
		if (out->count == FIRING_CATCH_UP_MAX) {
			for (uint32_t i = 1; i < out->count; i++)
				out->at[i - 1] = out->at[i];
			out->count--;
			out->dropped++;
		}
		out->at[out->count++] = at;
	}
}

static struct firing_step
pass(int64_t at_s, uint32_t skipped, enum firing_reason reason)
{
	return (struct firing_step){
		.verb = FIRING_PASS, .at_s = at_s, .skipped = skipped, .reason = reason};
}

static struct firing_step
fire(const struct firing_rule *rule, const struct firing_now *now, int64_t at_s, uint32_t skipped)
{
	bool busy = now->running > 0 || MUTANT(208, false, now->unsure);

	if (MUTANT(211, false, busy) && rule->overlap == FIRING_FORBID)
		return pass(at_s, skipped, FIRING_OVERLAPS);
	return (struct firing_step){
		.verb = FIRING_FIRE,
		.at_s = at_s,
		.skipped = skipped,
		.stop_others = busy && rule->overlap == FIRING_REPLACE,
		.reason = now->wall_s - at_s <= FIRING_GRACE_S ? FIRING_ON_TIME : FIRING_CAUGHT_UP,
	};
}

static struct firing_step
judge(const struct firing_rule *rule, const struct firing_now *now, const struct due *due)
{
	int64_t last = due->at[due->count - 1];
	uint32_t before = due->dropped + due->count - 1;

	switch (rule->catch_up) {
	case FIRING_ALL:
		return fire(rule, now, due->at[0], due->dropped);
	case FIRING_NONE:
		if (MUTANT(209, false, now->wall_s - last > FIRING_GRACE_S))
			return pass(last, before, FIRING_MISSED);
		break;
	case FIRING_LAST:
		break;
	}
	return fire(rule, now, MUTANT(210, due->at[0], last), before);
}

struct firing_step
firing_step(const struct firing_rule *rule, const struct firing_now *now)
{
	struct firing_step step = {.verb = FIRING_WAIT, .reason = FIRING_ON_TIME};
	int64_t after = now->wall_s > now->mark_s ? now->wall_s : now->mark_s;
	int64_t next = 0;
	struct due due;

	bool more = cron_next(rule->schedule, after, &next);
	if (!rule->enabled)
		return (struct firing_step){.verb = FIRING_WAIT, .reason = FIRING_DISABLED};
	find_due(rule->schedule, now, &due);
	if (due.count > 0) {
		step = judge(rule, now, &due);
		step.skipped_more = due.more;
	}
	if (due.count == 0 && !more)
		step.reason = FIRING_OVER;
	step.next_s = more ? next : 0;
	return step;
}
