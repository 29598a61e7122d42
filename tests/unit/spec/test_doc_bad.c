/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of bad documents: each bad/NNN-name.yaml must be refused with exactly the text of
 * bad/NNN-name.golden. After a wanted change: SPEC_GOLDEN=write meson test -C build spec_doc_bad,
 * then read the difference.
 */
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/fd.h"
#include "spec/doc.h"
#include "spec/yaml.h"

static const char *folder;

static void
read_file(const char *path, struct buf *out)
{
	struct err err = {0};

	buf_init(out, MEM_SPEC, 4 << 20);
	if (fd_read_file(AT_FDCWD, path, out, &err) != 0)
		fail_msg("%s: %s", path, err.what);
}

/* What a user would see: the errors, or what is not available. */
static bool
judge(const char *path, struct buf *rendered, struct buf *json)
{
	struct diag_list diags;
	struct doc *doc;
	struct buf text;
	bool refused;

	read_file(path, &text);
	diag_list_init(&diags);
	refused = doc_parse((const char *)text.data, text.length, strrchr(path, '/') + 1, &doc,
			    &diags) != 0;
	buf_fini(&text);
	if (!refused)
		refused = doc_check_available(doc, &diags) != 0;
	doc_free(doc);
	diag_render(&diags, rendered);
	diag_render_json(&diags, json);
	diag_list_fini(&diags);
	return refused;
}

static bool
compare(const char *path, struct buf *rendered)
{
	char golden[512];
	struct buf wanted;
	bool same;

	snprintf(golden, sizeof(golden), "%.*s.golden", (int)(strlen(path) - 5), path);
	if (getenv("SPEC_GOLDEN") != NULL) {
		FILE *f = fopen(golden, "w");

		assert_non_null(f);
		fputs(buf_cstr(rendered), f);
		fclose(f);
		return true;
	}
	read_file(golden, &wanted);
	same = strcmp(buf_cstr(&wanted), buf_cstr(rendered)) == 0;
	if (!same)
		printf("# %s\n--- wanted\n%s--- is\n%s", path, buf_cstr(&wanted),
		       buf_cstr(rendered));
	buf_fini(&wanted);
	return same;
}

static void
test_table(void **state)
{
	char pattern[512];
	size_t wrong = 0;
	glob_t files;

	(void)state;
	snprintf(pattern, sizeof(pattern), "%s/*.yaml", folder);
	assert_int_equal(glob(pattern, 0, NULL, &files), 0);
	assert_true(files.gl_pathc >= 80);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		struct buf rendered, json;

		buf_init(&rendered, MEM_SPEC, 4 << 20);
		buf_init(&json, MEM_SPEC, 4 << 20);
		if (!judge(files.gl_pathv[i], &rendered, &json)) {
			printf("# %s was accepted\n", files.gl_pathv[i]);
			wrong++;
		} else if (!compare(files.gl_pathv[i], &rendered)) {
			wrong++;
		}
		assert_true(buf_ok(&json) && json.length > 2);
		buf_fini(&rendered);
		buf_fini(&json);
	}
	globfree(&files);
	assert_int_equal(wrong, 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table)};
	struct err err = {0};

	if (argc < 2 || dl_load_yaml(&err) != 0)
		return 1;
	folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
