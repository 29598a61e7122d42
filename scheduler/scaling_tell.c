/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the conductor decided, as the other nodes hear it, its successor takes it over and all of
 * them show it. Who conducts no more leaves what it said: it is of use to a successor, and nobody
 * else looks at it.
 */
#include "scheduler/scaling_inside.h"

#include <string.h>
#include "base/text.h"
#include "scheduler/model.h"

#define MS_NS UINT64_C(1000000)

static void
make(const struct service *s, struct tidings_scale *out)
{
	const struct scaling *x = s->scaling;

	*out = (struct tidings_scale){
		.decision = x->reason,
		.from = x->from,
		.to = x->to,
		.changed_wall_ns = x->changed_wall_ns,
		.held = x->held,
	};
	text_copy(out->why, sizeof(out->why), x->why);
	for (uint32_t i = 0; i < AUTOSCALE_METRICS_; i++) {
		bool known = x->core.sampled_ns && x->figures.ready && x->rule.target[i];

		out->mean[i] = x->core.sampled_ns ? scaling_words_mean(x, i) : 0;
		out->known |= known ? 1u << i : 0;
	}
}

/* What its predecessor did last is shown on; a cooldown begins anew, for it has no means yet. */
static void
take_over(struct model *m, struct service *s)
{
	struct scaling *x = s->scaling;
	const struct tidings_scale *last = placing_scale_last(m->placing, s);

	scaling_rest_anew(m, s, MSG_SCALE_COOLING);
	if (!last || last->changed_wall_ns < x->changed_wall_ns)
		return;
	x->from = last->from;
	x->to = last->to;
	/* By the clock of its predecessor: it was not later than now. */
	x->changed_wall_ns =
		last->changed_wall_ns < m->wall_ns ? last->changed_wall_ns : m->wall_ns;
	text_copy(x->why, sizeof(x->why), last->why);
}

void
scaling_tell_conducts(struct model *m, struct service *s, bool conducts)
{
	struct scaling *x = s->scaling;

	if (m->placing && conducts && !x->conducted)
		take_over(m, s);
	if (m->placing && !conducts)
		placing_rather(m->placing, s, NULL, 0);
	x->conducted = conducts;
}

void
scaling_tell_decision(struct model *m, struct service *s)
{
	struct tidings_scale scale;
	struct scaling_waits w;

	if (!m->placing)
		return;
	scaling_words_waits(m, s, &w);
	placing_rather(m->placing, s, w.nodes, w.count);
	make(s, &scale);
	placing_scale_tell(m->placing, s, &scale);
}

/* ---- what is shown ---- */

void
scaling_tell_show(struct model *m, const struct service *s, struct msg_service *row)
{
	const struct scaling *x = s->scaling;
	const struct tidings_scale *heard = NULL;
	struct tidings_scale scale;

	make(s, &scale);
	if (m->placing && !x->conducted)
		heard = placing_scale_heard(m->placing, s);
	if (heard)
		scale = *heard;
	row->scale_reason = scale.decision;
	row->scale_waiting = scaling_waiting(m, s);
	row->scale_cooldown_ms = x->rule.cooldown_ns / MS_NS;
	for (uint32_t i = 0; i < AUTOSCALE_METRICS_; i++) {
		row->scale_figures[i].target = x->rule.target[i];
		row->scale_figures[i].mean = scale.mean[i];
		row->scale_figures[i].known = scale.known >> i & 1;
	}
	if (scale.from != scale.to) {
		row->scale_from = scale.from;
		row->scale_to = scale.to;
		row->scale_changed_wall_ns = scale.changed_wall_ns;
		text_copy(row->scale_why, sizeof(row->scale_why), scale.why);
	}
	if (scale.held.kind && !row->reason.kind)
		row->reason = scale.held;
}
