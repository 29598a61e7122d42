/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: a reader's copy follows the producer's rows, and each difference is told once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>
#include "base/mem.h"
#include "ring/layout.h"
#include "tests/support/segment.h"

enum { TOLD_MAX = 256 };

struct fixture {
	struct ring_writer *w;
	struct ring_reader *r;
	uint64_t keys[TOLD_MAX];
	uint64_t values[TOLD_MAX]; /* 0: removed */
	size_t told;
};

static int
setup(void **state)
{
	struct fixture *f = mem_zalloc(MEM_BASE, sizeof(*f));

	f->w = segment_writer(1);
	f->r = segment_reader(f->w);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	ring_reader_free(f->r);
	ring_writer_free(f->w);
	mem_free(f);
	return 0;
}

static void
note(void *arg, uint64_t key, const void *row)
{
	struct fixture *f = arg;
	const struct segment_row *given = row;

	assert_true(f->told < TOLD_MAX);
	f->keys[f->told] = key;
	f->values[f->told++] = given != NULL ? given->value : 0;
	/* The copy is up to date when differences are told. */
	assert_ptr_equal(ring_table_get(f->r, SEGMENT_TABLE, key), row);
	assert_true(given == NULL || segment_row_holds(given));
}

static enum ring_status
look(struct fixture *f)
{
	f->told = 0;
	return ring_table_sync(f->r, SEGMENT_TABLE, sizeof(struct segment_row), note, f);
}

static bool
set(struct fixture *f, uint64_t key, uint64_t value)
{
	struct segment_row row = segment_row(value);
	bool changed = false;

	assert_int_equal(ring_table_set(f->w, SEGMENT_TABLE, key, &row, &changed), RING_OK);
	return changed;
}

static uint64_t
value_of(struct fixture *f, uint64_t key)
{
	const struct segment_row *row = ring_table_get(f->r, SEGMENT_TABLE, key);

	return row != NULL ? row->value : 0;
}

static void
test_first_look(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ring_table_version(f->r, SEGMENT_TABLE), 0);
	assert_int_equal(look(f), RING_OK);
	assert_int_equal(f->told, 0);
	assert_true(ring_table_version(f->r, SEGMENT_TABLE) > 0);
	assert_int_equal(look(f), RING_EMPTY);
	assert_int_equal(ring_table_sync(f->r, 1000, 8, NULL, NULL), RING_EMPTY);
	assert_null(ring_table_get(f->r, 1000, 1));
	assert_int_equal(ring_table_version(f->r, 1000), 0);
}

static void
test_add_change_remove(void **state)
{
	struct fixture *f = *state;
	uint64_t version;

	assert_true(set(f, 11, 1));
	assert_true(set(f, 22, 2));
	assert_int_equal(look(f), RING_OK);
	assert_int_equal(f->told, 2);
	assert_int_equal(value_of(f, 11), 1);
	version = ring_table_version(f->r, SEGMENT_TABLE);
	assert_true(set(f, 11, 3));
	assert_int_equal(look(f), RING_OK);
	assert_int_equal(f->told, 1);
	assert_int_equal(f->keys[0], 11);
	assert_int_equal(f->values[0], 3);
	assert_true(ring_table_version(f->r, SEGMENT_TABLE) > version);
	assert_true(ring_table_remove(f->w, SEGMENT_TABLE, 11));
	assert_false(ring_table_remove(f->w, SEGMENT_TABLE, 11));
	assert_int_equal(look(f), RING_OK);
	assert_int_equal(f->told, 1);
	assert_int_equal(f->keys[0], 11);
	assert_int_equal(f->values[0], 0);
	assert_int_equal(look(f), RING_EMPTY);
	assert_int_equal(value_of(f, 22), 2);
}

static void
test_same_bytes_change_nothing(void **state)
{
	struct fixture *f = *state;

	assert_true(set(f, 5, 1));
	assert_int_equal(look(f), RING_OK);
	assert_false(set(f, 5, 1));
	ring_table_begin(f->w, SEGMENT_TABLE);
	assert_false(set(f, 5, 1));
	ring_table_commit(f->w, SEGMENT_TABLE);
	assert_int_equal(look(f), RING_EMPTY);
	/* There and back: a new version, but no difference to tell. */
	assert_true(set(f, 5, 2));
	assert_true(set(f, 5, 1));
	assert_int_equal(look(f), RING_OK);
	assert_int_equal(f->told, 0);
}

