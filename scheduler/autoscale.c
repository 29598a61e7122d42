/* SPDX-License-Identifier: Apache-2.0 */
/* The judge of adaptive sizes. Sums are bounded by what nodes report, so products are computed in
 * 128 bits: no figure of a node, however wrong, can wrap one around. */

#include "scheduler/autoscale.h"

#include <assert.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

enum { PERCENT = 100 };

void
autoscale_init(struct autoscale *a, uint64_t now_ns, uint64_t changed_ns)
{
	memset(a, 0, sizeof(*a));
	a->changed_ns = changed_ns;
	a->asked_ns = now_ns;
}

static uint64_t
mixed(uint64_t mean, uint64_t sample)
{
	u128 sum = (u128)mean * (PERCENT - AUTOSCALE_WEIGHT_PERCENT) +
		   (u128)sample * AUTOSCALE_WEIGHT_PERCENT;

	return (uint64_t)(sum / PERCENT);
}

static void
take_sample(struct autoscale *a, const struct autoscale_rule *rule,
	    const struct autoscale_sample *s, uint64_t now_ns)
{
	bool first = a->sampled_ns == 0;

	if (s->waiting > 0 || s->in_flight > 0 || s->sum[AUTOSCALE_RPS] > 0)
		a->asked_ns = now_ns;
	/* What is missing would pull the mean down, and what sleeps has no figures. */
	if (!s->whole || s->ready == 0 || (!first && now_ns - a->sampled_ns < rule->interval_ns))
		return;
	for (int i = 0; i < AUTOSCALE_METRICS_; i++)
		a->mean[i] = first ? s->sum[i] : mixed(a->mean[i], s->sum[i]);
	a->sampled_ns = now_ns;
}

/* The smallest size at which the share of every metric is below its target. */
static u128
needed(const struct autoscale *a, const struct autoscale_rule *rule, enum autoscale_metric *metric)
{
	u128 most = 0;

	for (int i = 0; i < AUTOSCALE_METRICS_; i++) {
		if (rule->target[i] == 0)
			continue;
		u128 size = (u128)a->mean[i] / rule->target[i] + 1;
		if (size > most) {
			most = size;
			*metric = (enum autoscale_metric)i;
		}
	}
	return most;
}

static bool
is_idle(const struct autoscale *a, const struct autoscale_rule *rule, uint32_t size)
{
	for (int i = 0; i < AUTOSCALE_METRICS_; i++) {
		u128 target = rule->target[i];

		if (target == 0)
			continue;
		if ((u128)a->mean[i] * 2 > target * size || a->mean[i] >= target * (size - 1))
			return false;
	}
	return true;
}

static bool
has_target(const struct autoscale_rule *rule)
{
	for (int i = 0; i < AUTOSCALE_METRICS_; i++)
		if (rule->target[i] > 0)
			return true;
	return false;
}

static struct autoscale_verdict
keep(const struct autoscale_sample *s, enum autoscale_reason reason)
{
	return (struct autoscale_verdict){.size = s->size, .reason = reason};
}

static struct autoscale_verdict
to(uint32_t size, enum autoscale_reason reason)
{
	return (struct autoscale_verdict){.size = size, .reason = reason};
}

static struct autoscale_verdict
judge_load(const struct autoscale *a, const struct autoscale_rule *rule,
	   const struct autoscale_sample *s)
{
	enum autoscale_metric metric = AUTOSCALE_CPU;
	u128 need = needed(a, rule, &metric);
	struct autoscale_verdict v = {.size = s->size, .metric = metric, .reason = AUTOSCALE_FITS};

	v.mean = s->ready > 0 ? a->mean[metric] / s->ready : 0;
	if (need > s->size) {
		v.size = need < rule->max ? (uint32_t)need : rule->max;
		v.reason = s->size < rule->max ? AUTOSCALE_LOAD : AUTOSCALE_AT_MAX;
		return v;
	}
	if (s->ready < s->size) {
		v.reason = AUTOSCALE_STARTING;
		return v;
	}
	uint32_t floor = rule->min > 0 ? rule->min : 1;
	if (s->size > floor && is_idle(a, rule, s->size)) {
		v.size = s->size - 1;
		v.reason = AUTOSCALE_IDLE;
	}
	return v;
}

static bool
may_sleep(const struct autoscale *a, const struct autoscale_rule *rule,
	  const struct autoscale_sample *s, uint64_t now_ns)
{
	return rule->min == 0 && (s->size == 1 || !has_target(rule)) && s->ready == s->size &&
	       s->whole && now_ns - a->asked_ns >= rule->cooldown_ns;
}

static struct autoscale_verdict
judge(const struct autoscale *a, const struct autoscale_rule *rule,
      const struct autoscale_sample *s, uint64_t now_ns)
{
	if (s->size == 0 && rule->min == 0)
		return s->waiting > 0 ? to(1, AUTOSCALE_WAKE) : keep(s, AUTOSCALE_ASLEEP);
	if (s->size < rule->min || s->size > rule->max)
		return to(s->size < rule->min ? rule->min : rule->max, AUTOSCALE_BOUNDS);
	if (now_ns - a->changed_ns < rule->cooldown_ns)
		return keep(s, AUTOSCALE_COOLING);
	if (may_sleep(a, rule, s, now_ns))
		return to(0, AUTOSCALE_ASLEEP);
	if (!has_target(rule))
		return keep(s, AUTOSCALE_NO_TARGET);
	if (a->sampled_ns == 0)
		return keep(s, s->ready == 0 ? AUTOSCALE_STARTING : AUTOSCALE_PARTIAL);
	struct autoscale_verdict v = judge_load(a, rule, s);
	if (!s->whole && (v.size < s->size || v.reason == AUTOSCALE_FITS))
		return keep(s, AUTOSCALE_PARTIAL);
	return v;
}

static uint64_t
due(const struct autoscale *a, const struct autoscale_rule *rule, uint64_t now_ns)
{
	uint64_t at = now_ns + rule->interval_ns;
	uint64_t cooled = a->changed_ns + rule->cooldown_ns;

	return cooled > now_ns && cooled < at ? cooled : at;
}

struct autoscale_verdict
autoscale_step(struct autoscale *a, const struct autoscale_rule *rule,
	       const struct autoscale_sample *sample, uint64_t now_ns)
{
	assert(rule->max > 0 && rule->min <= rule->max && rule->interval_ns > 0);
	take_sample(a, rule, sample, now_ns);
	struct autoscale_verdict v = judge(a, rule, sample, now_ns);
	if (v.size != sample->size) {
		a->changed_ns = now_ns;
		a->asked_ns = now_ns; /* what was woken may stay for a cooldown */
	}
	v.due_ns = due(a, rule, now_ns);
	return v;
}
