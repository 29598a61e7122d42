/* SPDX-License-Identifier: Apache-2.0 */
/* Ids are given in the order of admission, and never twice: the lowest has been there longest. */
#include "scheduler/keepers.h"

#define MILLI_NS UINT64_C(1000000)

static bool
is_old(const struct keepers_node *n, uint64_t now_ns, uint64_t ms)
{
	return now_ns >= n->since_ns && now_ns - n->since_ns >= ms * MILLI_NS;
}

static bool
may_be(const struct keepers_node *n, uint64_t now_ns)
{
	return !n->removed && !n->keeper && n->live && !n->draining &&
	       is_old(n, now_ns, KEEPERS_SETTLE_MS);
}

/* Of those that are reached, or of those that are not. */
static uint32_t
next_of(const struct keepers_node *nodes, size_t count, bool hidden, uint64_t now_ns)
{
	uint32_t found = 0;

	for (size_t i = 0; i < count; i++) {
		const struct keepers_node *n = &nodes[i];

		if (n->hidden == hidden && may_be(n, now_ns) && (found == 0 || n->node < found))
			found = n->node;
	}
	return found;
}

uint32_t
keepers_choose(const struct keepers_node *nodes, size_t count, uint64_t now_ns)
{
	size_t keepers = 0, sound = 0, reached = 0;
	uint32_t next = next_of(nodes, count, false, now_ns);

	for (size_t i = 0; i < count; i++) {
		const struct keepers_node *n = &nodes[i];
		bool counts = n->keeper && !n->removed;

		keepers += counts;
		counts &= n->live || !is_old(n, now_ns, KEEPERS_DEAD_MS);
		sound += counts;
		reached += counts && !n->hidden;
	}
	if (next != 0 && reached < KEEPERS_FEW && keepers < KEEPERS_MAX)
		return next;
	if (next == 0 && sound < KEEPERS_FEW && keepers < KEEPERS_FEW)
		return next_of(nodes, count, true, now_ns);
	return 0;
}

uint32_t
keepers_first(const struct keepers_node *nodes, size_t count)
{
	uint32_t first = 0;

	for (size_t i = 0; i < count; i++)
		if (nodes[i].keeper && nodes[i].live && !nodes[i].removed &&
		    (first == 0 || nodes[i].node < first))
			first = nodes[i].node;
	return first;
}
