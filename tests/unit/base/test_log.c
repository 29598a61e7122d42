/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines as bytes: JSON, text, journal prefix, cutting, dropping. JSON is checked by jansson. */
#include "base/log.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"

static int ends[2];

static int
open_pipe(void **state)
{
	(void)state;
	unsetenv("JOURNAL_STREAM");
	return pipe2(ends, O_CLOEXEC | O_NONBLOCK);
}

static int
close_pipe(void **state)
{
	(void)state;
	fd_close(&ends[0]);
	fd_close(&ends[1]);
	return 0;
}

static void
setup(enum log_format format)
{
	struct log_config config = {.level = LOG_INFO, .format = format, .fd = ends[1]};

	strcpy(config.component, "proxy");
	strcpy(config.node, "edge-1");
	log_setup(&config);
}

/* The line that was written, without its newline. */
static const char *
line(void)
{
	static char text[8192];
	ssize_t n = read(ends[0], text, sizeof(text));

	assert_true(n > 1);
	assert_int_equal(text[n - 1], '\n');
	assert_null(memchr(text, '\n', (size_t)n - 1));
	assert_true(n <= 4096);
	text[n - 1] = '\0';
	return text;
}

static json_t *
parsed(const char *text)
{
	json_error_t error;
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);

	if (root == NULL)
		print_error("%s: %s\n", error.text, text);
	assert_non_null(root);
	return root;
}

static void
is_string(json_t *root, const char *key, const char *value)
{
	const char *got = json_string_value(json_object_get(root, key));

	assert_non_null(got);
	assert_string_equal(got, value);
}

static void
json_has_typed_fields(void **state)
{
	(void)state;
	setup(LOG_FORMAT_JSON);
	log_event(LOG_WARN, "replica started", log_s("service", "shop/web"), log_i("delta", -4),
		  log_u("max", UINT64_MAX), log_f("ratio", 0.1), log_b("ok", true),
		  log_f("nan", (double)NAN), log_s("none", NULL), LOG_END);
	const char *text = line();
	assert_non_null(strstr(text, "\"max\":18446744073709551615"));
	assert_non_null(strstr(text, "\"ratio\":0.1,"));
	char *big = strstr(text, "18446744073709551615"); /* jansson has signed integers only */
	memcpy(big, "11111111111111111", 17);
	big[17] = big[18] = big[19] = ' ';
	json_t *root = parsed(text);
	is_string(root, "level", "warn");
	is_string(root, "msg", "replica started");
	is_string(root, "component", "proxy");
	is_string(root, "node", "edge-1");
	is_string(root, "service", "shop/web");
	assert_int_equal(json_integer_value(json_object_get(root, "delta")), -4);
	assert_true(json_is_true(json_object_get(root, "ok")));
	assert_true(json_is_null(json_object_get(root, "nan")));
	assert_true(json_is_null(json_object_get(root, "none")));
	/* 2026-11-22T04:00:00.123456789Z */
	assert_int_equal(strlen(json_string_value(json_object_get(root, "ts"))), 30);
	json_decref(root);
}

