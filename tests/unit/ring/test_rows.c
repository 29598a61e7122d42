/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as an array: all of a table, or a word that some are missing. */
#include "ring/ring_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>
#include "ring/ring.h"
#include "ring/role.h"

enum { ROWS = 300, TABLE = 1 };

static void
test_all_of_a_table(void **state)
{
	const struct ring_layout layout = {.role = ROLE_SCHEDULER,
					   .generation = 1,
					   .tables = {{TABLE, 1, sizeof(uint64_t), ROWS}},
					   .tables_count = 1};
	struct ring_writer *w;
	struct ring_reader *r;
	struct ring_rows rows;
	struct err err = {0};
	uint64_t sum = 0;

	(void)state;
	assert_int_equal(ring_writer_new(&layout, &w, &err), 0);
	assert_int_equal(ring_reader_new(dup(ring_writer_fd(w)), &r, &err), 0);
	for (uint64_t key = 1; key <= ROWS; key++)
		assert_int_equal(ring_table_set(w, TABLE, key, &key, NULL), RING_OK);
	ring_rows_init(&rows, MEM_RING);
	ring_table_each(r, TABLE, ring_rows_take, &rows);
	assert_int_equal(rows.count, 0); /* nothing was read yet */
	assert_int_equal(ring_table_sync(r, TABLE, sizeof(uint64_t), NULL, NULL), RING_OK);
	ring_table_each(r, TABLE, ring_rows_take, &rows);
	assert_int_equal(rows.count, ROWS);
	for (size_t i = 0; i < rows.count; i++)
		sum += *(const uint64_t *)rows.items[i];
	assert_int_equal(sum, ROWS * (ROWS + 1) / 2);
	ring_rows_fini(&rows);
	assert_int_equal(rows.count, 0);
	ring_rows_fini(&rows);
	ring_reader_free(r);
	ring_writer_free(w);
	assert_int_equal(mem_used_all(), 0);
}

static void
test_without_memory(void **state)
{
	static const uint64_t row;
	bool done = false;

	(void)state;
	for (int64_t n = 0; !done; n++) {
		struct ring_rows rows;
		size_t count = 0;

		assert_true(n < 16);
		ring_rows_init(&rows, MEM_RING);
		mem_fail_after(n);
		while (count < ROWS && ring_rows_add(&rows, &row))
			count++;
		mem_fail_after(-1);
		done = count == ROWS;
		assert_int_equal(rows.failed, !done);
		assert_int_equal(rows.count, count);
		ring_rows_fini(&rows);
	}
	assert_int_equal(mem_used_all(), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_of_a_table),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
