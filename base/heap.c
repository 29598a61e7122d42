/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A binary heap of pointers to items that live elsewhere. Each item knows its index, so moving and
 * removing one is O(log n). Order is (at, order of insertion); a moved item counts as inserted
 * again. The table of pointers only grows.
 */
#include "base/heap.h"

#include <assert.h>

enum { CAPACITY_MIN = 16 };

void
heap_init(struct heap *h, enum mem_tag tag)
{
	*h = (struct heap){.tag = tag};
}

void
heap_fini(struct heap *h)
{
	mem_free(h->items);
	h->items = NULL;
	h->count = 0;
	h->capacity = 0;
}

void
heap_item_init(struct heap_item *item)
{
	*item = (struct heap_item){.index = SIZE_MAX};
}

bool
heap_contains(const struct heap_item *item)
{
	return item->index != SIZE_MAX;
}

static bool
before(const struct heap_item *a, const struct heap_item *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void
place(struct heap *h, struct heap_item *item, size_t index)
{
	h->items[index] = item;
	item->index = index;
}

static void
sift_up(struct heap *h, struct heap_item *item)
{
	size_t i = item->index;

	while (i > 0) {
		size_t parent = (i - 1) / 2;

		if (!before(item, h->items[parent]))
			break;
		place(h, h->items[parent], i);
		i = parent;
	}
	place(h, item, i);
}

static void
sift_down(struct heap *h, struct heap_item *item)
{
	size_t i = item->index;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= h->count)
			break;
		if (child + 1 < h->count && before(h->items[child + 1], h->items[child]))
			child++;
		if (!before(h->items[child], item))
			break;
		place(h, h->items[child], i);
		i = child;
	}
	place(h, item, i);
}

static int
grow(struct heap *h)
{
	size_t capacity = h->capacity ? h->capacity * 2 : CAPACITY_MIN;
	struct heap_item **items;

	items = mem_resize(h->tag, h->items, capacity, sizeof(struct heap_item *));
	if (!items)
		return -1;
	h->items = items;
	h->capacity = capacity;
	return 0;
}

int
heap_set(struct heap *h, struct heap_item *item, uint64_t at)
{
	if (!heap_contains(item)) {
		if (h->count == h->capacity && grow(h) < 0)
			return -1;
		place(h, item, h->count++);
	}
	assert(item->index < h->count && h->items[item->index] == item);
	item->at = at;
	item->order = h->order++;
	sift_up(h, item);
	sift_down(h, item);
	return 0;
}

void
heap_remove(struct heap *h, struct heap_item *item)
{
	struct heap_item *last;

	if (!heap_contains(item))
		return;
	assert(item->index < h->count && h->items[item->index] == item);
	last = h->items[--h->count];
	if (last != item) {
		place(h, last, item->index);
		sift_up(h, last);
		sift_down(h, last);
	}
	item->index = SIZE_MAX;
}

struct heap_item *
heap_peek(const struct heap *h)
{
	return h->count ? h->items[0] : NULL;
}

struct heap_item *
heap_pop(struct heap *h)
{
	struct heap_item *item = heap_peek(h);

	if (item)
		heap_remove(h, item);
	return item;
}
