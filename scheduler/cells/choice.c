/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The best unit in the best class: first those that run the service and can keep it, then those
 * with room. In a class the lowest score wins, then the lowest unit.
 */
#include "scheduler/cells/choice.h"

#include "base/mutant.h"
#include "scheduler/place/rendezvous.h"

enum { CLASS_NONE, CLASS_ROOM, CLASS_RUNS };

unsigned
choice_reasons(const struct choice_unit *u, const struct choice_ask *ask)
{
	unsigned reasons = 0;

	if (u->lost || !u->summary)
		return CHOICE_LOST;
	for (size_t i = 0; i < ask->labels_count; i++)
		if (!summary_has_label(u->summary, ask->labels[i]))
			reasons |= CHOICE_LABEL;
	if (summary_room(u->summary, ask->cpu_milli, ask->memory_mib) < ask->replicas)
		reasons |= CHOICE_ROOM;
	return reasons;
}

static unsigned
class_of(const struct choice_unit *u, const struct choice_ask *ask)
{
	unsigned reasons = choice_reasons(u, ask);

	if (reasons & (CHOICE_LOST | CHOICE_LABEL))
		return CLASS_NONE;
	if (summary_runs(u->summary, ask->service))
		return CLASS_RUNS;
	return reasons ? CLASS_NONE : CLASS_ROOM;
}

static uint64_t
score(const struct choice_unit *u, const struct choice_ask *ask)
{
	/* A core counts as much as 2 GiB. */
	uint64_t cpu = u->summary->cpu_milli / 1000, memory = u->summary->memory_mib / 2048;
	uint64_t capacity = cpu < memory ? cpu : memory;

	return rendezvous_score(rendezvous_mix(ask->service, 0x63656c6c), rendezvous_seed(u->unit),
				rendezvous_exponent(capacity ? capacity : 1));
}

long
choice_make(const struct choice_unit *units, size_t count, const struct choice_ask *ask)
{
	unsigned best_class = CLASS_NONE;
	uint64_t best_score = 0;
	long best = -1;

	for (size_t i = 0; i < count; i++) {
		unsigned class = class_of(&units[i], ask);

		if (class == CLASS_NONE || class < best_class)
			continue;
		uint64_t mine = score(&units[i], ask);

		if (class == best_class &&
		    (mine > best_score || (mine == best_score && units[i].unit > units[best].unit)))
			continue;
		best_class = class;
		best_score = mine;
		best = (long)i;
	}
	return best;
}
