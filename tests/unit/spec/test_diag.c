/* SPDX-License-Identifier: Apache-2.0 */
/* Rendering: order, several files, excerpts of odd lines, the cap, JSON, one error. */
#include "tests/unit/spec/spec_test.h"

#include "tests/support/sweep.h"

static struct diag_list list;
static struct buf out;

static int
setup(void **state)
{
	(void)state;
	diag_list_init(&list);
	buf_init(&out, MEM_SPEC, 1 << 20);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	diag_list_fini(&list);
	buf_fini(&out);
	return 0;
}

static void
add(uint32_t line, uint32_t col, uint32_t width, const char *path, const char *text)
{
	diag_add(&list, "some-code", (struct diag_pos){line, col, width}, path, NULL, "%s", text);
}

static void
test_order(void **state)
{
	static const char a[] = "one\ntwo\nthree\n", b[] = "\tx: \x01\xff\r\n";

	(void)state;
	diag_list_file(&list, "a.yaml", a, strlen(a));
	add(3, 2, 3, "k", "last");
	add(1, 1, 3, "", "first");
	diag_list_file(&list, "b.yaml", b, strlen(b));
	add(1, 2, 99, "x", "other");
	diag_list_file_end(&list);
	add(0, 0, 0, "y", "nowhere");
	diag_render(&list, &out);
	assert_string_equal(buf_cstr(&out), "a.yaml:1:1: first\n"
					    "    1 | one\n"
					    "      | ^^^\n"
					    "a.yaml:3:2: k: last\n"
					    "    2 | two\n"
					    "    3 | three\n"
					    "      |  ^^^\n"
					    "b.yaml: y: nowhere\n"
					    "b.yaml:1:2: x: other\n"
					    "    1 |  x: ??\n"
					    "      |  ^^^^^\n"
					    "2 files, 4 errors. Nothing was changed.\n");
}

static void
test_json(void **state)
{
	(void)state;
	diag_list_file(&list, "a.yaml", "k: v", 4);
	diag_add(&list, "wrong-type", (struct diag_pos){1, 4, 1}, "k", "try \"w\"", "is %s", "bad");
	list.more = 2;
	diag_render_json(&list, &out);
	assert_string_equal(
		buf_cstr(&out),
		"[{\"code\":\"wrong-type\",\"file\":\"a.yaml\",\"line\":1,\"column\":4,\"path\":"
		"\"k\",\"text\":\"is bad\",\"fix\":\"try \\\"w\\\"\"},{\"code\":\"more\",\"text\":"
		"\"and 2 more\"}]");
}

static void
test_cap(void **state)
{
	(void)state;
	diag_list_file(&list, "a.yaml", "k: v", 4);
	for (uint32_t i = 0; i < DIAG_MAX + 5; i++)
		add(1, 1, 1, "", "again");
	assert_int_equal(diag_count(&list), DIAG_MAX + 5);
	diag_render(&list, &out);
	assert_non_null(strstr(buf_cstr(&out), "\nand 5 more\n1 file, 105 errors."));
}

static void
test_characters(void **state)
{
	static const char text[] = "é漢😀: x\n";

	(void)state;
	diag_list_file(&list, "a.yaml", text, strlen(text));
	add(1, 6, 1, "", "here");
	diag_render(&list, &out);
	assert_string_equal(buf_cstr(&out), "a.yaml:1:6: here\n"
					    "    1 | é漢😀: x\n"
					    "      |      ^\n"
					    "1 file, 1 error. Nothing was changed.\n");
}

static void
test_one_error(void **state)
{
	struct err err = {0};

	(void)state;
	diag_list_file(&list, "a.yaml", "a: b\nc: d\n", 10);
	add(2, 1, 1, "c", "second");
	add(1, 1, 1, "a", "first");
	assert_int_equal(diag_err(&list, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_string_equal(err.what, "a.yaml:1:1: a: first");
	assert_string_equal(err.why[0], "a.yaml:2:1: c: second");
	add(0, 0, 0, "", "of no line");
	assert_int_equal(diag_err(&list, &err), -1);
	assert_string_equal(err.what, "a.yaml: of no line");
	list.no_memory = true;
	assert_int_equal(diag_err(&list, &err), -1);
	assert_int_equal(err.kind, ERR_NO_MEMORY);
}

static void
test_sweep(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct diag_list l;

		diag_list_init(&l);
		diag_list_file(&l, "a.yaml", "a: b\nc: d\n", 10);
		diag_add(&l, "x", (struct diag_pos){2, 1, 1}, "c", "fix", "text");
		assert_int_equal(diag_count(&l), 1);
		assert_int_equal(l.no_memory, sweep_failed());
		diag_list_fini(&l);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_json, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_characters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_error, setup, teardown),
		cmocka_unit_test(test_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
