/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows to bytes and back. The reader takes only what the writer writes (columns in order, none
 * empty, nothing behind the last), so that equal rows have equal digests on every node.
 */
#include "scheduler/store_row.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { FORMAT = 1, COLUMNS_MAX = 250 };

static bool
is_empty(const struct store_column *c, const char *field)
{
	if (c->type == STORE_TEXT)
		return !field[0];
	for (size_t i = 0; i < c->bytes; i++) {
		if (field[i])
			return false;
	}
	return true;
}

static void
put_value(struct buf *out, const struct store_column *c, const char *field)
{
	uint32_t u32;
	uint64_t u64;

	switch (c->type) {
	case STORE_U32:
		memcpy(&u32, field, sizeof(u32));
		buf_u32(out, u32);
		return;
	case STORE_U64:
	case STORE_I64:
		memcpy(&u64, field, sizeof(u64));
		buf_u64(out, u64);
		return;
	case STORE_TEXT:
		buf_blob(out, field, strnlen(field, c->bytes));
		return;
	case STORE_BYTES:
		buf_put(out, field, c->bytes);
		return;
	}
}

void
store_row_put(struct buf *out, enum store_kind kind, const void *row)
{
	const struct store_shape *shape = store_shape(kind);
	uint64_t version;

	assert(shape->columns_count < COLUMNS_MAX);
	memcpy(&version, (const char *)row + sizeof(uint64_t), sizeof(version));
	buf_u8(out, FORMAT);
	buf_u64(out, version);
	for (size_t i = 0; i < shape->columns_count; i++) {
		const struct store_column *c = &shape->columns[i];
		const char *field = (const char *)row + c->offset;

		if (is_empty(c, field))
			continue;
		buf_u8(out, (uint8_t)(i + 1));
		put_value(out, c, field);
	}
}

static bool
get_value(struct cursor *in, const struct store_column *c, char *field)
{
	const void *data;
	size_t bytes = c->bytes;

	if (c->type == STORE_U32) {
		uint32_t u32 = cursor_u32(in);

		memcpy(field, &u32, sizeof(u32));
	} else if (c->type == STORE_U64 || c->type == STORE_I64) {
		uint64_t u64 = cursor_u64(in);

		/* The embedded engine's numbers are signed. */
		if (c->type == STORE_U64 && u64 > INT64_MAX)
			return false;
		memcpy(field, &u64, sizeof(u64));
	} else {
		data = c->type == STORE_TEXT ? cursor_blob(in, c->bytes - 1, &bytes)
					     : cursor_take(in, c->bytes);
		if (!data || (c->type == STORE_TEXT && memchr(data, 0, bytes)))
			return false;
		memcpy(field, data, bytes);
	}
	return cursor_ok(in) && !is_empty(c, field);
}

static int
wrong(const struct store_shape *shape, uint64_t id, const char *column, struct err *err)
{
	err_set(err, ERR_CORRUPT, "the store holds a row that is wrong");
	return err_why(err, "%s %" PRIu64 ": %s", shape->table, id, column);
}

static int
newer(const struct store_shape *shape, uint64_t id, const char *what, struct err *err)
{
	err_set(err, ERR_UNSUPPORTED, "the store holds a row of a newer zlayer");
	err_why(err, "%s %" PRIu64 " has %s that this version does not know", shape->table, id,
		what);
	return err_fix(err, "upgrade zlayer on this node");
}

int
store_row_get(enum store_kind kind, uint64_t id, const void *data, size_t bytes, void *row,
	      struct err *err)
{
	const struct store_shape *shape = store_shape(kind);
	struct cursor in;
	unsigned last = 0;

	cursor_init(&in, data, bytes);
	unsigned format = cursor_u8(&in);
	if (cursor_ok(&in) && format > FORMAT)
		return newer(shape, id, "a format", err);
	uint64_t version = cursor_u64(&in);
	if (!cursor_ok(&in) || format != FORMAT || !version || version > INT64_MAX || !id ||
	    id > INT64_MAX)
		return wrong(shape, id, "its head", err);
	memset(row, 0, shape->row_bytes);
	memcpy(row, &id, sizeof(id));
	memcpy((char *)row + sizeof(id), &version, sizeof(version));
	while (cursor_left(&in)) {
		unsigned number = cursor_u8(&in);

		if (number > shape->columns_count)
			return newer(shape, id, "a column", err);
		if (number <= last)
			return wrong(shape, id, "the order of its columns", err);
		last = number;
		const struct store_column *c = &shape->columns[number - 1];
		if (!get_value(&in, c, (char *)row + c->offset))
			return wrong(shape, id, c->name, err);
	}
	return 0;
}

size_t
store_row_bytes_max(void)
{
	size_t most = 0;

	for (unsigned kind = 0; kind < STORE_KINDS_; kind++) {
		if (store_shape(kind)->row_bytes > most)
			most = store_shape(kind)->row_bytes;
	}
	return most;
}
