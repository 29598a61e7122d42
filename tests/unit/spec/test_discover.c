/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/spec/spec_test.h"

#include "spec/discover.h"

static void
make(const char *folder, const char *name)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
}

static void
test_folder(void **state)
{
	char folder[] = "/tmp/zlayer-discover-XXXXXX", name[DISCOVER_NAME_BYTES], command[256];
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	make(folder, "other.yaml");
	make(folder, ".hidden.zlayer.yaml");
	make(folder, "compose.yaml");
	assert_int_equal(discover_find(folder, name, sizeof(name), &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(err.why[0], "*.zlayer.yml"));
	make(folder, "shop.zlayer.yml");
	assert_int_equal(discover_find(folder, name, sizeof(name), &err), 0);
	assert_string_equal(name, "shop.zlayer.yml");
	make(folder, "deployment.yaml");
	assert_int_equal(discover_find(folder, name, sizeof(name), &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	assert_string_equal(err.why[0], "saw deployment.yaml, shop.zlayer.yml");
	snprintf(command, sizeof(command), "rm -r '%s'", folder);
	assert_int_equal(system(command), 0);
	assert_int_equal(discover_find(folder, name, sizeof(name), &err), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_folder)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
