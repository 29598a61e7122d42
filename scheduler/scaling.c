/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures are taken every ten seconds, or three times in a cooldown that is shorter; only then is
 * the core asked, so that each sample counts once. A service at size 0 has none: it is looked at in
 * every pass, and a pass follows at once when a proxy says that somebody waits.
 *
 * What the core wants and the node has no room for is cut to what there is room for, and said once.
 */
#include "scheduler/scaling.h"

#include <inttypes.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "ring/metrics.h"
#include "scheduler/event.h"
#include "scheduler/growth.h"
#include "scheduler/model.h"

#define MS_NS UINT64_C(1000000)

_Static_assert((int)MSG_SCALE_NO_TARGET == (int)AUTOSCALE_NO_TARGET, "the core's, and then more");
_Static_assert((int)MSG_SCALE_RPS == (int)AUTOSCALE_RPS, "the core's");

/* ---- the rule ---- */

static uint64_t
interval_ns(uint64_t cooldown_ms)
{
	uint64_t ms = cooldown_ms / 3;

	if (ms > AUTOSCALE_INTERVAL_MS)
		ms = AUTOSCALE_INTERVAL_MS;
	if (ms < SCALING_INTERVAL_MIN_MS)
		ms = SCALING_INTERVAL_MIN_MS;
	return ms * MS_NS;
}

static void
make_rule(const struct doc_scale *scale, struct autoscale_rule *out)
{
	*out = (struct autoscale_rule){
		.min = scale->min,
		.max = scale->max,
		.cooldown_ns = scale->cooldown_ms * MS_NS,
		.interval_ns = interval_ns(scale->cooldown_ms),
		.target =
			{
				[AUTOSCALE_CPU] = scale->targets.cpu_percent * UINT64_C(10),
				[AUTOSCALE_MEMORY] = scale->targets.memory_percent * UINT64_C(10),
				[AUTOSCALE_RPS] = scale->targets.rps * UINT64_C(1000),
			},
	};
}

static const struct doc_service *
adaptive(struct model *m, struct service *s)
{
	const struct store_deployment *d = &s->deployment->row;
	const struct doc_service *spec = d->revision ? model_service_doc(m, s, d->revision) : NULL;

	return spec && spec->rtype == DOC_RTYPE_SERVICE && spec->scale.mode == DOC_SCALE_ADAPTIVE
		       ? spec
		       : NULL;
}

static bool
is_stopped(const struct service *s)
{
	struct list *it, *next;

	if (s->deployment->row.stopped)
		return true;
	list_each (it, next, &s->replicas) {
		if (container_of(it, struct replica, link)->life.order == LIFECYCLE_STOP)
			return true;
	}
	return false;
}

bool
scaling_wakes(const struct service *s)
{
	return s->scaling && s->scaling->rule.min == 0 && !is_stopped(s);
}

bool
scaling_follows(const struct service *s)
{
	return s->scaling != NULL;
}

bool
scaling_grows(const struct model *m, const struct service *s)
{
	const struct scaling *x = s->scaling;

	return x && x->to > x->from && x->to == s->row.desired &&
	       m->wall_ns - x->changed_wall_ns <
		       (int64_t)(m->config->deploy.health_timeout_ms * MS_NS);
}

bool
scaling_measures(const struct service *s)
{
	const struct scaling *x = s->scaling;

	return x && (x->rule.target[AUTOSCALE_CPU] || x->rule.target[AUTOSCALE_MEMORY]);
}

void
scaling_free(struct scaling *x)
{
	mem_free(x);
}

/* ---- words ---- */

static void
put_share(uint32_t metric, uint64_t mean, uint64_t target, char *out, size_t cap)
{
	static const char *const names[] = {"cpu", "memory"};

	if (metric == AUTOSCALE_RPS)
		text_format(out, cap, "%.1f requests/s of %" PRIu64, (double)mean / 1000,
			    target / 1000);
	else
		text_format(out, cap, "%s %" PRIu64 "%% of %" PRIu64 "%%", names[metric], mean / 10,
			    target / 10);
}

