/* SPDX-License-Identifier: Apache-2.0 */
/* Small packets joined: the same bytes as the large one that they came from; what is never joined.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "overlay/engine/merge.h"
#include "tests/support/offload.h"

enum { ROOM = 1500, FIN = 1, SYN = 2, PSH = 8, URG = 0x20, ECE = 0x40, CWR = 0x80 };

static struct merge m;
static uint8_t packets[MERGE_PACKETS_MAX + 1][ROOM], large[OFFLOAD_BYTES], out[OFFLOAD_BYTES];
static uint32_t lengths[MERGE_PACKETS_MAX + 1];
static unsigned used;

static void
start(bool tcp, bool udp)
{
	merge_init(&m, tcp, udp);
	used = 0;
}

static bool
give(uint32_t length)
{
	struct inner in;

	assert_true(inner_parse(packets[used], length, &in));
	lengths[used] = in.length;
	return merge_add(&m, packets[used++], &in);
}

/* Small packet i of it, padded as WireGuard does. */
static void
add(const struct offload *o, uint32_t i)
{
	uint32_t length = offload_piece(o, i, packets[used]);

	memset(packets[used] + length, 0, 16);
	assert_true(give((length + 15) / 16 * 16));
}

static uint32_t
flatten(const struct merge_run *r, struct virtio_net_hdr *header)
{
	uint32_t bytes = 0;

	assert_int_equal(r->iov[0].iov_len, sizeof(*header));
	memcpy(header, r->iov[0].iov_base, sizeof(*header));
	for (int i = 1; i < r->iov_count; i++) {
		memcpy(out + bytes, r->iov[i].iov_base, r->iov[i].iov_len);
		bytes += (uint32_t)r->iov[i].iov_len;
	}
	assert_int_equal(bytes, r->bytes);
	return bytes;
}

/* Run i is all of it. */
static void
is_large(unsigned i, const struct offload *o)
{
	struct virtio_net_hdr header, want;
	uint32_t length = offload_large(o, &want, large), got = flatten(&m.runs[i], &header);

	assert_int_equal(got, length);
	assert_memory_equal(out, large, length);
	assert_memory_equal(&header, &want, sizeof(want));
	assert_int_equal(m.runs[i].packets, offload_pieces(o));
}

/* Run i is one packet, untouched, for the kernel to judge. */
static void
is_alone(unsigned i, const struct offload *o, uint32_t piece)
{
	static const struct virtio_net_hdr none;
	struct virtio_net_hdr header;
	uint32_t length = offload_piece(o, piece, large);

	assert_int_equal(flatten(&m.runs[i], &header), length);
	assert_memory_equal(out, large, length);
	assert_memory_equal(&header, &none, sizeof(none));
	assert_int_equal(m.runs[i].packets, 1);
}

static void
test_joined(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		struct offload o = offload_plain(kind & 1, kind & 2);

		start(true, true);
		for (uint32_t i = 0; i < offload_pieces(&o); i++)
			add(&o, i);
		assert_int_equal(merge_finish(&m), 1);
		is_large(0, &o);
		/* Nothing was moved. */
		for (uint32_t i = 0; i < used; i++)
			assert_ptr_equal(m.runs[0].iov[i + 1].iov_base,
					 packets[i] + (i ? offload_head(&o) : 0));
	}
}

static void
test_flags(void **state)
{
	static const uint8_t flags[] = {PACKET_ACK | PSH,       PACKET_ACK | FIN,
					PACKET_ACK | FIN | PSH, PACKET_ACK | ECE,
					PACKET_ACK | CWR,       PACKET_ACK | ECE | CWR | PSH};

	(void)state;
	for (size_t i = 0; i < sizeof(flags); i++) {
		struct offload o = offload_plain(i % 2, false);

		o.flags = flags[i];
		start(true, true);
		for (uint32_t n = 0; n < offload_pieces(&o); n++)
			add(&o, n);
		assert_int_equal(merge_finish(&m), 1);
		is_large(0, &o);
	}
}

static void
test_numbers_wrap(void **state)
{
	struct offload o = offload_plain(false, false);

	(void)state;
	o.fragmentable = true;
	o.id = 0xfffe;
	o.sequence = 0xfffffc00;
	start(true, true);
	for (uint32_t i = 0; i < offload_pieces(&o); i++)
		add(&o, i);
	assert_int_equal(merge_finish(&m), 1);
	is_large(0, &o);
}

