/* SPDX-License-Identifier: Apache-2.0 */
/* Names, marks and rules of the uplink: what is text. The rest needs a kernel: tests/e2e. */
#include "node/uplink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "node/uplink_mark.h"
#include "node/uplink_nft.h"
#include "tests/support/sweep.h"

static void
test_names(void **state)
{
	char a[IFNAMSIZ], b[IFNAMSIZ];

	(void)state;
	uplink_name("default", a);
	assert_string_equal(a, "zl-default");
	uplink_name("a-name-that-is-too-long-1", a);
	uplink_name("a-name-that-is-too-long-2", b);
	assert_int_equal(strlen(a), 15);
	assert_memory_equal(a, "zl-", 3);
	assert_string_not_equal(a, b);
}

static void
collect(void *arg, const char *word)
{
	strcat(arg, word);
	strcat(arg, ",");
}

static void
test_marks(void **state)
{
	char alias[UPLINK_MARK_BYTES], words[256] = "", word[40];
	struct err err = {0};
	int added = 0;

	(void)state;
	uplink_mark_begin("n1", alias);
	assert_true(uplink_mark_ours(alias));
	assert_int_equal(uplink_mark_add(alias, "4:eth0", &err), 0);
	assert_int_equal(uplink_mark_add(alias, "4:eth0", &err), 0);
	assert_int_equal(uplink_mark_add(alias, "all6", &err), 0);
	assert_string_equal(alias, "zlayer n1 4:eth0 all6");
	uplink_mark_each(alias, collect, words);
	assert_string_equal(words, "4:eth0,all6,");
	/* A mark that does not fit is refused, and nothing of it stays. */
	do {
		text_format(word, sizeof(word), "ra:interface%04d", added++);
	} while (uplink_mark_add(alias, word, &err) == 0);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_null(strstr(alias, word));
	assert_in_range(added, 5, 20);
}

/* Aliases are anybody's to write. */
static void
test_foreign_aliases(void **state)
{
	static const char *const foreign[] = {"", "zlayer", "zlayer ", "bridge of zlayer n1"};
	char long_words[UPLINK_MARK_BYTES] = "zlayer n1 ", words[512] = "";

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_false(uplink_mark_ours(foreign[i]));
		uplink_mark_each(foreign[i], collect, words);
	}
	memset(long_words + 10, 'x', 200);
	strcpy(long_words + 210, " 4:\"; 6:b ");
	uplink_mark_each(long_words, collect, words);
	assert_string_equal(words, "6:b,");
	/* No setting is written by a name that leads elsewhere. */
	uplink_mark_restore("zlayer n1 4:../../x 4:/x ra:. 6: 4: bogus");
}

static void
make_rules(struct buf *out)
{
	static struct uplink_wanted w = {.instance = "n1"};
	const char *aliases[] = {"zlayer n1 all6", "zlayer n2"};

	assert_true(addr_parse_prefix("10.200.7.0/24", &w.v4));
	assert_true(addr_parse_prefix("fd00:1:2:3::/64", &w.v6));
	uplink_nft_rules(&w, aliases, 2, out);
}

static void
test_rules(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, MEM_NODE, 65536);
	make_rules(&out);
	assert_true(buf_ok(&out));
	assert_string_equal(
		buf_cstr(&out),
		"table inet zlayer-n1\ndelete table inet zlayer-n1\ntable inet zlayer-n1 {\n"
		"\tchain out {\n"
		"\t\ttype nat hook postrouting priority srcnat; policy accept;\n"
		"\t\tip saddr 10.200.7.0/24 oifname != \"zl-*\" masquerade\n"
		"\t\tip6 saddr fd00:1:2:3::/64 oifname != \"zl-*\" masquerade\n"
		"\t}\n"
		"\tchain pass {\n"
		"\t\ttype filter hook forward priority filter; policy accept;\n"
		"\t\toifname \"zl-n1\" ct state established,related accept\n"
		"\t\toifname \"zl-n1\" drop\n"
		"\t\tiifname \"zl-n1\" ip saddr != 10.200.7.0/24 drop\n"
		"\t\tiifname \"zl-n1\" ip6 saddr != fd00:1:2:3::/64 drop\n"
		"\t\tmeta nfproto ipv6 iifname != \"zl-*\" oifname != \"zl-*\" drop\n"
		"\t}\n}\n");
	buf_fini(&out);
}

static void
test_rules_without_memory(void **state)
{
	struct buf out;

	(void)state;
	sweep_each(s)
	{
		buf_init(&out, MEM_NODE, 65536);
		make_rules(&out);
		assert_int_equal(!buf_ok(&out), sweep_failed());
		buf_fini(&out);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_foreign_aliases),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_rules_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
