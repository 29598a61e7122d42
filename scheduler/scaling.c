/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures are taken every ten seconds, or three times in a cooldown that is shorter; only then is
 * the core asked, so that each sample counts once. A service at size 0 has none: it is looked at in
 * every pass, and a pass follows at once when a proxy says that somebody waits.
 *
 * What the core wants and the node has no room for is cut to what there is room for, and said once.
 *
 * A request that waits is to be served by the node that it came to: that node is asked first for
 * the replica (placing_rather). Where nodes do not reach each other's containers this is the only
 * one that can; then a service that runs elsewhere grows by one for a node at which requests wait.
 */
#include "scheduler/scaling.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "ring/metrics.h"
#include "scheduler/event.h"
#include "scheduler/growth.h"
#include "scheduler/model.h"
#include "scheduler/scaling_inside.h"

#define MS_NS UINT64_C(1000000)

enum { STRANDED_MS = 2000 /* what is reached at all is reached by then */ };

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

uint32_t
scaling_waiting(const struct model *m, const struct service *s)
{
	struct scaling_waits w;

	scaling_words_waits(m, s, &w);
	return w.requests;
}

void
scaling_free(struct scaling *x)
{
	mem_free(x);
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
	scaling_words_describe(m, s, v, x->why, sizeof(x->why));
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
	    scaling_waiting(m, s) == 0)
		return false;
	return obey(m, s, &v);
}

void
scaling_rest_anew(struct model *m, struct service *s, uint32_t reason)
{
	struct scaling *x = s->scaling;

	x->fresh = false;
	x->stranded_ns = 0;
	x->reason = reason;
	x->size = s->row.desired;
	autoscale_init(&x->core, m->now_ns, m->now_ns);
}

static void
add_node(void *arg, const struct placing_figures *f)
{
	struct figures one = {.whole = f->good};

	if (f->there) {
		one.whole &= f->said.whole;
		one.asked = f->asked;
		one.ready = f->said.ready;
		one.waiting = f->said.waiting;
		one.in_flight = f->said.in_flight;
		memcpy(one.sum, f->said.sum, sizeof(one.sum));
	}
	figures_add(arg, &one);
}

