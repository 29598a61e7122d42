/* SPDX-License-Identifier: Apache-2.0 */
/* Large packets cut: bytes against small packets written on their own, the layout, the refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "overlay/engine/checksum.h"
#include "overlay/engine/segment.h"
#include "tests/support/offload.h"

enum { MTU = 1420, FILL = 0xa5, FIN = 1, SYN = 2, PSH = 8, ECE = 0x40, CWR = 0x80 };

static uint8_t large[OFFLOAD_BYTES], out[SEGMENT_RUN_BYTES + 1], expected[OFFLOAD_BYTES];

static bool
all(const uint8_t *at, size_t bytes, uint8_t value)
{
	while (bytes > 0 && *at == value)
		at++, bytes--;
	return bytes == 0;
}

/* One datagram of a run. */
static void
check_datagram(const uint8_t *at, uint32_t datagram, const uint8_t *packet, uint32_t bytes)
{
	uint32_t padded = datagram - SEGMENT_HEAD - SEGMENT_TAIL;

	assert_true(all(at, SEGMENT_HEAD, FILL));
	assert_memory_equal(at + SEGMENT_HEAD, packet, bytes);
	assert_true(padded >= bytes && padded - bytes < 16);
	assert_true(padded % 16 == 0 || padded == (bytes > MTU ? bytes : MTU));
	assert_true(all(at + SEGMENT_HEAD + bytes, padded - bytes, 0));
	assert_true(all(at + SEGMENT_HEAD + padded, SEGMENT_TAIL, FILL));
}

/* Cuts it and compares all; gives the number of runs. */
static unsigned
check(const struct offload *o)
{
	struct virtio_net_hdr header;
	uint32_t bytes = offload_large(o, &header, large), made = 0, runs = 0;
	struct segment_run run;
	struct segment s;

	assert_int_equal(segment_begin(&s, &header, large, bytes, MTU), SEGMENT_OK);
	assert_int_equal(segment_left(&s), offload_pieces(o));
	assert_int_equal(segment_longest(&s), offload_piece(o, 0, expected));
	for (memset(out, FILL, sizeof(out)); segment_next(&s, out, &run);
	     memset(out, FILL, sizeof(out))) {
		uint32_t total = segment_run_bytes(&run);

		assert_in_range(run.count, 1, SEGMENT_RUN_MAX);
		assert_true(total <= SEGMENT_RUN_BYTES && run.last <= run.stride);
		for (uint32_t i = 0; i < run.count; i++, made++)
			check_datagram(out + i * run.stride, segment_bytes(&run, i), expected,
				       offload_piece(o, made, expected));
		assert_true(all(out + total, sizeof(out) - total, FILL));
		runs++;
		assert_int_equal(segment_left(&s), offload_pieces(o) - made);
	}
	assert_false(segment_next(&s, out, &run));
	assert_int_equal(made, offload_pieces(o));
	return runs;
}

static void
test_kinds(void **state)
{
	(void)state;
	for (int kind = 0; kind < 32; kind++) {
		struct offload o = offload_plain(kind & 1, kind & 2);

		o.fragmentable = kind & 4;
		o.finished = kind & 8;
		o.extras = kind & 16 ? 2 : 0;
		assert_int_equal(check(&o), 1);
	}
}

static void
test_flags(void **state)
{
	struct offload o = offload_plain(false, false);

	(void)state;
	o.flags = PACKET_ACK | FIN | PSH | ECE | CWR;
	check(&o);
	o.payload = o.size; /* one piece is the first and the last */
	check(&o);
	o.payload = 0;
	check(&o);
}

static void
test_numbers_wrap(void **state)
{
	struct offload o = offload_plain(false, false);

	(void)state;
	o.id = 0xfffe;
	o.sequence = 0xfffffff0;
	check(&o);
}

