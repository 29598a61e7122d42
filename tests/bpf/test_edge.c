/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balancer's programs: packets through BPF_PROG_TEST_RUN, with verdict, bytes, checksums and
 * counters compared; changes of the backends; what a successor takes over. Everything happens in a
 * mount and a network namespace of the test's own.
 *
 *   client 203.0.113.x, 2001:db8:c::x  ->  192.0.2.1, 2001:db8::1 (own), 198.51.100.7 (dedicated)
 *   tcp 5432 -> containers' 6432, udp 53 -> 5353; containers 10.200.7.N, fd00::N, N from 11
 */
#include "dataplane/services.h"

#include <errno.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/text.h"
#include "base/world.h"
#include "dataplane/attach.h"
#include "dataplane/libbpf.h"
#include "dataplane/telling.h"
#include "dataplane/veth.h"
#include "tests/support/bpf_world.h"

enum {
	TCP_PORT = 5432,
	TCP_INSIDE = 6432,
	UDP_PORT = 53,
	UDP_INSIDE = 5353,
	BACKENDS_MAX = 64,
	FLOWS = 2000,
	DEVICES = 4,
	INSTRUCTIONS_MAX = 60000,
	AGAIN_MS = 490, /* so long, and a little longer, a container is not asked again */
};

static const char own4[] = "192.0.2.1", own6[] = "2001:db8::1", dedicated[] = "198.51.100.7";
static const char dedicated6[] = "2001:db8:7::7"; /* where a test has it */
static const char client4[] = "203.0.113.5", client6[] = "2001:db8:c::5";

struct rig {
	struct veth *veth;
	struct lb *lb;
	struct services *services;
	struct msg_stream streams[2];
	struct msg_backend backends[BACKENDS_MAX];
	struct msg_veth veths[BACKENDS_MAX];
	size_t count;
	bool has_dedicated6;
	uint64_t now_ms;
};

static struct rig rig;

/* ---- what is published ---- */

static void
set_backend(size_t i, unsigned n, uint32_t state)
{
	char text[64];

	rig.backends[i] = (struct msg_backend){
		.replica = 100 + n, .service = 10, .state = state, .ports_count = 2};
	rig.backends[i].ports[0] = TCP_INSIDE;
	rig.backends[i].ports[1] = UDP_INSIDE;
	rig.veths[i] = (struct msg_veth){.replica = 100 + n, .ifindex = if_nametoindex("a0")};
	rig.veths[i].mac[0] = 2;
	rig.veths[i].mac[5] = (uint8_t)n;
	text_format(text, sizeof(text), "10.200.7.%u", n);
	assert_true(addr_parse_ip(text, &rig.veths[i].addr4));
	rig.backends[i].addr = rig.veths[i].addr4;
	text_format(text, sizeof(text), "fd00::%u", n);
	assert_true(addr_parse_ip(text, &rig.veths[i].addr6));
}

static void
set_backends(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		set_backend(i, 11 + i, MSG_BACKEND_ACTIVE);
	rig.count = count;
}

static void
update_streams(const struct msg_stream *const *streams, size_t streams_count)
{
	const struct msg_backend *backends[BACKENDS_MAX];
	const struct msg_veth *veths[BACKENDS_MAX];
	struct services_input in = {.streams = streams,
				    .streams_count = streams_count,
				    .backends = backends,
				    .backends_count = rig.count,
				    .veths = veths,
				    .veths_count = rig.count,
				    .addresses_count = rig.has_dedicated6 ? 4 : 3,
				    .own_count = 2,
				    .mtu = 1420,
				    .attached = true};
	struct err err = {0};

	for (size_t i = 0; i < rig.count; i++) {
		backends[i] = &rig.backends[i];
		veths[i] = &rig.veths[i];
	}
	assert_true(addr_parse_ip(own4, &in.addresses[0]));
	assert_true(addr_parse_ip(own6, &in.addresses[1]));
	assert_true(addr_parse_ip(dedicated, &in.addresses[2]));
	assert_true(addr_parse_ip(dedicated6, &in.addresses[3]));
	in.config.uplink = if_nametoindex("a0");
	inet_pton(AF_INET, "10.200.0.0", &in.config.cluster4);
	inet_pton(AF_INET, "255.255.0.0", &in.config.cluster4_mask);
	inet_pton(AF_INET6, "fd00::", in.config.cluster6);
	in.config.cluster6_words = 3;
	if (services_update(rig.services, &in, rig.now_ms, &err) < 0)
		err_print(&err, "test", stderr);
	assert_int_equal(err.kind, ERR_NONE);
}

static void
update(void)
{
	const struct msg_stream *streams[2] = {&rig.streams[0], &rig.streams[1]};

	update_streams(streams, 2);
}

static int
open_balancer(struct err *err)
{
	const struct lb_calls calls = {veth_chain(rig.veth), veth_denied(rig.veth)};

	return lb_open(veth_folder(rig.veth), 4096, &calls, &rig.lb, err);
}

static void
open_rig(void)
{
	struct err err = {0};

	if (veth_open(getuid(), &rig.veth, &err) < 0 || open_balancer(&err) < 0 ||
	    services_new(rig.lb, rig.now_ms, &rig.services, &err) < 0)
		err_print(&err, "test", stderr);
	assert_int_equal(err.kind, ERR_NONE);
}

static int
setup(void **state)
{
	(void)state;
	rig = (struct rig){.now_ms = 1000000};
	rig.streams[0] = (struct msg_stream){.id = 1,
					     .service = 10,
					     .service_label = "shop/db",
					     .endpoint = "sql",
					     .protocol = MSG_STREAM_TCP,
					     .flags = MSG_STREAM_PUBLIC,
					     .port = TCP_PORT};
	rig.streams[1] = (struct msg_stream){.id = 2,
					     .service = 10,
					     .service_label = "shop/db",
					     .endpoint = "names",
					     .endpoint_index = 1,
					     .protocol = MSG_STREAM_UDP,
					     .flags = MSG_STREAM_PUBLIC,
					     .port = UDP_PORT};
	open_rig();
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	services_free(rig.services);
	lb_remove(rig.lb);
	veth_close(rig.veth);
	return 0;
}

/* The time after which a change is over when nothing holds it. */
static void
settle(void)
{
	for (int i = 0; i < 3; i++) {
		services_tick(rig.services, rig.now_ms);
		rig.now_ms += PLAN_OPENED_MS;
	}
}

/* ---- packets ---- */

static int
edge(const struct packet *in, struct packet *out)
{
	return bpf_world_run(lb_program_root(rig.lb), in, NULL, out);
}

static struct packet_spec
tcp(uint16_t from_port, uint8_t flags)
{
	return (struct packet_spec){.from = client4,
				    .to = own4,
				    .from_port = from_port,
				    .to_port = TCP_PORT,
				    .protocol = IPPROTO_TCP,
				    .flags = flags};
}

/* The container that a packet goes to, by its MAC address and address; 0: passed up. */
static unsigned
goes_to(const struct packet_spec *s)
{
	struct packet in = packet_make(s), out;
	char address[64];
	int verdict = edge(&in, &out);

	if (verdict == XDP_PASS) {
		assert_memory_equal(in.bytes, out.bytes, in.length);
		return 0;
	}
	assert_int_equal(verdict, XDP_REDIRECT);
	assert_int_equal(out.length, in.length);
	unsigned n = out.bytes[5];
	text_format(address, sizeof(address), packet_is_v6(&in) ? "fd00::%u" : "10.200.7.%u", n);
	assert_true(
		packet_is_to(&out, address, s->protocol == IPPROTO_TCP ? TCP_INSIDE : UDP_INSIDE));
	assert_true(packet_is_from(&out, s->from, s->from_port));
	assert_true(packet_sums_right(&out));
	return n;
}

static void
read_counts(struct edge_count *counts, __u64 *drops)
{
	struct err err = {0};

	assert_int_equal(lb_counts(rig.lb, counts, drops, &err), 0);
}

/* ---- one packet ---- */

static void
test_what_is_ours(void **state)
{
	static const struct {
		const char *from, *to;
		uint8_t protocol, options;
		uint16_t payload;
	} ours[] = {
		{client4, own4, IPPROTO_TCP, 0, 0},      {client4, own4, IPPROTO_TCP, 10, 100},
		{client4, own4, IPPROTO_UDP, 0, 13},     {client4, own4, IPPROTO_UDP, 3, 1300},
		{client6, own6, IPPROTO_TCP, 0, 0},      {client6, own6, IPPROTO_TCP, 3, 77},
		{client6, own6, IPPROTO_UDP, 0, 13},     {client6, own6, IPPROTO_UDP, 2, 1000},
		{client4, dedicated, IPPROTO_TCP, 0, 5}, {client4, dedicated, IPPROTO_UDP, 1, 5},
	};

	(void)state;
	set_backends(3);
	update();
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		struct packet_spec s = {
			.from = ours[i].from,
			.to = ours[i].to,
			.from_port = 40000,
			.to_port = ours[i].protocol == IPPROTO_TCP ? TCP_PORT : UDP_PORT,
			.protocol = ours[i].protocol,
			.flags = PACKET_SYN,
			.options = ours[i].options,
			.payload = ours[i].payload,
		};

		assert_in_range(goes_to(&s), 11, 13);
	}
}

