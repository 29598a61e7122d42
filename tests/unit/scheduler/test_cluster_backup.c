/* SPDX-License-Identifier: Apache-2.0 */
/* A restore into a shared store, by a process that dies over it, and by the next one. */
#include "scheduler/cluster_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/member_world.h"

static const struct station_request request;

static struct store_deployment
put_deployment(uint32_t revision)
{
	struct store_deployment d = {.name = "shop", .revision = revision};

	member_put(STORE_DEPLOYMENT, &d);
	member.model.deployments_count = 1;
	return d;
}

static int
back_up(void)
{
	const struct msg_backup asked = {0};

	cluster_backup_request(&member.c, &request, &asked, sizeof(asked));
	assert_true(member.answer_fd >= 0);
	return fd_take(&member.answer_fd);
}

static void
restore(int fd, uint64_t nonce)
{
	const struct msg_restore asked = {.nonce = nonce, .replace = 1};

	member.answers = member.refusals = 0;
	cluster_backup_restore(&member.c, &request, &asked, sizeof(asked), &fd, 1);
}

static void
keep_revision(void *arg, const void *row)
{
	*(uint32_t *)arg = ((const struct store_deployment *)row)->revision;
}

static uint32_t
revision(void)
{
	uint32_t found = 0;
	struct err err = {0};

	assert_int_equal(
		store_each(member.model.store, STORE_DEPLOYMENT, 0, 0, keep_revision, &found, &err),
		0);
	return found;
}

/* The next process is asked again, and has what is in the store. */
static void
next_process(void)
{
	member.c.over = member.c.stale = false;
	cluster_roster_read(&member.c);
}

/* Between its note and the transaction: that the names are there proves nothing. */
static void
test_died_before(void **state)
{
	struct store_deployment d = put_deployment(4);
	int fd = back_up();

	(void)state;
	d.revision = 9;
	member_put(STORE_DEPLOYMENT, &d);
	restore(fd, 77);
	assert_non_null(member.c.restore);
	member.c.over = true;
	cluster_store_end(&member.c);
	next_process();
	assert_int_equal(revision(), 9);
	restore(fd, 77);
	assert_int_equal(member.answers, 0);
	assert_non_null(member.c.restore);
	member_settle();
	assert_int_equal(revision(), 4);
	fd_close(&fd);
}

/* After the transaction it is answered, and not done again. */
static void
test_died_after(void **state)
{
	struct store_deployment d = put_deployment(4);
	int fd = back_up(), other;

	(void)state;
	d.revision = 9;
	member_put(STORE_DEPLOYMENT, &d);
	other = back_up();
	restore(fd, 77);
	member_settle();
	assert_true(cluster_over(&member.c));
	assert_int_equal(revision(), 4);
	next_process();
	restore(fd, 77);
	assert_int_equal(member.answers, 1);
	assert_null(member.c.restore);
	assert_int_equal(member_events("node.restored"), 1);
	/* Another backup, or another question, is another restore. */
	restore(other, 77);
	assert_int_equal(member.answers, 0);
	member_settle();
	assert_int_equal(revision(), 9);
	next_process();
	restore(fd, 78);
	assert_int_equal(member.answers, 0);
	member_settle();
	assert_int_equal(revision(), 4);
	fd_close(&fd);
	fd_close(&other);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, member_set_up, member_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_died_before),
		TEST(test_died_after),
	};
	struct err err = {0};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