/* 47 of 1,452 bytes are more than one send takes; 45 are not. */
static void
test_runs_end_at_bytes(void **state)
{
	struct offload o = offload_plain(false, false);

	(void)state;
	o.payload = 45u * o.size;
	assert_int_equal(check(&o), 1);
	o.payload = 45u * o.size + 1;
	assert_int_equal(check(&o), 1);
	o.payload = 47u * o.size;
	assert_int_equal(check(&o), 2);
}

static void
test_runs_end_at_count(void **state)
{
	struct offload o = offload_plain(true, true);

	(void)state;
	o.size = 100;
	o.payload = 6400;
	assert_int_equal(check(&o), 1);
	o.payload = 6401;
	assert_int_equal(check(&o), 2);
	o.payload = SEGMENT_UDP_MAX * 100;
	assert_int_equal(check(&o), 2);
}

/* A path of a smaller MTU is not known here: larger packets go as they are, not padded. */
static void
test_above_mtu(void **state)
{
	struct offload o = offload_plain(false, false);

	(void)state;
	o.size = 9001;
	o.payload = 40000;
	check(&o);
	o.size = 1368 - 5; /* padding would pass the MTU */
	check(&o);
}

static void
test_hdr_len_is_not_used(void **state)
{
	struct offload o = offload_plain(false, false);
	struct virtio_net_hdr header;
	uint32_t bytes = offload_large(&o, &header, large);
	struct segment_run run;
	struct segment s;

	(void)state;
	header.hdr_len = 60000;
	assert_int_equal(segment_begin(&s, &header, large, bytes, MTU), SEGMENT_OK);
	assert_true(segment_next(&s, out, &run));
	assert_int_equal(run.count, offload_pieces(&o));
}

/* ---- not cut ---- */

static enum segment_result
whole(const struct virtio_net_hdr *header, uint32_t bytes, struct segment_run *run)
{
	struct segment s;
	enum segment_result result = segment_begin(&s, header, large, bytes, MTU);
	struct segment_run none;

	memset(out, FILL, sizeof(out));
	assert_int_equal(segment_next(&s, out, run), result == SEGMENT_OK);
	assert_false(segment_next(&s, out, &none));
	return result;
}

static void
test_whole_as_it_is(void **state)
{
	struct virtio_net_hdr header = {0};
	struct offload o = offload_plain(false, true);
	struct segment_run run;

	(void)state;
	o.payload = 333;
	uint32_t bytes = offload_write(&o, 0, o.payload, 1, 0, true, large);
	large[26] ^= 1; /* wrong sums are somebody else's */
	assert_int_equal(whole(&header, bytes + 9, &run), SEGMENT_OK); /* padded by a link */
	assert_int_equal(run.count, 1);
	check_datagram(out, run.last, large, bytes);
}

static void
test_whole_gets_its_sum(void **state)
{
	struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM};
	struct segment_run run;

	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		struct offload o = offload_plain(kind & 1, kind & 2);

		o.payload = 777;
		uint32_t bytes = offload_write(&o, 0, o.payload, 1, o.flags, true, expected);
		offload_write(&o, 0, o.payload, 1, o.flags, false, large);
		header.csum_start = (uint16_t)offload_l4(&o);
		header.csum_offset = o.udp ? 6 : 16;
		assert_int_equal(whole(&header, bytes, &run), SEGMENT_OK);
		check_datagram(out, run.last, expected, bytes);
	}
}

/* A sum of 0 means in UDP that there is none. */
static void
test_sum_is_never_zero(void **state)
{
	struct virtio_net_hdr header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 20, .csum_offset = 6};
	struct offload o = offload_plain(false, true);
	struct segment_run run;

	(void)state;
	o.payload = 2;
	uint32_t bytes = offload_write(&o, 0, 2, 1, 0, true, large);
	uint16_t sum = packet_get16(large + 26), was = packet_get16(large + 28);
	/* What the payload's one word must be for the sum to vanish. */
	packet_put16(large + 28, packet_fold((uint32_t)sum + was));
	packet_put16(large + 26, packet_fold(offload_pseudo(&o, large, 10)));
	assert_int_equal(whole(&header, bytes, &run), SEGMENT_OK);
	assert_int_equal(packet_get16(out + SEGMENT_HEAD + 26), 0xffff);
	/* And cut. */
	header.gso_type = OFFLOAD_GSO_UDP;
	header.gso_size = 2;
	assert_int_equal(whole(&header, bytes, &run), SEGMENT_OK);
	assert_int_equal(packet_get16(out + SEGMENT_HEAD + 26), 0xffff);
}