static void
test_what_is_not(void **state)
{
	struct packet_spec other = tcp(1, PACKET_SYN), long_one, deep;
	struct packet p, out;

	(void)state;
	set_backends(3);
	update();
	other.to = "192.0.2.9";
	assert_int_equal(goes_to(&other), 0);
	other = tcp(1, PACKET_SYN);
	other.to_port = 80;
	assert_int_equal(goes_to(&other), 0);
	other = tcp(1, 0);
	other.protocol = IPPROTO_UDP;
	assert_int_equal(goes_to(&other), 0);
	/* Too long for the container's device: the relay takes it. */
	long_one = tcp(1, 0);
	long_one.protocol = IPPROTO_UDP;
	long_one.to_port = UDP_PORT;
	long_one.payload = 1440;
	assert_int_equal(goes_to(&long_one), 0);
	deep = (struct packet_spec){.from = client6,
				    .to = own6,
				    .to_port = TCP_PORT,
				    .protocol = IPPROTO_TCP,
				    .options = 5};
	assert_int_equal(goes_to(&deep), 0);
	p = packet_make(&other);
	packet_put16(p.bytes + 12, ETH_P_ARP);
	assert_int_equal(edge(&p, &out), XDP_PASS);
	packet_put16(p.bytes + 12, 0x8100);
	assert_int_equal(edge(&p, &out), XDP_PASS);
}

static void
test_udp_without_checksum(void **state)
{
	struct packet_spec s = tcp(5, 0);
	struct packet p, out;

	(void)state;
	s.protocol = IPPROTO_UDP;
	s.to_port = UDP_PORT;
	set_backends(1);
	update();
	p = packet_make(&s);
	packet_put16(p.bytes + p.l4 + 6, 0);
	assert_int_equal(edge(&p, &out), XDP_REDIRECT);
	assert_int_equal(packet_get16(out.bytes + out.l4 + 6), 0);
	assert_true(packet_sums_right(&out));
}

static void
test_cut_and_random(void **state)
{
	static const uint16_t types[] = {ETH_P_IP, ETH_P_IPV6, ETH_P_ARP};
	struct packet_spec s = tcp(9, PACKET_ACK);
	struct packet p = packet_make(&s), out;
	struct world_seeded w;

	(void)state;
	set_backends(3);
	update();
	for (p.length = 14; p.length < 54; p.length++) {
		int verdict = edge(&p, &out);

		/* Newer kernels make no test packet of a header that is cut. */
		assert_true(verdict == XDP_PASS || verdict == -EINVAL);
	}
	world_seeded_init(&w, 11, 0, 0);
	for (int i = 0; i < 20000; i++) {
		world_random(&w.world, p.bytes, 256);
		p.length = 64 + (uint32_t)world_random_below(&w.world, 190);
		packet_put16(p.bytes + 12, types[i % 3]);
		if (i % 3 == 0) { /* half right */
			p.bytes[14] = (uint8_t)(0x40 | (p.bytes[14] & 15));
			inet_pton(AF_INET, own4, p.bytes + 30);
		} else if (i % 3 == 1) {
			static const uint8_t next[] = {6, 17, 58, 0, 43, 44, 60};

			p.bytes[14] = 0x60;
			p.bytes[20] = next[p.bytes[20] % sizeof(next)];
			inet_pton(AF_INET6, own6, p.bytes + 38);
		}
		int verdict = edge(&p, &out);
		assert_true(verdict == XDP_PASS || verdict == XDP_REDIRECT);
		verdict = bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out);
		assert_true(verdict == TC_ACT_OK || verdict == TC_ACT_REDIRECT);
	}
}

static void
test_counters(void **state)
{
	static struct edge_count before[EDGE_LINKS * EDGE_VERDICTS],
		after[EDGE_LINKS * EDGE_VERDICTS];
	static __u64 drops[EDGE_LINKS * EDGE_REASONS];
	struct packet_spec s = tcp(9, PACKET_ACK), other = tcp(9, PACKET_ACK);
	struct edge_service_count count;
	unsigned at = 1 * EDGE_VERDICTS; /* the loopback device's */

	(void)state;
	set_backends(3);
	update();
	settle();
	other.to_port = 80;
	read_counts(before, drops);
	for (int i = 0; i < 7; i++)
		(void)goes_to(&s);
	for (int i = 0; i < 3; i++)
		(void)goes_to(&other);
	read_counts(after, drops);
	assert_int_equal(after[at + EDGE_REDIRECTED].packets,
			 before[at + EDGE_REDIRECTED].packets + 7);
	assert_int_equal(after[at + EDGE_REDIRECTED].bytes,
			 before[at + EDGE_REDIRECTED].bytes + 7 * 54);
	assert_int_equal(after[at + EDGE_PASSED].packets, before[at + EDGE_PASSED].packets + 3);
	assert_true(lb_service_count(rig.lb, 0, &count));
	assert_int_equal(count.packets, 7);
	assert_int_equal(count.bytes, 7 * 54);
}

static void
test_who_may(void **state)
{
	static struct edge_count counts[EDGE_LINKS * EDGE_VERDICTS];
	static __u64 before[EDGE_LINKS * EDGE_REASONS], after[EDGE_LINKS * EDGE_REASONS];
	struct packet_spec s = tcp(1, PACKET_SYN), s6 = tcp(1, PACKET_SYN);
	struct packet p, out;

	(void)state;
	s6.from = client6;
	s6.to = own6;
	set_backends(2);
	rig.streams[0].prefixes_deny = 2;
	assert_true(addr_parse_prefix("203.0.113.0/28", &rig.streams[0].deny[0]));
	assert_true(addr_parse_prefix("2001:db8:c::/48", &rig.streams[0].deny[1]));
	update();
	read_counts(counts, before);
	p = packet_make(&s);
	assert_int_equal(edge(&p, &out), XDP_DROP);
	p = packet_make(&s6);
	assert_int_equal(edge(&p, &out), XDP_DROP);
	read_counts(counts, after);
	assert_int_equal(after[EDGE_REASONS + EDGE_DROP_DENIED],
			 before[EDGE_REASONS + EDGE_DROP_DENIED] + 2);
	s.from = "203.0.113.17";
	assert_int_not_equal(goes_to(&s), 0);
	/* Allowed alone, and denied within. */
	rig.streams[0].prefixes_allow = 1;
	rig.streams[0].prefixes_deny = 1;
	assert_true(addr_parse_prefix("203.0.113.0/24", &rig.streams[0].allow[0]));
	update();
	assert_int_not_equal(goes_to(&s), 0);
	s.from = client4;
	p = packet_make(&s);
	assert_int_equal(edge(&p, &out), XDP_DROP);
	s.from = "198.18.0.1";
	p = packet_make(&s);
	assert_int_equal(edge(&p, &out), XDP_DROP);
	p = packet_make(&s6);
	assert_int_equal(edge(&p, &out), XDP_DROP);
	rig.streams[0].prefixes_allow = rig.streams[0].prefixes_deny = 0;
	update();
	assert_int_not_equal(goes_to(&s), 0);
}

struct told {
	struct msg_flow flows[4];
	size_t count;
};

static void
note_flow(void *arg, const struct msg_flow *flow)
{
	struct told *t = arg;

	if (t->count < 4)
		t->flows[t->count] = *flow;
	t->count++;
}

static void
expect_denied(const struct msg_flow *f, const char *client, const char *own, uint32_t bytes)
{
	struct addr from, to;

	assert_true(addr_parse_ip(client, &from) && addr_parse_ip(own, &to));
	assert_int_equal(f->verdict, MSG_FLOW_DROPPED);
	assert_int_equal(f->reason, FLOW_DENIED);
	assert_int_equal(f->place, MSG_FLOW_EDGE);
	assert_int_equal(f->ifindex, 1);
	assert_int_equal(f->length, bytes);
	assert_int_equal(f->protocol, IPPROTO_TCP);
	assert_int_equal(f->tcp_flags, PACKET_SYN);
	assert_true(addr_equal_ip(&f->source.addr, &from));
	assert_true(addr_equal_ip(&f->destination.addr, &to));
	assert_int_equal(f->source.addr.port, 1);
}

