/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap against a search through all items: smallest deadline first, ties in the order in which
 * they were set. Few distinct deadlines, so that ties are the rule.
 */
#include "base/heap.h"
#include "tests/support/prop.h"

enum { ITEMS = 200, ROUNDS = 50000, DEADLINES = 20 };

struct model {
	struct heap_item item;
	bool in;
	uint64_t at;
	uint64_t order;
};

static struct model models[ITEMS];
static uint64_t order;

static struct model *
first(void)
{
	struct model *best = NULL;

	for (size_t i = 0; i < ITEMS; i++) {
		struct model *m = &models[i];

		if (!m->in)
			continue;
		if (!best || m->at < best->at || (m->at == best->at && m->order < best->order))
			best = m;
	}
	return best;
}

int
main(int argc, char **argv)
{
	struct prop p;
	struct heap h;
	size_t count = 0;

	prop_init(&p, argc, argv);
	heap_init(&h, MEM_BASE);
	for (size_t i = 0; i < ITEMS; i++)
		heap_item_init(&models[i].item);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct model *m = &models[prop_below(&p, ITEMS)];
		struct model *best;

		switch (prop_below(&p, 4)) {
		case 0:
		case 1:
			m->at = prop_below(&p, DEADLINES);
			m->order = order++;
			count += !m->in;
			m->in = true;
			prop_check(heap_set(&h, &m->item, m->at) == 0);
			break;
		case 2:
			heap_remove(&h, &m->item);
			count -= m->in;
			m->in = false;
			break;
		default:
			best = first();
			prop_check(heap_pop(&h) == (best ? &best->item : NULL));
			if (best) {
				best->in = false;
				count--;
			}
		}
		best = first();
		prop_check(heap_peek(&h) == (best ? &best->item : NULL));
		prop_check(heap_contains(&m->item) == m->in);
		prop_check(h.count == count);
	}
	heap_fini(&h);
	prop_check(mem_used_all() == 0);
	return 0;
}