/* Of a replica that is ready, by the means. */
static uint64_t
mean_of(const struct scaling *x, uint32_t metric)
{
	return x->figures.ready ? x->core.mean[metric] / x->figures.ready : 0;
}

static void
put_shares(const struct scaling *x, char *out, size_t cap)
{
	size_t used = 0;

	out[0] = '\0';
	for (uint32_t i = 0; i < AUTOSCALE_METRICS_; i++) {
		char one[64];

		if (!x->rule.target[i])
			continue;
		put_share(i, mean_of(x, i), x->rule.target[i], one, sizeof(one));
		text_format(out + used, cap - used, "%s%s", used ? ", " : "", one);
		used += strlen(out + used);
	}
}

static void
describe(const struct scaling *x, const struct autoscale_verdict *v, char *out, size_t cap)
{
	char shares[192];

	switch (v->reason) {
	case AUTOSCALE_LOAD:
		put_share(v->metric, v->mean, x->rule.target[v->metric], shares, sizeof(shares));
		text_format(out, cap, "%s of each replica", shares);
		return;
	case AUTOSCALE_IDLE:
		put_shares(x, shares, sizeof(shares));
		text_format(out, cap, "half of the targets or less: %s", shares);
		return;
	case AUTOSCALE_ASLEEP:
		text_format(out, cap, "nothing was asked of it for %" PRIu64 " s",
			    x->rule.cooldown_ns / (1000 * MS_NS));
		return;
	case AUTOSCALE_WAKE:
		text_copy(out, cap, "a request waits for it");
		return;
	case AUTOSCALE_BOUNDS:
		text_format(out, cap, "the document says %u to %u", x->rule.min, x->rule.max);
		return;
	case AUTOSCALE_FITS:
	case AUTOSCALE_AT_MAX:
	case AUTOSCALE_COOLING:
	case AUTOSCALE_STARTING:
	case AUTOSCALE_PARTIAL:
	case AUTOSCALE_NO_TARGET:
		break;
	}
	text_copy(out, cap, "");
}

/* ---- a change ---- */

static const char *
outcome(uint32_t from, uint32_t to)
{
	if (to == 0)
		return "sleep";
	if (from == 0)
		return "wake";
	return to > from ? "scale_up" : "scale_down";
}

static void
count_outcome(struct model *m, const struct service *s, const char *outcome, uint64_t more)
{
	struct metric_labels labels = {0};
	char name[MSG_TARGET];

	if (!m->metrics)
		return;
	model_label(s, name);
	metric_label(&labels, "service", name);
	metric_label(&labels, "outcome", outcome);
	metric_add(metrics_get(m->metrics, METRICS_SCHEDULER_DECISIONS, &labels), more);
}

static void
tell_change(struct model *m, struct service *s, uint32_t from)
{
	static const char *const types[][2] = {
		{"sleep", "scale.asleep"},
		{"wake", "scale.woken"},
		{"scale_up", "scale.up"},
		{"scale_down", "scale.down"},
	};
	struct scaling *x = s->scaling;
	const char *name = outcome(from, s->row.desired);

	count_outcome(m, s, name, 1);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(types[i][0], name) == 0)
			event_deployment(m, s->deployment, s, types[i][1], LOG_INFO, NULL,
					 "%s from %u to %u: %s", s->row.name, from, s->row.desired,
					 x->why);
	}
}

static void
change_size(struct model *m, struct service *s, uint32_t size, const struct autoscale_verdict *v)
{
	struct scaling *x = s->scaling;
	uint32_t from = s->row.desired;

	s->row.desired = s->row.wanted = x->size = size;
	s->dirty = true;
	x->from = from;
	x->to = size;
	x->changed_wall_ns = m->wall_ns;
	describe(x, v, x->why, sizeof(x->why));
	tell_change(m, s, from);
}

