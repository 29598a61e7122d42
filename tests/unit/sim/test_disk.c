/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/err.h"

struct fixture {
	struct parcels parcels;
	struct disk disk;
};

static void
begin(struct fixture *f, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	sim_disk_init(&f->disk, draw_of(seed, 1), &f->parcels);
}

static void
end(struct fixture *f)
{
	sim_disk_fini(&f->disk);
	assert_int_equal(f->parcels.held, 0);
	parcel_fini(&f->parcels);
}

static bool
submit(struct fixture *f, bool replace, uint64_t token, const char *text)
{
	return sim_disk_submit(&f->disk, replace, 3, token,
			       parcel_new(&f->parcels, text, strlen(text)));
}

static void
assert_holds(struct fixture *f, const char *text)
{
	const struct disk_file *file = sim_disk_file(&f->disk, 3);

	assert_non_null(file);
	assert_int_equal(file->bytes, strlen(text));
	assert_memory_equal(file->data, text, strlen(text));
}

static void
test_one_after_the_other(void **state)
{
	struct fixture f;
	uint64_t token;

	(void)state;
	begin(&f, 1);
	assert_false(submit(&f, false, 0, "x"));
	assert_true(submit(&f, false, 1, "ab"));
	assert_true(submit(&f, false, 2, "cd"));
	assert_false(submit(&f, false, 2, "cd"));
	assert_true(submit(&f, true, 3, "new"));
	assert_null(sim_disk_file(&f.disk, 3));
	assert_int_equal(sim_disk_token(&f.disk, 1), DISK_PENDING);
	assert_int_equal(sim_disk_finish(&f.disk, &token), 0);
	assert_int_equal(token, 1);
	assert_int_equal(sim_disk_token(&f.disk, 1), DISK_GOOD);
	assert_holds(&f, "ab");
	assert_int_equal(sim_disk_finish(&f.disk, &token), 0);
	assert_holds(&f, "abcd");
	assert_int_equal(sim_disk_finish(&f.disk, &token), 0);
	assert_holds(&f, "new");
	assert_false(sim_disk_busy(&f.disk));
	assert_int_equal(sim_disk_token(&f.disk, 9), DISK_UNKNOWN);
	end(&f);
}

/* Each outcome of a crash under an append comes up, and nothing but these. */
static void
test_torn_append(void **state)
{
	unsigned none = 0, part = 0, zeroed = 0, all = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct fixture f;
		const struct disk_file *file;
		uint64_t token;

		begin(&f, seed);
		assert_true(submit(&f, false, 1, "kept"));
		assert_int_equal(sim_disk_finish(&f.disk, &token), 0);
		assert_true(submit(&f, false, 2, "more"));
		assert_true(submit(&f, false, 3, "never begun"));
		sim_disk_crash(&f.disk);
		file = sim_disk_file(&f.disk, 3);
		assert_true(file->bytes >= 4 && file->bytes <= 8);
		assert_memory_equal(file->data, "kept", 4);
		if (file->bytes == 4)
			none++;
		else if (file->bytes < 8)
			part++;
		else if (memcmp(file->data, "keptmore", 8) == 0)
			all++;
		else
			zeroed++;
		if (file->bytes == 8)
			assert_true(file->data[7] == 'e' || file->data[7] == 0);
		assert_int_equal(sim_disk_token(&f.disk, 2), DISK_UNKNOWN);
		end(&f);
	}
	assert_true(none > 0 && part > 0 && zeroed > 0 && all > 0);
}

static void
test_replace_is_old_or_new(void **state)
{
	unsigned old = 0, new = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct fixture f;
		uint64_t token;

		begin(&f, seed);
		assert_true(submit(&f, true, 1, "old"));
		assert_int_equal(sim_disk_finish(&f.disk, &token), 0);
		assert_true(submit(&f, true, 2, "newer"));
		sim_disk_crash(&f.disk);
		if (sim_disk_file(&f.disk, 3)->bytes == 3) {
			assert_holds(&f, "old");
			old++;
		} else {
			assert_holds(&f, "newer");
			new ++;
		}
		end(&f);
	}
	assert_true(old > 0 && new > 0);
}

static void
test_faults(void **state)
{
	struct fixture f;
	uint64_t token, slow = 0, usual = 0;

	(void)state;
	begin(&f, 1);
	f.disk.full = true;
	assert_true(submit(&f, true, 1, "text"));
	assert_int_equal(sim_disk_finish(&f.disk, &token), ERR_NO_SPACE);
	assert_int_equal(sim_disk_token(&f.disk, 1), DISK_BAD);
	f.disk.full = false;
	f.disk.fail_ppm = 1000000;
	assert_true(submit(&f, true, 2, "text"));
	assert_int_equal(sim_disk_finish(&f.disk, &token), ERR_SYSTEM);
	for (unsigned i = 0; i < 100; i++) {
		f.disk.slow = 0;
		usual += sim_disk_duration_ns(&f.disk);
		f.disk.slow = 100;
		slow += sim_disk_duration_ns(&f.disk);
	}
	assert_true(slow > 20 * usual);
	end(&f);
}

static void
test_many_tokens(void **state)
{
	struct fixture f;
	uint64_t token;

	(void)state;
	begin(&f, 1);
	for (uint64_t n = 1; n <= 3000; n++) {
		assert_true(submit(&f, true, n, "x"));
		sim_disk_finish(&f.disk, &token);
	}
	assert_int_equal(sim_disk_token(&f.disk, 3000), DISK_GOOD);
	assert_int_equal(sim_disk_token(&f.disk, 3000 - DISK_TOKENS + 1), DISK_GOOD);
	assert_int_equal(sim_disk_token(&f.disk, 3001), DISK_UNKNOWN);
	end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_after_the_other),   cmocka_unit_test(test_torn_append),
		cmocka_unit_test(test_replace_is_old_or_new), cmocka_unit_test(test_faults),
		cmocka_unit_test(test_many_tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
