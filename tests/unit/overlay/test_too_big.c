/* SPDX-License-Identifier: Apache-2.0 */
/* What is said about packets that are too big: the bytes, the limits, and to whom nothing is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <string.h>
#include "overlay/engine/too_big.h"
#include "tests/support/offload.h"

static uint8_t packet[OFFLOAD_BYTES], answer[TOO_BIG_BYTES];
static struct inner in;

static size_t
ask(const struct offload *o, uint32_t mtu)
{
	struct virtio_net_hdr header;
	uint32_t bytes = offload_large(o, &header, packet);

	assert_true(inner_parse(packet, bytes, &in));
	return too_big_answer(packet, &in, mtu, answer);
}

static void
test_v4(void **state)
{
	struct offload o = offload_plain(false, false);

	(void)state;
	assert_int_equal(ask(&o, 1300), 576);
	assert_int_equal(answer[0], 0x45);
	assert_int_equal(inner_get16(answer + 2), 576);
	assert_int_equal(answer[9], IPPROTO_ICMP);
	assert_memory_equal(answer + 12, packet + 16, 4);
	assert_memory_equal(answer + 16, packet + 12, 4);
	assert_int_equal(answer[20], 3);
	assert_int_equal(answer[21], 4);
	assert_int_equal(inner_get16(answer + 24), 0);
	assert_int_equal(inner_get16(answer + 26), 1300);
	assert_memory_equal(answer + 28, packet, 548);
	assert_int_equal(packet_fold(packet_sum(answer, 20, 0)), 0xffff);
	assert_int_equal(packet_fold(packet_sum(answer + 20, 556, 0)), 0xffff);
	/* A short one is there as a whole. */
	o.payload = 100;
	o.size = 200;
	size_t bytes = ask(&o, 1300);
	assert_int_equal(bytes, 28 + in.length);
}

static void
test_v6(void **state)
{
	struct offload o = offload_plain(true, true);

	(void)state;
	assert_int_equal(ask(&o, 1400), 1280);
	assert_int_equal(inner_get16(answer + 4), 1240);
	assert_int_equal(answer[6], IPPROTO_ICMPV6);
	assert_memory_equal(answer + 8, packet + 24, 16);
	assert_memory_equal(answer + 24, packet + 8, 16);
	assert_int_equal(answer[40], 2);
	assert_int_equal(answer[41], 0);
	assert_int_equal(inner_get32(answer + 44), 1400);
	assert_memory_equal(answer + 48, packet, 1232);
	uint32_t sum = packet_sum(answer + 8, 32, 1240 + IPPROTO_ICMPV6);
	assert_int_equal(packet_fold(packet_sum(answer + 40, 1240, sum)), 0xffff);
}

static size_t
again(void)
{
	assert_true(inner_parse(packet, in.length, &in));
	return too_big_answer(packet, &in, 1300, answer);
}

static void
test_no_answer(void **state)
{
	struct offload o = offload_plain(false, true);

	(void)state;
	assert_true(ask(&o, 1300) > 0);
	packet[6] = 0x20; /* the first fragment */
	assert_true(again() > 0);
	packet[7] = 1; /* a later one */
	assert_int_equal(again(), 0);
	packet[6] = packet[7] = 0;
	packet[9] = IPPROTO_ICMP;
	packet[20] = 8;
	assert_true(again() > 0);
	packet[20] = 0;
	assert_true(again() > 0);
	packet[20] = 3;
	assert_int_equal(again(), 0);
	packet[9] = IPPROTO_UDP;
	packet[16] = 224;
	assert_int_equal(again(), 0);
	packet[16] = 10;
	packet[12] = 0;
	assert_int_equal(again(), 0);

	o = offload_plain(true, true);
	assert_true(ask(&o, 1300) > 0);
	packet[24] = 0xff; /* to many: that is answered (RFC 4443) */
	assert_true(again() > 0);
	packet[6] = IPPROTO_ICMPV6;
	packet[40] = 128;
	assert_true(again() > 0);
	packet[40] = 1;
	assert_int_equal(again(), 0);
	packet[6] = IPPROTO_UDP;
	packet[8] = 0xff;
	assert_int_equal(again(), 0);
	memset(packet + 8, 0, 16);
	assert_int_equal(again(), 0);
}

static void
test_rate(void **state)
{
	static const uint64_t second = 1000000000;
	struct too_big_rate r = {0};
	uint64_t now_ns = 5 * second;
	unsigned may = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		may += too_big_may(&r, now_ns);
	assert_int_equal(may, TOO_BIG_BURST);
	for (unsigned i = 0; i < 1000; i++)
		may += too_big_may(&r, now_ns += second / 1000);
	assert_int_equal(may, TOO_BIG_BURST + TOO_BIG_RATE);
	now_ns += 60 * second;
	for (may = 0; too_big_may(&r, now_ns); may++)
		;
	assert_int_equal(may, TOO_BIG_BURST);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v4),
		cmocka_unit_test(test_v6),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
