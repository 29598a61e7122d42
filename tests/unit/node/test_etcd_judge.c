/* SPDX-License-Identifier: Apache-2.0 */
/* When node gives up the data of its etcd, and when it does not. */
#include "node/etcd_judge.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "tests/support/etcd_home.h"

static const char damaged[] = "discovery failed: walpb: crc mismatch";
static const char elsewhere[] = "listen tcp: bind: address already in use";

static struct err said;

/* True: its data is given up. */
static bool
ends(struct etcd_judge *j, uint64_t life, const char *complaint, uint64_t now_s)
{
	const struct etcd_judge_end end = {
		.life = life, .complaint = complaint, .how = "exited with status 1"};

	memset(&said, 0, sizeof(said));
	etcd_judge_ended(j, &end, now_s, &said);
	assert_int_not_equal(said.kind, ERR_NONE);
	return etcd_judge_is_ruined(j, life);
}

static bool
ends_three_times(struct etcd_judge *j, uint64_t life, uint64_t now_s)
{
	assert_false(ends(j, life, damaged, now_s));
	assert_false(ends(j, life, damaged, now_s + 1));
	return ends(j, life, damaged, now_s + 2);
}

/* It says so three times in a row, at its start. */
static void
test_given_up(void **state)
{
	struct etcd_judge j = {0};

	(void)state;
	assert_true(ends_three_times(&j, 7, 100));
	assert_int_equal(said.kind, ERR_CORRUPT);
	assert_string_equal(said.what, "the data of etcd is damaged");
	assert_true(ends(&j, 7, damaged, 110));
	assert_string_equal(said.what, "the data of etcd is damaged");
	/* Another life has as many turns. */
	assert_true(ends_three_times(&j, 8, 120));
	assert_false(etcd_judge_is_ruined(&j, 7));
	assert_false(etcd_judge_is_ruined(&j, 0));
}

static void
test_not_in_a_row(void **state)
{
	struct etcd_judge j = {0};
	const struct etcd_judge_end late = {
		.life = 7, .served = true, .complaint = damaged, .how = "exited with status 1"};

	(void)state;
	for (int i = 0; i < 4; i++) {
		assert_false(ends(&j, 7, damaged, 1));
		assert_false(ends(&j, 7, damaged, 2));
		assert_false(ends(&j, 7, elsewhere, 3));
		assert_int_equal(said.kind, ERR_SYSTEM);
		assert_non_null(strstr(said.fix, "listen.store"));
	}
	assert_false(ends(&j, 7, damaged, 4));
	assert_false(ends(&j, 7, damaged, 5));
	etcd_judge_served(&j);
	assert_false(ends(&j, 7, damaged, 6));
	assert_false(ends(&j, 7, damaged, 7));
	/* It ran, and ended: then it is not known to be the data. */
	memset(&said, 0, sizeof(said));
	etcd_judge_ended(&j, &late, 8, &said);
	assert_false(etcd_judge_is_ruined(&j, 7));
	assert_int_equal(said.kind, ERR_SYSTEM);
}

/* Three lives in a day; then it is the disk, until a day has passed since the first. */
static void
test_three_lives_a_day(void **state)
{
	struct etcd_judge j = {0};
	uint64_t day = ETCD_JUDGE_DAY_S;

	(void)state;
	for (uint64_t life = 1; life <= 3; life++)
		assert_true(ends_three_times(&j, life, 1000 * life));
	assert_false(ends_three_times(&j, 4, 4000));
	assert_int_equal(said.kind, ERR_CORRUPT);
	assert_string_equal(said.what, "the data of etcd is damaged again");
	assert_non_null(strstr(said.fix, "disk"));
	for (uint64_t now = 5000; now < 1002 + day; now += 3600)
		assert_false(ends(&j, 4, damaged, now));
	/* The first was given up at 1002. */
	assert_false(ends(&j, 4, damaged, 1001 + day));
	assert_true(ends(&j, 4, damaged, 1002 + day));
	assert_true(ends_three_times(&j, 5, 2000 + day));
	assert_true(ends_three_times(&j, 6, 3000 + day));
	assert_false(ends_three_times(&j, 7, 4000 + day));
}

/* One that serves for days may be damaged as often. */
static void
test_once_in_a_while(void **state)
{
	struct etcd_judge j = {0};

	(void)state;
	for (uint64_t life = 1; life <= 10; life++) {
		assert_true(ends_three_times(&j, life, life * (ETCD_JUDGE_DAY_S + 1)));
		etcd_judge_served(&j);
		assert_false(etcd_judge_is_ruined(&j, life));
	}
}

/* ---- its log ---- */

/* However often: what has had a log is never begun without it, and that is no matter of lives. */
static void
test_gone(void **state)
{
	static const char wal[] = "etcd/0000000000000007/member/wal/0-0.wal";
	struct etcd_judge j = {0};
	char path[ETCD_FOLDER_NAME];
	struct etcd_folder f;
	struct err err = {0};
	int fd = -1;

	(void)state;
	if (geteuid() != 0)
		return;
	assert_int_equal(etcd_folder_open(at, home, 790129, &f, &err), 0);
	j.folder = &f;
	assert_int_equal(etcd_judge_may_begin(&j, 7, &err), 0);
	assert_int_equal(etcd_folder_data(&f, 7, &fd, path, &err), 0);
	fd_close(&fd);
	assert_int_equal(mkdirat(at, "etcd/0000000000000007/member", 0700), 0);
	assert_int_equal(mkdirat(at, "etcd/0000000000000007/member/wal", 0700), 0);
	fd = openat(at, wal, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	fd_close(&fd);
	etcd_judge_note(&j, 7);
	assert_int_equal(etcd_folder_noted(&f), 7);
	assert_int_equal(etcd_judge_may_begin(&j, 7, &err), 0);
	assert_int_equal(unlinkat(at, wal, 0), 0);
	for (int i = 0; i < 5; i++) {
		memset(&err, 0, sizeof(err));
		assert_int_equal(etcd_judge_may_begin(&j, 7, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
		assert_true(etcd_judge_is_ruined(&j, 7));
	}
	/* The next one may begin with nothing. */
	assert_int_equal(etcd_judge_may_begin(&j, 8, &err), 0);
	etcd_judge_forget(&j);
	assert_int_equal(etcd_judge_may_begin(&j, 7, &err), 0);
	etcd_folder_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_not_in_a_row),
		cmocka_unit_test(test_three_lives_a_day),
		cmocka_unit_test(test_once_in_a_while),
		cmocka_unit_test_setup_teardown(test_gone, etcd_home_setup, etcd_home_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
