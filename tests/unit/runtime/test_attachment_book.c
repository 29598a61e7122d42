/* SPDX-License-Identifier: Apache-2.0 */
/* Which containers of others are attached: found by their key, kept as text, whatever is in it. */
#include "runtime/attachment_book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "tests/support/sweep.h"

static struct msg_attachment
row(uint64_t id, const char *network, const char *container, const char *interface)
{
	struct msg_attachment r = {.id = id | MSG_ATTACHMENT_BIT, .created_wall_ns = 7};

	text_copy(r.key.network, sizeof(r.key.network), network);
	text_copy(r.key.container, sizeof(r.key.container), container);
	text_copy(r.key.interface, sizeof(r.key.interface), interface);
	text_copy(r.netns, sizeof(r.netns), "/run/netns/a b");
	return r;
}

static struct attachment *
add(struct attachment_book *b, uint64_t id, const char *network, const char *container,
    const char *interface)
{
	struct msg_attachment r = row(id, network, container, interface);
	struct attachment *a = NULL;
	struct err err = {0};

	return attachment_book_add(b, &r, &a, &err) == 0 ? a : NULL;
}

static void
test_finding(void **state)
{
	struct attachment_book b;
	struct msg_attach_key key = row(0, "mesh", "c", "eth0").key;

	(void)state;
	attachment_book_init(&b);
	assert_null(attachment_book_find(&b, &key));
	struct attachment *a = add(&b, 1, "mesh", "c", "eth0");
	assert_non_null(a);
	assert_non_null(add(&b, 2, "mesh", "c", "eth1"));
	assert_non_null(add(&b, 3, "mesh", "d", "eth0"));
	assert_non_null(add(&b, 4, "other", "c", "eth0"));
	assert_ptr_equal(attachment_book_find(&b, &key), a);
	assert_ptr_equal(attachment_book_get(&b, 1 | MSG_ATTACHMENT_BIT), a);
	attachment_book_remove(&b, 1 | MSG_ATTACHMENT_BIT);
	assert_null(attachment_book_find(&b, &key));
	assert_null(attachment_book_get(&b, 1 | MSG_ATTACHMENT_BIT));
	assert_non_null(attachment_book_get(&b, 4 | MSG_ATTACHMENT_BIT));
	attachment_book_remove(&b, 1 | MSG_ATTACHMENT_BIT);
	attachment_book_fini(&b);
}

static void
test_limit(void **state)
{
	struct attachment_book b;
	struct msg_attachment r = row(9999, "mesh", "c", "eth0");
	struct attachment *a;
	struct err err = {0};

	(void)state;
	attachment_book_init(&b);
	for (uint64_t i = 1; i <= MSG_ATTACHMENTS_MAX; i++)
		assert_non_null(add(&b, i, "mesh", "c", "eth0"));
	assert_int_equal(attachment_book_add(&b, &r, &a, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	attachment_book_fini(&b);
}

static void
test_text(void **state)
{
	struct attachment_book b, c;
	struct err err = {0};
	struct buf text;

	(void)state;
	attachment_book_init(&b);
	attachment_book_init(&c);
	buf_init(&text, MEM_RUNTIME, ATTACHMENT_TEXT_MAX);
	struct attachment *a = add(&b, 1, "mesh", "c", "eth0");
	a->whole = true;
	text_copy(a->row.name, sizeof(a->row.name), "web");
	add(&b, 2, "mesh", "d", "eth0")->whole = true;
	add(&b, 3, "mesh", "e", "eth0"); /* not answered with yet */
	attachment_book_save(&b, &text);
	assert_int_equal(attachment_book_load(&c, buf_cstr(&text), &err), 0);
	assert_int_equal(map_count(&c.entries), 2);
	const struct attachment *got = attachment_book_get(&c, 1 | MSG_ATTACHMENT_BIT);
	assert_non_null(got);
	assert_true(got->whole);
	assert_memory_equal(&got->row, &a->row, sizeof(got->row));
	assert_string_equal(attachment_book_get(&c, 2 | MSG_ATTACHMENT_BIT)->row.name, "");
	buf_fini(&text);
	attachment_book_fini(&b);
	attachment_book_fini(&c);
}

static void
test_damage(void **state)
{
	static const char *const lines =
		"36028797018963969 mesh c eth0 - 7 /run/netns/a\n"
		"36028797018963969 mesh d eth0 - 7 /run/netns/a\n"  /* the id is known */
		"36028797018963970 mesh c eth0 - 7 /run/netns/a\n"  /* so is the key */
		"5 mesh e eth0 - 7 /run/netns/a\n"                  /* of a replica */
		"108086391056891905 mesh e eth0 - 7 /run/netns/a\n" /* of more than 56 bits */
		"36028797018963971 me/sh e eth0 - 7 /run/netns/a\n"
		"36028797018963971 mesh e e/0 - 7 /run/netns/a\n"
		"36028797018963971 mesh e eth0 Upper 7 /run/netns/a\n"
		"36028797018963971 mesh e eth0 - 7 relative\n"
		"36028797018963971 mesh e eth0 - 7\n"
		"36028797018963971 mesh e eth0\n"
		"\n\x01\xff garbage\n"
		"36028797018963971 mesh e eth0-longer-than-one - 7 /run/netns/a\n"
		"36028797018963972 mesh f eth0 - 7 /run/netns/a"; /* cut where it holds */
	struct attachment_book b;
	struct err err = {0};

	(void)state;
	attachment_book_init(&b);
	assert_int_equal(attachment_book_load(&b, lines, &err), 0);
	assert_int_equal(map_count(&b.entries), 2);
	assert_string_equal(attachment_book_get(&b, 1 | MSG_ATTACHMENT_BIT)->row.key.container,
			    "c");
	assert_non_null(attachment_book_get(&b, 4 | MSG_ATTACHMENT_BIT));
	attachment_book_fini(&b);
}

static void
test_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct attachment_book b;
		struct err err = {0};

		attachment_book_init(&b);
		int done = attachment_book_load(&b,
						"36028797018963969 mesh c eth0 - 7 /run/netns/a\n"
						"36028797018963970 mesh d eth0 - 7 /run/netns/a\n",
						&err);

		assert_int_equal(done < 0, sweep_failed());
		attachment_book_fini(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finding), cmocka_unit_test(test_limit),
		cmocka_unit_test(test_text),    cmocka_unit_test(test_damage),
		cmocka_unit_test(test_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