static void
test_too_long(void **state)
{
	struct virtio_net_hdr header = {0};
	struct offload o = offload_plain(false, true);
	struct segment_run run;

	(void)state;
	o.payload = SEGMENT_RUN_BYTES - 32 - 28;
	assert_int_equal(whole(&header, offload_write(&o, 0, o.payload, 1, 0, true, large), &run),
			 SEGMENT_OK);
	assert_int_equal(run.last, SEGMENT_RUN_BYTES);
	o.payload++;
	assert_int_equal(whole(&header, offload_write(&o, 0, o.payload, 1, 0, true, large), &run),
			 SEGMENT_TOO_LONG);
}

/* ---- refused ---- */

struct change {
	const char *what;
	int at; /* a byte of the packet; -1: of the header alone */
	uint8_t value;
	struct virtio_net_hdr header; /* what is not 0 replaces */
	int bytes;                    /* more or fewer */
	enum segment_result result;
};

static void
change_header(struct virtio_net_hdr *h, const struct virtio_net_hdr *by)
{
	h->gso_type = by->gso_type ? by->gso_type : h->gso_type;
	h->gso_size = by->gso_size ? by->gso_size : h->gso_size;
	h->csum_start = by->csum_start ? by->csum_start : h->csum_start;
	h->csum_offset = by->csum_offset ? by->csum_offset : h->csum_offset;
}

static void
refuse(const struct offload *o, const struct change *c, size_t count)
{
	for (size_t i = 0; i < count; i++, c++) {
		struct virtio_net_hdr header;
		struct segment_run run;
		uint32_t bytes = offload_large(o, &header, large) + (uint32_t)c->bytes;

		change_header(&header, &c->header);
		if (c->at >= 0)
			large[c->at] = c->value;
		enum segment_result result = whole(&header, bytes, &run);
		if (result != c->result)
			fail_msg("%s: %d", c->what, result);
		assert_true(result == SEGMENT_OK || all(out, sizeof(out), FILL));
	}
}

static void
test_refused_tcp(void **state)
{
	static const struct change changes[] = {
		{"version", 0, 0x55, {0}, 0, SEGMENT_MALFORMED},
		{"header length", 0, 0x44, {0}, 0, SEGMENT_MALFORMED},
		{"longer than read", -1, 0, {0}, -1, SEGMENT_MALFORMED},
		{"shorter than read", -1, 0, {0}, 1, SEGMENT_MALFORMED},
		{"a fragment", 6, 0x20, {0}, 0, SEGMENT_MALFORMED},
		{"another protocol", 9, 17, {0}, 0, SEGMENT_MALFORMED},
		{"tcp header too short", 32, 0x40, {0}, 0, SEGMENT_MALFORMED},
		{"syn", 33, PACKET_ACK | SYN, {0}, 0, SEGMENT_MALFORMED},
		{"rst", 33, PACKET_ACK | PACKET_RST, {0}, 0, SEGMENT_MALFORMED},
		{"kind of IPv6", -1, 0, {.gso_type = 4}, 0, SEGMENT_MALFORMED},
		{"kind of UDP", -1, 0, {.gso_type = OFFLOAD_GSO_UDP}, 0, SEGMENT_MALFORMED},
		{"fragments of UDP", -1, 0, {.gso_type = 3}, 0, SEGMENT_UNSUPPORTED},
		{"kind unknown", -1, 0, {.gso_type = 0x21}, 0, SEGMENT_UNSUPPORTED},
		{"no kind with ECN", -1, 0, {.gso_type = 0x80}, 0, SEGMENT_UNSUPPORTED},
		{"small pieces", -1, 0, {.gso_size = 7}, 0, SEGMENT_MALFORMED},
		{"sum starts elsewhere", -1, 0, {.csum_start = 24}, 0, SEGMENT_MALFORMED},
		{"sum is elsewhere", -1, 0, {.csum_offset = 6}, 0, SEGMENT_MALFORMED},
	};
	struct offload o = offload_plain(false, false);

	(void)state;
	refuse(&o, changes, sizeof(changes) / sizeof(changes[0]));
}