/* Those who may not are told of, by what tells of all drops. */
static void
test_denied_is_told(void **state)
{
	struct packet_spec s = tcp(1, PACKET_SYN), s6 = tcp(1, PACKET_SYN);
	struct packet p = packet_make(&s), out;
	struct telling *telling = NULL;
	struct told told = {.count = 0};
	struct err err = {0};

	(void)state;
	s6.from = client6;
	s6.to = own6;
	set_backends(1);
	rig.streams[0].prefixes_deny = 2;
	assert_true(addr_parse_prefix("203.0.113.0/24", &rig.streams[0].deny[0]));
	assert_true(addr_parse_prefix("2001:db8:c::/48", &rig.streams[0].deny[1]));
	update();
	assert_int_equal(telling_open(rig.veth, &telling, &err), 0);
	telling_read(telling, note_flow, &told); /* of tests before */
	told.count = 0;
	assert_int_equal(edge(&p, &out), XDP_DROP);
	p = packet_make(&s6);
	assert_int_equal(edge(&p, &out), XDP_DROP);
	telling_read(telling, note_flow, &told);
	telling_free(telling);
	assert_int_equal(told.count, 2);
	expect_denied(&told.flows[0], client4, own4, 40);
	expect_denied(&told.flows[1], client6, own6, 60);
	/* The process dies: they are told on, to its successor, by its successor's programs. */
	services_free(rig.services);
	lb_close(rig.lb);
	veth_close(rig.veth);
	p = packet_make(&s);
	open_rig();
	assert_int_equal(edge(&p, &out), XDP_DROP);
	assert_int_equal(telling_open(rig.veth, &telling, &err), 0);
	told.count = 0;
	telling_read(telling, note_flow, &told);
	telling_free(telling);
	assert_int_equal(told.count, 1);
	expect_denied(&told.flows[0], client4, own4, 40);
	update();
	rig.streams[0].prefixes_deny = 0;
	update();
}

/* ---- fragments ---- */

static void
test_fragments_v4(void **state)
{
	struct packet_spec s = tcp(77, 0);
	struct packet whole, first, later, out;

	(void)state;
	s.protocol = IPPROTO_UDP;
	s.to_port = UDP_PORT;
	s.payload = 600;
	set_backends(8);
	update();
	unsigned n = goes_to(&s);
	whole = packet_make(&s);
	first = later = whole;
	first.bytes[20] = 0x20; /* more follow */
	first.bytes[19] = later.bytes[19] = 9;
	packet_put16(first.bytes + 24, 0);
	packet_put16(first.bytes + 24, (uint16_t)~packet_fold(packet_sum(first.bytes + 14, 20, 0)));
	later.bytes[21] = 40;
	packet_put16(later.bytes + 24, 0);
	packet_put16(later.bytes + 24, (uint16_t)~packet_fold(packet_sum(later.bytes + 14, 20, 0)));
	/* Before the first one nobody knows: up to the stack, which may join them. */
	assert_int_equal(edge(&later, &out), XDP_PASS);
	assert_int_equal(edge(&first, &out), XDP_REDIRECT);
	assert_int_equal(out.bytes[5], n);
	assert_true(packet_sums_right(&out));
	assert_int_equal(edge(&later, &out), XDP_REDIRECT);
	assert_int_equal(out.bytes[5], n);
	assert_int_equal(packet_fold(packet_sum(out.bytes + 14, 20, 0)), 0xffff);
	/* Nothing behind its header is touched. */
	assert_memory_equal(out.bytes + 34, later.bytes + 34, later.length - 34);
	later.bytes[19] = 10; /* of another packet */
	assert_int_equal(edge(&later, &out), XDP_PASS);
}

static void
test_fragments_v6(void **state)
{
	struct packet_spec s = tcp(77, 0);
	struct packet p, out;

	(void)state;
	s = (struct packet_spec){.from = client6,
				 .to = own6,
				 .from_port = 77,
				 .to_port = UDP_PORT,
				 .protocol = IPPROTO_UDP,
				 .options = 1,
				 .payload = 600};
	set_backends(8);
	update();
	p = packet_make(&s);
	p.bytes[20] = IPPROTO_FRAGMENT;
	p.bytes[54 + 3] = 1; /* more follow */
	p.bytes[54 + 7] = 9;
	assert_int_equal(edge(&p, &out), XDP_REDIRECT);
	unsigned n = out.bytes[5];
	packet_put16(p.bytes + 56, 40 << 3);
	assert_int_equal(edge(&p, &out), XDP_REDIRECT);
	assert_int_equal(out.bytes[5], n);
	assert_memory_equal(out.bytes + 54, p.bytes + 54, p.length - 54);
	p.bytes[54 + 7] = 10;
	assert_int_equal(edge(&p, &out), XDP_PASS);
}

/* The number of a packet that comes in fragments; later: not its first one. */
static void
set_fragment(struct packet *p, uint16_t id, bool later)
{
	uint8_t *ip = p->bytes + 14;

	if (packet_is_v6(p)) { /* the extension header is the fragments' */
		ip[6] = IPPROTO_FRAGMENT;
		packet_put16(ip + 42, later ? 40 << 3 : 1);
		packet_put16(ip + 46, id);
		return;
	}
	packet_put16(ip + 4, id);
	packet_put16(ip + 6, later ? 40 : 0x2000);
	packet_put16(ip + 10, 0);
	packet_put16(ip + 10, (uint16_t)~packet_fold(packet_sum(ip, 20, 0)));
}

static int
back_from(uint32_t link, const struct packet *in, struct packet *out)
{
	struct __sk_buff context = {.ifindex = link};

	return bpf_world_run(lb_program_back(rig.lb), in, &context, out);
}

/* A container that begins more packets than there is place for in all, and ends none, is in
 * nobody's way but its own. */
static void
test_fragments_of_containers(void **state)
{
	uint32_t quiet = if_nametoindex("a0"), loud = 1;
	struct packet_spec specs[2] = {{.from = "10.200.7.11", .to = client4},
				       {.from = "fd00::11", .to = client6, .options = 1}};

	(void)state;
	set_backends(1);
	update();
	for (int i = 0; i < 2; i++) {
		struct packet_spec *s = &specs[i];
		struct packet first, later, out;

		s->from_port = UDP_INSIDE;
		s->to_port = 40000;
		s->protocol = IPPROTO_UDP;
		s->payload = 600;
		first = later = packet_make(s);
		for (uint16_t id = 1; id <= 8; id++) { /* one after the other, as a stack counts */
			set_fragment(&first, id, false);
			assert_int_equal(back_from(quiet, &first, &out), TC_ACT_REDIRECT);
		}
		for (uint32_t n = 0; n < EDGE_REPLIES_MAX + EDGE_FRAGMENTS_MAX; n++) {
			set_fragment(&first, (uint16_t)n, false);
			assert_int_equal(back_from(loud, &first, &out), TC_ACT_REDIRECT);
		}
		for (uint16_t id = 1; id <= 8; id++) {
			set_fragment(&later, id, true);
			assert_int_equal(back_from(quiet, &later, &out), TC_ACT_REDIRECT);
			assert_true(memcmp(out.bytes + 14, later.bytes + 14, 40) != 0);
			assert_memory_equal(out.bytes + 54, later.bytes + 54, later.length - 54);
		}
		set_fragment(&later, 9, true); /* its first was never seen */
		assert_int_equal(back_from(quiet, &later, &out), TC_ACT_OK);
		assert_memory_equal(out.bytes, later.bytes, later.length);
	}
}

/* ---- ICMP ---- */

/* What the service sends to the client, as the client's side of the network sees it. */
static struct packet
sent_by_service(const char *from, const char *to, uint16_t port)
{
	struct packet_spec s = {.from = from,
				.to = to,
				.from_port = TCP_PORT,
				.to_port = port,
				.protocol = IPPROTO_TCP,
				.flags = PACKET_ACK};

	return packet_make(&s);
}

static void
test_icmp_errors(void **state)
{
	(void)state;
	set_backends(8);
	update();
	settle();
	for (uint16_t port = 1000; port < 1100; port++) {
		struct packet_spec s = tcp(port, PACKET_ACK), s6 = tcp(port, PACKET_ACK);
		struct packet quoted = sent_by_service(own4, client4, port), p, out;

		s6.from = client6;
		s6.to = own6;
		p = packet_icmp_error("198.18.0.1", own4, &quoted, 3, 4);
		assert_int_equal(edge(&p, &out), XDP_REDIRECT);
		assert_int_equal(out.bytes[5], goes_to(&s));
		assert_true(packet_sums_right(&out));
		assert_int_equal(packet_fold(packet_sum(out.bytes + 42, 20, 0)), 0xffff);
		assert_memory_equal(out.bytes + 14 + 16, out.bytes + 42 + 12, 4);
		assert_int_equal(packet_get16(out.bytes + 62), TCP_INSIDE);
		quoted = sent_by_service(own6, client6, port);
		p = packet_icmp_error("2001:db8:ffff::1", own6, &quoted, 2, 0);
		assert_int_equal(edge(&p, &out), XDP_REDIRECT);
		assert_int_equal(out.bytes[5], goes_to(&s6));
		assert_true(packet_sums_right(&out));
		assert_memory_equal(out.bytes + 14 + 24, out.bytes + 62 + 8, 16);
	}
	struct packet quoted = sent_by_service("192.0.2.77", client4, 1), out;
	struct packet p = packet_icmp_error("198.18.0.1", own4, &quoted, 3, 4);
	assert_int_equal(edge(&p, &out), XDP_PASS);
}

