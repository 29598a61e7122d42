/* SPDX-License-Identifier: Apache-2.0 */
/* Ports that are listened on, as the kernel lists them. */
#include "runtime/listening.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const char four[] =
	"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
	"   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
	"   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
	"   2: 0100007F:1F91 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0\n"
	"   3: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n";
static const char six[] =
	"  sl  local_address                         remote_address                        st\n"
	"   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0\n"
	"   1: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 0\n"
	"   2: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 0\n";

static void
test_ports(void **state)
{
	struct listening l = {0};
	(void)state;
	listening_parse(four, &l);
	assert_int_equal(l.count, 2);
	assert_int_equal(l.ports[0], 3000);
	assert_true(l.loopback[0]);
	assert_int_equal(l.ports[1], 8080);
	assert_false(l.loopback[1]);
	listening_parse(six, &l);
	assert_int_equal(l.count, 4);
	assert_false(l.loopback[0]);
	assert_int_equal(l.ports[2], 80);
	assert_true(l.loopback[2]);
	assert_true(l.loopback[3]);
}

static void
test_nonsense(void **state)
{
	struct listening l = {0};
	char text[sizeof(four)];
	(void)state;
	for (size_t i = 0; i < sizeof(four); i++) {
		memcpy(text, four, i);
		text[i] = '\0';
		listening_parse(text, &l);
	}
	assert_true(l.count <= 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_ports),
					   cmocka_unit_test(test_nonsense)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
