/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_RING_ROWS_H
#define RING_RING_ROWS_H

/* Rows of a table as an array, for who looks at them together. The rows are borrowed until the
 * table is read again (ring_table_sync). Threading: one owner. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/mem.h"

struct ring_rows {
	enum mem_tag tag;
	const void **items;
	size_t count, capacity;
	bool failed; /* no memory: some are missing */
};

void ring_rows_init(struct ring_rows *r, enum mem_tag tag);
void ring_rows_fini(struct ring_rows *r);
/* False: no memory. */
bool ring_rows_add(struct ring_rows *r, const void *row);
/* As ring_table_each calls it; arg: struct ring_rows. */
bool ring_rows_take(void *arg, uint64_t key, const void *row);

#endif