static void
test_not_offloaded(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		struct offload o = offload_plain(kind & 1, kind & 2);

		start(o.udp, !o.udp);
		add(&o, 0);
		add(&o, 1);
		assert_int_equal(merge_finish(&m), 2);
		is_alone(0, &o, 0);
		is_alone(1, &o, 1);
	}
}

/* ---- what differs ---- */

static void
finish_sums(const struct offload *o, uint8_t *p, uint32_t length)
{
	uint32_t l4 = offload_l4(o);
	uint8_t *check = p + l4 + (o->udp ? 6 : 16);

	if (!o->v6) {
		packet_put16(p + 10, 0);
		packet_put16(p + 10, (uint16_t)~packet_fold(packet_sum(p, l4, 0)));
	}
	packet_put16(check, 0);
	uint32_t sum = offload_pseudo(o, p, length - l4);
	packet_put16(check, (uint16_t)~packet_fold(packet_sum(p + l4, length - l4, sum)));
}

/* Two packets that follow one another, but in byte `at` of number `which` (1 or 2; 3: of both). */
static unsigned
runs_of_changed(const struct offload *o, unsigned which, uint32_t at, uint8_t value, bool sums)
{
	start(true, true);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t length = offload_piece(o, i, packets[i]);

		if (which & 1u << i) {
			packets[i][at] = value;
			if (sums)
				finish_sums(o, packets[i], length);
		}
		give(length);
	}
	return merge_finish(&m);
}

struct change {
	const char *what;
	uint32_t at;
	uint8_t value;
	uint8_t which;
	bool wrong_sums;
	bool joined;
};

static void
compare(const struct offload *o, const struct change *c, size_t count)
{
	for (; count > 0; count--, c++) {
		unsigned runs = runs_of_changed(o, c->which, c->at, c->value, !c->wrong_sums);

		if (runs != (c->joined ? 1u : 2u))
			fail_msg("%s: %u", c->what, runs);
	}
}

static void
test_tcp4_differs(void **state)
{
	static const struct change changes[] = {
		{"nothing", 1, 0, 2, false, true},
		{"tos", 1, 4, 2, false, false},
		{"tos of both", 1, 4, 3, false, true},
		{"DF", 6, 0, 2, false, false},
		{"more fragments", 6, 0x60, 2, false, false},
		{"reserved bit", 6, 0xc0, 2, false, false},
		{"ttl", 8, 63, 2, false, false},
		{"from", 15, 9, 2, false, false},
		{"to", 19, 9, 2, false, false},
		{"from port", 21, 9, 2, false, false},
		{"to port", 23, 9, 2, false, false},
		{"sequence", 27, 1, 2, false, false},
		{"ack", 31, 1, 2, false, false},
		{"reserved", 32, 0x81, 2, false, false},
		{"options' length", 32, 0x70, 2, false, false},
		{"window", 34, 0, 2, false, false},
		{"window's low byte", 35, 0, 2, false, false},
		{"urgent pointer", 39, 1, 2, false, false},
		{"options", 42, 99, 2, false, false},
		{"first: psh", 33, PACKET_ACK | PSH, 1, false, false},
		{"first: fin", 33, PACKET_ACK | FIN, 1, false, false},
		{"second: psh", 33, PACKET_ACK | PSH, 2, false, true},
		{"second: fin", 33, PACKET_ACK | FIN, 2, false, true},
		{"syn", 33, PACKET_ACK | SYN, 3, false, false},
		{"rst", 33, PACKET_ACK | PACKET_RST, 3, false, false},
		{"second: rst", 33, PACKET_ACK | PACKET_RST, 2, false, false},
		{"urg", 33, PACKET_ACK | URG, 3, false, false},
		{"no ack", 33, 0, 3, false, false},
		{"second: ece", 33, PACKET_ACK | ECE, 2, false, false},
		{"second: cwr", 33, PACKET_ACK | CWR, 2, false, false},
		{"both: cwr", 33, PACKET_ACK | CWR, 3, false, false},
		{"first: ip sum", 10, 0, 1, true, false},
		{"second: ip sum", 10, 0, 2, true, false},
		{"first: tcp sum", 36, 0, 1, true, false},
		{"second: tcp sum", 36, 0, 2, true, false},
		{"second: payload", 100, 0, 2, true, false},
	};
	struct offload o = offload_plain(false, false);

	(void)state;
	compare(&o, changes, sizeof(changes) / sizeof(changes[0]));
}

