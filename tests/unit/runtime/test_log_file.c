/* SPDX-License-Identifier: Apache-2.0 */
/* Lines into files and out again, over rotation, long lines and damage. */
#include "runtime/log_reader.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static struct log_file file;
static struct log_file_pipe one;
static struct log_reader reader;
static int dir = -1;
static char path[64];

static const struct log_reader_filter all;

static int
set_up(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/tmp/zlayer-log-XXXXXX");
	if (mkdtemp(path) == NULL)
		return -1;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	memset(&one, 0, sizeof(one));
	one.stream = LOG_FILE_OUT;
	return 0;
}

static int
tear_down(void **state)
{
	char name[24];
	(void)state;
	unlinkat(dir, "log", 0);
	for (int i = 1; i < LOG_FILE_FILES_MAX; i++) {
		snprintf(name, sizeof(name), "log.%d", i);
		unlinkat(dir, name, 0);
	}
	close(dir);
	return rmdir(path);
}

static void
put(const char *text)
{
	log_file_feed(&file, &one, 1000, text, strlen(text));
}

static void
test_lines(void **state)
{
	struct log_reader_record r;
	(void)state;
	log_file_open(&file, dir, 3, 1 << 20, 3);
	put("a\n\nb");
	put("c\nlast");
	log_file_end(&file, &one);
	log_file_close(&file);
	assert_int_equal(file.lines[LOG_FILE_OUT], 4);
	log_reader_open(&reader, dir, &all, UINT32_MAX);
	static const char *const lines[] = {"a", "", "bc", "last"};
	for (size_t i = 0; i < 4; i++) {
		assert_true(log_reader_next(&reader, &r));
		assert_int_equal(r.length, strlen(lines[i]));
		assert_memory_equal(r.text, lines[i], r.length);
		assert_int_equal(r.attempt, 3);
		assert_int_equal(r.wall_ns, 1000);
		assert_false(r.partial);
	}
	assert_false(log_reader_next(&reader, &r));
	log_reader_close(&reader);
}

static void
test_long_lines_come_in_pieces(void **state)
{
	static char big[LOG_FILE_TEXT_MAX * 2 + 10];
	struct log_reader_record r;
	(void)state;
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\n';
	log_file_open(&file, dir, 1, 1 << 20, 3);
	for (size_t i = 0; i < sizeof(big); i += 1000)
		log_file_feed(&file, &one, 5, big + i,
			      sizeof(big) - i < 1000 ? sizeof(big) - i : 1000);
	log_file_close(&file);
	log_reader_open(&reader, dir, &all, UINT32_MAX);
	assert_true(log_reader_next(&reader, &r));
	assert_true(r.partial && r.length == LOG_FILE_TEXT_MAX);
	assert_true(log_reader_next(&reader, &r));
	assert_true(r.partial && r.length == LOG_FILE_TEXT_MAX);
	assert_true(log_reader_next(&reader, &r));
	assert_true(!r.partial && r.length == 9);
	log_reader_close(&reader);
}

static unsigned
number_of(const struct log_reader_record *r)
{
	char text[32];
	snprintf(text, sizeof(text), "%.*s", (int)r->length, r->text);
	return (unsigned)strtoul(text, NULL, 10);
}

static void
test_following_over_rotation(void **state)
{
	struct log_reader_record r;
	char line[32];
	unsigned next = 0;
	(void)state;
	log_file_open(&file, dir, 1, LOG_FILE_BYTES_MIN, 40);
	log_reader_open(&reader, dir, &all, UINT32_MAX);
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(line, sizeof(line), "%u\n", i);
		put(line);
		if (i % 7 == 0)
			log_file_flush(&file);
		/* Sometimes behind by several files. */
		if (i % 500 == 3)
			while (log_reader_next(&reader, &r))
				assert_int_equal(number_of(&r), next++);
	}
	log_file_close(&file);
	while (log_reader_next(&reader, &r))
		assert_int_equal(number_of(&r), next++);
	assert_int_equal(next, 3000);
	log_reader_close(&reader);
	/* The last hundred, over the border of files. */
	log_reader_open(&reader, dir, &all, 100);
	next = 2900;
	while (log_reader_next(&reader, &r))
		assert_int_equal(number_of(&r), next++);
	assert_int_equal(next, 3000);
	log_reader_close(&reader);
}