static void
test_echo(void **state)
{
	struct packet_spec s = {.from = client4, .to = dedicated, .protocol = IPPROTO_ICMP};
	struct packet p = {.bytes = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7}}, out;

	(void)state;
	set_backends(1);
	update();
	packet_network(&p, &s, 16);
	p.length = p.l4 + 16;
	p.bytes[p.l4] = 8;
	p.bytes[p.l4 + 9] = 0x5a;
	packet_put16(p.bytes + p.l4 + 2, (uint16_t)~packet_fold(packet_sum(p.bytes + p.l4, 16, 0)));
	assert_int_equal(edge(&p, &out), XDP_TX);
	assert_true(packet_sums_right(&out));
	assert_int_equal(out.bytes[out.l4], 0);
	assert_memory_equal(out.bytes, p.bytes + 6, 6);
	assert_memory_equal(out.bytes + 26, p.bytes + 30, 4);
	/* The node's own addresses are answered by its stack. */
	inet_pton(AF_INET, own4, p.bytes + 30);
	assert_int_equal(edge(&p, &out), XDP_PASS);
}

/* ---- backends come and go ---- */

static void
note_flows(unsigned *where, uint8_t flags)
{
	for (uint16_t i = 0; i < FLOWS; i++) {
		struct packet_spec s = tcp((uint16_t)(2000 + i), flags);

		where[i] = goes_to(&s);
	}
}

static size_t
differences(const unsigned *a, const unsigned *b)
{
	size_t n = 0;

	for (size_t i = 0; i < FLOWS; i++)
		n += a[i] != b[i];
	return n;
}

static void
test_one_is_added(void **state)
{
	static unsigned before[FLOWS], after[FLOWS], fresh[FLOWS];

	(void)state;
	set_backends(3);
	update();
	settle();
	note_flows(before, PACKET_ACK);
	set_backends(4);
	update();
	note_flows(after, PACKET_ACK);
	assert_int_equal(differences(before, after), 0);
	/* New connections of the same addresses: a quarter to the new one, and they stay there. */
	note_flows(fresh, PACKET_SYN);
	assert_in_range(differences(before, fresh), FLOWS / 4 - FLOWS / 10, FLOWS / 4 + FLOWS / 10);
	note_flows(after, PACKET_ACK);
	assert_int_equal(differences(fresh, after), 0);
	settle();
	note_flows(after, PACKET_ACK);
	assert_int_equal(differences(fresh, after), 0);
}

static void
test_one_drains(void **state)
{
	static unsigned before[FLOWS], after[FLOWS], fresh[FLOWS];

	(void)state;
	set_backends(4);
	update();
	settle();
	note_flows(before, PACKET_ACK);
	set_backend(1, 12, MSG_BACKEND_DRAINING);
	update();
	settle(); /* does not end while it drains */
	note_flows(after, PACKET_ACK);
	assert_int_equal(differences(before, after), 0);
	note_flows(fresh, PACKET_SYN);
	for (size_t i = 0; i < FLOWS; i++) {
		assert_int_not_equal(fresh[i], 12);
		if (before[i] != 12) /* the others have kept nearly all of their slots */
			assert_int_not_equal(fresh[i], 0);
	}
	note_flows(after, PACKET_ACK);
	assert_int_equal(differences(fresh, after), 0);
	/* It is gone. */
	rig.backends[1] = rig.backends[3];
	rig.veths[1] = rig.veths[3];
	rig.count = 3;
	update();
	note_flows(after, PACKET_ACK);
	assert_int_equal(differences(fresh, after), 0);
	settle();
	note_flows(after, PACKET_ACK);
	for (size_t i = 0; i < FLOWS; i++)
		assert_int_not_equal(after[i], 12);
}

static void
test_one_dies(void **state)
{
	static unsigned before[FLOWS], after[FLOWS];

	(void)state;
	set_backends(4);
	update();
	settle();
	note_flows(before, PACKET_ACK);
	rig.count = 3;
	update();
	note_flows(after, PACKET_ACK);
	for (size_t i = 0; i < FLOWS; i++)
		assert_in_range(after[i], 11, 13);
	/* Its number is not given to the next one at once, nor its flows. */
	settle();
	set_backend(3, 44, MSG_BACKEND_ACTIVE);
	rig.count = 4;
	update();
	note_flows(before, PACKET_ACK);
	assert_int_equal(differences(before, after) < FLOWS / 20, 1);
}

/* Before there are backends the relay has the connections, and keeps those that it has. */
static void
test_relay_first(void **state)
{
	struct packet_spec old = tcp(3000, PACKET_ACK), fresh = tcp(3001, PACKET_SYN);

	(void)state;
	update();
	assert_int_equal(goes_to(&fresh), 0);
	set_backends(2);
	update();
	assert_int_equal(goes_to(&old), 0);
	assert_int_not_equal(goes_to(&fresh), 0);
	fresh.flags = PACKET_ACK;
	assert_int_not_equal(goes_to(&fresh), 0);
	settle();
	assert_int_not_equal(goes_to(&old), 0);
}

static void
test_many_backends(void **state)
{
	static unsigned before[FLOWS], after[FLOWS];

	(void)state;
	set_backends(40);
	update();
	settle();
	note_flows(before, PACKET_ACK);
	set_backends(41); /* a big table now */
	update();
	note_flows(after, PACKET_ACK);
	assert_int_equal(differences(before, after), 0);
}

static void
test_elsewhere(void **state)
{
	struct packet_spec s = tcp(1, PACKET_SYN);

	(void)state;
	set_backends(1);
	rig.veths[0].ifindex = 0; /* not on this node */
	update();
	assert_int_equal(goes_to(&s), 0);
}

static void
test_is_taken_away(void **state)
{
	struct packet_spec s = tcp(1, PACKET_SYN);

	(void)state;
	set_backends(2);
	update();
	assert_int_not_equal(goes_to(&s), 0);
	rig.streams[0].flags |= MSG_STREAM_TLS; /* the relay's alone */
	update();
	assert_int_equal(goes_to(&s), 0);
	rig.streams[0].flags = MSG_STREAM_PUBLIC;
	update();
	assert_int_not_equal(goes_to(&s), 0);
}

/* One endpoint too many is left to the relay, and the others go on. */
static void
test_too_many_endpoints(void **state)
{
	static struct msg_stream all[EDGE_SERVICES_MAX + 1];
	const struct msg_stream *streams[EDGE_SERVICES_MAX + 1];
	struct packet_spec first = tcp(1, PACKET_SYN), last = tcp(1, PACKET_SYN);
	struct err err = {0};

	(void)state;
	set_backends(1);
	for (size_t i = 0; i <= EDGE_SERVICES_MAX; i++) {
		all[i] = rig.streams[0];
		all[i].id = 1 + i;
		all[i].port = (uint16_t)(TCP_PORT + i);
		text_format(all[i].endpoint, sizeof(all[i].endpoint), "sql-%zu", i);
		streams[i] = &all[i];
	}
	last.to_port = TCP_PORT + EDGE_SERVICES_MAX;
	update_streams(streams, EDGE_SERVICES_MAX + 1);
	assert_true(services_refused(rig.services, &err));
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_non_null(strstr(err.what, "shop/db, endpoint sql-1024"));
	assert_int_equal(goes_to(&first), 11);
	assert_int_equal(goes_to(&last), 0);
	/* It has the place of one that goes, at once. */
	update_streams(streams + 1, EDGE_SERVICES_MAX);
	assert_false(services_refused(rig.services, &err));
	assert_int_equal(goes_to(&first), 0);
	assert_int_equal(goes_to(&last), 11);
}

static void
test_successor(void **state)
{
	static unsigned before[FLOWS], after[FLOWS];
	struct edge_service_count one, two;
	struct packet_spec s = tcp(1, PACKET_ACK);

	(void)state;
	set_backends(3);
	update();
	settle();
	note_flows(before, PACKET_ACK);
	set_backends(4);
	update();
	assert_true(lb_service_count(rig.lb, 0, &one));
	services_free(rig.services);
	lb_close(rig.lb);
	veth_close(rig.veth);
	open_rig();
	/* Before it was told anything: */
	note_flows(after, PACKET_ACK);
	assert_int_equal(differences(before, after), 0);
	assert_true(lb_service_count(rig.lb, 0, &two));
	assert_int_equal(two.packets, one.packets + FLOWS);
	update();
	note_flows(after, PACKET_ACK);
	assert_int_equal(differences(before, after), 0);
	assert_int_not_equal(goes_to(&s), 0);
}

/* ---- what is told of it ---- */

static size_t
pinned(bool v6, uint32_t epoch)
{
	static struct lb_flow flows[LB_FLOWS_BATCH];
	struct lb_flows walk = {0};
	size_t total = 0;

	while (!walk.ended) {
		size_t count = lb_flows(rig.lb, v6, &walk, flows);

		for (size_t i = 0; i < count; i++) {
			struct addr own;

			assert_true(addr_parse_ip(v6 ? own6 : own4, &own));
			assert_memory_equal(flows[i].dest, own.ip, sizeof(own.ip));
			assert_int_equal(flows[i].port, TCP_PORT);
			total += flows[i].epoch == (epoch & EDGE_PIN_EPOCH);
		}
	}
	return total;
}

