/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_ROW_H
#define SCHEDULER_STORE_ROW_H

/*
 * A row as bytes, for engines that keep values and not columns. One codec for all kinds, made from
 * the shapes of store.h:
 *
 *   u8 1, u64 version, then for each column that is not empty, in the order of the shape:
 *   u8 number of the column (from 1), and u32 | u64 | u32 length and text | the bytes
 *
 * little-endian. Columns that are zero or "" are left out, so the same row always gives the same
 * bytes, also in a later version that has more columns. The id is not in it: it is the key's.
 * Threading: pure functions.
 */

#include "base/buf.h"
#include "base/err.h"
#include "scheduler/store.h"

void store_row_put(struct buf *out, enum store_kind kind, const void *row);
/* ERR_UNSUPPORTED: a newer zlayer wrote it, with columns that this one does not know; ERR_CORRUPT:
 * it is no row, or not written as above. */
int store_row_get(enum store_kind kind, uint64_t id, const void *data, size_t bytes, void *row,
		  struct err *err) MUST_CHECK;
/* Room for a row of any kind, as the structs of store.h are. */
size_t store_row_bytes_max(void);

#endif
