/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of roles: what must hold of every row, and that docs/security.md shows the same rows.
 * `test_node_roles FILE` compares; `test_node_roles --print` writes the rows.
 */
#include "node/roles.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/capability.h>
#include <cmocka.h>
#include "base/text.h"
#include "node/filter.h"

static const char *document;

/* ---- a row as Markdown ---- */

static void
add(char *out, size_t cap, const char *separator, const char *word)
{
	size_t length = strlen(out);

	text_format(out + length, cap - length, "%s%s", length ? separator : "", word);
}

static void
put_caps(const struct roles_entry *e, char *out, size_t cap)
{
	out[0] = '\0';
	for (int c = 0; c < 64; c++)
		if (e->caps & UINT64_C(1) << c)
			add(out, cap, " ", sandbox_cap_name(c) + strlen("CAP_"));
	if (!e->caps)
		add(out, cap, "", "none");
	if (e->user_ns)
		add(out, cap, " ", "(in a user namespace)");
}

static void
put_sets(const struct roles_entry *e, char *out, size_t cap)
{
	static const char *const names[] = {"base",   "client", "server",  "share", "files",
					    "owners", "bpf",    "secrets", "host"};

	out[0] = '\0';
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (e->filter & 1u << i)
			add(out, cap, " ", names[i]);
}

static void
put_folders(const struct roles_entry *e, char *out, size_t cap)
{
	static const char *const places[] = {[ROLES_DATA] = "D/",
					     [ROLES_RUN] = "/run/zlayer/NAME/",
					     [ROLES_BPF] = "/sys/fs/bpf/zlayer/NAME",
					     [ROLES_SYS] = "/sys/"};

	out[0] = '\0';
	for (size_t i = 0; i < e->folders_count; i++) {
		char one[128];

		text_format(one, sizeof(one), "%s%s %s", places[e->folders[i].place],
			    e->folders[i].path, e->folders[i].access & SANDBOX_WRITE ? "rw" : "r");
		add(out, cap, ", ", one);
	}
	if (!e->landlock)
		add(out, cap, "; ", "not confined to them");
	if (!out[0])
		add(out, cap, "", "none");
}

static void
put_row(const struct roles_entry *e, char *out, size_t cap)
{
	static const char *const netns[] = {"host", "fabric", "empty"};
	char caps[1024], sets[128], folders[512];

	put_caps(e, caps, sizeof(caps));
	put_sets(e, sets, sizeof(sets));
	put_folders(e, folders, sizeof(folders));
	text_format(out, cap, "| %s | %u%s | %s | %s | %s | %s | %s | %s |", role_name(e->role),
		    e->uid, e->many ? "+n" : "", netns[e->netns], caps, sets, folders,
		    e->new_privs ? "no" : "yes", e->outlives ? "yes" : "no");
}

static void
test_document(void **state)
{
	static char text[262144];
	FILE *f = fopen(document, "re");

	(void)state;
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	for (size_t i = 0; i < ROLES_COUNT; i++) {
		char row[2048];

		put_row(roles_at(i), row, sizeof(row));
		if (!strstr(text, row))
			fail_msg("%s lacks: %s", document, row);
	}
}

/* ---- rules ---- */

static void
test_every_role_once(void **state)
{
	(void)state;
	for (unsigned role = ROLE_NODE + 1; role < ROLES_; role++) {
		assert_non_null(roles_get(role));
		assert_int_equal(roles_get(role)->role, role);
	}
	assert_null(roles_get(ROLE_NODE));
	assert_null(roles_get(0));
	assert_null(roles_get(ROLES_));
}

static void
test_uids_are_distinct(void **state)
{
	bool taken[ROLES_UIDS] = {true};

	(void)state;
	for (size_t i = 0; i < ROLES_COUNT; i++) {
		const struct roles_entry *e = roles_at(i);

		for (unsigned n = 0; n < (e->many ? ROLE_PROXIES_MAX : 1); n++) {
			uid_t uid = roles_uid(e, n, 1000) - 1000;

			assert_true(uid < ROLES_UIDS);
			assert_false(taken[uid]);
			taken[uid] = true;
		}
	}
}

static void
test_orders_are_distinct(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROLES_COUNT; i++)
		for (size_t k = 0; k < i; k++) {
			assert_int_not_equal(roles_at(i)->start, roles_at(k)->start);
			assert_int_not_equal(roles_at(i)->replace, roles_at(k)->replace);
		}
	/* Proxies are replaced last: they serve from their copies meanwhile. */
	for (size_t i = 0; i < ROLES_COUNT; i++)
		assert_true(roles_at(i)->replace <= roles_get(ROLE_PROXY)->replace);
}

static void
test_who_faces_the_world_has_nothing(void **state)
{
	static const unsigned faces[] = {ROLE_PROXY, ROLE_API, ROLE_OBSERVABILITY, ROLE_PROBE,
					 ROLE_SCHEDULER};

	(void)state;
	for (size_t i = 0; i < sizeof(faces) / sizeof(faces[0]); i++) {
		assert_int_equal(roles_get(faces[i])->caps, 0);
		assert_true(roles_get(faces[i])->landlock);
		assert_int_equal(roles_get(faces[i])->filter & FILTER_HOST, 0);
	}
	assert_int_equal(roles_get(ROLE_PROXY)->folders_count, 0);
	assert_int_equal(roles_get(ROLE_SIGNER)->folders_count, 0);
	assert_int_equal(roles_get(ROLE_SIGNER)->netns, ROLES_NONE);
	assert_int_equal(roles_get(ROLE_SIGNER)->filter & (FILTER_CLIENT | FILTER_SERVER), 0);
	assert_int_equal(roles_get(ROLE_UNPACK)->netns, ROLES_NONE);
	assert_true(roles_get(ROLE_UNPACK)->user_ns);
}

static void
test_nobody_touches_the_machine(void **state)
{
	static const int never[] = {CAP_SYS_MODULE,   CAP_SYS_RAWIO, CAP_SYS_BOOT,
				    CAP_SYS_TIME,     CAP_MAC_ADMIN, CAP_MAC_OVERRIDE,
				    CAP_AUDIT_CONTROL};

	(void)state;
	for (size_t i = 0; i < ROLES_COUNT; i++)
		for (size_t k = 0; k < sizeof(never) / sizeof(never[0]); k++)
			assert_int_equal(roles_at(i)->caps & UINT64_C(1) << never[k], 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_role_once),
		cmocka_unit_test(test_uids_are_distinct),
		cmocka_unit_test(test_orders_are_distinct),
		cmocka_unit_test(test_who_faces_the_world_has_nothing),
		cmocka_unit_test(test_nobody_touches_the_machine),
		cmocka_unit_test(test_document),
	};

	if (argc == 2 && strcmp(argv[1], "--print") == 0) {
		for (size_t i = 0; i < ROLES_COUNT; i++) {
			char row[2048];

			put_row(roles_at(i), row, sizeof(row));
			puts(row);
		}
		return 0;
	}
	document = argc == 2 ? argv[1] : "docs/security.md";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
