/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes of packets that go sealed, and what the programs tell. The peer's path takes 1300 bytes:
 * what is larger is answered (RFC 1191, RFC 8201), also when it is a segment of a super-packet;
 * SYNs are kept to it. Events are read as dataplane reads them.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/world.h"
#include "dataplane/bpf/tc_veth.h"
#include "dataplane/telling.h"
#include "tests/bpf/tunnel_rig.h"

enum { PEER = 11, PATH = 1300, INSTRUCTIONS_MAX = 6000, PATIENCE_S = 20 };

enum {
	SEALED = TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_SEALED),
	TOO_LARGE = TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_TOO_LARGE),
};

static void
begin(void)
{
	struct msg_peer p = peer(PEER, "127.0.0.1", "10.200.8.0/24", "fd00:8::/64");
	const struct tunnel_row row = {.peer = &p};
	/* Nothing is sent to it: it only has to be there. */
	struct msg_tunnel t = {.state = MSG_TUNNEL_UP, .ifindex = if_nametoindex("a0")};
	struct msg_prefix prefix = {.mtu = 1420};
	const struct tunnel_devices devices = {.tunnel = &t, .prefix = &prefix};
	struct err err = {0};

	open_all(LOOPBACK);
	p.ways = MSG_WAY_SEALED;
	p.mtu = PATH;
	assert_int_equal(tunnel_peers(tunnel, &row, 1, &err), 0);
	assert_true(addr_parse_ip("10.200.7.1", &prefix.service4));
	assert_true(addr_parse_ip("fd00:7::1", &prefix.service6));
	assert_int_equal(tunnel_devices(tunnel, &devices, &err), 0);
}

static void
end(void)
{
	const struct tunnel_devices none = {0};
	struct err err = {0};

	assert_int_equal(tunnel_devices(tunnel, &none, &err), 0);
	close_all();
}

/* segment: of a super-packet; 0: it is none. */
static int
leave(const struct packet *in, uint32_t segment, struct packet *out)
{
	struct __sk_buff context = {.gso_size = segment,
				    .gso_segs = segment ? in->length / segment + 1 : 0};
	int verdict = bpf_world_run(veth_program(veth), in, &context, out);

	assert_true(verdict >= 0);
	return verdict;
}

static uint64_t
count_of(int which)
{
	uint64_t now[TC_COUNTS];

	counts(now);
	return now[which];
}

/* ---- too large ---- */

/* The answer says the path's MTU to the sender, from this node, with the packet's beginning. */
static void
check_answer(const struct packet *in, struct packet *out)
{
	bool v6 = packet_is_v6(in);
	const uint8_t *ip = out->bytes + 14, *icmp = ip + (v6 ? 40 : 20);
	uint8_t own[16];

	out->l4 = v6 ? 54 : 34;
	assert_int_equal(out->length, out->l4 + 8 + 128);
	assert_memory_equal(out->bytes, in->bytes + 6, 6);
	assert_memory_equal(out->bytes + 6, in->bytes, 6);
	inet_pton(v6 ? AF_INET6 : AF_INET, v6 ? "fd00:7::1" : "10.200.7.1", own);
	assert_memory_equal(ip + (v6 ? 8 : 12), own, v6 ? 16 : 4);
	assert_memory_equal(ip + (v6 ? 24 : 16), in->bytes + 14 + (v6 ? 8 : 12), v6 ? 16 : 4);
	assert_int_equal(icmp[0], v6 ? 2 : 3);
	assert_int_equal(icmp[1], v6 ? 0 : 4);
	assert_int_equal(packet_get16(icmp + 4), 0);
	assert_int_equal(packet_get16(icmp + 6), PATH);
	assert_memory_equal(icmp + 8, in->bytes + 14, 128);
	assert_true(packet_sums_right(out));
}

static void
test_too_large(void **state)
{
	static const char *const ends[][2] = {{"10.200.7.2", "10.200.8.5"},
					      {"fd00:7::2", "fd00:8::5"}};
	struct packet out;

	(void)state;
	begin();
	for (int i = 0; i < 2; i++) {
		uint16_t head = i ? 48 : 28;
		struct packet fits = make(ends[i][0], ends[i][1], (uint16_t)(PATH - head));
		struct packet large = make(ends[i][0], ends[i][1], (uint16_t)(PATH - head + 1));
		uint64_t before = count_of(TOO_LARGE), sealed = count_of(SEALED);

		assert_int_equal(leave(&fits, 0, &out), TC_ACT_REDIRECT);
		assert_int_equal(count_of(SEALED), sealed + 1);
		assert_memory_equal(out.bytes, fits.bytes, fits.length);
		assert_int_equal(leave(&large, 0, &out), TC_ACT_REDIRECT);
		assert_int_equal(count_of(TOO_LARGE), before + 1);
		check_answer(&large, &out);
	}
	end();
}

