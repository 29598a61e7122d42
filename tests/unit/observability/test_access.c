/* SPDX-License-Identifier: Apache-2.0 */
/* Access records: what holds, what is wanted, what is written. */
#include "observability/access.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "base/text.h"

static uint8_t bytes[1024];

static size_t
make(const char *texts, size_t text_bytes)
{
	struct msg_access f = {.status = 200, .protocol = 20, .method = 1, .tls = 1};

	f.text_bytes = (uint16_t)text_bytes;
	memcpy(bytes, &f, sizeof(f));
	memcpy(bytes + sizeof(f), texts, text_bytes);
	return sizeof(f) + text_bytes;
}

static void
test_parse(void **state)
{
	static const char texts[] = "shop.test\0/a?secret=1\0id-1\0curl";
	struct access_record r;
	size_t n = make(texts, sizeof(texts));

	(void)state;
	assert_true(access_parse(bytes, n, &r));
	assert_string_equal(r.host, "shop.test");
	assert_string_equal(r.path, "/a?secret=1");
	assert_string_equal(r.user_agent, "curl");
	for (size_t cut = 0; cut < n; cut++)
		assert_false(access_parse(bytes, cut, &r));
	n = make(texts, sizeof(texts) - 1); /* the last text has no end */
	assert_false(access_parse(bytes, n, &r));
}

static void
test_wanted(void **state)
{
	static const char texts[] = "h\0/healthz?x\0id\0";
	static struct config_access config = {.enabled = true, .sample_ppm = 1000000};
	struct access_record r;

	(void)state;
	assert_true(access_parse(bytes, make(texts, sizeof(texts)), &r));
	assert_true(access_wanted(&config, &r));
	text_copy(config.exclude_paths[0].text, CONFIG_URL_BYTES, "/healthz");
	config.exclude_paths_count = 1;
	assert_false(access_wanted(&config, &r));
	config.exclude_paths_count = 0;
	config.sample_ppm = 0;
	assert_false(access_wanted(&config, &r));
	config.sample_ppm = 500000;
	unsigned kept = 0;
	for (int i = 0; i < 1000; i++) {
		char t[64];
		int n = snprintf(t, sizeof(t), "h%c/%cid-%d%c%c", 0, 0, i, 0, 0);

		assert_true(access_parse(bytes, make(t, (size_t)n), &r));
		kept += access_wanted(&config, &r);
	}
	assert_in_range(kept, 400, 600);
}

static void
test_written(void **state)
{
	static const char texts[] = "shop.test\0/a?secret=1\0id-1\0bad\nagent\0";
	struct log_config config = {.level = LOG_INFO, .format = LOG_FORMAT_JSON};
	struct access_record r;
	char line[4096] = {0};
	int p[2];

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	config.fd = p[1];
	log_setup(&config);
	assert_true(access_parse(bytes, make(texts, sizeof(texts)), &r));
	access_write(&r, "shop/web");
	assert_true(read(p[0], line, sizeof(line) - 1) > 0);
	assert_non_null(strstr(line, "\"path\":\"/a\""));
	assert_null(strstr(line, "secret"));
	assert_non_null(strstr(line, "\"service\":\"shop/web\""));
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	close(p[0]);
	close(p[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_wanted),
		cmocka_unit_test(test_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
