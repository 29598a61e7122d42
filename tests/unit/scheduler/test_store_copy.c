/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/store_copy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "scheduler/sqlite.h"
#include "scheduler/store_row.h"
#include "scheduler/store_sqlite.h"
#include "scheduler/store_txn.h"
#include "tests/support/prop.h"
#include "tests/support/store_folder.h"
#include "tests/support/sweep.h"

enum { VALUE_BYTES = 64 << 10 };

/* ---- rows ---- */

static void
random_row(struct prop *p, unsigned kind, void *row)
{
	const struct store_shape *shape = store_shape(kind);
	uint64_t head[2] = {1 + prop_below(p, 1000), 1 + prop_below(p, 1000)};

	memset(row, 0, shape->row_bytes);
	memcpy(row, head, sizeof(head));
	for (size_t i = 0; i < shape->columns_count; i++) {
		const struct store_column *c = &shape->columns[i];
		char *field = (char *)row + c->offset;
		uint64_t n = prop_below(p, 1000);

		if (prop_below(p, 3) == 0)
			continue;
		if (c->type == STORE_TEXT) {
			size_t length = prop_below(p, c->bytes);

			for (size_t k = 0; k < length; k++)
				field[k] = (char)(1 + prop_below(p, 255));
		} else {
			memcpy(field, &n, c->bytes < sizeof(n) ? c->bytes : sizeof(n));
		}
	}
}

static void
test_rows_come_back(void **state)
{
	static uint64_t row[8192 / 8], back[8192 / 8];
	struct err err = {0};
	struct prop p;
	struct buf b;

	(void)state;
	p.state = 7;
	buf_init(&b, MEM_SCHEDULER, VALUE_BYTES);
	for (int i = 0; i < 2000; i++) {
		unsigned kind = (unsigned)prop_below(&p, STORE_KINDS_);
		size_t bytes = store_shape(kind)->row_bytes;

		assert_true(bytes <= sizeof(row));
		random_row(&p, kind, row);
		buf_reset(&b);
		store_row_put(&b, kind, row);
		assert_int_equal(store_row_get(kind, row[0], b.data, b.length, back, &err), 0);
		assert_memory_equal(row, back, bytes);
		/* Cut anywhere it is no row, or it is another one: never the same. */
		size_t cut = prop_below(&p, b.length);
		if (store_row_get(kind, row[0], b.data, cut, back, &err) == 0)
			assert_memory_not_equal(row, back, bytes);
		else
			assert_int_equal(err.kind, ERR_CORRUPT);
	}
	buf_fini(&b);
}

static void
expect_row(const void *data, size_t bytes, enum err_kind kind)
{
	struct store_service row;
	struct err err = {0};

	assert_int_equal(store_row_get(STORE_SERVICE, 1, data, bytes, &row, &err), -1);
	assert_int_equal(err.kind, kind);
}