static struct packet
tcp(const char *from, const char *to, uint8_t flags, uint8_t options, uint16_t payload)
{
	struct packet_spec spec = {.from = from,
				   .to = to,
				   .from_port = 4000,
				   .to_port = 7000,
				   .protocol = IPPROTO_TCP,
				   .flags = flags,
				   .options = options,
				   .payload = payload};

	return packet_make(&spec);
}

/* Of a super-packet each segment counts, with all that its headers have. */
static void
test_segments(void **state)
{
	struct packet p = tcp("10.200.7.2", "10.200.8.5", PACKET_ACK, 0, 1900), out;
	struct packet q = tcp("fd00:7::2", "fd00:8::5", PACKET_ACK, 0, 1900);
	struct packet u = make("10.200.7.2", "10.200.8.5", 1900);
	uint64_t before;

	(void)state;
	begin();
	before = count_of(SEALED);
	assert_int_equal(leave(&p, PATH - 40, &out), TC_ACT_REDIRECT);
	assert_int_equal(leave(&q, PATH - 60, &out), TC_ACT_REDIRECT);
	assert_int_equal(leave(&u, PATH - 28, &out), TC_ACT_REDIRECT);
	assert_int_equal(count_of(SEALED), before + 3);
	before = count_of(TOO_LARGE);
	assert_int_equal(leave(&p, PATH - 39, &out), TC_ACT_REDIRECT);
	check_answer(&p, &out);
	assert_int_equal(leave(&q, PATH - 59, &out), TC_ACT_REDIRECT);
	check_answer(&q, &out);
	assert_int_equal(leave(&u, PATH - 27, &out), TC_ACT_REDIRECT);
	/* 12 bytes of options that the segments have, too. */
	p.bytes[p.l4 + 12] = 0x80;
	assert_int_equal(leave(&p, PATH - 51, &out), TC_ACT_REDIRECT);
	assert_int_equal(count_of(TOO_LARGE), before + 4);
	assert_int_equal(leave(&p, PATH - 52, &out), TC_ACT_REDIRECT);
	assert_int_equal(count_of(TOO_LARGE), before + 4);
	end();
}

/* Errors and later fragments are dropped without a word. */
static void
test_not_answered(void **state)
{
	struct packet p = make("10.200.7.2", "10.200.8.5", 1400), out;
	struct packet q = make("fd00:7::2", "fd00:8::5", 1400);
	uint64_t before;

	(void)state;
	begin();
	before = count_of(TOO_LARGE);
	packet_put16(p.bytes + 14 + 6, 0x0010);
	assert_int_equal(leave(&p, 0, &out), TC_ACT_SHOT);
	packet_put16(p.bytes + 14 + 6, 0);
	p.bytes[14 + 9] = IPPROTO_ICMP;
	p.bytes[p.l4] = 3;
	assert_int_equal(leave(&p, 0, &out), TC_ACT_SHOT);
	q.bytes[14 + 6] = IPPROTO_ICMPV6;
	q.bytes[q.l4] = 1;
	assert_int_equal(leave(&q, 0, &out), TC_ACT_SHOT);
	assert_int_equal(count_of(TOO_LARGE), before + 3);
	/* Echoes are. */
	p.bytes[p.l4] = 8;
	assert_int_equal(leave(&p, 0, &out), TC_ACT_REDIRECT);
	q.bytes[q.l4] = 128;
	assert_int_equal(leave(&q, 0, &out), TC_ACT_REDIRECT);
	end();
}

/* As if this CPU had used it up just now. */
static void
use_up(enum tc_budget which, uint32_t used)
{
	static struct tc_allowance all[4096];
	int fd = libbpf.bpf_map__fd(veth_loaded(veth)->maps.allowances);
	uint32_t key = which;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		all[i] = (struct tc_allowance){.since_ns = world_mono_ns(), .used = used};
	assert_int_equal(libbpf.bpf_map_update_elem(fd, &key, all, BPF_ANY), 0);
}