static void
test_flows_are_told(void **state)
{
	static unsigned where[FLOWS];
	struct services_port ports[4];
	struct packet_spec s6 = tcp(9, PACKET_SYN);

	(void)state;
	s6.from = client6;
	s6.to = own6;
	set_backends(1);
	update();
	assert_int_equal(services_ports(rig.services, ports, 4), 1);
	assert_int_equal(ports[0].port, TCP_PORT);
	assert_true(ports[0].changes);
	assert_int_equal(pinned(false, ports[0].epoch), 0);
	note_flows(where, PACKET_SYN);
	assert_int_equal(goes_to(&s6), 11);
	assert_int_equal(pinned(false, ports[0].epoch), FLOWS);
	assert_int_equal(pinned(true, ports[0].epoch), 1);
	settle();
	assert_int_equal(services_ports(rig.services, ports, 4), 1);
	assert_false(ports[0].changes);
}

/* ---- packets while backends change ---- */

struct sender {
	pthread_t thread;
	atomic_bool stop;
	atomic_uint sent, lost;
};

/* New connections all the time: to a container or to the relay, but never nowhere. */
static void *
send_on(void *arg)
{
	struct sender *s = arg;
	struct packet out;

	for (uint16_t port = 1; !atomic_load(&s->stop); port++) {
		struct packet_spec spec = tcp(port, PACKET_SYN);
		struct packet p = packet_make(&spec);
		int verdict = edge(&p, &out);

		if (verdict != XDP_REDIRECT && verdict != XDP_PASS)
			atomic_fetch_add(&s->lost, 1);
		atomic_fetch_add(&s->sent, 1);
	}
	return NULL;
}

static void
test_nothing_is_lost_meanwhile(void **state)
{
	static struct sender s;
	char device[16];

	(void)state;
	set_backends(1);
	update();
	assert_int_equal(pthread_create(&s.thread, NULL, send_on, &s), 0);
	for (unsigned round = 0; round < 40; round++) {
		unsigned before = atomic_load(&s.sent);

		/* Others, each with a device of its own. */
		for (unsigned i = 0; i < DEVICES; i++) {
			set_backend(i, 11 + round * DEVICES % 200 + i, MSG_BACKEND_ACTIVE);
			text_format(device, sizeof(device), "a%u",
				    i % 2 ? i : (round + i) % DEVICES);
			rig.veths[i].ifindex = if_nametoindex(device);
		}
		rig.count = 1 + round % DEVICES;
		update();
		while (atomic_load(&s.sent) < before + 50)
			sched_yield();
	}
	atomic_store(&s.stop, true);
	pthread_join(s.thread, NULL);
	assert_int_equal(atomic_load(&s.lost), 0);
}

/* ---- the way back ---- */

static void
test_replies(void **state)
{
	static const uint8_t mac[] = EDGE_REPLY_MAC;
	struct packet_spec s = {.from = "10.200.7.11",
				.to = client4,
				.from_port = TCP_INSIDE,
				.to_port = 40000,
				.protocol = IPPROTO_TCP,
				.flags = PACKET_ACK,
				.payload = 33};
	struct packet p, out;

	(void)state;
	set_backends(1);
	update();
	p = packet_make(&s);
	assert_int_equal(bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out), TC_ACT_REDIRECT);
	assert_true(packet_is_from(&out, dedicated, TCP_PORT));
	assert_true(packet_sums_right(&out));
	assert_memory_equal(out.bytes, mac, 6);
	s.protocol = IPPROTO_UDP;
	s.from_port = UDP_INSIDE;
	p = packet_make(&s);
	assert_int_equal(bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out), TC_ACT_REDIRECT);
	assert_true(packet_is_from(&out, dedicated, UDP_PORT));
	assert_true(packet_sums_right(&out));
	s.from = "fd00::11";
	s.to = client6;
	p = packet_make(&s);
	assert_int_equal(bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out), TC_ACT_REDIRECT);
	assert_true(packet_is_from(&out, own6, UDP_PORT));
	assert_true(packet_sums_right(&out));
	/* The host's own connection to the container. */
	s.to = own6;
	p = packet_make(&s);
	assert_int_equal(bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out), TC_ACT_OK);
	s.to = client6;
	/* What the container does as a client, and what stays in the cluster. */
	s.from_port = 50000;
	p = packet_make(&s);
	assert_int_equal(bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out), TC_ACT_OK);
	s.from_port = UDP_INSIDE;
	s.to = "fd00::1";
	p = packet_make(&s);
	assert_int_equal(bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out), TC_ACT_OK);
	assert_memory_equal(out.bytes, p.bytes, p.length);
}

static void
test_replies_know_the_way_in(void **state)
{
	struct packet_spec in = tcp(40001, PACKET_SYN);
	struct packet_spec s = {.from = "10.200.7.11",
				.to = client4,
				.from_port = TCP_INSIDE,
				.to_port = 40001,
				.protocol = IPPROTO_TCP,
				.flags = PACKET_ACK};
	struct packet p, out;

	(void)state;
	set_backends(1);
	update();
	assert_int_equal(goes_to(&in), 11);
	p = packet_make(&s);
	assert_int_equal(bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out), TC_ACT_REDIRECT);
	assert_true(packet_is_from(&out, own4, TCP_PORT));
	assert_true(packet_sums_right(&out));
}

/* What the container says goes to the client, or not; and from what. */
static bool
says(const struct packet_spec *s, int verdict, const char *from, uint16_t port)
{
	static const uint8_t reply[] = EDGE_REPLY_MAC;
	struct packet p = packet_make(s), out;

	return bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out) == verdict &&
	       packet_is_from(&out, from, port) && packet_sums_right(&out) &&
	       memcmp(out.bytes, reply, sizeof(reply)) == 0;
}

/* A client's port is used again, for a service's other address: which of the two it was the first
 * time must not be what it hears from now. */
static void
check_reused(const char *client, const char *container, const char *own, const char *usual,
	     uint8_t protocol)
{
	uint16_t port = protocol == IPPROTO_TCP ? TCP_PORT : UDP_PORT;
	struct packet_spec in = {.from = client,
				 .from_port = 40002,
				 .to_port = port,
				 .protocol = protocol,
				 .flags = PACKET_SYN};
	struct packet_spec reply = {.from = container,
				    .to = client,
				    .from_port = protocol == IPPROTO_TCP ? TCP_INSIDE : UDP_INSIDE,
				    .to_port = 40002,
				    .protocol = protocol,
				    .flags = PACKET_ACK};
	struct packet p = packet_make(&reply), out;
	const char *const ways[] = {own, usual, own, usual, usual, own};
	struct packet_spec answer = reply;

	answer.flags |= PACKET_SYN;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		in.to = ways[i];
		in.flags = PACKET_SYN;
		in.sequence = 1000 * (uint32_t)i;
		answer.acknowledged = in.sequence + 1;
		assert_int_equal(goes_to(&in), 11);
		if (protocol == IPPROTO_TCP)
			assert_true(says(&answer, TC_ACT_REDIRECT, ways[i], port));
		assert_int_equal(bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out),
				 TC_ACT_REDIRECT);
		assert_true(packet_is_from(&out, ways[i], port));
		if (protocol != IPPROTO_TCP || i == 0)
			continue;
		/* The older connection's last words. */
		in.to = ways[i - 1];
		in.flags = PACKET_ACK;
		assert_int_equal(goes_to(&in), 11);
		assert_int_equal(bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out),
				 TC_ACT_REDIRECT);
		assert_true(packet_is_from(&out, ways[i], port));
	}
}

static void
test_replies_when_ports_are_used_again(void **state)
{
	(void)state;
	rig.has_dedicated6 = true;
	set_backends(1);
	update();
	check_reused(client4, "10.200.7.11", own4, dedicated, IPPROTO_TCP);
	check_reused(client4, "10.200.7.11", own4, dedicated, IPPROTO_UDP);
	check_reused(client6, "fd00::11", own6, dedicated6, IPPROTO_TCP);
	check_reused(client6, "fd00::11", own6, dedicated6, IPPROTO_UDP);
}

/* Two connections of one client with the same source port, to two addresses. */
struct twice {
	struct packet_spec first, second; /* what the client sends */
	struct packet_spec says;          /* the container, about the first one */
	const char *one, *two;
};

static struct twice
twice(const char *client, const char *container, const char *one, const char *two)
{
	struct packet_spec in = {.from = client,
				 .to = one,
				 .from_port = 40003,
				 .to_port = TCP_PORT,
				 .protocol = IPPROTO_TCP,
				 .flags = PACKET_SYN,
				 .sequence = 0x40000000};
	struct twice t = {in,
			  in,
			  {.from = container,
			   .to = client,
			   .from_port = TCP_INSIDE,
			   .to_port = 40003,
			   .protocol = IPPROTO_TCP,
			   .flags = PACKET_SYN | PACKET_ACK,
			   .sequence = 70000,
			   .acknowledged = 0x40000001},
			  one,
			  two};

	t.second.to = two;
	t.second.sequence = 0xffffffff;
	assert_int_equal(goes_to(&t.first), 11);
	assert_true(says(&t.says, TC_ACT_REDIRECT, one, TCP_PORT));
	t.first.flags = t.says.flags = PACKET_ACK;
	assert_int_equal(goes_to(&t.first), 11);
	assert_true(says(&t.says, TC_ACT_REDIRECT, one, TCP_PORT));
	return t;
}