static void
strings_are_escaped_exactly(void **state)
{
	(void)state;
	setup(LOG_FORMAT_JSON);
	log_event(LOG_INFO,
		  "m\"\\\b\f\n\r\t\x01\x1f\x7f\xc2\x85/\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		  log_s("bad", "a\xff\xc3"), log_s("sur", "\xed\xa0\x80"), log_s("k\"y", ""),
		  LOG_END);
	const char *text = line();
	assert_non_null(strstr(text,
			       "\"msg\":\"m\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\\u0085/"
			       "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""));
	json_t *root = parsed(text);
	is_string(root, "bad", "a\xef\xbf\xbd\xef\xbf\xbd");
	is_string(root, "sur", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	is_string(root, "k\"y", "");
	json_decref(root);
}

/* Every byte value in every length: always one valid line. */
static void
any_bytes_give_valid_json(void **state)
{
	(void)state;
	setup(LOG_FORMAT_JSON);
	unsigned seed = 1;
	for (int round = 0; round < 2000; round++) {
		char value[64] = {0};
		size_t n = (size_t)round % sizeof(value);
		for (size_t i = 0; i < n; i++) {
			seed = seed * 1103515245 + 12345;
			value[i] = (char)(seed >> 16 & 0xff);
		}
		log_event(LOG_INFO, value, log_s("v", value), LOG_END);
		json_decref(parsed(line()));
	}
}

static void
long_lines_are_cut_and_stay_valid(void **state)
{
	(void)state;
	char value[6000];

	setup(LOG_FORMAT_JSON);
	for (size_t n = 3800; n < 4200; n++) {
		memset(value, 'x', n);
		memcpy(value + n - 6, "\xe2\x82\xac\x01\"", 6);
		log_event(LOG_INFO, "m", log_s("v", value), log_u("after", 1), LOG_END);
		json_t *root = parsed(line());
		bool whole = strlen(json_string_value(json_object_get(root, "v"))) == n - 1;
		bool cut = json_is_true(json_object_get(root, "cut"));
		assert_int_equal(cut, !whole || json_object_get(root, "after") == NULL);
		json_decref(root);
	}
	memset(value, '"', sizeof(value));
	value[sizeof(value) - 1] = '\0';
	log_event(LOG_INFO, value, log_s(value, value), LOG_END);
	json_t *root = parsed(line());
	assert_true(json_is_true(json_object_get(root, "cut")));
	json_decref(root);
}

static void
text_reads_well(void **state)
{
	(void)state;
	setup(LOG_FORMAT_TEXT);
	log_event(LOG_INFO, "two words\n", log_s("plain", "a/b:c"), log_s("space", "a b"),
		  log_s("empty", ""), log_s("esc", "\x1b[31m"), log_u("n", 3), LOG_END);
	const char *text = line();
	assert_int_equal(text[23], 'Z');
	assert_string_equal(text + 24,
			    " info  proxy: two words\\n plain=a/b:c space=\"a b\" empty=\"\" "
			    "esc=\"\\u001b[31m\" n=3");
}

static void
automatic_is_text_on_a_terminal(void **state)
{
	(void)state;
	char text[512];
	struct log_config config = {.level = LOG_INFO, .format = LOG_FORMAT_AUTO};
	defer_close int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (terminal < 0 || grantpt(terminal) < 0 || unlockpt(terminal) < 0)
		return; /* no devpts here */
	defer_close int child = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(child >= 0);
	config.fd = child;
	log_setup(&config);
	log_event(LOG_INFO, "hello", LOG_END);
	ssize_t n = read(terminal, text, sizeof(text));
	assert_true(n > 24);
	assert_memory_equal(text + 24, " info  hello", 12);
	setup(LOG_FORMAT_AUTO);
	log_event(LOG_INFO, "hello", LOG_END);
	assert_int_equal(line()[0], '{');
}

static void
journal_gets_a_priority(void **state)
{
	(void)state;
	char value[64];
	struct stat st;

	assert_int_equal(fstat(ends[1], &st), 0);
	snprintf(value, sizeof(value), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", value, 1);
	setup(LOG_FORMAT_AUTO);
	log_event(LOG_ERROR, "x", LOG_END);
	assert_memory_equal(line(), "<3>{", 4);
	log_event(LOG_INFO, "x", LOG_END);
	assert_memory_equal(line(), "<6>{", 4);
	setenv("JOURNAL_STREAM", "1:2", 1);
	setup(LOG_FORMAT_AUTO);
	log_event(LOG_ERROR, "x", LOG_END);
	assert_int_equal(line()[0], '{');
	setenv("JOURNAL_STREAM", "rubbish", 1);
	setup(LOG_FORMAT_AUTO);
	log_event(LOG_ERROR, "x", LOG_END);
	assert_int_equal(line()[0], '{');
	unsetenv("JOURNAL_STREAM");
}

static void
levels_filter(void **state)
{
	(void)state;
	enum log_level level;
	char byte;

	setup(LOG_FORMAT_JSON);
	assert_false(log_on(LOG_DEBUG));
	assert_true(log_on(LOG_INFO));
	log_event(LOG_DEBUG, "quiet", LOG_END);
	assert_int_equal(read(ends[0], &byte, 1), -1);
	assert_true(log_level_parse("warn", &level));
	assert_int_equal(level, LOG_WARN);
	assert_false(log_level_parse("WARN", &level));
	assert_false(log_level_parse("", &level));
}

/* Also in blocking mode: the process that logs is never stopped by the one that reads. */
static void
full_pipe_drops_and_counts(void **state)
{
	(void)state;

	for (int blocking = 0; blocking < 2; blocking++) {
		char byte[4096];
		uint64_t before, after;
		setup(LOG_FORMAT_JSON);
		assert_int_equal(fd_nonblock(ends[1], blocking == 0), 0);
		before = log_dropped();
		for (int i = 0; i < 3000; i++)
			log_event(LOG_INFO, "filling the pipe", log_i("i", i), LOG_END);
		after = log_dropped();
		assert_true(after > before);
		while (read(ends[0], byte, sizeof(byte)) > 0)
			;
		log_event(LOG_INFO, "room again", LOG_END);
		assert_int_equal(log_dropped(), after);
		json_decref(parsed(line()));
	}
}

static void
closed_reader_drops(void **state)
{
	(void)state;
	setup(LOG_FORMAT_JSON);
	fd_close(&ends[1]);
	uint64_t before = log_dropped();
	log_event(LOG_INFO, "nobody", LOG_END);
	assert_int_equal(log_dropped(), before + 1);
}

static void
errors_have_their_four_words(void **state)
{
	(void)state;
	struct err err;

	setup(LOG_FORMAT_JSON);
	err_set(&err, ERR_NOT_FOUND, "no such service");
	err_where(&err, "shop");
	err_why(&err, "one");
	err_why(&err, "two");
	err_fix(&err, "look");
	log_err(LOG_ERROR, "cannot scale", &err);
	json_t *root = parsed(line());
	is_string(root, "kind", "not_found");
	is_string(root, "what", "no such service");
	is_string(root, "where", "shop");
	is_string(root, "why", "one");
	is_string(root, "why2", "two");
	is_string(root, "fix", "look");
	json_decref(root);
}

/* Whole lines only, however many threads write: counted, each is there or dropped. */
enum { THREADS = 4, LINES = 500 };

static void *
write_lines(void *arg)
{
	(void)arg;
	for (int i = 0; i < LINES; i++)
		log_event(LOG_INFO, "from a thread", log_i("i", i), LOG_END);
	return NULL;
}

static uint64_t
count_lines(void)
{
	static char text[1 << 20];
	uint64_t lines = 0;
	size_t length = 0;
	ssize_t n;

	while ((n = read(ends[0], text + length, sizeof(text) - length)) > 0)
		length += (size_t)n;
	for (char *at = text, *end; at < text + length; at = end + 1, lines++) {
		end = memchr(at, '\n', (size_t)(text + length - at));
		assert_non_null(end);
		*end = '\0';
		json_decref(parsed(at));
	}
	return lines;
}

static void
threads_write_whole_lines(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	uint64_t before = log_dropped();

	setup(LOG_FORMAT_JSON);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	uint64_t dropped = log_dropped() - before;
	assert_int_equal(count_lines() + dropped, THREADS * LINES);
}

static void
few_of_many_are_written(void **state)
{
	const uint64_t second = 1000000000, window = LOG_FEW_S * second;
	struct log_few few = {0};
	unsigned written = 0;

	(void)state;
	for (int i = 0; i < 3 * LOG_FEW; i++)
		written += log_few(&few, 5 * second);
	assert_int_equal(written, LOG_FEW);
	assert_int_equal(log_few_left_out(&few, 5 * second), 0);
	assert_int_equal(log_few_left_out(&few, 5 * second + window - 1), 0);
	assert_false(log_few(&few, 5 * second + window - 1));
	assert_int_equal(log_few_left_out(&few, 5 * second + window), 2 * LOG_FEW + 1);
	assert_int_equal(log_few_left_out(&few, 5 * second + window), 0);
	assert_true(log_few(&few, 5 * second + window));
}

#define piped(f) cmocka_unit_test_setup_teardown(f, open_pipe, close_pipe)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		piped(json_has_typed_fields),
		piped(strings_are_escaped_exactly),
		piped(any_bytes_give_valid_json),
		piped(long_lines_are_cut_and_stay_valid),
		piped(text_reads_well),
		piped(automatic_is_text_on_a_terminal),
		piped(journal_gets_a_priority),
		piped(levels_filter),
		piped(full_pipe_drops_and_counts),
		piped(closed_reader_drops),
		piped(threads_write_whole_lines),
		piped(errors_have_their_four_words),
		cmocka_unit_test(few_of_many_are_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