static void
test_refused_udp(void **state)
{
	static const struct change changes[] = {
		{"as it is", -1, 0, {0}, 0, SEGMENT_OK},
		{"another version", 0, 0x45, {0}, 0, SEGMENT_MALFORMED},
		{"a fragment", 6, 44, {0}, 0, SEGMENT_MALFORMED},
		{"a routing header", 6, 43, {0}, 0, SEGMENT_MALFORMED},
		{"its own length", 45, 1, {0}, 0, SEGMENT_MALFORMED},
		{"too many", -1, 0, {.gso_size = 30}, 0, SEGMENT_MALFORMED},
		{"kind of TCP", -1, 0, {.gso_type = 4}, 0, SEGMENT_MALFORMED},
	};
	struct offload o = offload_plain(true, true);

	(void)state;
	refuse(&o, changes, sizeof(changes) / sizeof(changes[0]));
}

static void
test_refused_size_zero(void **state)
{
	struct virtio_net_hdr header;
	struct segment_run run;

	(void)state;
	for (int udp = 0; udp < 2; udp++) {
		struct offload o = offload_plain(false, udp);
		uint32_t bytes = offload_large(&o, &header, large);

		header.gso_size = 0;
		assert_int_equal(whole(&header, bytes, &run), SEGMENT_MALFORMED);
		o.payload = 0;
		bytes = offload_large(&o, &header, large);
		header.gso_size = 0;
		assert_int_equal(whole(&header, bytes, &run), SEGMENT_MALFORMED);
	}
}

static void
test_refused_whole(void **state)
{
	static const struct {
		uint16_t start, offset;
		enum segment_result result;
	} cases[] = {
		{20, 6, SEGMENT_OK},
		{20, 16, SEGMENT_OK},        /* 20 + 18 is where the packet ends */
		{20, 17, SEGMENT_MALFORMED}, /* beyond */
		{19, 6, SEGMENT_MALFORMED},  /* in IPv4's header */
		{0, 10, SEGMENT_MALFORMED},
		{65535, 65535, SEGMENT_MALFORMED},
	};
	struct offload o = offload_plain(false, true);
	struct segment_run run;

	(void)state;
	o.payload = 10;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						.csum_start = cases[i].start,
						.csum_offset = cases[i].offset};
		uint32_t bytes = offload_write(&o, 0, 10, 1, 0, false, large);

		assert_int_equal(bytes, 38);
		assert_int_equal(whole(&header, bytes, &run), cases[i].result);
	}
}

static void
test_not_ip(void **state)
{
	static const struct virtio_net_hdr header;
	struct segment_run run;

	(void)state;
	memset(large, 0, 64);
	assert_int_equal(whole(&header, 0, &run), SEGMENT_MALFORMED);
	assert_int_equal(whole(&header, 64, &run), SEGMENT_MALFORMED);
	large[0] = 0x45;
	assert_int_equal(whole(&header, 19, &run), SEGMENT_MALFORMED);
	/* Shorter than its own header. */
	large[3] = 19;
	assert_int_equal(whole(&header, 64, &run), SEGMENT_MALFORMED);
	large[3] = 20;
	assert_int_equal(whole(&header, 64, &run), SEGMENT_OK);
	large[0] = 0x46;
	assert_int_equal(whole(&header, 64, &run), SEGMENT_MALFORMED);
	memset(large, 0, 64);
	large[0] = 0x60;
	assert_int_equal(whole(&header, 39, &run), SEGMENT_MALFORMED);
	/* A jumbogram is none of ours; a packet without anything in it is. */
	assert_int_equal(whole(&header, 64, &run), SEGMENT_MALFORMED);
	large[6] = 59;
	assert_int_equal(whole(&header, 64, &run), SEGMENT_OK);
	assert_int_equal(run.last, 32 + 48);
}