/* As much of it as there is room for; said when it is another reason than before. */
static uint32_t
grant(struct model *m, struct service *s, uint32_t size)
{
	struct scaling *x = s->scaling;
	struct msg_reason before = x->held;
	struct err err = {0};

	memset(&x->held, 0, sizeof(x->held));
	if (size <= s->row.desired)
		return size;
	uint32_t granted = growth_possible(m, s, size, &err);
	if (granted > s->row.desired)
		return granted;
	msg_reason_from(&err, &x->held);
	x->reason = MSG_SCALE_HELD;
	if (strcmp(before.what, x->held.what) != 0)
		event_deployment(m, s->deployment, s, "scale.held", LOG_WARN, &x->held,
				 "%s stays at %u and should have %u", s->row.name, s->row.desired,
				 size);
	return granted;
}

static bool
obey(struct model *m, struct service *s, const struct autoscale_verdict *v)
{
	struct scaling *x = s->scaling;
	uint32_t size;

	x->reason = (uint32_t)v->reason;
	size = grant(m, s, v->size);
	if (size == s->row.desired)
		return false;
	change_size(m, s, size, v);
	return true;
}

/* ---- one service ---- */

static bool
at_rest(const struct service *s)
{
	const struct deployment *d = s->deployment;

	return d->rollout.phase == ROLLOUT_IDLE && !d->operation &&
	       d->row.target == d->row.revision && s->row.wanted == s->row.desired;
}

/* In the midst of an operation only what sleeps, and is to, can be woken. */
static bool
wake(struct model *m, struct service *s)
{
	const struct deployment *d = s->deployment;
	struct autoscale_verdict v = {.size = 1, .reason = AUTOSCALE_WAKE};
	const struct doc_service *target = model_service_doc(m, s, d->row.target);

	if (s->row.desired || s->row.wanted || s->scaling->rule.min > 0 ||
	    d->rollout.phase == ROLLOUT_PAUSED || !target ||
	    (d->operation && d->operation->row.kind == MSG_OPERATION_REMOVE) ||
	    figures_waiting(m, s) == 0)
		return false;
	return obey(m, s, &v);
}

static void
rest_anew(struct model *m, struct service *s, uint32_t reason)
{
	struct scaling *x = s->scaling;

	x->base.taken_ns = 0;
	x->reason = reason;
	x->size = s->row.desired;
	autoscale_init(&x->core, m->now_ns, m->now_ns);
}

static bool
measure_and_judge(struct model *m, struct service *s, const struct doc_service *spec)
{
	struct scaling *x = s->scaling;
	bool needed[AUTOSCALE_METRICS_];
	struct figures own;

	for (int i = 0; i < AUTOSCALE_METRICS_; i++)
		needed[i] = x->rule.target[i] > 0;
	figures_take(m, s, spec, needed, &x->base, &own);
	x->figures = (struct figures){.whole = true};
	figures_add(&x->figures, &own);
	struct autoscale_sample sample = {
		.size = s->row.desired,
		.ready = x->figures.ready,
		.waiting = x->figures.waiting,
		.in_flight = x->figures.in_flight + x->figures.asked,
		.whole = x->figures.whole,
	};
	memcpy(sample.sum, x->figures.sum, sizeof(sample.sum));
	struct autoscale_verdict v = autoscale_step(&x->core, &x->rule, &sample, m->now_ns);
	return obey(m, s, &v);
}

static bool
asleep(struct model *m, struct service *s)
{
	rest_anew(m, s, MSG_SCALE_ASLEEP);
	if (figures_waiting(m, s) == 0)
		memset(&s->scaling->held, 0, sizeof(s->scaling->held));
	return wake(m, s);
}