static void
test_size_is_kept(void **state)
{
	char name[32];
	(void)state;
	log_file_open(&file, dir, 1, 8192, 3);
	for (unsigned i = 0; i < 5000; i++)
		put("some line of some length\n");
	log_file_close(&file);
	assert_int_equal(faccessat(dir, "log.2", F_OK, 0), 0);
	assert_int_not_equal(faccessat(dir, "log.3", F_OK, 0), 0);
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), i == 0 ? "log" : "log.%d", i);
		int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
		assert_true(lseek(fd, 0, SEEK_END) <= 8192);
		close(fd);
	}
	assert_int_equal(file.dropped, 0);
}

static void
test_damage_is_passed_over(void **state)
{
	struct log_reader_record r;
	static char junk[LOG_FILE_RECORD_MAX * 3];
	(void)state;
	int fd = openat(dir, "log", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	memset(junk, 'z', sizeof(junk));
	assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
	assert_int_equal(write(fd, "\nhalf a li", 10), 10);
	close(fd);
	log_file_open(&file, dir, 2, 1 << 20, 2);
	put("whole\n");
	log_file_close(&file);
	log_reader_open(&reader, dir, &all, UINT32_MAX);
	assert_true(log_reader_next(&reader, &r));
	assert_int_equal(r.length, 5);
	assert_false(log_reader_next(&reader, &r));
	log_reader_close(&reader);
}

static void
test_full_disk(void **state)
{
	struct log_reader_record r;
	(void)state;
	log_file_open(&file, dir, 1, 1 << 20, 2);
	put("before\n");
	log_file_flush(&file);
	int kept = file.fd;
	file.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	put("lost\nlost\n");
	log_file_flush(&file);
	assert_int_equal(file.dropped, 2);
	if (file.fd >= 0)
		close(file.fd);
	file.fd = kept;
	put("after\n");
	log_file_close(&file);
	assert_int_equal(file.lines[LOG_FILE_OUT], 2);
	log_reader_open(&reader, dir, &all, UINT32_MAX);
	assert_true(log_reader_next(&reader, &r));
	assert_true(log_reader_next(&reader, &r));
	assert_memory_equal(r.text, "after", 5);
	log_reader_close(&reader);
}

static void
test_parse_and_filter(void **state)
{
	static const char line[] = "2026-11-22T04:11:37.123456789Z 12 err P some text";
	struct log_reader_record r;
	struct log_reader_filter f = {0};
	(void)state;
	assert_true(log_reader_parse(line, sizeof(line) - 1, &r));
	assert_int_equal(r.attempt, 12);
	assert_int_equal(r.stream, LOG_FILE_ERR);
	assert_true(r.partial);
	for (size_t i = 0; i < sizeof(line) - 10; i++)
		assert_false(log_reader_parse(line, i, &r));
	assert_true(log_reader_parse(line, sizeof(line) - 1, &r));
	assert_true(log_reader_match(&f, &r));
	f.since_wall_ns = r.wall_ns + 1;
	assert_false(log_reader_match(&f, &r));
	f = (struct log_reader_filter){.until_wall_ns = r.wall_ns};
	assert_true(log_reader_match(&f, &r));
	f.attempt = 11;
	assert_false(log_reader_match(&f, &r));
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(test_lines),
		WITH_FOLDER(test_long_lines_come_in_pieces),
		WITH_FOLDER(test_following_over_rotation),
		WITH_FOLDER(test_size_is_kept),
		WITH_FOLDER(test_damage_is_passed_over),
		WITH_FOLDER(test_full_disk),
		cmocka_unit_test(test_parse_and_filter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