/* Extension headers are followed as far as they are there, and not for ever. */
static void
test_extensions(void **state)
{
	struct offload o = offload_plain(true, true);
	struct inner in;

	(void)state;
	o.payload = 100;
	for (uint8_t n = 0; n <= INNER_EXTENSIONS_MAX + 1; n++) {
		o.extras = n;
		uint32_t bytes = offload_write(&o, 0, o.payload, 0, 0, true, large);

		assert_true(inner_parse(large, bytes, &in));
		assert_int_equal(in.length, bytes);
		assert_int_equal(in.bare, n == 0);
		assert_int_equal(in.payload, n <= INNER_EXTENSIONS_MAX ? offload_head(&o) : 0);
		if (n == 0)
			continue;
		/* The last one ends behind the packet, or just at its end. */
		uint32_t at = 40 + (n - 1u) * 8;
		large[at + 1] = (uint8_t)((bytes - at) / 8);
		assert_true(inner_parse(large, bytes, &in));
		assert_true(in.l4 <= bytes && in.payload == 0);
		packet_put16(large + 4, (uint16_t)(at - 40 + 4));
		assert_true(inner_parse(large, bytes, &in));
		assert_true(in.l4 <= at && in.payload == 0);
	}
}

/* ---- sums ---- */

/* As this CPU does it, and as any does. */
static void
look_at_sums(const uint8_t *from, unsigned bytes, unsigned shift)
{
	uint64_t (*const ways[])(uint64_t, void *, const void *, size_t) = {checksum_copy,
									    checksum_plain};
	uint16_t be = htons(packet_fold(packet_sum(from, bytes, 0x12345)));
	uint64_t sum = checksum_number(0, 0x12345);
	uint8_t copy[300];

	assert_int_equal(checksum_fold(checksum_add(sum, from, bytes)), be);
	assert_int_equal(checksum_fold(checksum_plain(sum, NULL, from, bytes)), be);
	for (size_t i = 0; i < 2; i++) {
		memset(copy, FILL, sizeof(copy));
		assert_int_equal(checksum_fold(ways[i](sum, copy + shift, from, bytes)), be);
		assert_memory_equal(copy + shift, from, bytes);
		assert_true(all(copy, shift, FILL));
		assert_true(all(copy + shift + bytes, sizeof(copy) - shift - bytes, FILL));
	}
}

static void
test_checksum(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(large); i++)
		large[i] = (uint8_t)(i < 4000 ? 0xff : i * 13 + (i >> 7));
	for (unsigned bytes = 0; bytes < 292; bytes++)
		for (unsigned at = 3900 + bytes % 8; at < 4100; at += 33)
			look_at_sums(large + at, bytes, at % 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_numbers_wrap),
		cmocka_unit_test(test_runs_end_at_bytes),
		cmocka_unit_test(test_runs_end_at_count),
		cmocka_unit_test(test_above_mtu),
		cmocka_unit_test(test_hdr_len_is_not_used),
		cmocka_unit_test(test_whole_as_it_is),
		cmocka_unit_test(test_whole_gets_its_sum),
		cmocka_unit_test(test_sum_is_never_zero),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_refused_tcp),
		cmocka_unit_test(test_refused_udp),
		cmocka_unit_test(test_refused_size_zero),
		cmocka_unit_test(test_refused_whole),
		cmocka_unit_test(test_not_ip),
		cmocka_unit_test(test_extensions),
		cmocka_unit_test(test_checksum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