static void
test_answers_are_few(void **state)
{
	struct packet p = make("10.200.7.2", "10.200.8.5", 1400), out;
	uint64_t until = world_mono_ns() + PATIENCE_S * UINT64_C(1000000000);
	int verdict;

	(void)state;
	begin();
	/* A second may pass in between on a busy machine: then it is tried again. */
	do {
		use_up(TC_BUDGET_ANSWERS, TC_ANSWERS_A_SECOND);
		verdict = leave(&p, 0, &out);
	} while (verdict != TC_ACT_SHOT && world_mono_ns() < until);
	assert_int_equal(verdict, TC_ACT_SHOT);
	use_up(TC_BUDGET_ANSWERS, 0);
	assert_int_equal(leave(&p, 0, &out), TC_ACT_REDIRECT);
	end();
}

/* ---- SYNs ---- */

/* before: options that stand before the one of the largest segment; they end at any place. */
static struct packet
syn(const char *from, const char *to, uint8_t flags, uint8_t before, uint16_t mss)
{
	struct packet p = tcp(from, to, flags, 0, 20);
	uint8_t *at = p.bytes + p.l4 + 20;

	p.bytes[p.l4 + 12] = 0xa0;
	memset(at, 1, 20);
	if (before >= 2) {
		at[0] = 253;
		at[1] = before;
	}
	at[before] = 2;
	at[before + 1] = 4;
	packet_put16(at + before + 2, mss);
	packet_put16(p.bytes + p.l4 + 16, 0);
	packet_put16(p.bytes + p.l4 + 16, (uint16_t)~packet_l4_sum(&p, IPPROTO_TCP));
	return p;
}

static void
expect_mss(const char *from, const char *to, uint8_t flags, uint8_t before, uint16_t mss,
	   uint16_t want)
{
	struct packet p = syn(from, to, flags, before, mss), out;

	assert_int_equal(leave(&p, 0, &out), TC_ACT_REDIRECT);
	assert_int_equal(out.length, p.length);
	assert_int_equal(packet_get16(out.bytes + p.l4 + 20 + before + 2), want);
	assert_true(packet_sums_right(&out));
}

static void
test_mss(void **state)
{
	(void)state;
	begin();
	for (uint8_t before = 0; before <= 16; before++) {
		expect_mss("10.200.7.2", "10.200.8.5", PACKET_SYN, before, 1460, PATH - 40);
		expect_mss("fd00:7::2", "fd00:8::5", PACKET_SYN | PACKET_ACK, before, 1460,
			   PATH - 60);
	}
	/* Never raised, and only of SYNs. */
	expect_mss("10.200.7.2", "10.200.8.5", PACKET_SYN, 0, 536, 536);
	expect_mss("10.200.7.2", "10.200.8.5", PACKET_SYN, 0, PATH - 40, PATH - 40);
	expect_mss("10.200.7.2", "10.200.8.5", PACKET_ACK, 0, 1460, 1460);
	end();
}

/* Options that lie about their lengths: nothing is written elsewhere. */
static void
test_wrong_options(void **state)
{
	struct packet p = syn("10.200.7.2", "10.200.8.5", PACKET_SYN, 0, 1460), out;
	struct world_seeded w;

	(void)state;
	begin();
	world_seeded_init(&w, 3, 0, 0);
	for (int i = 0; i < 3000; i++) {
		uint8_t options[20];

		world_random(&w.world, options, sizeof(options));
		for (size_t k = 0; k < sizeof(options); k++)
			options[k] &= (uint8_t)(i % 2 ? 0x07 : 0xff);
		memcpy(p.bytes + p.l4 + 20, options, sizeof(options));
		p.bytes[p.l4 + 12] = (uint8_t)(i << 4);
		packet_put16(p.bytes + p.l4 + 16, 0);
		packet_put16(p.bytes + p.l4 + 16, (uint16_t)~packet_l4_sum(&p, IPPROTO_TCP));
		assert_int_equal(leave(&p, 0, &out), TC_ACT_REDIRECT);
		assert_int_equal(out.length, p.length);
		assert_true(packet_sums_right(&out));
		assert_memory_equal(out.bytes, p.bytes, p.l4 + 16);
	}
	end();
}

/* ---- telling ---- */

struct told {
	struct msg_flow flows[64];
	size_t count;
};

static void
note(void *arg, const struct msg_flow *flow)
{
	struct told *t = arg;

	assert_in_range(t->count, 0, 63);
	t->flows[t->count++] = *flow;
}

static void
note_nothing(void *arg, const struct msg_flow *flow)
{
	(void)arg;
	(void)flow;
}

static struct telling *telling;
static uv_loop_t loop;

