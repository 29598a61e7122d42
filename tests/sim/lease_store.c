/* SPDX-License-Identifier: Apache-2.0 */
/* What scheduler/tenure.h and scheduler/firing.h say that a store must do, and no more. */
#include "tests/sim/lease_store.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"

#define PPB INT64_C(1000000000)

enum { DRAW_RULES = 91 };

void
lease_rules_draw(struct lease_rules *r, uint64_t plan_seed)
{
	static const uint32_t ttls[] = {5000, 8000, 10000, 30000};
	static const unsigned periods[] = {1, 2, 3, 5, 10, 20};
	struct draw d = draw_of(plan_seed, DRAW_RULES);

	*r = (struct lease_rules){.ttl_ms = ttls[draw_below(&d, 4)],
				  .patience_ms = draw_below(&d, 3) ? 2000 : 10000,
				  .all_judge = draw_below(&d, 2) != 0,
				  .retakes = draw_below(&d, 2) != 0};
	for (size_t i = 0; i < LEASE_JOBS; i++) {
		struct lease_job *j = &r->jobs[i];
		struct cron_error error;
		char text[32];

		snprintf(text, sizeof(text), "*/%u * * * * * *", periods[draw_below(&d, 6)]);
		if (cron_parse(text, &j->schedule, &error) < 0)
			assert(!"a schedule");
		j->overlap = draw_below(&d, 2) ? FIRING_FORBID : FIRING_ALLOW;
		j->catch_up = (enum firing_catch_up)draw_below(&d, 3);
		j->retry = draw_below(&d, 2) != 0;
	}
}

void
lease_store_init(struct lease_store *s, const struct lease_rules *r, int32_t rate_ppb,
		 int64_t wall_s)
{
	memset(s, 0, sizeof(*s));
	s->retakes = r->retakes;
	s->ttl_ns = (uint64_t)((__int128)(r->ttl_ms * SIM_MS) * PPB / (PPB + rate_ppb));
	for (size_t i = 0; i < LEASE_JOBS; i++)
		s->jobs[i].mark_s = wall_s;
}

void
lease_store_fini(struct lease_store *s)
{
	for (size_t i = 0; i < LEASE_JOBS; i++)
		mem_free(s->jobs[i].firings);
}

/* ---- leases ---- */

static enum err_kind
lease_do(struct lease_store *s, uint64_t now_ns, const struct lease_ask *ask, uint64_t *epoch_out)
{
	struct lease_store_lease *l = &s->leases[ask->thing];
	bool mine;

	if (l->node && now_ns >= l->until_ns)
		l->node = 0;
	mine = l->node == ask->node && l->epoch == ask->epoch;
	if (ask->verb == LEASE_TAKE && l->node && (l->node != ask->node || !s->retakes))
		return ERR_CONFLICT;
	if (ask->verb == LEASE_KEEP && !mine)
		return l->node ? ERR_CONFLICT : ERR_NOT_FOUND;
	if (ask->verb == LEASE_DROP) {
		l->node = mine ? 0 : l->node;
		return ERR_NONE;
	}
	l->epoch += ask->verb == LEASE_TAKE;
	l->node = ask->node;
	l->until_ns = now_ns + s->ttl_ns;
	*epoch_out = l->epoch;
	return ERR_NONE;
}

/* ---- jobs ---- */

struct lease_firing *
lease_store_firing(struct lease_store *s, uint32_t job, int64_t at_s)
{
	struct lease_store_job *j = &s->jobs[job];

	for (size_t i = j->count; i-- > 0;)
		if (j->firings[i].at_s == at_s)
			return &j->firings[i];
	return NULL;
}

size_t
lease_store_open(const struct lease_store *s, uint32_t job)
{
	const struct lease_store_job *j = &s->jobs[job];
	size_t open = 0;

	for (size_t i = j->first_open; i < j->count; i++)
		open += !j->firings[i].over;
	return open;
}

static void
record(struct lease_store_job *j, uint64_t now_ns, const struct lease_ask *ask)
{
	if (j->count == j->room) {
		j->room = j->room ? j->room * 2 : 64;
		j->firings = mem_resize(MEM_BASE, j->firings, j->room, sizeof(j->firings[0]));
		assert(j->firings);
	}
	j->firings[j->count++] =
		(struct lease_firing){.at_s = ask->at_s, .recorded_ns = now_ns, .node = ask->node};
}

static enum err_kind
job_do(struct lease_store *s, uint64_t now_ns, const struct lease_ask *ask)
{
	struct lease_store_job *j = &s->jobs[ask->thing];
	struct lease_firing *f = lease_store_firing(s, ask->thing, ask->at_s);

	if (ask->verb == LEASE_READ)
		return ERR_NONE;
	if (ask->verb == LEASE_MARK) {
		if (ask->version != j->version)
			return ERR_CONFLICT;
		if (ask->fire)
			record(j, now_ns, ask);
		j->mark_s = ask->at_s;
	} else {
		if (!f || f->over || f->tries != ask->tries)
			return ERR_CONFLICT;
		f->over = ask->verb == LEASE_OVER;
		f->well = f->over && ask->well;
		if (ask->verb == LEASE_AGAIN) {
			f->tries++;
			f->node = ask->node;
		}
	}
	j->version++;
	return ERR_NONE;
}

static void
describe(struct lease_store_job *j, struct lease_answer *out)
{
	out->version = j->version;
	out->mark_s = j->mark_s;
	while (j->first_open < j->count && j->firings[j->first_open].over)
		j->first_open++;
	for (size_t i = j->first_open; i < j->count; i++) {
		const struct lease_firing *f = &j->firings[i];

		if (f->over)
			continue;
		assert(out->count < LEASE_OPEN_MAX);
		out->open[out->count++] = (struct lease_open){f->at_s, f->node, f->tries};
	}
}

size_t
lease_store_do(struct lease_store *s, uint64_t now_ns, const struct lease_ask *ask,
	       struct lease_answer *out)
{
	*out = (struct lease_answer){.id = ask->id, .boot = ask->boot};
	if (ask->verb <= LEASE_DROP) {
		out->error = lease_do(s, now_ns, ask, &out->epoch);
	} else {
		out->error = job_do(s, now_ns, ask);
		if (ask->verb == LEASE_READ)
			describe(&s->jobs[ask->thing], out);
	}
	return offsetof(struct lease_answer, open) + out->count * sizeof(out->open[0]);
}