/* The document in force allows another size than it has. */
static bool
bring_into_bounds(struct model *m, struct service *s)
{
	const struct autoscale_rule *rule = &s->scaling->rule;
	struct autoscale_verdict v = {
		.size = s->row.desired < rule->min ? rule->min : rule->max,
		.reason = AUTOSCALE_BOUNDS,
	};

	rest_anew(m, s, MSG_SCALE_BOUNDS);
	model_wake_at(m, m->now_ns + rule->interval_ns);
	return obey(m, s, &v);
}

static bool
judge(struct model *m, struct service *s, const struct doc_service *spec)
{
	struct scaling *x = s->scaling;
	bool changed = false;

	if (is_stopped(s)) {
		rest_anew(m, s, MSG_SCALE_PAUSED);
		return false;
	}
	if (!at_rest(s)) {
		rest_anew(m, s, MSG_SCALE_PAUSED);
		return wake(m, s);
	}
	if (s->row.desired == 0 && x->rule.min == 0)
		return asleep(m, s);
	if (s->row.desired < x->rule.min || s->row.desired > x->rule.max)
		return bring_into_bounds(m, s);
	/* Somebody else has set it. */
	if (s->row.desired != x->size)
		rest_anew(m, s, MSG_SCALE_COOLING);
	if (!x->base.taken_ns || m->now_ns >= x->base.taken_ns + x->rule.interval_ns)
		changed = measure_and_judge(m, s, spec);
	model_wake_at(m, x->base.taken_ns + x->rule.interval_ns);
	return changed;
}

static bool
step_service(struct model *m, struct service *s)
{
	const struct doc_service *spec = adaptive(m, s);
	struct list *it, *next;

	if (!spec || s->deployment->gone || s->deployment->lost) {
		scaling_free(s->scaling);
		s->scaling = NULL;
		return false;
	}
	if (!s->scaling) {
		s->scaling = mem_zalloc(MEM_SCHEDULER, sizeof(*s->scaling));
		if (!s->scaling) {
			model_wake_at(m, m->now_ns + 1000 * MS_NS);
			return false;
		}
		rest_anew(m, s, MSG_SCALE_COOLING);
		static const char *const outcomes[] = {"scale_up", "scale_down", "sleep", "wake"};
		for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
			count_outcome(m, s, outcomes[i], 0);
	}
	make_rule(&spec->scale, &s->scaling->rule);
	list_each (it, next, &s->replicas)
		figures_note(container_of(it, struct replica, link));
	/* Another node decides, or what was asked for is on its way to the store. */
	if (!model_conducts(m, s->deployment) || s->deployment->changing)
		return false;
	return judge(m, s, spec);
}

bool
scaling_step(struct model *m)
{
	struct list *it, *next, *at, *after;
	bool changed = false;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		if (d->lost)
			continue;
		list_each (at, after, &d->services)
			changed |= step_service(m, container_of(at, struct service, link));
	}
	return changed;
}

/* ---- what is shown ---- */

void
scaling_show(struct model *m, const struct service *s, struct msg_service *row)
{
	const struct scaling *x = s->scaling;

	if (!x)
		return;
	row->scale_reason = x->reason;
	row->scale_waiting = figures_waiting(m, s);
	row->scale_cooldown_ms = x->rule.cooldown_ns / MS_NS;
	for (uint32_t i = 0; i < AUTOSCALE_METRICS_; i++) {
		row->scale_figures[i].target = x->rule.target[i];
		row->scale_figures[i].mean = x->core.sampled_ns ? mean_of(x, i) : 0;
		row->scale_figures[i].known =
			x->core.sampled_ns && x->figures.ready && x->rule.target[i];
	}
	if (x->from != x->to) {
		row->scale_from = x->from;
		row->scale_to = x->to;
		row->scale_changed_wall_ns = x->changed_wall_ns;
		text_copy(row->scale_why, sizeof(row->scale_why), x->why);
	}
	if (x->held.kind && !row->reason.kind)
		row->reason = x->held;
}