/* What the container says to a SYN whose ports are taken, as tc_uplink gets it. */
static struct packet
refusal(const struct twice *t)
{
	static const uint8_t taken[] = EDGE_TAKEN_MAC;
	struct packet p = packet_make(&t->says), out;

	assert_int_equal(bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out), TC_ACT_REDIRECT);
	assert_memory_equal(out.bytes, taken, sizeof(taken));
	assert_true(packet_is_from(&out, t->two, TCP_PORT));
	assert_int_equal(out.bytes[out.l4 + 13], PACKET_RST);
	assert_true(packet_sums_right(&out));
	return out;
}

/* Until it is said again that ports are taken. */
static void
ask_again(void)
{
	uint64_t from = world_mono_ns();

	while (world_mono_ns() - from < (AGAIN_MS + 30) * UINT64_C(1000000))
		usleep(10000);
}

static uint64_t
taken_count(void)
{
	struct edge_service_count count;

	assert_true(lb_service_count(rig.lb, 0, &count) || lb_service_count(rig.lb, 1, &count));
	for (uint32_t i = 0; i < 2; i++)
		if (lb_service_count(rig.lb, i, &count) && count.taken)
			return count.taken;
	return 0;
}

static void
refuse_second(const struct twice *t)
{
	uint64_t before = taken_count();
	struct packet p, out;

	assert_int_equal(goes_to(&t->second), 11);
	p = refusal(t);
	assert_int_equal(bpf_world_run(lb_program_uplink(rig.lb), &p, NULL, &out), TC_ACT_SHOT);
	assert_int_equal(out.bytes[out.l4 + 13], PACKET_RST);
	assert_int_equal(taken_count(), before + 1);
}

/* The first one is as it was, the second one is another container's, or the relay's: 0. */
static void
both_go_on(const struct twice *t, unsigned other)
{
	struct packet_spec second = t->second, data = t->says;

	assert_int_equal(goes_to(&second), other);
	second.flags = PACKET_ACK;
	assert_int_equal(goes_to(&second), other);
	assert_int_equal(goes_to(&t->first), 11);
	assert_true(says(&t->says, TC_ACT_REDIRECT, t->one, TCP_PORT));
	data.payload = 100;
	assert_true(says(&data, TC_ACT_REDIRECT, t->one, TCP_PORT));
}

static void
check_taken(const struct twice *t)
{
	struct packet_spec data = t->says, other = t->second;

	/* What the first one says meanwhile, and what does not answer the second one. */
	assert_int_equal(goes_to(&t->second), 11);
	data.payload = 100;
	assert_true(says(&data, TC_ACT_REDIRECT, t->one, TCP_PORT));
	data.payload = 0;
	data.flags |= PACKET_SYN;
	assert_true(says(&data, TC_ACT_REDIRECT, t->one, TCP_PORT));
	refuse_second(t);
	both_go_on(t, 0);
	/* Others of its slot, or of any, do not notice. */
	for (uint16_t port = 1; port <= FLOWS; port++) {
		other.from_port = port;
		assert_int_equal(goes_to(&other), 11);
	}
	services_tick(rig.services, rig.now_ms);
	both_go_on(t, 0);
	/* While replicas change, too. */
	set_backends(3);
	update();
	both_go_on(t, 0);
	rig.now_ms += PLAN_IDLE_MS / 2;
	services_tick(rig.services, rig.now_ms);
	both_go_on(t, 0);
	set_backends(1);
	update();
	both_go_on(t, 0);
}

static void
test_ports_that_are_taken(void **state)
{
	struct twice t;

	(void)state;
	rig.has_dedicated6 = true;
	set_backends(1);
	update();
	settle();
	t = twice(client4, "10.200.7.11", dedicated, own4);
	check_taken(&t);
	t = twice(client6, "fd00::11", dedicated6, own6);
	check_taken(&t);
	/* When they are silent for long, the next connection is as any. */
	settle();
	ask_again();
	assert_int_equal(goes_to(&t.second), 11);
	t.says.flags = PACKET_SYN | PACKET_ACK;
	t.says.acknowledged = t.second.sequence + 1;
	assert_true(says(&t.says, TC_ACT_REDIRECT, t.two, TCP_PORT));
	t.says.flags = PACKET_ACK;
	assert_true(says(&t.says, TC_ACT_REDIRECT, t.two, TCP_PORT));
}

/* A packet that is not of the connection, late or forged, comes by the other address: whose replies
 * these are is said by what they acknowledge. */
static void
check_strangers(const char *client, const char *container, const char *usual, const char *own)
{
	struct twice t = twice(client, container, usual, own);
	struct packet_spec stranger = t.second;

	stranger.flags = PACKET_ACK;
	stranger.sequence = 0x90000000;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(goes_to(&stranger), 11);
		assert_true(says(&t.says, TC_ACT_REDIRECT, usual, TCP_PORT));
		assert_int_equal(goes_to(&t.first), 11);
		assert_true(says(&t.says, TC_ACT_REDIRECT, usual, TCP_PORT));
	}
}

/* Of a connection that is there nothing is known any more: neither by its note, nor here. */
static void
check_forgotten(const char *client, const char *container, const char *usual, const char *own)
{
	struct packet_spec in = {.from = client,
				 .to = own,
				 .from_port = 40011,
				 .to_port = TCP_PORT,
				 .protocol = IPPROTO_TCP,
				 .flags = PACKET_ACK,
				 .sequence = 0xfffffff0};
	struct packet_spec out = {.from = container,
				  .to = client,
				  .from_port = TCP_INSIDE,
				  .to_port = 40011,
				  .protocol = IPPROTO_TCP,
				  .flags = PACKET_ACK,
				  .acknowledged = 90};

	for (int i = 0; i < 10; i++, in.sequence += 65536)
		assert_int_equal(goes_to(&in), 11);
	assert_true(says(&out, TC_ACT_REDIRECT, own, TCP_PORT));
	out.payload = 100;
	out.acknowledged = 0x70000000; /* it is known from here on */
	assert_true(says(&out, TC_ACT_REDIRECT, own, TCP_PORT));
	/* The container does not know it either. */
	in.from_port = out.to_port = 40012;
	out.payload = 0;
	out.acknowledged = 0;
	out.flags = PACKET_RST;
	assert_int_equal(goes_to(&in), 11);
	assert_true(says(&out, TC_ACT_REDIRECT, own, TCP_PORT));
	assert_true(says(&out, TC_ACT_REDIRECT, usual, TCP_PORT));
}

static void
test_strangers(void **state)
{
	(void)state;
	rig.has_dedicated6 = true;
	set_backends(1);
	update();
	settle();
	check_strangers(client4, "10.200.7.11", dedicated, own4);
	check_strangers(client6, "fd00::11", dedicated6, own6);
	check_forgotten(client4, "10.200.7.11", dedicated, own4);
	check_forgotten(client6, "fd00::11", dedicated6, own6);
}

/* Many SYNs, perhaps not the client's, and of a connection that can be nobody else's: the older one
 * loses an acknowledgement each half a second, not all of them. */
static void
test_many_ask(void **state)
{
	uint64_t began = world_mono_ns();
	unsigned lost = 0;
	struct twice t;

	(void)state;
	set_backends(1);
	update();
	settle();
	t = twice(client4, "10.200.7.11", own4, dedicated);
	for (int i = 0; i < 100; i++) {
		t.second.sequence += 7777;
		assert_int_equal(goes_to(&t.second), 11);
		lost += !says(&t.says, TC_ACT_REDIRECT, own4, TCP_PORT);
	}
	assert_in_range(lost, 1, 1 + (world_mono_ns() - began) / (AGAIN_MS * 1000000));
}

/* Connections that were there before their slot was opened for another one are their owner's as
 * ever: they do not keep it open. */
static void
test_opened_for_another(void **state)
{
	struct edge_service_count before, after;
	struct packet_spec other;
	struct twice t;

	(void)state;
	set_backends(1);
	update();
	settle();
	t = twice(client4, "10.200.7.11", dedicated, own4);
	refuse_second(&t);
	other = t.second;
	other.flags = PACKET_ACK;
	assert_true(lb_service_count(rig.lb, 0, &before));
	for (uint32_t port = 1; port <= UINT16_MAX; port++) {
		other.from_port = (uint16_t)port;
		if (port != t.second.from_port)
			assert_int_equal(goes_to(&other), 11);
	}
	assert_true(lb_service_count(rig.lb, 0, &after));
	assert_int_equal(after.packets, before.packets + UINT16_MAX - 1);
	assert_int_equal(after.kept, before.kept);
	assert_int_equal(goes_to(&t.second), 0);
	assert_true(lb_service_count(rig.lb, 0, &after));
	assert_int_equal(after.kept, before.kept + 1);
}