static void
begin_telling(struct told *told)
{
	struct err err = {0};

	begin();
	use_up(TC_BUDGET_DROPS, 0);
	use_up(TC_BUDGET_FLOWS, 0);
	assert_int_equal(telling_open(veth, &telling, &err), 0);
	telling_read(telling, note_nothing, NULL); /* of tests before */
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(telling_start(telling, &loop, note, told, &err), 0);
}

static void
end_telling(void)
{
	telling_free(telling);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&loop), 0);
	end();
}

static void
observe(bool on)
{
	struct err err = {0};

	assert_int_equal(
		telling_observe(telling, on ? world_mono_ns() + UINT64_C(60000000000) : 0, &err),
		0);
}

static void
check_end(const struct msg_flow_end *e, const char *address, uint16_t port)
{
	struct addr want;

	assert_true(addr_parse_ip(address, &want));
	assert_true(addr_equal_ip(&e->addr, &want));
	assert_int_equal(e->addr.port, port);
}

static void
test_drops_are_told(void **state)
{
	struct told told = {.count = 0};
	struct packet foreign = make("10.200.7.9", "10.200.8.5", 100), out;
	struct packet foreign6 = tcp("fd00:7::9", "fd00:8::5", PACKET_SYN, 0, 10);
	int64_t before = world_wall_ns();

	(void)state;
	begin_telling(&told);
	assert_int_equal(leave(&foreign, 0, &out), TC_ACT_SHOT);
	assert_int_equal(leave(&foreign6, 0, &out), TC_ACT_SHOT);
	/* The loop is woken by them. */
	while (told.count < 2)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(told.count, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct msg_flow *f = &told.flows[i];

		assert_int_equal(f->verdict, MSG_FLOW_DROPPED);
		assert_int_equal(f->reason, FLOW_SOURCE);
		assert_int_equal(f->place, MSG_FLOW_VETH);
		assert_int_equal(f->ifindex, LOOPBACK);
		assert_true(f->wall_ns > before - 1000000000 &&
			    f->wall_ns < world_wall_ns() + 1000000000);
	}
	check_end(&told.flows[0].source, "10.200.7.9", 4000);
	check_end(&told.flows[0].destination, "10.200.8.5", 7000);
	assert_int_equal(told.flows[0].protocol, IPPROTO_UDP);
	assert_int_equal(told.flows[0].length, 128);
	check_end(&told.flows[1].source, "fd00:7::9", 4000);
	assert_int_equal(told.flows[1].protocol, IPPROTO_TCP);
	assert_int_equal(told.flows[1].tcp_flags, PACKET_SYN);
	end_telling();
}

/* So many in a second, and how many were not. */
static void
test_drops_are_few(void **state)
{
	struct told told = {.count = 0};
	struct packet p = make("10.200.7.9", "10.200.8.5", 100), out;
	uint64_t until = world_mono_ns() + PATIENCE_S * UINT64_C(1000000000);
	uint32_t kept = 0;

	(void)state;
	begin_telling(&told);
	do {
		told.count = 0;
		use_up(TC_BUDGET_DROPS, TC_DROPS_A_SECOND);
		assert_int_equal(leave(&p, 0, &out), TC_ACT_SHOT);
		telling_read(telling, note, &told);
	} while (told.count > 0 && world_mono_ns() < until);
	assert_int_equal(told.count, 0);
	/* The window ends: the next one says how many were lost. */
	while (told.count == 0 && world_mono_ns() < until) {
		assert_int_equal(leave(&p, 0, &out), TC_ACT_SHOT);
		kept++;
		telling_read(telling, note, &told);
	}
	assert_int_equal(told.count, 1);
	assert_int_equal(told.flows[0].lost, kept);
	end_telling();
}

