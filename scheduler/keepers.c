/* SPDX-License-Identifier: Apache-2.0 */
/* Ids are given in the order of admission, and never twice: the lowest has been there longest. */
#include "scheduler/keepers.h"

#define MILLI_NS UINT64_C(1000000)

static bool
is_old(const struct keepers_node *n, uint64_t now_ns, uint64_t ms)
{
	return now_ns >= n->since_ns && now_ns - n->since_ns >= ms * MILLI_NS;
}

uint32_t
keepers_choose(const struct keepers_node *nodes, size_t count, uint64_t now_ns)
{
	size_t keepers = 0, sound = 0;
	uint32_t found = 0;

	for (size_t i = 0; i < count; i++) {
		const struct keepers_node *n = &nodes[i];

		if (n->removed)
			continue;
		keepers += n->keeper;
		sound += n->keeper && (n->live || !is_old(n, now_ns, KEEPERS_DEAD_MS));
		if (!n->keeper && n->live && !n->draining && is_old(n, now_ns, KEEPERS_SETTLE_MS) &&
		    (found == 0 || n->node < found))
			found = n->node;
	}
	return sound < KEEPERS_FEW && keepers < KEEPERS_MAX ? found : 0;
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