/* Another service has the port now, with as many changes behind it as the former one. */
static void
test_port_of_another(void **state)
{
	struct packet_spec s = tcp(40009, PACKET_SYN);

	(void)state;
	set_backends(1);
	update();
	assert_int_equal(goes_to(&s), 11);
	s.flags = PACKET_ACK;
	assert_int_equal(goes_to(&s), 11);
	rig.streams[1] = rig.streams[0];
	rig.streams[1].id = 3;
	rig.streams[1].service = 20;
	rig.streams[0].port = TCP_PORT + 1;
	set_backend(1, 12, MSG_BACKEND_ACTIVE);
	rig.backends[1].service = 20;
	rig.count = 2;
	rig.now_ms++;
	update();
	assert_int_not_equal(goes_to(&s), 11);
}

static void
error_comes_from(const struct packet_spec *quoted, const char *service)
{
	struct packet about = packet_make(quoted), out;
	struct packet p = packet_icmp_error(quoted->to, quoted->from, &about, 3, 3);
	struct in_addr want;

	assert_int_equal(bpf_world_run(lb_program_back(rig.lb), &p, NULL, &out), TC_ACT_REDIRECT);
	assert_int_equal(inet_pton(AF_INET, service, &want), 1);
	assert_memory_equal(out.bytes + 14 + 12, &want, sizeof(want));
	assert_true(packet_sums_right(&out));
}

/* A container that has nobody for it says so to who asked. */
static void
test_ports_that_were_taken(void **state)
{
	struct packet_spec quoted;
	struct twice t;

	(void)state;
	set_backends(1);
	update();
	t = twice(client4, "10.200.7.11", own4, dedicated);
	assert_int_equal(goes_to(&t.second), 11);
	quoted = t.second;
	quoted.to = "10.200.7.11";
	quoted.to_port = TCP_INSIDE;
	error_comes_from(&quoted, dedicated);
	quoted.sequence = 1;
	error_comes_from(&quoted, own4);
	t.says.flags = PACKET_RST | PACKET_ACK;
	t.says.acknowledged = t.second.sequence + 1;
	assert_true(says(&t.says, TC_ACT_REDIRECT, dedicated, TCP_PORT));
	/* A client's own reset says nothing of where replies go. */
	t = twice(client4, "10.200.7.11", dedicated, own4);
	t.second.flags = PACKET_RST;
	assert_int_equal(goes_to(&t.second), 11);
	assert_true(says(&t.says, TC_ACT_REDIRECT, dedicated, TCP_PORT));
}

/* An address that is none of the host's has no relay. */
static void
test_ports_that_are_taken_by_the_only_one(void **state)
{
	struct twice all[2];

	(void)state;
	rig.has_dedicated6 = true;
	set_backends(1);
	update();
	settle();
	all[0] = twice(client4, "10.200.7.11", own4, dedicated);
	all[1] = twice(client6, "fd00::11", own6, dedicated6);
	for (size_t i = 0; i < 2; i++) {
		const struct twice *t = &all[i];
		struct packet p, out;

		assert_int_equal(goes_to(&t->second), 11);
		p = refusal(t);
		(void)bpf_world_run(lb_program_uplink(rig.lb), &p, NULL, &out);
		assert_int_equal(packet_get16(out.bytes + out.l4 + 12),
				 0x5000 | PACKET_RST | PACKET_ACK);
		assert_int_equal(packet_get16(out.bytes + out.l4 + 8), 0);
		assert_int_equal(packet_get16(out.bytes + out.l4 + 10), 0);
		assert_true(packet_is_from(&out, t->two, TCP_PORT));
		assert_true(packet_sums_right(&out));
		assert_int_equal(taken_count(), 0);
		assert_true(says(&t->says, TC_ACT_REDIRECT, t->one, TCP_PORT));
	}
}

static void
is_refused_by(const struct twice *t, unsigned n)
{
	struct twice about = *t;
	struct packet p, out;
	char container[32];

	text_format(container, sizeof(container), "10.200.7.%u", n);
	about.says.from = container;
	p = refusal(&about);
	assert_int_equal(bpf_world_run(lb_program_uplink(rig.lb), &p, NULL, &out), TC_ACT_SHOT);
}

/* Of two connections that were begun while there was one container; three now. */
static struct twice
twice_before_three(void)
{
	set_backends(1);
	update();
	settle();
	struct twice t = twice(client4, "10.200.7.11", dedicated, own4);

	set_backends(3);
	update();
	settle();
	return t;
}

/* The others are asked one after the other, the relay in the end. */
static void
test_ports_that_are_taken_by_many(void **state)
{
	unsigned seen = 0;
	struct twice t;

	(void)state;
	t = twice_before_three();
	for (unsigned n = 0; n < 3; n++) {
		unsigned asked = goes_to(&t.second);

		assert_in_range(asked, 11, 13);
		seen |= 1u << (asked - 11);
		is_refused_by(&t, asked);
	}
	assert_int_equal(seen, 7);
	assert_int_equal(goes_to(&t.second), 0);
	t.second.flags = PACKET_ACK;
	assert_int_equal(goes_to(&t.second), 0);
}

/* One that drains, or whose node is doubted, is given no new connection; nor when it was given some
 * before that. */
static void
test_ports_that_are_taken_by_the_last_one(void **state)
{
	static const uint32_t states[] = {MSG_BACKEND_DRAINING, MSG_BACKEND_DOUBTED};
	unsigned first, second;
	struct twice t;

	(void)state;
	t = twice_before_three();
	first = goes_to(&t.second);
	is_refused_by(&t, first);
	second = goes_to(&t.second);
	assert_int_not_equal(second, first);
	for (size_t i = 0; i < 2; i++) {
		unsigned third = 36 - first - second;

		set_backend(second - 11, second, states[i]);
		update();
		t.second.flags = PACKET_ACK; /* what it has goes on */
		assert_int_equal(goes_to(&t.second), second);
		t.second.flags = PACKET_SYN;
		ask_again();
		assert_int_equal(goes_to(&t.second), first);
		is_refused_by(&t, first);
		assert_int_equal(goes_to(&t.second), i == 0 ? third : 0);
		second = third;
	}
}

/* A container that does not answer a SYN, and later begins another connection of these ports: what
 * it says of that one is no answer to the first. */
static void
test_ports_that_were_asked_for_in_vain(void **state)
{
	struct twice t;

	(void)state;
	set_backends(1);
	update();
	settle();
	t = twice(client4, "10.200.7.11", dedicated, own4);
	assert_int_equal(goes_to(&t.second), 11);
	t.first.flags = PACKET_SYN;
	assert_int_equal(goes_to(&t.first), 11);
	t.says.flags |= PACKET_SYN;
	assert_true(says(&t.says, TC_ACT_REDIRECT, dedicated, TCP_PORT));
	t.says.flags = PACKET_ACK;
	assert_true(says(&t.says, TC_ACT_REDIRECT, dedicated, TCP_PORT));
	assert_int_equal(taken_count(), 0);
}

/* A successor finds the slots that programs have opened. */
static void
test_ports_that_are_taken_outlive_us(void **state)
{
	struct twice t;
	struct err err = {0};

	(void)state;
	set_backends(1);
	update();
	settle();
	t = twice(client4, "10.200.7.11", dedicated, own4);
	refuse_second(&t);
	services_free(rig.services);
	lb_close(rig.lb);
	assert_int_equal(open_balancer(&err), 0);
	assert_int_equal(services_new(rig.lb, rig.now_ms, &rig.services, &err), 0);
	update();
	both_go_on(&t, 0);
	set_backends(2);
	update();
	both_go_on(&t, 0);
}

/* As an earlier version has it. */
static void
pin_former(const char *name, enum bpf_map_type type, uint32_t key_bytes, uint32_t value_bytes,
	   uint32_t entries)
{
	char pin[128];

	text_format(pin, sizeof(pin), "%s/edge1-%s", veth_folder(rig.veth), name);
	assert_int_equal(unlink(pin), 0);
	int fd = libbpf.bpf_map_create(type, name, key_bytes, value_bytes, entries, NULL);
	assert_true(fd >= 0);
	assert_int_equal(libbpf.bpf_obj_pin(fd, pin), 0);
	close(fd);
}

/* One of an earlier version counted less, and knew less of what was asked. */
static void
test_predecessor_without_them(void **state)
{
	struct edge_service_count count;
	struct err err = {0};

	(void)state;
	set_backends(1);
	update();
	services_free(rig.services);
	lb_close(rig.lb);
	pin_former("asked", BPF_MAP_TYPE_LRU_HASH, sizeof(struct edge_note),
		   offsetof(struct edge_asked, when), EDGE_ASKED_MAX);
	pin_former("services", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(uint32_t),
		   offsetof(struct edge_service_count, taken), EDGE_SERVICES_MAX);
	assert_int_equal(open_balancer(&err), 0);
	assert_int_equal(services_new(rig.lb, rig.now_ms, &rig.services, &err), 0);
	update();
	struct twice t = twice(client4, "10.200.7.11", dedicated, own4);
	refuse_second(&t);
	assert_true(lb_service_count(rig.lb, 0, &count));
	assert_true(count.packets > 0);
}