static void
test_flows_are_told_once(void **state)
{
	struct told told = {.count = 0};
	struct packet sealed = make("10.200.7.2", "10.200.8.5", 100), out;
	struct packet world6 = tcp("fd00:7::2", "2001:db8::1", PACKET_SYN, 0, 10);

	(void)state;
	begin_telling(&told);
	/* Nobody wants to know. */
	assert_int_equal(leave(&sealed, 0, &out), TC_ACT_REDIRECT);
	telling_read(telling, note, &told);
	assert_int_equal(told.count, 0);
	observe(true);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(leave(&sealed, 0, &out), TC_ACT_REDIRECT);
		assert_int_equal(leave(&world6, 0, &out), TC_ACT_OK);
	}
	telling_read(telling, note, &told);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.flows[0].verdict, MSG_FLOW_FORWARDED);
	assert_int_equal(told.flows[0].reason, FLOW_PASSED);
	assert_int_equal(told.flows[0].way, MSG_FLOW_SEALED);
	assert_int_equal(told.flows[0].peer, PEER);
	assert_int_equal(told.flows[1].way, MSG_FLOW_STACK);
	check_end(&told.flows[1].destination, "2001:db8::1", 7000);
	/* Each time of observing begins anew; after it nothing is told. */
	observe(false);
	assert_int_equal(leave(&sealed, 0, &out), TC_ACT_REDIRECT);
	observe(true);
	assert_int_equal(leave(&sealed, 0, &out), TC_ACT_REDIRECT);
	telling_read(telling, note, &told);
	assert_int_equal(told.count, 3);
	end_telling();
}

/* An observer that does not say so again is forgotten. */
static void
test_observing_ends(void **state)
{
	struct told told = {.count = 0};
	struct packet p = make("10.200.7.2", "10.200.8.5", 100), out;
	uint32_t stage = TC_STAGE_SEEN, program;
	struct err err = {0};
	int fd;

	(void)state;
	begin_telling(&told);
	fd = libbpf.bpf_map__fd(veth_loaded(veth)->maps.stages);
	assert_int_equal(telling_observe(telling, world_mono_ns() + 1000000, &err), 0);
	while (libbpf.bpf_map_lookup_elem(fd, &stage, &program) == 0)
		uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(leave(&p, 0, &out), TC_ACT_REDIRECT);
	telling_read(telling, note, &told);
	assert_int_equal(told.count, 0);
	/* Nor one of a predecessor. */
	observe(true);
	telling_free(telling);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_not_equal(libbpf.bpf_map_lookup_elem(fd, &stage, &program), 0);
	end();
}

/* Events are the kernel's, but the map is any root's. */
static void
test_events_that_lie(void **state)
{
	const struct tc_event good = {.verdict = MSG_FLOW_DROPPED,
				      .reason = FLOW_SOURCE,
				      .place = MSG_FLOW_VETH,
				      .mono_ns = 5};
	struct tc_event e = good;
	struct msg_flow f;

	(void)state;
	assert_true(telling_flow_of(&e, 100, &f));
	assert_int_equal(f.wall_ns, 105);
	e.verdict = 3;
	assert_false(telling_flow_of(&e, 0, &f));
	e = good;
	e.reason = FLOW_REASONS_;
	assert_false(telling_flow_of(&e, 0, &f));
	e = good;
	e.place = MSG_FLOW_EDGE;
	assert_true(telling_flow_of(&e, 0, &f));
	e.place = MSG_FLOW_EDGE + 1;
	assert_false(telling_flow_of(&e, 0, &f));
	e.place = 0;
	assert_false(telling_flow_of(&e, 0, &f));
	e = good;
	e.way = TC_WAYS;
	assert_false(telling_flow_of(&e, 0, &f));
}

static void
test_instruction_budget(void **state)
{
	const struct tc_veth *loaded;

	(void)state;
	begin();
	loaded = veth_loaded(veth);
	bpf_world_check_budget(libbpf.bpf_program__fd(loaded->progs.tc_too_large),
			       INSTRUCTIONS_MAX);
	bpf_world_check_budget(libbpf.bpf_program__fd(loaded->progs.tc_dropped), INSTRUCTIONS_MAX);
	bpf_world_check_budget(libbpf.bpf_program__fd(loaded->progs.tc_seen), INSTRUCTIONS_MAX);
	end();
}

/* Allowances are each CPU's: all of this runs on one. */
static int
prepare(void **state)
{
	cpu_set_t all, one;

	(void)state;
	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return -1;
	for (size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one) < 0 ? -1 : bpf_world_enter(RIG_LINKS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_segments),
		cmocka_unit_test(test_not_answered),
		cmocka_unit_test(test_answers_are_few),
		cmocka_unit_test(test_mss),
		cmocka_unit_test(test_wrong_options),
		cmocka_unit_test(test_drops_are_told),
		cmocka_unit_test(test_drops_are_few),
		cmocka_unit_test(test_flows_are_told_once),
		cmocka_unit_test(test_observing_ends),
		cmocka_unit_test(test_events_that_lie),
		cmocka_unit_test(test_instruction_budget),
	};
	return bpf_world_allowed() ? cmocka_run_group_tests(tests, prepare, bpf_world_leave) : 0;
}
