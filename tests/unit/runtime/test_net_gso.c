/* SPDX-License-Identifier: Apache-2.0 */
/* How many segments of TCP come in one, by what Linux makes of the limit. */
#include "runtime/net_gso.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { SEALED = 32, SEND_MAX = 65507 };

/* Of IPv4 and IPv6, without and with timestamps. */
static const uint32_t heads[] = {40, 52, 60, 72};
/* MAX_TCP_HEADER and one, by the kernel's configuration. */
static const uint32_t reserves[] = {257, 321};

static uint32_t
segments(uint32_t mtu, uint32_t head, uint32_t reserved)
{
	return (net_gso_max(mtu) - reserved) / (mtu - head);
}

static uint32_t
most(uint32_t mtu)
{
	uint32_t n = SEND_MAX / (mtu + SEALED);

	return n < 64 ? n : 64;
}

static void
test_never_more_than_one_send(void **state)
{
	(void)state;
	for (uint32_t mtu = 1280; mtu < 60000; mtu++)
		for (size_t h = 0; h < 4; h++)
			for (size_t r = 0; r < 2; r++)
				assert_true(segments(mtu, heads[h], reserves[r]) <= most(mtu));
}

static void
test_as_many_as_fit(void **state)
{
	static const uint32_t usual[] = {1280, 1380, 1400, 1420, 1440, 8900, 8920, 8940};

	(void)state;
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		for (size_t r = 0; r < 2; r++) {
			/* With timestamps, as it is everywhere. */
			assert_int_equal(segments(usual[i], 52, reserves[r]), most(usual[i]));
			assert_int_equal(segments(usual[i], 72, reserves[r]), most(usual[i]));
		}
}

static void
test_any_mtu(void **state)
{
	(void)state;
	for (uint32_t mtu = 576; mtu <= 65535; mtu++)
		assert_in_range(net_gso_max(mtu), mtu / 2, 65536);
	assert_int_equal(net_gso_max(65535), 65536);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_more_than_one_send),
		cmocka_unit_test(test_as_many_as_fit),
		cmocka_unit_test(test_any_mtu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
