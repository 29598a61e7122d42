/* SPDX-License-Identifier: Apache-2.0 */
/* The two phases of a run, its verdict, and the search for a smaller plan: delta debugging, that is
 * leaving out ever smaller parts of the list for as long as it still fails. */
#include "tests/sim/trial.h"

#include <inttypes.h>
#include <string.h>

#define LOOK_NS (SIM_S / 4)
#define STAY_NS (2 * SIM_S)

static bool
settled(struct sim *s, const char **check_out, char *why, size_t cap)
{
	const struct sim_profile *p = s->profile;

	for (size_t i = 0; i < p->check_count; i++) {
		why[0] = '\0';
		if (p->checks[i].settled && !p->checks[i].settled(s->observer, s, why, cap)) {
			*check_out = p->checks[i].name;
			return false;
		}
	}
	return true;
}

/* All must be well, and still be so a little later. */
static void
wait_settled(struct sim *s, uint64_t *settled_ns)
{
	uint64_t healed = s->now_ns, until = s->now_ns + s->plan->bound_ns, since = UINT64_MAX;
	const char *check = NULL;
	char why[400];

	while (!s->failure.failed) {
		bool well = settled(s, &check, why, sizeof(why));

		if (!well)
			since = UINT64_MAX;
		else if (since == UINT64_MAX)
			since = s->now_ns;
		if (since != UINT64_MAX && s->now_ns - since >= STAY_NS) {
			*settled_ns = since - healed;
			return;
		}
		if (since == UINT64_MAX && s->now_ns >= until)
			sim_fail(s, check, 0, "not settled %" PRIu64 " s after the faults: %s",
				 s->plan->bound_ns / SIM_S, why);
		sim_run(s, s->now_ns + LOOK_NS);
	}
}

void
trial_run(const struct plan *plan, const struct sim_profile *profile, FILE *trace,
	  struct trial *out)
{
	struct sim *s = sim_new(plan, profile);

	memset(out, 0, sizeof(*out));
	s->trace = trace;
	sim_run(s, plan->safety_ns);
	sim_heal(s);
	wait_settled(s, &out->settled_ns);
	for (size_t i = 0; i < profile->check_count && !s->failure.failed; i++)
		if (profile->checks[i].end)
			profile->checks[i].end(s->observer, s);
	out->failure = s->failure;
	out->hash = s->hash;
	out->ns = s->now_ns;
	out->steps = s->steps;
	out->events = s->events;
	out->datagrams = s->datagrams;
	out->nodes = plan->nodes;
	for (uint32_t node = 1; node <= plan->nodes; node++)
		out->sent_bytes += s->nodes[node - 1].sent_bytes;
	sim_free(s);
}

void
trial_run_twice(const struct plan *plan, const struct sim_profile *profile, struct trial *out)
{
	struct trial again;

	trial_run(plan, profile, NULL, out);
	trial_run(plan, profile, NULL, &again);
	if (out->hash == again.hash && out->events == again.events)
		return;
	out->failure = (struct sim_failure){.failed = true, .check = "determinism"};
	snprintf(out->failure.text, sizeof(out->failure.text),
		 "two runs differ: %016" PRIx64 " after %" PRIu64 " events, %016" PRIx64
		 " after %" PRIu64,
		 out->hash, out->events, again.hash, again.events);
}

/* ---- smaller plans ---- */

static size_t
count_left(const struct plan *p)
{
	size_t count = 0;

	for (size_t i = 0; i < p->item_count; i++)
		count += !p->items[i].dropped;
	return count;
}

/* Marks (or unmarks) those left with numbers from first on; they are named before. */
static size_t
pick(const struct plan *p, size_t first, size_t count, size_t *indexes)
{
	size_t number = 0, picked = 0;

	for (size_t i = 0; i < p->item_count && picked < count; i++)
		if (!p->items[i].dropped && number++ >= first)
			indexes[picked++] = i;
	return picked;
}

static bool
fails_without(struct plan *p, size_t first, size_t count, trial_fails_fn *fails, void *data)
{
	size_t indexes[1024];
	size_t picked = pick(p, first, count < 1024 ? count : 1024, indexes);

	for (size_t i = 0; i < picked; i++)
		p->items[indexes[i]].dropped = true;
	if (fails(p, data))
		return true;
	for (size_t i = 0; i < picked; i++)
		p->items[indexes[i]].dropped = false;
	return false;
}

unsigned
trial_minimise(struct plan *plan, trial_fails_fn *fails, void *data, unsigned tries_max)
{
	size_t left = count_left(plan), part = (left + 1) / 2;
	unsigned tries = 0;

	while (part > 0 && left > 0) {
		bool smaller = false;

		for (size_t first = 0; first < left && tries < tries_max;) {
			tries++;
			if (fails_without(plan, first, part, fails, data)) {
				left = count_left(plan);
				smaller = true;
			} else {
				first += part;
			}
		}
		if (tries >= tries_max)
			break;
		if (part == 1 && !smaller)
			break;
		part = part > 1 ? (part + 1) / 2 : 1;
	}
	return tries;
}
