/* SPDX-License-Identifier: Apache-2.0 */
/* What a shared store holds: rows (the first byte is the kind), parts of a large transaction,
 * entries of the log, keys. What is a row gives the same bytes again. */
#include <assert.h>
#include <string.h>
#include "scheduler/store_change.h"
#include "scheduler/store_row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
read_row(unsigned kind, const uint8_t *data, size_t size)
{
	static uint64_t row[8192 / 8];
	struct err err = {0};
	struct buf again;

	assert(store_shape(kind)->row_bytes <= sizeof(row));
	if (store_row_get(kind, 1, data, size, row, &err) < 0) {
		assert(err.kind == ERR_CORRUPT || err.kind == ERR_UNSUPPORTED);
		return;
	}
	buf_init(&again, MEM_BASE, 1 << 20);
	store_row_put(&again, kind, row);
	assert(buf_ok(&again) && again.length == size);
	assert(memcmp(again.data, data, size) == 0);
	buf_fini(&again);
}

static void
read_parts(const uint8_t *data, size_t size)
{
	struct store_change change;
	struct cursor in;

	cursor_init(&in, data, size);
	while (cursor_left(&in) && store_change_get(&in, &change))
		assert(change.gone || change.bytes <= STORE_CHUNK_BYTES);
}

static void
read_entry(const uint8_t *data, size_t size)
{
	char text[STORE_ENTRY_BYTES];
	struct store_entry entry;
	struct err err = {0};

	if (store_entry_get((const char *)data, size, &entry, &err) < 0)
		return;
	store_entry_put(&entry, text);
	assert(strlen(text) == size && !memcmp(text, data, size));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct store_key key;
	char text[STORE_KEY_BYTES];

	if (!size)
		return 0;
	if (data[0] < STORE_KINDS_)
		read_row(data[0], data + 1, size - 1);
	else if (data[0] == 'p')
		read_parts(data + 1, size - 1);
	else if (data[0] == 'e')
		read_entry(data + 1, size - 1);
	else if (store_key_get((const char *)data, size, &key)) {
		store_key_put(&key, text);
		assert(strlen(text) == size && !memcmp(text, data, size));
	}
	return 0;
}
