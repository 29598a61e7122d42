/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/ticket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static struct ticket
example(size_t addresses)
{
	static const char *const texts[TICKET_ADDRESSES_MAX] = {
		"192.0.2.1:9881", "[2001:db8::1]:9881", "10.0.0.1:1", "[::1]:65535", "[fe80::1]:9"};
	struct ticket t = {.id = UINT64_C(0x0102030405060708), .addresses_count = addresses};

	for (size_t i = 0; i < TICKET_CLUSTER; i++)
		t.cluster[i] = (uint8_t)(255 - i);
	for (size_t i = 0; i < TICKET_SECRET; i++)
		t.secret[i] = (uint8_t)i;
	for (size_t i = 0; i < addresses; i++)
		assert_true(addr_parse(texts[i], &t.addresses[i]));
	return t;
}

static void
test_there_and_back(void **state)
{
	char text[TICKET_TEXT_BYTES];
	char padded[TICKET_TEXT_BYTES + 8];
	struct err err = {0};
	struct ticket again;

	(void)state;
	for (size_t n = 1; n <= TICKET_ADDRESSES_MAX; n++) {
		struct ticket t = example(n);

		ticket_write(&t, text);
		assert_int_equal(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					      "0123456789-_"),
				 strlen(text));
		snprintf(padded, sizeof(padded), " \t%s\r\n", text);
		assert_int_equal(ticket_read(padded, &again, &err), 0);
		assert_memory_equal(&t, &again, sizeof(t));
	}
}

static void
refuse(const char *text, const char *why)
{
	struct err err = {0};
	struct ticket t;

	assert_int_equal(ticket_read(text, &t, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_non_null(strstr(err.why[0], why));
	assert_non_null(strstr(err.fix, "whole word"));
}

static void
test_every_cut_and_change_is_seen(void **state)
{
	char text[TICKET_TEXT_BYTES];
	struct ticket t = example(2);

	(void)state;
	ticket_write(&t, text);
	size_t length = strlen(text);
	for (size_t i = 4; i < length; i++) {
		char was = text[i];

		text[i] = '\0';
		refuse(text, "missing");
		text[i] = was == 'A' ? 'B' : 'A';
		refuse(text, "wrong");
		text[i] = was;
	}
}

static void
test_bad_words(void **state)
{
	char text[TICKET_TEXT_BYTES];
	char two[2 * TICKET_TEXT_BYTES];
	struct ticket t = example(1);

	(void)state;
	refuse("", "begins with");
	refuse("   ", "begins with");
	refuse("https://example.test", "begins with");
	refuse("zl9-AAAA", "another version");
	refuse("zl1-", "missing");
	refuse("zl1-AAAA", "missing");
	refuse("zl1-AAA+/AAA", "wrong");
	refuse("zl1-AAAA====", "wrong");
	memset(two, 'A', sizeof(two) - 1);
	two[sizeof(two) - 1] = '\0';
	memcpy(two, "zl1-", 4);
	refuse(two, "wrong");
	ticket_write(&t, text);
	snprintf(two, sizeof(two), "%s %s", text, text);
	refuse(two, "more than one word");
}

/* The sum is right, what it covers is not: port 0. */
static void
test_absurd_content(void **state)
{
	char text[TICKET_TEXT_BYTES];
	struct ticket t = example(1);

	(void)state;
	t.addresses[0].port = 0;
	ticket_write(&t, text);
	refuse(text, "cannot be");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_every_cut_and_change_is_seen),
		cmocka_unit_test(test_bad_words),
		cmocka_unit_test(test_absurd_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
