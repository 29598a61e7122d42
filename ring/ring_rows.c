/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/ring_rows.h"

enum { CAPACITY_MIN = 64 };

void
ring_rows_init(struct ring_rows *r, enum mem_tag tag)
{
	*r = (struct ring_rows){.tag = tag};
}

void
ring_rows_fini(struct ring_rows *r)
{
	mem_free((void *)r->items);
	ring_rows_init(r, r->tag);
}

bool
ring_rows_add(struct ring_rows *r, const void *row)
{
	if (r->count == r->capacity) {
		size_t more = r->capacity ? 2 * r->capacity : CAPACITY_MIN;
		const void **grown =
			mem_resize(r->tag, (void *)r->items, more, sizeof(r->items[0]));

		r->failed |= !grown;
		if (!grown)
			return false;
		r->items = grown;
		r->capacity = more;
	}
	r->items[r->count++] = row;
	return true;
}

bool
ring_rows_take(void *arg, uint64_t key, const void *row)
{
	(void)key;
	return ring_rows_add(arg, row);
}