/* An error of a container about what a client sent to it. */
static struct packet
error_of_container(const char *client, const char *container, uint8_t protocol, uint16_t port,
		   uint8_t type, uint8_t code)
{
	struct packet_spec s = {.from = client,
				.to = container,
				.from_port = 40000,
				.to_port = port,
				.protocol = protocol,
				.payload = 33};
	struct packet quoted = packet_make(&s);

	return packet_icmp_error(container, client, &quoted, type, code);
}

/* The quotation has this as the address and port that the client spoke to. */
static void
check_error(const struct packet *in, const char *address, uint16_t port)
{
	struct packet out, quoted = {.length = 0};

	assert_int_equal(bpf_world_run(lb_program_back(rig.lb), in, NULL, &out), TC_ACT_REDIRECT);
	assert_int_equal(out.length, in->length);
	assert_true(packet_sums_right(&out));
	assert_true(packet_is_from(&out, address, packet_get16(in->bytes + in->l4)));
	memcpy(quoted.bytes, out.bytes, 14);
	quoted.length = out.length - out.l4 - 8 + 14;
	memcpy(quoted.bytes + 14, out.bytes + out.l4 + 8, quoted.length - 14);
	quoted.l4 = quoted.length - 8;
	assert_true(packet_is_to(&quoted, address, port));
	assert_int_equal(packet_get16(quoted.bytes + quoted.l4), 40000);
	if (!packet_is_v6(&quoted))
		assert_int_equal(packet_fold(packet_sum(quoted.bytes + 14, 20, 0)), 0xffff);
}

static void
check_error_passes(const struct packet *in)
{
	struct packet out;

	assert_int_equal(bpf_world_run(lb_program_back(rig.lb), in, NULL, &out), TC_ACT_OK);
	assert_int_equal(out.length, in->length);
	assert_memory_equal(out.bytes, in->bytes, in->length);
}

static void
test_errors_of_containers(void **state)
{
	static const char c4[] = "10.200.7.11", c6[] = "fd00::11";
	struct packet_spec in = tcp(40000, PACKET_SYN);
	struct packet p;

	(void)state;
	set_backends(1);
	update();
	p = error_of_container(client4, c4, IPPROTO_UDP, UDP_INSIDE, 3, 3);
	check_error(&p, dedicated, UDP_PORT);
	p = error_of_container(client6, c6, IPPROTO_UDP, UDP_INSIDE, 1, 4);
	check_error(&p, own6, UDP_PORT);
	p = error_of_container(client4, c4, IPPROTO_TCP, TCP_INSIDE, 3, 4);
	check_error(&p, dedicated, TCP_PORT);
	p = error_of_container(client6, c6, IPPROTO_TCP, TCP_INSIDE, 2, 0);
	check_error(&p, own6, TCP_PORT);
	/* By the address that this client came by. */
	assert_int_equal(goes_to(&in), 11);
	p = error_of_container(client4, c4, IPPROTO_TCP, TCP_INSIDE, 3, 4);
	check_error(&p, own4, TCP_PORT);
}

static void
test_other_errors_stay(void **state)
{
	static const char c4[] = "10.200.7.11", c6[] = "fd00::11";
	struct packet p;

	(void)state;
	set_backends(2);
	update();
	/* To the host itself, and within the cluster. */
	p = error_of_container(own4, c4, IPPROTO_UDP, UDP_INSIDE, 3, 3);
	check_error_passes(&p);
	p = error_of_container("fd00::1", c6, IPPROTO_UDP, UDP_INSIDE, 1, 4);
	check_error_passes(&p);
	/* About what is nobody's endpoint. */
	p = error_of_container(client4, c4, IPPROTO_UDP, 50000, 3, 3);
	check_error_passes(&p);
	p = error_of_container(client6, c6, IPPROTO_TCP, UDP_INSIDE, 1, 4);
	check_error_passes(&p);
	/* Not an error. */
	p = error_of_container(client4, c4, IPPROTO_UDP, UDP_INSIDE, 0, 0);
	check_error_passes(&p);
	p = error_of_container(client6, c6, IPPROTO_UDP, UDP_INSIDE, 129, 0);
	check_error_passes(&p);
	/* About a packet to another container, and to another one than quoted. */
	p = error_of_container(client4, c4, IPPROTO_UDP, UDP_INSIDE, 3, 3);
	inet_pton(AF_INET, "10.200.7.12", p.bytes + 26);
	check_error_passes(&p);
	p = error_of_container(client6, c6, IPPROTO_UDP, UDP_INSIDE, 1, 4);
	p.bytes[14 + 24 + 15] ^= 1;
	check_error_passes(&p);
	/* Cut in the quotation. */
	p = error_of_container(client4, c4, IPPROTO_UDP, UDP_INSIDE, 3, 3);
	p.length -= 5;
	check_error_passes(&p);
}

static void
test_uplink_knows_replies(void **state)
{
	static const uint8_t mac[] = EDGE_REPLY_MAC;
	struct packet_spec s = tcp(1, PACKET_ACK);
	struct packet p = packet_make(&s), out;

	(void)state;
	set_backends(1);
	update();
	assert_int_equal(bpf_world_run(lb_program_uplink(rig.lb), &p, NULL, &out), TC_ACT_OK);
	memcpy(p.bytes, mac, 6);
	/* No route in this namespace. */
	assert_int_equal(bpf_world_run(lb_program_uplink(rig.lb), &p, NULL, &out), TC_ACT_SHOT);
}

/* ---- the programs ---- */

/* The other mode takes the interface at the first attempt. */
static void
test_mode_changes(void **state)
{
	uint32_t ifindex = if_nametoindex("a0");
	const struct msg_edge nothing = {0};
	enum msg_xdp mode;
	struct err err = {0};
	bool shared;

	(void)state;
	for (int i = 0; i < 6; i++) {
		bool native = i % 2 == 0;

		if (attach_xdp(ifindex, native, !native, &mode, &shared, &err) < 0)
			err_print(&err, "test", stderr);
		assert_int_equal(err.kind, ERR_NONE);
		assert_int_equal(mode, native ? MSG_XDP_NATIVE : MSG_XDP_GENERIC);
		assert_false(shared);
	}
	assert_int_equal(attach_forget(&nothing, 0, false, &err), 0);
}

static void
test_instruction_budget(void **state)
{
	const int programs[] = {lb_program_root(rig.lb), lb_program_edge(rig.lb),
				lb_program_back(rig.lb), lb_program_uplink(rig.lb)};

	(void)state;
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		bpf_world_check_budget(programs[i], INSTRUCTIONS_MAX);
}

/* DEVICES veths. */
static int
prepare(void **state)
{
	(void)state;
	return bpf_world_enter("for i in 0 1 2 3; do "
			       "ip link add a$i type veth peer name b$i && "
			       "ip link set a$i up && ip link set b$i up || exit 1; done");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_ours),
		TEST(test_what_is_not),
		TEST(test_udp_without_checksum),
		TEST(test_cut_and_random),
		TEST(test_counters),
		TEST(test_who_may),
		TEST(test_denied_is_told),
		TEST(test_fragments_v4),
		TEST(test_fragments_v6),
		TEST(test_fragments_of_containers),
		TEST(test_icmp_errors),
		TEST(test_echo),
		TEST(test_one_is_added),
		TEST(test_one_drains),
		TEST(test_one_dies),
		TEST(test_relay_first),
		TEST(test_many_backends),
		TEST(test_elsewhere),
		TEST(test_is_taken_away),
		TEST(test_too_many_endpoints),
		TEST(test_successor),
		TEST(test_flows_are_told),
		TEST(test_nothing_is_lost_meanwhile),
		TEST(test_replies),
		TEST(test_replies_know_the_way_in),
		TEST(test_replies_when_ports_are_used_again),
		TEST(test_ports_that_are_taken),
		TEST(test_ports_that_were_taken),
		TEST(test_strangers),
		TEST(test_many_ask),
		TEST(test_opened_for_another),
		TEST(test_port_of_another),
		TEST(test_ports_that_are_taken_by_the_only_one),
		TEST(test_ports_that_are_taken_by_many),
		TEST(test_ports_that_are_taken_by_the_last_one),
		TEST(test_ports_that_were_asked_for_in_vain),
		TEST(test_ports_that_are_taken_outlive_us),
		TEST(test_predecessor_without_them),
		TEST(test_errors_of_containers),
		TEST(test_other_errors_stay),
		TEST(test_uplink_knows_replies),
		TEST(test_mode_changes),
		TEST(test_instruction_budget),
	};
	return bpf_world_allowed() ? cmocka_run_group_tests(tests, prepare, bpf_world_leave) : 0;
}
