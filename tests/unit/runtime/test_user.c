/* SPDX-License-Identifier: Apache-2.0 */
/* Who "name:group" is, by hostile passwd and group files. */
#include "runtime/monitor/user.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "broken:x:abc:1:::\n"
			     "short:x:5\n"
			     "huge:x:99999999999:1::/:\n"
			     ":x:7:7::/:\n"
			     "app:x:1000:1001::/home/app:/bin/sh\n"
			     "1234:x:50:60::/odd:/bin/sh\n"
			     "last:x:9:9::/last:";
static const char group[] = "root:x:0:\nwheel:x:10:root,app\nextra:x:1002:nobody,app,app2\n"
			    "app:x:1001:app\nbad:x:zz:app\nnear:x:77:xapp,appx\n";

static int
find(const char *spec, struct user *out)
{
	struct err err = {0};
	return user_find(spec, passwd, sizeof(passwd) - 1, group, sizeof(group) - 1, out, &err);
}

static void
test_known(void **state)
{
	struct user u;
	(void)state;
	assert_int_equal(find("", &u), 0);
	assert_int_equal(u.uid, 0);
	assert_string_equal(u.home, "/root");
	assert_int_equal(find("app", &u), 0);
	assert_int_equal(u.uid, 1000);
	assert_int_equal(u.gid, 1001);
	assert_int_equal(u.groups_count, 2);
	assert_int_equal(u.groups[0], 10);
	assert_int_equal(u.groups[1], 1002);
	assert_string_equal(u.home, "/home/app");
	assert_int_equal(find("1000", &u), 0);
	assert_int_equal(u.gid, 1001);
	assert_int_equal(find("last", &u), 0);
	assert_string_equal(u.home, "/last");
}

static void
test_groups(void **state)
{
	struct user u;
	(void)state;
	assert_int_equal(find("app:wheel", &u), 0);
	assert_int_equal(u.gid, 10);
	assert_int_equal(u.groups_count, 0);
	assert_int_equal(find("app:4242", &u), 0);
	assert_int_equal(u.gid, 4242);
	assert_int_equal(find("77:88", &u), 0);
	assert_int_equal(u.uid, 77);
	assert_int_equal(u.gid, 88);
	assert_string_equal(u.home, "/");
	assert_int_equal(find("app:nobody", &u), -1);
}

static void
test_wrong(void **state)
{
	static char many[4096];
	struct user u;
	(void)state;
	assert_int_equal(find("broken", &u), -1);
	assert_int_equal(find("short", &u), -1);
	assert_int_equal(find("huge", &u), -1);
	assert_int_equal(find("nobody", &u), -1);
	assert_int_equal(find("99999999999", &u), -1);
	assert_int_equal(find("-1", &u), -1);
	assert_int_equal(find("app:", &u), 0);
	memset(many, 'a', sizeof(many) - 1);
	assert_int_equal(find(many, &u), -1);
	/* A number that is also somebody's name means the name's entry. */
	assert_int_equal(find("1234", &u), 0);
	assert_int_equal(u.uid, 50);
}

static void
test_bytes(void **state)
{
	static const char text[] = {'a', ':', 0,   ':', '1',  ':', '2',
				    ':', ':', '/', ':', '\n', ':', ':'};
	struct err err = {0};
	struct user u;
	(void)state;
	for (size_t i = 0; i <= sizeof(text); i++)
		for (size_t j = 0; j <= sizeof(text) - i; j++) {
			int done = user_find("a:1", text + i, j, text, sizeof(text), &u, &err);
			assert_true(done == 0 || done == -1);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
