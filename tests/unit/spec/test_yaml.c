/* SPDX-License-Identifier: Apache-2.0 */
/* Trees: anchors, merge keys, paths, places, and the shapes that are refused. */
#include "tests/unit/spec/spec_test.h"

#include "spec/yaml.h"
#include "tests/support/sweep.h"

struct fixture {
	struct arena arena;
	struct diag_list diags;
	const struct yaml_node *root;
};

static void
setup(struct fixture *f, const char *text)
{
	arena_init(&f->arena, MEM_SPEC, 64 << 20);
	diag_list_init(&f->diags);
	diag_list_file(&f->diags, "t.yaml", text, strlen(text));
	f->root = yaml_parse(text, strlen(text), &f->arena, &f->diags);
}

static void
teardown(struct fixture *f)
{
	arena_fini(&f->arena);
	diag_list_fini(&f->diags);
}

static const char *
text_of(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *n = yaml_node_get(map, key);

	return n == NULL ? NULL : n->text;
}

static void
test_tree(void **state)
{
	struct fixture f;
	const struct yaml_node *item;
	char path[YAML_PATH_BYTES];

	(void)state;
	setup(&f, "\xef\xbb\xbf"
		  "a: {b c: [x, {d: 'y'}]}\ne:\nf: ~\ng: 'null'\nh: |\n  two\n  lines\n");
	assert_non_null(f.root);
	item = yaml_node_get(yaml_node_get(f.root, "a"), "b c")->last->first;
	yaml_node_path(item, path, sizeof(path));
	assert_string_equal(path, "a.\"b c\"[1].d");
	assert_int_equal(yaml_node_where(item).line, 1);
	assert_int_equal(yaml_node_where(item).col, 18);
	assert_int_equal(yaml_node_where(item).width, 3);
	assert_false(item->plain);
	assert_true(yaml_node_is_null(yaml_node_get(f.root, "e")));
	assert_true(yaml_node_is_null(yaml_node_get(f.root, "f")));
	assert_false(yaml_node_is_null(yaml_node_get(f.root, "g")));
	assert_string_equal(text_of(f.root, "h"), "two\nlines\n");
	assert_string_equal(yaml_node_kind_name(f.root), "a map");
	assert_int_equal(yaml_node_where(NULL).line, 0);
	teardown(&f);
}

static void
test_merge(void **state)
{
	struct fixture f;
	const struct yaml_node *c;

	(void)state;
	setup(&f, "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2, n: {deep: [1]}}\n"
		  "c: {<<: [*a, *b], z: 3}\nd: {\"<<\": [], w: *b}\n");
	assert_non_null(f.root);
	c = yaml_node_get(f.root, "c");
	assert_int_equal(c->count, 4);
	assert_string_equal(text_of(c, "x"), "1");
	assert_string_equal(text_of(c, "y"), "1");
	assert_string_equal(text_of(c, "z"), "3");
	assert_ptr_equal(yaml_node_get(c, "n")->parent, c);
	assert_int_equal(yaml_node_get(yaml_node_get(f.root, "d"), "w")->count, 3);
	teardown(&f);
}

static void
test_refused(void **state)
{
	static const char *const cases[][2] = {
		{"", "empty-document"},
		{"---\n---\n", "several-documents"},
		{"a: !x b", "yaml-tag"},
		{"a: &x [*x]", "invalid-alias"},
		{"a: *x", "invalid-alias"},
		{"{a: 1, a: 2}", "duplicate-key"},
		{"[a: [b]: c]", "yaml-syntax"},
		{"? {a: b}\n: c", "invalid-key"},
		{"a: \"\\0\"", "invalid-text"},
		{"\"\\0\": a", "invalid-key"},
		{"a:\n\t- b", "yaml-tab"},
		{"a: \x01", "yaml-encoding"},
		{"a: \x80", "yaml-encoding"},
		{"a: \xc2", "yaml-encoding"},
		{"a: \xed\xa0\x80", "yaml-encoding"},
		{"a: \xef\xbf\xbf", "yaml-encoding"},
		{"a: \xc2\x80", "yaml-encoding"},
		{"%YAML 9.9\n---\na", "yaml-syntax"},
		{"a: &x b\nc: {*x : d}", "invalid-key"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;

		setup(&f, cases[i][0]);
		assert_null(f.root);
		assert_int_equal(f.diags.count, 1);
		assert_string_equal(f.diags.items[0].code, cases[i][1]);
		teardown(&f);
	}
}

/* Aliases of aliases reach a depth that the text has not. */
static void
test_depth_by_alias(void **state)
{
	char text[4096] = "";
	struct fixture f;

	(void)state;
	strcat(text, "a0: &a0 [[[[[[[[[[x]]]]]]]]]]\n");
	for (int i = 1; i < 10; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
			 "a%d: &a%d [[[[[[[[[[*a%d]]]]]]]]]]\n", i, i, i - 1);
	setup(&f, text);
	assert_null(f.root);
	assert_string_equal(f.diags.items[0].code, "too-deep");
	teardown(&f);
}

static void
test_limits(void **state)
{
	size_t bytes = 100000;
	char *text = mem_zalloc(MEM_SPEC, bytes);
	struct fixture f;

	(void)state;
	strcpy(text, "[");
	for (size_t i = 0; i < 5000; i++)
		memcpy(text + 1 + 2 * i, "x,", 2);
	strcat(text, "]");
	setup(&f, text);
	assert_null(f.root);
	assert_string_equal(f.diags.items[0].code, "too-many-values");
	teardown(&f);
	memset(text, 'k', 300);
	strcpy(text + 300, ": v");
	setup(&f, text);
	assert_string_equal(f.diags.items[0].code, "invalid-key");
	teardown(&f);
	mem_free(text);
}

static void
test_sweep(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct fixture f;

		setup(&f, "a: &a {x: 1, y: [1, 2]}\nc: {<<: *a, z: 3}\n");
		assert_int_equal(f.root == NULL, sweep_failed());
		teardown(&f);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),    cmocka_unit_test(test_merge),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_depth_by_alias),
		cmocka_unit_test(test_limits),  cmocka_unit_test(test_sweep),
	};
	struct err err = {0};

	if (dl_load_yaml(&err) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