static void
test_slot_used_again(void **state)
{
	struct fixture *f = *state;

	set(f, 1, 10);
	assert_int_equal(look(f), RING_OK);
	ring_table_remove(f->w, SEGMENT_TABLE, 1);
	set(f, 2, 20);
	assert_int_equal(look(f), RING_OK);
	assert_int_equal(f->told, 2);
	assert_int_equal(f->keys[0], 1);
	assert_int_equal(f->values[0], 0);
	assert_int_equal(f->keys[1], 2);
	assert_int_equal(f->values[1], 20);
}

/* 1 and 2 swap places: two changes, no removal. */
static void
test_row_moves_to_another_slot(void **state)
{
	struct fixture *f = *state;

	set(f, 1, 10);
	set(f, 2, 20);
	assert_int_equal(look(f), RING_OK);
	ring_table_begin(f->w, SEGMENT_TABLE);
	ring_table_remove(f->w, SEGMENT_TABLE, 1);
	ring_table_remove(f->w, SEGMENT_TABLE, 2);
	set(f, 1, 11);
	set(f, 2, 21);
	ring_table_commit(f->w, SEGMENT_TABLE);
	assert_int_equal(look(f), RING_OK);
	assert_int_equal(f->told, 2);
	assert_int_equal(value_of(f, 1), 11);
	assert_int_equal(value_of(f, 2), 21);
	for (size_t i = 0; i < f->told; i++)
		assert_true(f->values[i] != 0);
}

static void
test_come_and_gone_between_two_looks(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(look(f), RING_OK);
	set(f, 1, 10);
	ring_table_remove(f->w, SEGMENT_TABLE, 1);
	assert_int_equal(look(f), RING_OK);
	assert_int_equal(f->told, 0);
	assert_null(ring_table_own(f->w, SEGMENT_TABLE, 1));
}

static void
test_own_view(void **state)
{
	struct fixture *f = *state;
	const struct segment_row *own;

	assert_null(ring_table_own(f->w, SEGMENT_TABLE, 3));
	set(f, 3, 33);
	own = ring_table_own(f->w, SEGMENT_TABLE, 3);
	assert_non_null(own);
	assert_int_equal(own->value, 33);
}

static void
test_transaction_hides_until_commit(void **state)
{
	struct fixture *f = *state;

	set(f, 1, 1);
	assert_int_equal(look(f), RING_OK);
	ring_table_begin(f->w, SEGMENT_TABLE);
	set(f, 1, 2);
	assert_int_equal(look(f), RING_AGAIN);
	assert_int_equal(value_of(f, 1), 1);
	set(f, 2, 3);
	ring_table_commit(f->w, SEGMENT_TABLE);
	assert_int_equal(look(f), RING_OK);
	assert_int_equal(f->told, 2);
	assert_int_equal(value_of(f, 1), 2);
}

static void
test_full(void **state)
{
	struct fixture *f = *state;
	struct segment_row row = segment_row(1);
	bool changed = true;

	for (uint64_t key = 1; key <= 4; key++)
		assert_int_equal(ring_table_set(f->w, SEGMENT_SMALL, key, &row, NULL), RING_OK);
	assert_int_equal(ring_table_set(f->w, SEGMENT_SMALL, 5, &row, &changed), RING_FULL);
	assert_false(changed);
	row = segment_row(2);
	assert_int_equal(ring_table_set(f->w, SEGMENT_SMALL, 4, &row, NULL), RING_OK);
	assert_true(ring_table_remove(f->w, SEGMENT_SMALL, 2));
	assert_int_equal(ring_table_set(f->w, SEGMENT_SMALL, 5, &row, &changed), RING_OK);
	assert_true(changed);
	assert_int_equal(ring_table_set(f->w, SEGMENT_SMALL, 6, &row, NULL), RING_FULL);
}

static bool
add_up(void *arg, uint64_t key, const void *row)
{
	uint64_t *sum = arg;

	(void)row;
	*sum += key;
	return key != 99;
}

static void
test_new_reader_sees_all(void **state)
{
	struct fixture *f = *state;
	uint64_t sum = 0;

	for (uint64_t key = 1; key <= 100; key++)
		set(f, key, key * 2);
	for (uint64_t key = 1; key <= 100; key += 2)
		ring_table_remove(f->w, SEGMENT_TABLE, key);
	assert_int_equal(look(f), RING_OK);
	assert_int_equal(f->told, 50);
	ring_table_each(f->r, SEGMENT_TABLE, add_up, &sum);
	assert_int_equal(sum, 2550);
	assert_int_equal(value_of(f, 100), 200);
	assert_int_equal(value_of(f, 99), 0);
}

