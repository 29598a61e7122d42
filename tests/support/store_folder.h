/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_STORE_FOLDER_H
#define TESTS_SUPPORT_STORE_FOLDER_H

/* For cmocka: each test has a folder (its state) with databases "a.db" and "b.db" in it. */

#include "scheduler/store_sqlite.h"
#include "tests/support/folder.h"

static inline int
store_folder_setup(void **state)
{
	static struct folder f;

	folder_begin(&f, "store");
	*state = &f;
	return 0;
}

static inline int
store_folder_teardown(void **state)
{
	folder_remove_store(*state, "a.db");
	folder_remove_store(*state, "b.db");
	folder_end(*state);
	return 0;
}

static inline struct store *
store_folder_open(void **state, const char *name)
{
	const struct folder *f = *state;
	struct store_sqlite_options options = {.dirfd = f->fd, .name = name};
	struct store *rows;
	struct err err = {0};

	assert_int_equal(store_sqlite_open(&options, &rows, &err), 0);
	return rows;
}

#define STORE_FOLDER_TEST(name) \
	cmocka_unit_test_setup_teardown(name, store_folder_setup, store_folder_teardown)

#endif
