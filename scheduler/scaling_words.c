/* SPDX-License-Identifier: Apache-2.0 */
/* Why a service has the size that it has, in words, with the parts of the nodes. */
#include "scheduler/scaling_inside.h"

#include <inttypes.h>
#include <string.h>
#include "base/text.h"
#include "scheduler/model.h"

#define MS_NS UINT64_C(1000000)

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
uint64_t
scaling_words_mean(const struct scaling *x, uint32_t metric)
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
		put_share(i, scaling_words_mean(x, i), x->rule.target[i], one, sizeof(one));
		text_format(out + used, cap - used, "%s%s", used ? ", " : "", one);
		used += strlen(out + used);
	}
}

/* ---- of which nodes ---- */

static void
add_waits(struct scaling_waits *w, uint32_t node, const char *name, uint32_t requests)
{
	size_t used = strlen(w->names);

	if (!requests)
		return;
	w->requests = w->requests > UINT32_MAX - requests ? UINT32_MAX : w->requests + requests;
	if (w->count == PLACING_RATHER_MAX)
		return;
	w->nodes[w->count++] = node;
	if (!text_format(w->names + used, sizeof(w->names) - used, "%s%s", used ? ", " : "", name))
		w->names[used] = '\0';
}

static void
add_waits_of(void *arg, const struct placing_figures *f)
{
	/* Old ones have long been answered. */
	if (f->there && f->age_ns <= FIGURES_OLD_MS * MS_NS)
		add_waits(arg, f->node, f->name, f->said.waiting);
}

/* Where requests wait now. */
void
scaling_words_waits(const struct model *m, const struct service *s, struct scaling_waits *out)
{
	*out = (struct scaling_waits){0};
	add_waits(out, m->node_id, m->node, figures_waiting(m, s));
	if (m->placing)
		placing_figures_each(m->placing, s, add_waits_of, out);
}

struct shares {
	uint32_t metric;
	char *out;
	size_t cap;
	size_t count;
};

static void
put_node(struct shares *w, const char *name, uint32_t ready, uint64_t sum)
{
	size_t used = strlen(w->out);
	const char *between = w->count ? "," : "; at";
	bool whole = true;

	if (w->metric == AUTOSCALE_RPS && sum)
		whole = text_format(w->out + used, w->cap - used, "%s %s %.1f", between, name,
				    (double)sum / 1000);
	else if (w->metric != AUTOSCALE_RPS && ready)
		whole = text_format(w->out + used, w->cap - used, "%s %s %" PRIu64 "%%", between,
				    name, sum / ready / 10);
	else
		return;
	if (whole)
		w->count++;
	else
		w->out[used] = '\0';
}

static void
put_other(void *arg, const struct placing_figures *f)
{
	struct shares *w = arg;

	if (f->there)
		put_node(w, f->name, f->said.ready, f->said.sum[w->metric]);
}

/* Behind what is there: the parts of the nodes, as many as have room. */
static void
put_nodes(const struct model *m, const struct service *s, uint32_t metric, char *out, size_t cap)
{
	struct shares w = {.metric = metric, .out = out, .cap = cap};

	if (!m->placing)
		return;
	put_node(&w, m->node, s->scaling->own.ready, s->scaling->own.sum[metric]);
	placing_figures_each(m->placing, s, put_other, &w);
}

static void
describe_wake(const struct model *m, const struct service *s, char *out, size_t cap)
{
	struct scaling_waits w;

	scaling_words_waits(m, s, &w);
	text_format(out, cap, "a request waits for it%s%s", m->placing && w.count ? " at " : "",
		    m->placing ? w.names : "");
}

void
scaling_words_describe(const struct model *m, const struct service *s,
		       const struct autoscale_verdict *v, char *out, size_t cap)
{
	const struct scaling *x = s->scaling;
	char shares[192];

	switch (v->reason) {
	case AUTOSCALE_LOAD:
		put_share(v->metric, v->mean, x->rule.target[v->metric], shares, sizeof(shares));
		text_format(out, cap, "%s of each replica", shares);
		put_nodes(m, s, v->metric, out, cap);
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
		describe_wake(m, s, out, cap);
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