/* An older or newer build of the reader: the row is cut, or padded with zeros. */
static void
test_other_row_sizes(void **state)
{
	struct fixture *f = *state;
	struct ring_reader *wide = segment_reader(f->w);
	struct ring_reader *narrow = segment_reader(f->w);
	const uint64_t *row;
	const unsigned char *cut;

	set(f, 1, 0x0102030405060708);
	assert_int_equal(ring_table_sync(wide, SEGMENT_TABLE, 100, NULL, NULL), RING_OK);
	row = ring_table_get(wide, SEGMENT_TABLE, 1);
	assert_int_equal(row[0], 0x0102030405060708);
	for (size_t i = sizeof(struct segment_row) / 8; i < 96 / 8; i++)
		assert_int_equal(row[i], 0);
	assert_int_equal(ring_table_sync(narrow, SEGMENT_TABLE, 5, NULL, NULL), RING_OK);
	cut = ring_table_get(narrow, SEGMENT_TABLE, 1);
	assert_int_equal(cut[0], 8);
	assert_int_equal(cut[4], 4);
	assert_int_equal(cut[5], 0);
	ring_reader_free(wide);
	ring_reader_free(narrow);
}

static void
test_producer_died_in_a_transaction(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t pid;

	set(f, 1, 1);
	assert_int_equal(look(f), RING_OK);
	pid = fork();
	if (pid == 0) {
		ring_table_begin(f->w, SEGMENT_TABLE);
		set(f, 1, 2);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(look(f), RING_AGAIN);
	assert_int_equal(value_of(f, 1), 1);
	/* The other table is not touched by it. */
	assert_int_equal(
		ring_table_sync(f->r, SEGMENT_SMALL, sizeof(struct segment_row), NULL, NULL),
		RING_OK);
}

static void
test_out_of_memory_applies_nothing(void **state)
{
	struct fixture *f = *state;
	enum ring_status status = RING_NO_MEM;
	int64_t n;

	for (uint64_t key = 1; key <= 60; key++)
		set(f, key, key);
	for (n = 0; status == RING_NO_MEM; n++) {
		mem_fail_after(n);
		status = look(f);
		mem_fail_after(-1);
		if (status == RING_NO_MEM) {
			assert_int_equal(f->told, 0);
			assert_int_equal(value_of(f, 1), 0);
		}
	}
	assert_true(n > 3);
	assert_int_equal(status, RING_OK);
	assert_int_equal(f->told, 60);
}

static void
test_writer_out_of_memory(void **state)
{
	struct fixture *f = *state;
	struct segment_row row = segment_row(1);
	unsigned failures = 0;

	for (uint64_t key = 1; key <= 100; key++) {
		for (int64_t n = 0;; n++) {
			enum ring_status status;

			mem_fail_after(n);
			status = ring_table_set(f->w, SEGMENT_TABLE, key, &row, NULL);
			mem_fail_after(-1);
			if (status == RING_OK)
				break;
			assert_int_equal(status, RING_NO_MEM);
			failures++;
			assert_null(ring_table_own(f->w, SEGMENT_TABLE, key));
		}
	}
	assert_true(failures > 2);
	assert_int_equal(look(f), RING_OK);
	assert_int_equal(f->told, 100);
}

#define TABLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TABLE_TEST(test_first_look),
		TABLE_TEST(test_add_change_remove),
		TABLE_TEST(test_same_bytes_change_nothing),
		TABLE_TEST(test_slot_used_again),
		TABLE_TEST(test_row_moves_to_another_slot),
		TABLE_TEST(test_come_and_gone_between_two_looks),
		TABLE_TEST(test_own_view),
		TABLE_TEST(test_transaction_hides_until_commit),
		TABLE_TEST(test_full),
		TABLE_TEST(test_new_reader_sees_all),
		TABLE_TEST(test_other_row_sizes),
		TABLE_TEST(test_producer_died_in_a_transaction),
		TABLE_TEST(test_out_of_memory_applies_nothing),
		TABLE_TEST(test_writer_out_of_memory),
	};

	return cmocka_run_group_tests_name("ring table", tests, NULL, NULL);
}