static void
test_rows_that_are_none(void **state)
{
	static const uint8_t later_format[] = {2, 1, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t later_column[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 6, 1, 0, 0, 0};
	static const uint8_t no_version[] = {1, 0, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t empty_column[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0};
	static const uint8_t order[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 3, 1, 0, 0, 0};
	static const uint8_t zero[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t nul[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0, 0, 0, 'a', 0};

	(void)state;
	expect_row(later_format, sizeof(later_format), ERR_UNSUPPORTED);
	expect_row(later_column, sizeof(later_column), ERR_UNSUPPORTED);
	expect_row(no_version, sizeof(no_version), ERR_CORRUPT);
	expect_row(empty_column, sizeof(empty_column), ERR_CORRUPT);
	expect_row(order, sizeof(order), ERR_CORRUPT);
	expect_row(zero, sizeof(zero), ERR_CORRUPT);
	expect_row(nul, sizeof(nul), ERR_CORRUPT);
	expect_row("", 0, ERR_CORRUPT);
}

/* ---- keys, entries, digests ---- */

static void
test_keys(void **state)
{
	static const char *const wrong[] = {
		"",
		"row/",
		"row/services",
		"row/services/",
		"row/services/0000000000000000",
		"row/services/8000000000000000",
		"row/services/000000000000000A",
		"row/services/00000000000000001",
		"row/nothing/0000000000000001",
		"row/services/0000000000000001/0000",
		"blob/documents/0000000000000001",
		"blob/documents/0000000000000001/000",
		"blob/documents/0000000000000001/1000",
		"blob/documents/0000000000000001/00000",
		"rows/services/0000000000000001",
	};
	struct store_key key, back;
	char text[STORE_KEY_BYTES];

	(void)state;
	for (unsigned kind = 0; kind < STORE_KINDS_ + STORE_BLOBS_; kind++) {
		bool local;

		key = (struct store_key){.kind = kind, .id = 0x123456789abcdef0};
		if (kind >= STORE_KINDS_)
			key = (struct store_key){true, kind - STORE_KINDS_, 1, 0xfff};
		local = key.blob ? store_blob_is_local(key.kind) : store_kind_is_local(key.kind);
		store_key_put(&key, text);
		assert_int_equal(store_key_get(text, strlen(text), &back), !local);
		if (!local)
			assert_int_equal(store_key_compare(&key, &back), 0);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(store_key_get(wrong[i], strlen(wrong[i]), &key));
}

static void
test_entries(void **state)
{
	struct store_entry e = {.sequence = 77, .count = 3, .parts = 2}, back;
	struct err err = {0};
	char text[STORE_ENTRY_BYTES];

	(void)state;
	memset(e.txid, 0xab, sizeof(e.txid));
	store_entry_chain(&e, e.hash, NULL, 0);
	store_entry_put(&e, text);
	assert_int_equal(store_entry_get(text, strlen(text), &back, &err), 0);
	assert_memory_equal(&e, &back, sizeof(e));
	for (size_t n = 0; n < strlen(text); n++) {
		assert_int_equal(store_entry_get(text, n, &back, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
	}
	text[0] = '2';
	assert_int_equal(store_entry_get(text, strlen(text), &back, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
}

static void
test_digest_goes_both_ways(void **state)
{
	struct store_digest d = {{0}}, zero = {{0}};

	(void)state;
	for (int i = 0; i < 200; i++) {
		struct store_key key = {.kind = STORE_OPERATION, .id = (uint64_t)i + 1};

		store_digest_add(&d, &key, &i, sizeof(i));
	}
	for (int i = 199; i >= 0; i -= 2) {
		struct store_key key = {.kind = STORE_OPERATION, .id = (uint64_t)i + 1};

		store_digest_remove(&d, &key, &i, sizeof(i));
	}
	assert_memory_not_equal(&d, &zero, sizeof(d));
	for (int i = 0; i < 200; i += 2) {
		struct store_key key = {.kind = STORE_OPERATION, .id = (uint64_t)i + 1};

		store_digest_remove(&d, &key, &i, sizeof(i));
	}
	assert_memory_equal(&d, &zero, sizeof(d));
}

/* ---- copies ---- */

static void
open_copy(void **state, const char *name, struct store_copy *c)
{
	struct err err = {0};

	if (store_copy_open(c, store_folder_open(state, name), &err) < 0) {
		err_print(&err, "copy", stderr);
		fail();
	}
	if (c->id[0])
		return;
	struct store_entry first = {0};
	assert_int_equal(store_copy_replace(c, NULL, 0, &first, 1, "store", &err), 0);
}

static void
add_shop(struct store_txn *t, struct store_deployment *d, size_t document_bytes)
{
	struct store_service s = {.id = 2, .name = "web"};
	struct store_revision r = {.id = 3, .revision = 1};
	static char text[3 << 20];
	struct err err = {0};

	d->id = 1;
	assert_int_equal(store_txn_put(t, STORE_DEPLOYMENT, d, &err), 0);
	s.deployment = r.deployment = 1;
	assert_int_equal(store_txn_put(t, STORE_SERVICE, &s, &err), 0);
	assert_int_equal(store_txn_put(t, STORE_REVISION, &r, &err), 0);
	memset(text, 'x', sizeof(text));
	assert_true(document_bytes <= sizeof(text));
	assert_int_equal(store_txn_put_blob(t, STORE_DOCUMENT, 3, text, document_bytes, &err), 0);
}

static int
apply(struct store_copy *c, const struct store_txn *t, struct store_entry *e, struct err *err)
{
	if (store_copy_next(c, t->changes, t->changes_count, e, err) < 0)
		return -1;
	return store_copy_apply(c, t->changes, t->changes_count, e, 5, err);
}

static void
test_copies_agree(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct store_copy a, b;
	struct store_entry e = {.txid = {1}};
	struct store_digest sum;
	struct store_txn t;
	struct err err = {0};
	uint64_t count;

	open_copy(state, "a.db", &a);
	open_copy(state, "b.db", &b);
	assert_int_equal(store_txn_begin(&t, a.rows, &err), 0);
	add_shop(&t, &d, 600 << 10);
	assert_int_equal(store_txn_finish(&t, &err), 0);
	assert_int_equal(t.changes_count, 6);
	/* Worked out, and nothing is there. */
	assert_int_equal(store_copy_sum(a.rows, &sum, &count, &err), 0);
	assert_int_equal(count, 0);
	assert_int_equal(apply(&a, &t, &e, &err), 0);
	assert_int_equal(store_copy_apply(&b, t.changes, t.changes_count, &e, 5, &err), 0);
	/* Twice, or with something else in it, it does not fit. */
	assert_int_equal(store_copy_apply(&b, t.changes, t.changes_count, &e, 5, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	store_txn_fini(&t);
	assert_int_equal(store_copy_sum(b.rows, &sum, &count, &err), 0);
	assert_int_equal(count, 6);
	assert_memory_equal(&sum, &a.head.digest, sizeof(sum));
	/* Away with it: what goes along is in the changes. */
	assert_int_equal(store_txn_begin(&t, a.rows, &err), 0);
	assert_int_equal(store_txn_drop(&t, STORE_DEPLOYMENT, 1, 1, &err), 0);
	assert_int_equal(store_txn_finish(&t, &err), 0);
	assert_int_equal(t.changes_count, 6);
	assert_int_equal(apply(&a, &t, &e, &err), 0);
	e.hash[0] ^= 1;
	assert_int_equal(store_copy_apply(&b, t.changes, t.changes_count, &e, 6, &err), -1);
	e.hash[0] ^= 1;
	assert_int_equal(store_copy_apply(&b, t.changes, t.changes_count - 1, &e, 6, &err), -1);
	assert_int_equal(store_copy_apply(&b, t.changes, t.changes_count, &e, 6, &err), 0);
	store_txn_fini(&t);
	assert_true(store_entry_same(&a.head, &b.head));
	assert_int_equal(b.head.count, 0);
	store_copy_close(&a);
	store_copy_close(&b);
	open_copy(state, "b.db", &b);
	assert_int_equal(b.head.sequence, 2);
	assert_int_equal(b.revision, 6);
	store_copy_close(&b);
}

/* Others were faster: it is worked out again, or it contradicts. */
static void
test_worked_out_again(void **state)
{
	struct store_deployment d = {.name = "shop"}, x;
	struct store_entry e = {.txid = {1}};
	struct store_txn first, other;
	struct store_copy a;
	struct err err = {0};

	open_copy(state, "a.db", &a);
	assert_int_equal(store_txn_begin(&first, a.rows, &err), 0);
	add_shop(&first, &d, 10);
	assert_int_equal(store_txn_finish(&first, &err), 0);
	assert_int_equal(apply(&a, &first, &e, &err), 0);
	store_txn_fini(&first);

	x = d;
	x.revision = 5;
	assert_int_equal(store_txn_begin(&first, a.rows, &err), 0);
	assert_int_equal(store_txn_put(&first, STORE_DEPLOYMENT, &x, &err), 0);
	assert_int_equal(store_txn_put(&first, STORE_DEPLOYMENT, &x, &err), 0);
	assert_int_equal(x.version, 3);
	assert_int_equal(store_txn_finish(&first, &err), 0);
	struct store_service s = {.id = 9, .deployment = 1, .name = "db"};
	assert_int_equal(store_txn_begin(&other, a.rows, &err), 0);
	assert_int_equal(store_txn_put(&other, STORE_SERVICE, &s, &err), 0);
	assert_int_equal(store_txn_finish(&other, &err), 0);
	assert_int_equal(apply(&a, &other, &e, &err), 0);
	store_txn_fini(&other);
	assert_int_equal(store_txn_again(&first, &err), 0);
	assert_int_equal(store_txn_finish(&first, &err), 0);
	assert_int_equal(first.changes_count, 1);

	x = d;
	assert_int_equal(store_txn_begin(&other, a.rows, &err), 0);
	assert_int_equal(store_txn_put(&other, STORE_DEPLOYMENT, &x, &err), 0);
	assert_int_equal(store_txn_finish(&other, &err), 0);
	assert_int_equal(apply(&a, &other, &e, &err), 0);
	store_txn_fini(&other);
	assert_int_equal(store_txn_again(&first, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	store_txn_fini(&first);
	store_copy_close(&a);
}

static void
fill_local(struct store *rows, uint64_t service, uint64_t id)
{
	struct store_replica p = {.id = id, .service = service, .make = {7}};
	struct store_event e = {.id = id, .event = {.type = "x"}};
	struct err err = {0};

	assert_int_equal(store_begin(rows, &err), 0);
	assert_int_equal(store_put(rows, STORE_REPLICA, &p, &err), 0);
	assert_int_equal(store_put_blob(rows, STORE_PLAN, id, "plan", id % 5, &err), 0);
	assert_int_equal(store_put(rows, STORE_EVENT, &e, &err), 0);
	assert_int_equal(store_commit(rows, &err), 0);
}

static bool
has_local(struct store *rows, uint64_t id)
{
	struct store_replica p;
	struct err err = {0};
	struct buf plan;

	buf_init(&plan, MEM_SCHEDULER, 64);
	bool there = store_get(rows, STORE_REPLICA, id, &p, &err) == 0;
	if (there) {
		assert_int_equal(p.make[0], 7);
		assert_int_equal(p.version, 1);
	}
	assert_int_equal(store_get_blob(rows, STORE_PLAN, id, &plan, &err), there ? 0 : -1);
	if (there) {
		assert_int_equal(plan.length, id % 5);
		if (id % 5)
			assert_memory_equal(plan.data, "plan", id % 5);
	}
	buf_fini(&plan);
	return there;
}

static int
keep_change(void *arg, const struct store_change *change, struct err *err)
{
	(void)err;
	store_change_put(arg, change);
	return 0;
}

static int
by_key(const void *a, const void *b)
{
	return store_key_compare(&((const struct store_change *)a)->key,
				 &((const struct store_change *)b)->key);
}

/* All of `from` in place of what is in `to`. */
static int
replace(struct store_copy *from, struct store_copy *to, struct err *err)
{
	struct store_change changes[16];
	struct cursor at;
	struct buf all;
	size_t n = 0;

	buf_init(&all, MEM_SCHEDULER, 1 << 20);
	int rc = store_copy_each(from->rows, keep_change, &all, err);
	if (rc < 0 || !buf_ok(&all)) {
		buf_fini(&all);
		return -1;
	}
	cursor_init(&at, all.data, all.length);
	while (cursor_left(&at))
		assert_true(store_change_get(&at, &changes[n++]));
	qsort(changes, n, sizeof(*changes), by_key);
	rc = store_copy_replace(to, changes, n, &from->head, 9, from->id, err);
	buf_fini(&all);
	return rc;
}

/* What is the node's own is in no digest; it stays when all else is replaced, and goes with what it
 * belongs to. */
static void
test_local_rows(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct store_entry e = {.txid = {1}};
	struct store_copy a, b;
	struct store_txn t;
	struct err err = {0};
	struct store_event event;

	open_copy(state, "a.db", &a);
	open_copy(state, "b.db", &b);
	assert_int_equal(store_txn_begin(&t, a.rows, &err), 0);
	add_shop(&t, &d, 10);
	assert_int_equal(store_txn_finish(&t, &err), 0);
	assert_int_equal(apply(&a, &t, &e, &err), 0);
	assert_int_equal(store_copy_apply(&b, t.changes, t.changes_count, &e, 5, &err), 0);
	store_txn_fini(&t);
	fill_local(a.rows, 2, 1ull << 32 | 1);
	fill_local(b.rows, 2, 2ull << 32 | 1);
	fill_local(b.rows, 2, 2ull << 32 | 4);
	store_copy_close(&b);
	open_copy(state, "b.db", &b);
	assert_int_equal(replace(&a, &b, &err), 0);
	assert_true(has_local(b.rows, 2ull << 32 | 1));
	assert_true(has_local(b.rows, 2ull << 32 | 4));
	assert_false(has_local(b.rows, 1ull << 32 | 1));
	sweep_each(sweep)
	{
		int rc = replace(&a, &b, &err);

		assert_true(rc == 0 || sweep_failed());
		sweep.used_bytes = mem_used_all();
	}
	assert_true(has_local(b.rows, 2ull << 32 | 4));
	/* No part of what is dropped, and yet it goes. */
	assert_int_equal(store_txn_begin(&t, a.rows, &err), 0);
	assert_int_equal(store_txn_drop(&t, STORE_SERVICE, 2, 1, &err), 0);
	assert_int_equal(store_txn_finish(&t, &err), 0);
	assert_int_equal(t.changes_count, 1);
	assert_int_equal(apply(&a, &t, &e, &err), 0);
	store_txn_fini(&t);
	assert_false(has_local(a.rows, 1ull << 32 | 1));
	assert_int_equal(replace(&a, &b, &err), 0);
	assert_false(has_local(b.rows, 2ull << 32 | 1));
	assert_int_equal(store_get(b.rows, STORE_EVENT, 2ull << 32 | 1, &event, &err), 0);
	store_copy_close(&a);
	store_copy_close(&b);
}

static void
test_damaged_copy(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct store_entry e = {.txid = {1}};
	struct store_copy a;
	struct store_txn t;
	struct err err = {0};

	open_copy(state, "a.db", &a);
	assert_int_equal(store_txn_begin(&t, a.rows, &err), 0);
	add_shop(&t, &d, 10);
	assert_int_equal(store_txn_finish(&t, &err), 0);
	assert_int_equal(apply(&a, &t, &e, &err), 0);
	store_txn_fini(&t);
	/* Behind its back. */
	assert_int_equal(store_begin(a.rows, &err), 0);
	d.revision = 1;
	assert_int_equal(store_put(a.rows, STORE_DEPLOYMENT, &d, &err), 0);
	assert_int_equal(store_commit(a.rows, &err), 0);
	store_copy_close(&a);
	assert_int_equal(store_copy_open(&a, store_folder_open(state, "a.db"), &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_true(err.fix[0]);
}

static void
test_out_of_memory(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct store_entry e = {.txid = {1}};
	struct store_copy a;
	struct err err = {0};
	struct store_txn t;

	open_copy(state, "a.db", &a);
	assert_int_equal(store_txn_begin(&t, a.rows, &err), 0);
	add_shop(&t, &d, 10);
	assert_int_equal(store_txn_finish(&t, &err), 0);
	assert_int_equal(apply(&a, &t, &e, &err), 0);
	store_txn_fini(&t);
	sweep_each(sweep)
	{
		struct store_deployment copy = d;
		uint64_t before = a.head.sequence;
		int rc = store_txn_begin(&t, a.rows, &err);

		if (rc == 0) {
			copy.revision++;
			rc = store_txn_put(&t, STORE_DEPLOYMENT, &copy, &err);
			if (rc == 0)
				rc = store_txn_put_blob(&t, STORE_DOCUMENT, 3, &copy, 5, &err);
			if (rc == 0)
				rc = store_txn_finish(&t, &err);
			if (rc == 0)
				rc = apply(&a, &t, &e, &err);
			store_txn_fini(&t);
		}
		if (rc == 0)
			d = copy;
		else
			assert_true(sweep_failed());
		assert_int_equal(a.head.sequence, before + (rc == 0));
		/* What SQLite keeps is given back with the store. */
		sweep.used_bytes = mem_used_all();
	}
	store_copy_close(&a);
	assert_int_equal(store_copy_open(&a, store_folder_open(state, "a.db"), &err), 0);
	store_copy_close(&a);
}

int
main(void)
{
	struct err err = {0};

	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_come_back),
		cmocka_unit_test(test_rows_that_are_none),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_digest_goes_both_ways),
		STORE_FOLDER_TEST(test_copies_agree),
		STORE_FOLDER_TEST(test_worked_out_again),
		STORE_FOLDER_TEST(test_local_rows),
		STORE_FOLDER_TEST(test_damaged_copy),
		STORE_FOLDER_TEST(test_out_of_memory),
	};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP no SQLite here: %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