static void
test_tcp6_differs(void **state)
{
	static const struct change changes[] = {
		{"traffic class", 1, 0x10, 2, false, false},
		{"flow label", 3, 0, 2, false, false},
		{"hops", 7, 63, 2, false, false},
		{"from", 23, 9, 2, false, false},
		{"to", 39, 9, 2, false, false},
		{"another header", 6, IPPROTO_DSTOPTS, 2, false, false},
		{"window", 54, 0, 2, false, false},
		{"first: sum", 56, 0, 1, true, false},
		{"second: sum", 56, 0, 2, true, false},
	};
	struct offload o = offload_plain(true, false);

	(void)state;
	compare(&o, changes, sizeof(changes) / sizeof(changes[0]));
}

static void
test_udp4_differs(void **state)
{
	static const struct change changes[] = {
		{"nothing", 1, 0, 2, false, true},      {"to port", 23, 9, 2, false, false},
		{"tos", 1, 4, 2, false, false},         {"its length", 25, 0, 2, false, false},
		{"second: sum", 26, 1, 2, true, false}, {"first: sum", 26, 1, 1, true, false},
	};
	struct offload o = offload_plain(false, true);

	(void)state;
	compare(&o, changes, sizeof(changes) / sizeof(changes[0]));
}

/* Without a sum (RFC 768): the kernel would make one. */
static void
test_udp_without_sum(void **state)
{
	struct offload o = offload_plain(false, true);

	(void)state;
	for (unsigned which = 1; which <= 3; which++) {
		start(true, true);
		for (uint32_t i = 0; i < 2; i++) {
			uint32_t length = offload_piece(&o, i, packets[i]);

			if (which & 1u << i)
				packet_put16(packets[i] + 26, 0);
			give(length);
		}
		assert_int_equal(merge_finish(&m), 2);
	}
}

/* RFC 6864: with DF the id says nothing; without it the kernel's counting must give the same. */
static void
test_ids(void **state)
{
	struct offload o = offload_plain(false, false);

	(void)state;
	assert_int_equal(runs_of_changed(&o, 2, 5, 99, true), 1);
	o.fragmentable = true;
	assert_int_equal(runs_of_changed(&o, 2, 5, 99, true), 2);
	assert_int_equal(runs_of_changed(&o, 2, 5, 8, true), 1);
}

static void
test_options_alone(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		struct offload o = offload_plain(v6, false);

		o.extras = 1;
		start(true, true);
		add(&o, 0);
		add(&o, 1);
		assert_int_equal(merge_finish(&m), 2);
		is_alone(0, &o, 0);
		is_alone(1, &o, 1);
	}
}

/* Headers of one length in all, but of others each. */
static void
test_options_elsewhere(void **state)
{
	(void)state;
	for (uint32_t with = 0; with < 2; with++) {
		struct offload o[2] = {offload_plain(false, false), offload_plain(false, false)};

		o[with].extras = 1;
		o[with].options = 2;
		assert_int_equal(offload_head(&o[0]), offload_head(&o[1]));
		start(true, true);
		add(&o[0], 0);
		add(&o[1], 1);
		assert_int_equal(merge_finish(&m), 2);
		is_alone(0, &o[0], 0);
		is_alone(1, &o[1], 1);
	}
}

/* The second one has an option of IPv4, and after it what looks like the first one's header going
 * on if it is read four bytes too early: it would come out without that option. */
