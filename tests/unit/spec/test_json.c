/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/spec/spec_test.h"

#include <math.h>
#include "spec/emit.h"
#include "spec/json.h"

static void
test_writer(void **state)
{
	struct buf out;
	struct json j;

	(void)state;
	buf_init(&out, MEM_SPEC, 4096);
	json_init(&j, &out);
	json_object(&j, NULL);
	json_text(&j, "text", "a\"b\\c\n\x01\x7f\xc3\xa9\xff\xed\xa0\x80\xf0\x9f\x98\x80");
	json_text(&j, "null", NULL);
	json_array(&j, "list");
	json_u64(&j, NULL, UINT64_MAX);
	json_i64(&j, NULL, INT64_MIN);
	json_f64(&j, NULL, 0.1);
	json_f64(&j, NULL, INFINITY);
	json_bool(&j, NULL, true);
	json_object(&j, NULL);
	json_end(&j);
	json_end(&j);
	json_textf(&j, "printed", "%d", 5);
	json_raw(&j, "raw", "[1]", 3);
	json_end(&j);
	assert_string_equal(
		buf_cstr(&out),
		"{\"text\":\"a\\\"b\\\\c\\n\\u0001\\u007f\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf"
		"\xbd\xef\xbf\xbd\xf0\x9f\x98\x80\",\"null\":null,\"list\":[18446744073709551615,"
		"-9223372036854775808,0.1,null,true,{}],\"printed\":\"5\",\"raw\":[1]}");
	buf_fini(&out);
}

static void
test_emit(void **state)
{
	static const char *const quoted[] = {
		"",   "yes", "No",  "~",   "null", "1",   "1.5", "-a", "a:",  "a b", "a#b", "*a",
		"&a", "a,b", "[a]", "0x1", ".inf", "a\n", "on",  "!a", "'a'", "%a",  "@a",  "?a"};
	static const char *const plain[] = {"a",         "a.b",   "/a:b", "$S:x",
					    "nginx:1.2", "a-b_c", "a@b"};
	struct emit e;
	struct buf out;

	(void)state;
	buf_init(&out, MEM_SPEC, 4096);
	for (size_t i = 0; i < sizeof(quoted) / sizeof(quoted[0]); i++) {
		buf_reset(&out);
		emit_init(&e, &out, false);
		emit_text(&e, "k", quoted[i]);
		emit_finish(&e);
		assert_memory_equal(buf_cstr(&out), "k: \"", 4);
	}
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		buf_reset(&out);
		emit_init(&e, &out, false);
		emit_text(&e, "k", plain[i]);
		emit_finish(&e);
		assert_true(buf_cstr(&out)[3] == plain[i][0]);
	}
	buf_reset(&out);
	emit_init(&e, &out, false);
	emit_finish(&e);
	assert_string_equal(buf_cstr(&out), "{}\n");
	buf_fini(&out);
}

static void
test_emit_nested(void **state)
{
	struct emit e;
	struct buf out;

	(void)state;
	buf_init(&out, MEM_SPEC, 4096);
	emit_init(&e, &out, false);
	emit_list(&e, "a");
	emit_map(&e, NULL);
	emit_text(&e, "b", "c");
	emit_list(&e, "d");
	emit_end(&e);
	emit_map(&e, "e");
	emit_raw(&e, "f", "1");
	emit_end(&e);
	emit_end(&e);
	emit_map(&e, NULL);
	emit_end(&e);
	emit_list(&e, NULL);
	emit_text(&e, NULL, "x");
	emit_word(&e, NULL, "30s");
	emit_end(&e);
	emit_end(&e);
	emit_finish(&e);
	assert_string_equal(buf_cstr(&out), "a:\n  - b: c\n    d: []\n    e:\n      f: 1\n  - {}\n"
					    "  - - x\n    - 30s\n");
	buf_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writer),
		cmocka_unit_test(test_emit),
		cmocka_unit_test(test_emit_nested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
