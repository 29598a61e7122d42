/* SPDX-License-Identifier: Apache-2.0 */
/* Which way of the AEAD table is chosen, and what the self-test finds. */
#include "overlay/wg/aead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

/* What a faulty way does wrong, and to which length. */
static uint32_t fault_length;
static unsigned faults_made;

enum { COUNT_MAX = 64 };

static void
seal_right(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	aead_evp.seal_batch(a, key, jobs, count);
}

static void
open_right(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	aead_evp.open_batch(a, key, jobs, count);
}

static bool
init(struct aead *a)
{
	return aead_evp.init(a);
}

static void
fini(struct aead *a)
{
	aead_evp.fini(a);
}

static void
seal_wrong_tag(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	seal_right(a, key, jobs, count);
	for (size_t i = 0; i < count; i++)
		if (jobs[i].length == fault_length) {
			jobs[i].data[fault_length + AEAD_TAG - 1] ^= 0x80;
			faults_made++;
		}
}

static void
seal_wrong_text(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	seal_right(a, key, jobs, count);
	for (size_t i = 0; i < count; i++)
		if (jobs[i].length == fault_length && fault_length > 0) {
			jobs[i].data[fault_length - 1] ^= 1;
			faults_made++;
		}
}

/* Says yes to everything. */
static void
open_forged(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	open_right(a, key, jobs, count);
	for (size_t i = 0; i < count; i++)
		jobs[i].ok = true;
}

/* Leaves what was forged. */
static void
open_untouched(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	open_right(a, key, jobs, count);
	for (size_t i = 0; i < count; i++)
		if (!jobs[i].ok)
			jobs[i].data[0] = 1;
}

static void
open_nothing(struct aead *a, const uint8_t key[AEAD_KEY], struct aead_job *jobs, size_t count)
{
	(void)a;
	(void)key;
	for (size_t i = 0; i < count; i++)
		jobs[i].ok = false;
}

static bool
here(void)
{
	return true;
}

static bool
elsewhere(void)
{
	return false;
}

static bool
no_memory(struct aead *a)
{
	(void)a;
	return false;
}

#define WAY(n, h, i, s, o)                                                                   \
	{                                                                                    \
		.name = (n), .runs_here = (h), .init = (i), .fini = fini, .seal_batch = (s), \
		.open_batch = (o)                                                            \
	}

static const struct aead_way right = WAY("right", here, init, seal_right, open_right);
static const struct aead_way tag = WAY("tag", here, init, seal_wrong_tag, open_right);
static const struct aead_way body = WAY("body", here, init, seal_wrong_text, open_right);
static const struct aead_way trusting = WAY("trusting", here, init, seal_right, open_forged);
static const struct aead_way untidy = WAY("untidy", here, init, seal_right, open_untouched);
static const struct aead_way deaf = WAY("deaf", here, init, seal_right, open_nothing);
static const struct aead_way other = WAY("other", elsewhere, init, seal_right, open_right);
static const struct aead_way poor = WAY("poor", here, no_memory, seal_right, open_right);