static void
test_options_pretend(void **state)
{
	struct offload a = offload_plain(false, false), b = a;
	uint32_t length;

	(void)state;
	b.extras = 1;
	b.options = 2;
	b.sequence = a.ack - b.size;
	b.ack = 0x80u << 24 | (uint32_t)a.flags << 16 | a.window;
	b.window = 0;
	length = offload_piece(&b, 1, packets[1]);
	a.sequence = ((uint32_t)a.from_port << 16 | a.to_port) - a.size;
	start(true, true);
	offload_piece(&a, 0, packets[0]);
	memcpy(packets[0] + 40, packets[1] + 40, 12);
	finish_sums(&a, packets[0], length);
	assert_memory_equal(packets[0] + 28, packets[1] + 28, 8);
	give(length);
	give(length);
	assert_int_equal(merge_finish(&m), 2);
}

/* ---- lengths ---- */

/* Packets of one flow with these lengths of payload. */
static unsigned
runs_of_lengths(const struct offload *o, const uint32_t *bytes, unsigned count)
{
	uint32_t at = 0;

	start(true, true);
	for (unsigned i = 0; i < count; at += bytes[i++])
		give(offload_write(o, at, bytes[i], (uint16_t)(o->id + i), o->flags, true,
				   packets[used]));
	return merge_finish(&m);
}

static void
test_lengths(void **state)
{
	(void)state;
	for (int udp = 0; udp < 2; udp++) {
		struct offload o = offload_plain(false, udp);

		assert_int_equal(runs_of_lengths(&o, (uint32_t[]){100, 100, 50, 100}, 4), 2);
		assert_int_equal(m.runs[0].packets, 3);
		assert_int_equal(runs_of_lengths(&o, (uint32_t[]){100, 101}, 2), 2);
		assert_int_equal(runs_of_lengths(&o, (uint32_t[]){100, 0, 100}, 3), 3);
		assert_int_equal(runs_of_lengths(&o, (uint32_t[]){0, 100, 100}, 3), 2);
		assert_int_equal(m.runs[1].packets, 2);
	}
}

static void
test_bytes_max(void **state)
{
	struct offload o = offload_plain(true, false);

	(void)state;
	o.options = 0;
	o.size = 1339; /* 60 + 48 * 1,339 = 64,332; one more of 1,203 is the most */
	o.payload = 49 * 1339;
	start(true, true);
	for (uint32_t i = 0; i < offload_pieces(&o); i++)
		add(&o, i);
	assert_int_equal(merge_finish(&m), 2);
	assert_int_equal(m.runs[0].packets, 48);

	o.payload = MERGE_BYTES_MAX - 60;
	start(true, true);
	for (uint32_t i = 0; i < offload_pieces(&o); i++)
		add(&o, i);
	assert_int_equal(merge_finish(&m), 1);
	is_large(0, &o);
	assert_int_equal(m.runs[0].bytes, MERGE_BYTES_MAX);

	o.payload++;
	start(true, true);
	for (uint32_t i = 0; i < offload_pieces(&o); i++)
		add(&o, i);
	assert_int_equal(merge_finish(&m), 2);
}

static void
test_udp_max(void **state)
{
	struct offload o = offload_plain(false, true);

	(void)state;
	o.size = 10;
	o.payload = (MERGE_UDP_MAX + 2) * 10;
	start(true, true);
	for (uint32_t i = 0; i < offload_pieces(&o); i++)
		add(&o, i);
	assert_int_equal(merge_finish(&m), 2);
	assert_int_equal(m.runs[0].packets, MERGE_UDP_MAX);
	assert_int_equal(m.runs[1].packets, 2);
}

static void
test_full(void **state)
{
	struct offload o = offload_plain(false, false);
	struct inner in;

	(void)state;
	o.size = 8;
	o.payload = (MERGE_PACKETS_MAX + 1) * 8;
	start(true, true);
	for (uint32_t i = 0; i < MERGE_PACKETS_MAX; i++)
		add(&o, i);
	uint32_t length = offload_piece(&o, MERGE_PACKETS_MAX, packets[used]);
	assert_true(inner_parse(packets[used], length, &in));
	assert_false(merge_add(&m, packets[used], &in));
	assert_int_equal(merge_finish(&m), 1);
	o.payload = MERGE_PACKETS_MAX * 8;
	is_large(0, &o);
	merge_reset(&m);
	assert_int_equal(merge_finish(&m), 0);
	/* None goes with another one: as many runs. */
	start(false, false);
	for (uint32_t i = 0; i < MERGE_PACKETS_MAX; i++)
		add(&o, i);
	assert_int_equal(merge_finish(&m), MERGE_PACKETS_MAX);
	is_alone(MERGE_PACKETS_MAX - 1, &o, MERGE_PACKETS_MAX - 1);
}