static bool
judge_figures(struct model *m, struct service *s)
{
	struct scaling *x = s->scaling;

	x->fresh = false;
	x->figures = x->own;
	if (m->placing) {
		placing_figures_each(m->placing, s, add_node, &x->figures);
		placing_figures_taken(m->placing, s);
	}
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

/* ---- requests at a node that reaches no replica ---- */

/* Those that stay are all there and ready, and there are as many as there should be. */
static bool
is_complete(const struct model *m, const struct service *s)
{
	struct list *it, *next;
	uint32_t ready = 0;

	list_each (it, next, &s->replicas) {
		const struct replica *r = container_of(it, struct replica, link);

		if (r->row.job || r->life.gone)
			continue;
		if (r->life.state != MSG_REPLICA_READY || r->retiring)
			return false;
		ready++;
	}
	return ready == s->row.desired && !placing_coming_count(m->placing, s);
}

static bool
has_one(const struct model *m, const struct service *s, uint32_t node)
{
	struct list *it, *next;

	list_each (it, next, &s->replicas) {
		const struct replica *r = container_of(it, struct replica, link);

		if ((r->remote ? r->node_id : m->node_id) == node && !r->row.job)
			return true;
	}
	return false;
}

static void
say_stranded(const struct service *s, const struct scaling_waits *w, struct msg_reason *out)
{
	struct err err = {0};

	err_set(&err, ERR_LIMIT, "requests wait at %s, which reaches no replica of %s", w->names,
		s->row.name);
	err_why(&err, "%s has as many replicas as it may (scale.max: %u)", s->row.name,
		s->scaling->rule.max);
	err_fix(&err,
		"let scale.max be larger; zlayer status there says why it reaches no other node");
	msg_reason_from(&err, out);
}

/* One more for a node at which requests wait although all replicas are ready. */
static bool
serve_stranded(struct model *m, struct service *s)
{
	struct scaling *x = s->scaling;
	struct autoscale_verdict v = {.size = s->row.desired + 1, .reason = AUTOSCALE_WAKE};
	struct scaling_waits w;
	size_t kept = 0;

	if (!m->placing || x->rule.min > 0 || !s->row.desired)
		return false;
	scaling_words_waits(m, s, &w);
	for (size_t i = 0; i < w.count; i++)
		kept += !has_one(m, s, w.nodes[i]);
	if (!kept || !is_complete(m, s)) {
		x->stranded_ns = 0;
		return false;
	}
	uint64_t until_ns = (x->stranded_ns ? x->stranded_ns : m->now_ns) + STRANDED_MS * MS_NS;
	if (!x->stranded_ns)
		x->stranded_ns = m->now_ns;
	if (m->now_ns < until_ns) {
		model_wake_at(m, until_ns);
		return false;
	}
	if (s->row.desired >= x->rule.max) {
		x->reason = MSG_SCALE_HELD;
		say_stranded(s, &w, &x->held);
		return false;
	}
	if (!obey(m, s, &v))
		return false;
	x->core.changed_ns = x->core.asked_ns = m->now_ns;
	x->size = s->row.desired;
	x->stranded_ns = 0;
	return true;
}

static bool
asleep(struct model *m, struct service *s)
{
	scaling_rest_anew(m, s, MSG_SCALE_ASLEEP);
	if (scaling_waiting(m, s) == 0)
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

	scaling_rest_anew(m, s, MSG_SCALE_BOUNDS);
	model_wake_at(m, m->now_ns + rule->interval_ns);
	return obey(m, s, &v);
}

static bool
judge(struct model *m, struct service *s)
{
	struct scaling *x = s->scaling;
	bool changed = false;

	if (is_stopped(s)) {
		scaling_rest_anew(m, s, MSG_SCALE_PAUSED);
		return false;
	}
	if (!at_rest(s)) {
		scaling_rest_anew(m, s, MSG_SCALE_PAUSED);
		return wake(m, s);
	}
	if (s->row.desired == 0 && x->rule.min == 0)
		return asleep(m, s);
	if (s->row.desired < x->rule.min || s->row.desired > x->rule.max)
		return bring_into_bounds(m, s);
	/* Somebody else has set it. */
	if (s->row.desired != x->size)
		scaling_rest_anew(m, s, MSG_SCALE_COOLING);
	if (x->fresh)
		changed = judge_figures(m, s);
	return changed || serve_stranded(m, s);
}

/* ---- this node's part, whoever decides ---- */

static void
look(struct model *m, struct service *s, const struct doc_service *spec)
{
	struct scaling *x = s->scaling;
	bool needed[AUTOSCALE_METRICS_], due;
	uint32_t waiting = figures_waiting(m, s);
	struct list *it, *next;

	list_each (it, next, &s->replicas)
		figures_note(container_of(it, struct replica, link));
	for (int i = 0; i < AUTOSCALE_METRICS_; i++)
		needed[i] = x->rule.target[i] > 0;
	due = !x->base.taken_ns || m->now_ns >= x->base.taken_ns + x->rule.interval_ns;
	if (due) {
		figures_take(m, s, spec, needed, &x->base, &x->own);
		x->fresh = true;
	}
	/* Whoever is to wake it hears of it at once. */
	if (m->placing && (due || (waiting && !x->own.waiting))) {
		x->own.waiting = waiting;
		placing_figures_tell(m->placing, s, &x->own, x->rule.min == 0);
	}
	model_wake_at(m, x->base.taken_ns + x->rule.interval_ns);
}

static bool
step_service(struct model *m, struct service *s)
{
	const struct doc_service *spec = adaptive(m, s);

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
		scaling_rest_anew(m, s, MSG_SCALE_COOLING);
		static const char *const outcomes[] = {"scale_up", "scale_down", "sleep", "wake"};
		for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
			count_outcome(m, s, outcomes[i], 0);
	}
	make_rule(&spec->scale, &s->scaling->rule);
	look(m, s, spec);
	bool conducts = model_conducts(m, s->deployment);
	scaling_tell_conducts(m, s, conducts);
	/* Another node decides, or what was asked for is on its way to the store. */
	if (!conducts || s->deployment->changing)
		return false;
	bool changed = judge(m, s);
	scaling_tell_decision(m, s);
	return changed;
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
	if (m->placing)
		placing_figures_begin(m->placing);
	return changed;
}

void
scaling_show(struct model *m, const struct service *s, struct msg_service *row)
{
	if (s->scaling)
		scaling_tell_show(m, s, row);
}