/* Whatever length it is that a way fails at: each is looked at, once. */
static void
test_check_finds_faults(void **state)
{
	const struct aead_way *const faulty[] = {&tag, &body};
	struct err err = {0};

	(void)state;
	assert_int_equal(aead_check(&right, &err), 0);
	for (size_t i = 0; i < 2; i++) {
		for (fault_length = 1; fault_length <= 2200; fault_length += 157) {
			faults_made = 0;
			assert_int_equal(aead_check(faulty[i], &err), -1);
			assert_int_equal(err.kind, ERR_INTERNAL);
			assert_int_equal(faults_made, 1);
		}
		fault_length = 2200;
		assert_int_equal(aead_check(faulty[i], &err), -1);
		fault_length = 2201; /* beyond: no packet has it */
		assert_int_equal(aead_check(faulty[i], &err), 0);
	}
	fault_length = 0;
	assert_int_equal(aead_check(&tag, &err), -1);
	assert_int_equal(aead_check(&trusting, &err), -1);
	assert_int_equal(aead_check(&untidy, &err), -1);
	assert_int_equal(aead_check(&deaf, &err), -1);
	assert_int_equal(err.kind, ERR_INTERNAL);
	assert_int_equal(aead_check(&other, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_int_equal(aead_check(&poor, &err), -1);
	assert_int_equal(err.kind, ERR_NO_MEMORY);
	mem_fail_after(0);
	assert_int_equal(aead_check(&right, &err), -1);
	mem_fail_after(-1);
	assert_int_equal(err.kind, ERR_NO_MEMORY);
}

/* All rows that this CPU can run agree with EVP, which is the last. */
static void
test_table(void **state)
{
	struct err err = {0};
	size_t rows = 0;

	(void)state;
	for (; aead_way(rows); rows++) {
		const struct aead_way *w = aead_way(rows);

		for (size_t i = 0; i < rows; i++)
			assert_string_not_equal(aead_way(i)->name, w->name);
		if (w->runs_here())
			assert_int_equal(aead_check(w, &err), 0);
		else
			assert_int_equal(aead_check(w, &err), -1);
	}
	assert_true(rows >= 1);
	assert_ptr_equal(aead_way(rows - 1), &aead_evp);
	assert_true(aead_evp.runs_here());
}

static void
test_choice_of_the_table(void **state)
{
	const struct aead_way *first = NULL;
	struct err err = {0};

	(void)state;
	for (size_t i = 0; aead_way(i); i++) {
		const struct aead_way *w = aead_way(i);

		if (w->runs_here() && !first)
			first = w;
		assert_ptr_equal(aead_choose(w->name, &err), w->runs_here() ? w : NULL);
		assert_int_equal(err.kind, w->runs_here() ? ERR_NONE : ERR_UNSUPPORTED);
	}
	assert_ptr_equal(aead_choose(NULL, &err), first);
	assert_int_equal(err.kind, ERR_NONE);
	assert_null(aead_choose("rot13", &err));
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

/* What the process writes to its log meanwhile. */
static const struct aead_way *
choose_logged(const struct aead_way *const *rows, size_t count, const char *name, char *log,
	      size_t cap)
{
	struct log_config config = {.level = LOG_INFO, .format = LOG_FORMAT_TEXT};
	struct err err = {0};
	int pipe_fds[2];

	assert_int_equal(pipe(pipe_fds), 0);
	config.fd = pipe_fds[1];
	log_setup(&config);
	const struct aead_way *chosen = aead_choose_of(rows, count, name, &err);

	close(pipe_fds[1]);
	ssize_t n = read(pipe_fds[0], log, cap - 1);

	assert_true(n >= 0);
	log[n] = '\0';
	close(pipe_fds[0]);
	assert_int_equal(err.kind == ERR_NONE, chosen != NULL);
	config.fd = STDERR_FILENO;
	log_setup(&config);
	return chosen;
}

static void
test_what_fails_is_left_out(void **state)
{
	const struct aead_way *const rows[] = {&other, &trusting, &poor, &right, &aead_evp};
	char log[4096];

	(void)state;
	assert_ptr_equal(choose_logged(rows, 5, NULL, log, sizeof(log)), &right);
	assert_non_null(strstr(log, "AEAD chosen"));
	assert_non_null(strstr(log, "right"));
	assert_non_null(strstr(log, "AEAD left out"));
	assert_non_null(strstr(log, "trusting"));
	assert_non_null(strstr(log, "poor"));
	assert_null(strstr(log, "cannot run other")); /* most CPUs lack something: no news */
	assert_ptr_equal(choose_logged(rows, 3, NULL, log, sizeof(log)), NULL);
	assert_ptr_equal(choose_logged(rows, 5, "evp", log, sizeof(log)), &aead_evp);
	assert_null(strstr(log, "trusting"));
	assert_ptr_equal(choose_logged(rows, 5, "trusting", log, sizeof(log)), NULL);
	assert_ptr_equal(choose_logged(rows, 5, "other", log, sizeof(log)), NULL);
	assert_ptr_equal(choose_logged(rows, 0, NULL, log, sizeof(log)), NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_finds_faults),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_choice_of_the_table),
		cmocka_unit_test(test_what_fails_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