/* ---- several flows ---- */

static void
test_flows(void **state)
{
	struct offload a = offload_plain(false, false), b = offload_plain(true, true);

	(void)state;
	start(true, true);
	for (uint32_t i = 0; i < offload_pieces(&a); i++) {
		add(&a, i);
		add(&b, i);
	}
	assert_int_equal(merge_finish(&m), 2);
	is_large(0, &a);
	is_large(1, &b);
}

/* A run goes on only while it is among those looked at; then the flow begins a new one. */
static void
test_many_flows(void **state)
{
	struct offload o = offload_plain(false, false);

	(void)state;
	for (unsigned flows = MERGE_LOOK_MAX; flows <= MERGE_LOOK_MAX + 1; flows++) {
		start(true, true);
		for (uint32_t i = 0; i < 2; i++)
			for (unsigned f = 0; f < flows; f++) {
				o.from_port = (uint16_t)(1000 + f);
				add(&o, i);
			}
		assert_int_equal(merge_finish(&m), flows == MERGE_LOOK_MAX ? flows : 2 * flows);
	}
}

static uint16_t
port_of(unsigned run)
{
	return packet_get16((uint8_t *)m.runs[run].iov[1].iov_base + 20);
}

/* What cannot be joined stands between what comes before and after it, in its own flow only. */
static void
test_order(void **state)
{
	struct offload o = offload_plain(false, false), other = o, ack = o;

	(void)state;
	other.from_port = 5000;
	ack.payload = 0;
	ack.sequence += o.size;
	start(true, true);
	add(&o, 0);
	add(&other, 0);
	add(&ack, 0);
	add(&o, 1);
	add(&other, 1);
	add(&o, 2);
	assert_int_equal(merge_finish(&m), 4);
	assert_int_equal(port_of(0), 4000);
	assert_int_equal(port_of(1), 5000);
	assert_int_equal(m.runs[1].packets, 2);
	is_alone(2, &ack, 0);
	assert_int_equal(port_of(3), 4000);
	assert_int_equal(m.runs[3].packets, 2);
}

/* A fragment may be of any flow between its addresses. */
static void
test_fragment_is_a_wall(void **state)
{
	struct offload o = offload_plain(false, false), elsewhere = o;

	(void)state;
	elsewhere.from = 7;
	start(true, true);
	add(&o, 0);
	add(&elsewhere, 0);
	memcpy(packets[used], packets[0], ROOM);
	packet_put16(packets[used] + 6, 100);
	give(1000 + 420);
	add(&o, 1);
	add(&elsewhere, 1);
	assert_int_equal(merge_finish(&m), 4);
	is_alone(0, &o, 0);
	assert_int_equal(m.runs[1].packets, 2);
	is_alone(3, &o, 1);
}

/* What is wrong goes alone, and what comes behind it is joined again. */
static void
test_after_a_wrong_one(void **state)
{
	struct offload o = offload_plain(false, false);

	(void)state;
	o.payload = 5u * o.size;
	start(true, true);
	add(&o, 0);
	uint32_t length = offload_piece(&o, 1, packets[used]);
	packets[used][200] ^= 1;
	give(length);
	add(&o, 2);
	add(&o, 3);
	add(&o, 4);
	assert_int_equal(merge_finish(&m), 3);
	is_alone(0, &o, 0);
	assert_int_equal(m.runs[1].packets, 1);
	assert_int_equal(m.runs[2].packets, 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_numbers_wrap),
		cmocka_unit_test(test_not_offloaded),
		cmocka_unit_test(test_tcp4_differs),
		cmocka_unit_test(test_tcp6_differs),
		cmocka_unit_test(test_udp4_differs),
		cmocka_unit_test(test_udp_without_sum),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_options_alone),
		cmocka_unit_test(test_options_elsewhere),
		cmocka_unit_test(test_options_pretend),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_bytes_max),
		cmocka_unit_test(test_udp_max),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_flows),
		cmocka_unit_test(test_many_flows),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_fragment_is_a_wall),
		cmocka_unit_test(test_after_a_wrong_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
