/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backup as it comes from a disk ('r' is the first byte; the second says in which slices it
 * comes), and one whose records have checks that hold ('c'): u8 type, u16 length, body, again and
 * again; type 0: a head that promises what the changes before the next such byte come to. Whatever
 * is read to its end holds rows that can be put into a store.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "scheduler/store_row.h"
#include "tests/support/backup_craft.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	struct store_digest digest;
	uint64_t count;
};

static int
see(void *arg, const struct store_change *change, const void *row, struct err *err)
{
	struct seen *s = arg;
	uint64_t head[2];
	struct buf again;

	(void)err;
	store_digest_add(&s->digest, &change->key, change->data, change->bytes);
	s->count++;
	assert(!change->gone && (row != NULL) == !change->key.blob);
	if (!row)
		return 0;
	memcpy(head, row, sizeof(head));
	assert(head[0] == change->key.id);
	buf_init(&again, MEM_BASE, 1 << 20);
	store_row_put(&again, change->key.kind, row);
	assert(again.length == change->bytes && !memcmp(again.data, change->data, change->bytes));
	buf_fini(&again);
	return 0;
}

static void
read_it(const uint8_t *data, size_t size, size_t slice)
{
	struct seen s = {0};
	const struct backup_read_calls calls = {.change = see, .arg = &s};
	struct backup_read *r;
	struct err err = {0};
	int rc = 0;

	if (backup_read_new(&calls, &r, &err) < 0)
		abort();
	for (size_t at = 0; at < size && rc == 0; at += slice)
		rc = backup_read_add(r, data + at, size - at < slice ? size - at : slice, &err);
	if (rc == 0)
		rc = backup_read_end(r, &err);
	if (rc == 0) {
		const struct backup_head *head = backup_read_head(r);

		assert(head->entry.count == s.count &&
		       !memcmp(&head->entry.digest, &s.digest, sizeof(s.digest)));
	} else {
		assert(err.kind == ERR_CORRUPT || err.kind == ERR_UNSUPPORTED);
		assert(err.what[0] && err.wheres > 0);
	}
	backup_read_free(r);
}

/* What the changes of a body come to, as far as they are changes. */
static void
sum_up(const uint8_t *body, size_t bytes, struct seen *s)
{
	struct store_change change;
	struct cursor in;

	cursor_init(&in, body, bytes);
	while (cursor_left(&in) && store_change_get(&in, &change)) {
		store_digest_add(&s->digest, &change.key, change.data, change.bytes);
		s->count++;
	}
}

static void
craft(const uint8_t *data, size_t size)
{
	struct seen s = {0};
	struct cursor in;
	struct craft c;

	for (int turn = 0; turn < 2; turn++) {
		cursor_init(&in, data, size);
		if (turn)
			craft_begin(&c);
		while (cursor_left(&in)) {
			unsigned type = cursor_u8(&in);
			size_t bytes = cursor_u16(&in);
			const uint8_t *body = cursor_take(&in, bytes);

			if (!body)
				break;
			if (!turn && type == BACKUP_CHANGES)
				sum_up(body, bytes, &s);
			else if (turn && type == 0)
				craft_head(&c, &s.digest, s.count, bytes > 0);
			else if (turn)
				craft_record(&c, type, body, bytes);
		}
	}
	craft_end(&c, s.count);
	read_it(c.out.data, c.out.length, c.out.length);
	buf_fini(&c.out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 1 && data[0] == 'r')
		read_it(data + 2, size - 2, 1 + data[1]);
	else if (size && data[0] == 'c')
		craft(data + 1, size - 1);
	return 0;
}
