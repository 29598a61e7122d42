/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients' packets between nodes (docs/decisions/017): into a header, out of it, and back, byte by
 * byte, for both families; who may send such a header, and what may be inside.
 *
 *   client 203.0.113.5, 2001:db8:c::5  ->  192.0.2.1, 2001:db8::1 of this node (a),
 *                                          198.51.100.7, 2001:db8:7::7 of several
 *   this node 10.200.7.1, fd00:7::1, its container .11; its peers 10.200.8.0/24 (a member, its
 *   replica .21), 10.200.9.0/24 (written by hand)
 *   tcp 5432 -> containers' 6432, udp 53 -> 5353
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
#include "dataplane/across.h"
#include "dataplane/identities.h"
#include "dataplane/services.h"
#include "tests/bpf/tunnel_rig.h"

enum {
	TCP_PORT = 5432,
	TCP_INSIDE = 6432,
	UDP_PORT = 53,
	UDP_INSIDE = 5353,
	HERE = 11,
	THERE = 21,
	PATH = 1400,
	INSTRUCTIONS_MAX = 90000,
};

#define OUT_SEALED TC_COUNT_WAY(MSG_FLOW_UPLINK, MSG_FLOW_SEALED)
#define OUT_PLAIN TC_COUNT_WAY(MSG_FLOW_UPLINK, MSG_FLOW_PLAIN)
#define OUT_DROP(reason) TC_COUNT_DROP(MSG_FLOW_UPLINK, FLOW_##reason)
#define IN_DROP(reason) TC_COUNT_DROP(MSG_FLOW_VXLAN, FLOW_##reason)
#define IN_LOCAL TC_COUNT_WAY(MSG_FLOW_VXLAN, MSG_FLOW_LOCAL)
#define IN_WORLD TC_COUNT_WAY(MSG_FLOW_VXLAN, MSG_FLOW_STACK)
#define BACK_SEALED TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_SEALED)

/* One family's addresses. */
struct family {
	bool v6;
	const char *client, *own, *shared;
	const char *node, *container; /* of this node */
	const char *other, *replica;  /* of the member */
	const char *by_hand, *third;  /* of the peer by hand; of a second member */
	uint8_t protocol;             /* of the header */
	uint32_t head;
};

static const struct family families[] = {
	{false, "203.0.113.5", "192.0.2.1", "198.51.100.7", "10.200.7.1", "10.200.7.11",
	 "10.200.8.1", "10.200.8.21", "10.200.9.1", "10.200.10.1", IPPROTO_IPIP, 20},
	{true, "2001:db8:c::5", "2001:db8::1", "2001:db8:7::7", "fd00:7::1", "fd00:7::11",
	 "fd00:8::1", "fd00:8::21", "fd00:9::1", "fd00:a::1", IPPROTO_IPV6, 40},
};

#define EACH(f) for (const struct family *f = families; f < families + 2; f++)

static const struct tc_identity here = {.deployment = 1,
					.service = 10,
					.replica = HERE,
					.flags = IDENTITY_USUAL | TC_IDENTITY_KNOWN};
static struct identities *ids;

static struct {
	struct lb *lb;
	struct across *across;
	struct services *services;
	struct msg_stream streams[2];
	struct msg_backend backends[2];
	struct services_away aways[2];
	struct msg_veth veth;
	bool has_here, has_there;
	uint32_t uplink, out;
	uint64_t now_ms;
} rig;

/* ---- what is published ---- */

static void
put_peers(uint32_t ways)
{
	struct msg_peer member = peer(1, "127.0.0.1", "10.200.8.0/24", "fd00:8::/64");
	struct msg_peer by_hand = peer(2, "127.0.0.2", "10.200.9.0/24", "fd00:9::/64");
	struct msg_peer third = peer(3, "127.0.0.3", "10.200.10.0/24", "fd00:a::/64");
	const struct tunnel_row rows[] = {{.peer = &member, .member = true},
					  {.peer = &by_hand},
					  {.peer = &third, .member = true}};
	struct err err = {0};

	member.ways = third.ways = ways;
	member.mtu = third.mtu = ways & MSG_WAY_TRUSTED ? 0 : PATH;
	assert_int_equal(tunnel_peers(tunnel, rows, 3, &err), 0);
}

static void
put_devices(bool on)
{
	struct msg_underlay u = {.vni = VNI, .ifindex = if_nametoindex("vxlan")};
	struct msg_tunnel t = {.state = MSG_TUNNEL_UP, .ifindex = if_nametoindex("sealed")};
	struct msg_prefix p = {.mtu = 1420};
	const struct tunnel_devices devices = {
		.underlay = on ? &u : NULL, .tunnel = on ? &t : NULL, .prefix = &p};
	struct err err = {0};

	assert_true(addr_parse_ip("10.200.7.1", &p.service4));
	assert_true(addr_parse_ip("fd00:7::1", &p.service6));
	if (tunnel_devices(tunnel, &devices, &err) < 0)
		err_print(&err, "test", stderr);
	assert_int_equal(err.kind, ERR_NONE);
}

/* This node's replica is number 0, the member's number 1: either or both. */
static void
update(void)
{
	const struct msg_stream *streams[2] = {&rig.streams[0], &rig.streams[1]};
	size_t first = rig.has_here ? 0 : 1;
	const struct msg_backend *backends[2] = {&rig.backends[first], &rig.backends[1]};
	const struct services_away aways[2] = {rig.aways[first], rig.aways[1]};
	const struct msg_veth *veths[1] = {&rig.veth};
	struct services_input in = {.streams = streams,
				    .streams_count = 2,
				    .backends = backends,
				    .backends_count = (size_t)rig.has_here + rig.has_there,
				    .aways = aways,
				    .veths = veths,
				    .veths_count = 1,
				    .addresses_count = 4,
				    .own_count = 2,
				    .mtu = 1420,
				    .attached = true,
				    .meshed = true};
	struct err err = {0};

	for (int i = 0; i < 2; i++) {
		assert_true(addr_parse_ip(families[i].own, &in.addresses[i]));
		assert_true(addr_parse_ip(families[i].shared, &in.addresses[2 + i]));
	}
	in.config.uplink = rig.uplink;
	in.config.out = rig.out;
	in.config.outer = if_nametoindex("a0");
	inet_pton(AF_INET, "10.200.0.0", &in.config.cluster4);
	inet_pton(AF_INET, "255.255.0.0", &in.config.cluster4_mask);
	inet_pton(AF_INET6, "fd00::", in.config.cluster6);
	in.config.cluster6_words = 1;
	if (services_update(rig.services, &in, rig.now_ms, &err) < 0)
		err_print(&err, "test", stderr);
	assert_int_equal(err.kind, ERR_NONE);
}

/* Changes of tables are over. */
static void
settle(void)
{
	for (int i = 0; i < 3; i++) {
		services_tick(rig.services, rig.now_ms);
		rig.now_ms += PLAN_IDLE_MS + PLAN_SETTLE_MS;
	}
	update();
}

static void
reach(enum services_reach how)
{
	rig.aways[1] = (struct services_away){.reach = how, .to = {.mtu = PATH}};
	if (how != SERVICES_BY_KERNEL)
		return;
	assert_true(addr_parse_ip(families[0].replica, &rig.aways[1].to.addr4));
	assert_true(addr_parse_ip(families[1].replica, &rig.aways[1].to.addr6));
}

static void
open_rig(void)
{
	struct err err = {0};

	int rc = veth_open(getuid(), &veth, &err);
	const struct lb_calls calls = {.back = veth_chain(veth), .denied = veth_denied(veth)};
	if (rc < 0 || across_new(veth, &rig.across, &err) < 0 ||
	    lb_open(veth_folder(veth), 4096, &calls, &rig.lb, &err) < 0 ||
	    across_begin(rig.across, rig.lb, &err) < 0 ||
	    services_new(rig.lb, rig.now_ms, &rig.services, &err) < 0)
		err_print(&err, "test", stderr);
	assert_int_equal(err.kind, ERR_NONE);
	tunnel = tunnel_new(veth);
	assert_non_null(tunnel);
}

static struct msg_stream
stream(uint64_t id, uint32_t protocol, uint16_t port)
{
	return (struct msg_stream){.id = id,
				   .service = 10,
				   .service_label = "shop/db",
				   .endpoint = "sql",
				   .endpoint_index = (uint32_t)id - 1,
				   .protocol = protocol,
				   .flags = MSG_STREAM_PUBLIC,
				   .port = port};
}

static struct msg_backend
backend(uint64_t replica)
{
	return (struct msg_backend){.replica = replica,
				    .service = 10,
				    .state = MSG_BACKEND_ACTIVE,
				    .ports_count = 2,
				    .ports = {TCP_INSIDE, UDP_INSIDE}};
}

static int
setup(void **state)
{
	struct msg_identity there = {
		.deployment = 1, .service = 10, .node = 5, .flags = IDENTITY_USUAL};
	enum msg_hook hook;
	struct err err = {0};

	(void)state;
	assert_true(addr_parse_ip(families[0].replica, &there.addr4));
	assert_true(addr_parse_ip(families[1].replica, &there.addr6));
	memset(&rig, 0, sizeof(rig));
	rig.now_ms = 1000000;
	rig.has_there = true;
	rig.streams[0] = stream(1, MSG_STREAM_TCP, TCP_PORT);
	rig.streams[1] = stream(2, MSG_STREAM_UDP, UDP_PORT);
	rig.backends[0] = backend(HERE);
	rig.backends[1] = backend(THERE);
	rig.uplink = if_nametoindex("a0");
	rig.veth = (struct msg_veth){.replica = HERE, .ifindex = LOOPBACK};
	memcpy(rig.veth.mac, rig_mac, sizeof(rig_mac));
	assert_true(addr_parse_ip(families[0].container, &rig.veth.addr4));
	assert_true(addr_parse_ip(families[1].container, &rig.veth.addr6));
	open_rig();
	stay_on_this_cpu();
	assert_int_equal(veth_add(veth, &rig.veth, &here, &hook, &err), 0);
	ids = identities_new(veth);
	assert_non_null(ids);
	assert_int_equal(identities_change(ids, THERE, &there, &err), 0);
	put_peers(MSG_WAY_SEALED | MSG_WAY_PLAIN);
	put_devices(true);
	reach(SERVICES_BY_KERNEL);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	put_devices(false);
	identities_free(ids);
	across_end(rig.across);
	across_free(rig.across);
	services_free(rig.services);
	lb_remove(rig.lb);
	tunnel_free(tunnel);
	veth_remove(veth, HERE);
	veth_close(veth);
	return 0;
}

/* The replica is on this node, and this one alone. */
static void
serve_here(void)
{
	rig.has_here = true;
	rig.has_there = false;
	update();
}

/* ---- packets ---- */

static struct packet_spec
from_client(const struct family *f, uint8_t protocol, uint8_t flags)
{
	return (struct packet_spec){.from = f->client,
				    .to = f->own,
				    .from_port = 40000,
				    .to_port = protocol == IPPROTO_TCP ? TCP_PORT : UDP_PORT,
				    .protocol = protocol,
				    .flags = flags,
				    .payload = 100};
}

static void
set_hops(struct packet *p, uint8_t hops)
{
	uint8_t *ip = p->bytes + 14;

	if (packet_is_v6(p)) {
		ip[7] = hops;
		return;
	}
	ip[8] = hops;
	packet_put16(ip + 10, 0);
	packet_put16(ip + 10, (uint16_t)~packet_fold(packet_sum(ip, p->l4 - 14, 0)));
}

/* A packet in a header. */
static struct packet
wrap(const struct family *f, const char *from, const char *to, const struct packet *in)
{
	struct packet_spec s = {.from = from, .to = to, .protocol = f->protocol};
	struct packet p = {.bytes = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7}};

	packet_network(&p, &s, (uint16_t)(in->length - 14));
	memcpy(p.bytes + p.l4, in->bytes + 14, in->length - 14);
	p.length = p.l4 + in->length - 14;
	return p;
}

static struct packet
unwrap(const struct family *f, const struct packet *in)
{
	struct packet p = *in;

	memmove(p.bytes + 14, in->bytes + 14 + f->head, in->length - 14 - f->head);
	p.length = in->length - f->head;
	p.l4 = 14 + f->head;
	return p;
}

static bool
is_at(const struct packet *p, uint32_t at, const char *address)
{
	uint8_t a[16];
	bool v6 = packet_is_v6(p);

	inet_pton(v6 ? AF_INET6 : AF_INET, address, a);
	return memcmp(p->bytes + at, a, v6 ? 16 : 4) == 0;
}

/* A header as nodes make it; and what is inside is `inside` but for a hop less. */
static void
check_header(const struct family *f, const struct packet *out, const char *to,
	     const struct packet *inside)
{
	const uint8_t *ip = out->bytes + 14;
	struct packet p = unwrap(f, out), want = *inside;

	p.l4 = inside->l4;
	assert_int_equal(out->length, inside->length + f->head);
	assert_true(is_at(out, 14 + (f->v6 ? 8 : 12), f->node));
	assert_true(is_at(out, 14 + (f->v6 ? 24 : 16), to));
	assert_int_equal(f->v6 ? ip[6] : ip[9], f->protocol);
	assert_int_equal(f->v6 ? ip[7] : ip[8], 64);
	assert_int_equal(packet_get16(ip + (f->v6 ? 4 : 2)),
			 out->length - 14 - (f->v6 ? f->head : 0));
	if (!f->v6)
		assert_int_equal(packet_fold(packet_sum(ip, 20, 0)), 0xffff);
	assert_true(packet_sums_right(&p));
	memcpy(want.bytes, p.bytes, 14);
	assert_memory_equal(p.bytes, want.bytes, want.length);
}

static int
run_edge(const struct packet *in, struct packet *out)
{
	return bpf_world_run(lb_program_root(rig.lb), in, NULL, out);
}

static int
run_out(const struct packet *in, struct packet *out)
{
	struct __sk_buff context = {0};

	return bpf_world_run(across_program(rig.across, ACROSS_OUT), in, &context, out);
}

/* As from the plain way, whose packets have an Ethernet header. */
static int
run_in(const struct packet *in, struct packet *out)
{
	struct __sk_buff context = {.cb = {MSG_FLOW_VXLAN | 14u << 24, 0, 1, 0}};

	return bpf_world_run(across_program(rig.across, ACROSS_IN), in, &context, out);
}

static int
run_back(const struct packet *in, struct packet *out)
{
	struct __sk_buff context = {0};

	return bpf_world_run(lb_program_back(rig.lb), in, &context, out);
}

/* ---- counters ---- */

static uint64_t before[TC_COUNTS];

static void
look(void)
{
	counts(before);
}

static void
moved(int which)
{
	uint64_t after[TC_COUNTS];

	counts(after);
	for (int i = 0; i < TC_COUNTS; i++)
		assert_int_equal(after[i], before[i] + (i == which));
}

static void
refused(const struct packet *p, int counter)
{
	struct packet out;

	look();
	assert_int_equal(run_in(p, &out), TC_ACT_SHOT);
	moved(counter);
}

/* ---- to another node ---- */

/* XDP marks it and writes nothing else; what it marks is given a header. */
static void
check_out(const struct family *f, const struct packet_spec *s, const char *to)
{
	struct packet in = packet_make(s), marked, out, want = in;
	static const uint8_t mark[] = {0x02, 0x6c, 0x7a, 0x63};

	assert_int_equal(run_edge(&in, &marked), XDP_REDIRECT);
	assert_memory_equal(marked.bytes, mark, sizeof(mark));
	assert_memory_equal(marked.bytes + 12, in.bytes + 12, in.length - 12);
	look();
	assert_int_equal(run_out(&marked, &out), TC_ACT_REDIRECT);
	moved(OUT_SEALED);
	set_hops(&want, 63);
	check_header(f, &out, to, &want);
}

static void
test_out(void **state)
{
	(void)state;
	update();
	settle();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_ACK);
		struct packet_spec u = from_client(f, IPPROTO_UDP, 0);

		check_out(f, &s, f->replica);
		check_out(f, &u, f->replica);
		s.to = f->shared;
		s.options = 2;
		check_out(f, &s, f->replica);
	}
}

/* A connection between two addresses of this machine; its client's port. */
static uint16_t
connect_here(const struct family *f, const char *from, const char *to, int fds[3])
{
	struct sockaddr_storage client = {0}, server = {0};
	socklen_t bytes = f->v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	struct sockaddr_storage *ends[] = {&client, &server};
	const char *texts[] = {from, to};

	for (int i = 0; i < 2; i++) {
		struct sockaddr_in6 *six = (void *)ends[i];
		struct sockaddr_in *four = (void *)ends[i];

		ends[i]->ss_family = f->v6 ? AF_INET6 : AF_INET;
		inet_pton(ends[i]->ss_family, texts[i],
			  f->v6 ? (void *)&six->sin6_addr : (void *)&four->sin_addr);
		four->sin_port = i ? htons(TCP_PORT) : 0; /* both have it there */
		fds[i] = socket(ends[i]->ss_family, SOCK_STREAM, 0);
		assert_int_equal(bind(fds[i], (void *)ends[i], bytes), 0);
	}
	assert_int_equal(listen(fds[1], 1), 0);
	if (connect(fds[0], (void *)&server, bytes) < 0)
		fail_msg("connect from %s to %s: %s", from, to, strerror(errno));
	fds[2] = accept(fds[1], NULL, NULL);
	assert_true(fds[2] >= 0);
	assert_int_equal(getsockname(fds[0], (void *)&client, &bytes), 0);
	return ntohs(((struct sockaddr_in *)&client)->sin_port);
}

/* A shared address, and a connection that came by another node until now: it is no relay's, so it
 * is the replica's, and stays so when there are more of them. One of the relay's stays there. */
static void
test_out_came_by_another_node(void **state)
{
	static const uint8_t mark[] = {0x02, 0x6c, 0x7a, 0x63};

	(void)state;
	veth_remove(veth, HERE); /* the machine's own packets go by that device */
	update();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_ACK);
		struct packet p = packet_make(&s), out;
		char command[200];
		int fds[3];

		/* Nobody shares this node's own address. */
		assert_int_equal(run_edge(&p, &out), XDP_PASS);
		text_format(command, sizeof(command),
			    "ip address add %s dev lo%s && ip address add %s dev lo%s", f->shared,
			    f->v6 ? " nodad" : "", f->client, f->v6 ? " nodad" : "");
		assert_int_equal(system(command), 0);
		s.to = f->shared;
		s.from_port = connect_here(f, f->client, f->shared, fds);
		p = packet_make(&s);
		assert_int_equal(run_edge(&p, &out), XDP_PASS);
		s.from_port ^= 1; /* of nobody but the listener */
		p = packet_make(&s);
		assert_int_equal(run_edge(&p, &out), XDP_REDIRECT);
		assert_memory_equal(out.bytes, mark, sizeof(mark));
		for (int i = 0; i < 3; i++)
			close(fds[i]);
		text_format(command, sizeof(command),
			    "ip address del %s dev lo && ip address del %s dev lo", f->shared,
			    f->client);
		assert_int_equal(system(command), 0);
	}
}

/* What the container that has no such connection says, as it leaves for the client. */
static int
says_unknown(const struct family *f, const char *service, uint16_t client_port, uint8_t flags)
{
	static const uint8_t mac[] = EDGE_REPLY_MAC;
	struct packet_spec s = {.from = service,
				.to = f->client,
				.from_port = TCP_PORT,
				.to_port = client_port,
				.protocol = IPPROTO_TCP,
				.flags = flags};
	struct packet p = packet_make(&s), out;

	memcpy(p.bytes, mac, sizeof(mac));
	return bpf_world_run(lb_program_uplink(rig.lb), &p, NULL, &out);
}

/* Whether a packet of a connection goes to this node's replica; else it goes to the other one's. */
static bool
goes_here(const struct packet_spec *s)
{
	static const uint8_t mark[] = {0x02, 0x6c, 0x7a, 0x63};
	struct packet in = packet_make(s), out;

	assert_int_equal(run_edge(&in, &out), XDP_REDIRECT);
	if (memcmp(out.bytes, rig_mac, sizeof(rig_mac)) == 0)
		return true;
	assert_memory_equal(out.bytes, mark, sizeof(mark));
	return false;
}

/* Of a flow that one has just begun to be asked for nothing is said for a moment. */
static void
is_told_at_last(const struct family *f, uint16_t client_port)
{
	uint64_t end = world_mono_ns() + UINT64_C(10000000000);
	int verdict;

	do {
		verdict = says_unknown(f, f->shared, client_port, PACKET_RST);
	} while (verdict == TC_ACT_SHOT && world_mono_ns() < end);
	assert_int_equal(verdict, TC_ACT_REDIRECT);
}

static struct packet_spec
to_shared(const struct family *f, uint16_t port)
{
	struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_ACK);

	s.to = f->shared;
	s.from_port = port;
	return s;
}

enum { FIRST_PORT = 40000, LAST_PORT = 40063 };

#define EACH_PORT(port) for (uint16_t port = FIRST_PORT; port <= LAST_PORT; port++)

/* A second replica comes. A connection was begun with it at another node, and its packets begin to
 * come to this one: the first replica does not know it, and says so once for each packet. */
static void
check_begun_elsewhere(const struct family *f)
{
	bool moved[LAST_PORT - FIRST_PORT + 1];
	unsigned count = 0;

	EACH_PORT(port)
	{
		struct packet_spec s = to_shared(f, port);

		assert_false(goes_here(&s));
		/* It was there; and an address that is this node's alone has no such flows. */
		assert_int_equal(says_unknown(f, f->shared, port, PACKET_RST | PACKET_ACK),
				 TC_ACT_REDIRECT);
		assert_int_equal(says_unknown(f, f->own, port, PACKET_RST), TC_ACT_REDIRECT);
		moved[port - FIRST_PORT] =
			says_unknown(f, f->shared, port, PACKET_RST) == TC_ACT_SHOT;
		count += moved[port - FIRST_PORT];
		if (moved[port - FIRST_PORT])
			assert_int_equal(says_unknown(f, f->shared, port, PACKET_RST), TC_ACT_SHOT);
		assert_int_equal(goes_here(&s), moved[port - FIRST_PORT]);
	}
	assert_in_range(count, 10, 54);
	EACH_PORT(port)
	{
		struct packet_spec s = to_shared(f, port);

		if (moved[port - FIRST_PORT])
			is_told_at_last(f, port);
		assert_int_equal(goes_here(&s), moved[port - FIRST_PORT]);
	}
}

static void
test_out_begun_at_another_node(void **state)
{
	(void)state;
	rig.out = rig.uplink;
	update();
	settle();
	rig.has_here = true;
	update();
	EACH(f)
	{
		check_begun_elsewhere(f);
	}
	settle();
	EACH(f)
	{
		assert_int_equal(says_unknown(f, f->shared, LAST_PORT + 1, PACKET_RST),
				 TC_ACT_REDIRECT);
	}
}

/* Nobody but the relay was before: the present owner is asked, then each of the others once. A
 * connection that was begun here is its replica's, whatever that says. */
static void
check_asks_all(const struct family *f)
{
	bool first[LAST_PORT - FIRST_PORT + 1];
	unsigned count = 0;

	EACH_PORT(port)
	{
		struct packet_spec s = to_shared(f, port);

		first[port - FIRST_PORT] = goes_here(&s);
		count += first[port - FIRST_PORT];
		assert_int_equal(says_unknown(f, f->shared, port, PACKET_RST), TC_ACT_SHOT);
		assert_int_equal(goes_here(&s), first[port - FIRST_PORT]);
	}
	assert_in_range(count, 10, 54);
	EACH_PORT(port)
	{
		uint64_t end = world_mono_ns() + UINT64_C(10000000000);
		struct packet_spec s = to_shared(f, port);

		while (goes_here(&s) == first[port - FIRST_PORT] && world_mono_ns() < end)
			assert_int_equal(says_unknown(f, f->shared, port, PACKET_RST), TC_ACT_SHOT);
		assert_int_equal(goes_here(&s), !first[port - FIRST_PORT]);
	}
	EACH_PORT(port)
	{
		struct packet_spec s = to_shared(f, port);

		is_told_at_last(f, port);
		assert_int_equal(goes_here(&s), !first[port - FIRST_PORT]);
		s.flags = PACKET_SYN;
		assert_int_equal(goes_here(&s), first[port - FIRST_PORT]);
		assert_int_equal(says_unknown(f, f->shared, port, PACKET_RST), TC_ACT_REDIRECT);
	}
}

static void
test_out_asks_one_after_the_other(void **state)
{
	(void)state;
	rig.out = rig.uplink;
	rig.has_here = true;
	update();
	EACH(f)
	{
		check_asks_all(f);
	}
}

static void
test_out_by_the_plain_way(void **state)
{
	(void)state;
	put_peers(MSG_WAY_SEALED | MSG_WAY_PLAIN | MSG_WAY_TRUSTED);
	update();
	settle();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_ACK);
		struct packet in = packet_make(&s), marked, out;

		assert_int_equal(run_edge(&in, &marked), XDP_REDIRECT);
		look();
		assert_int_equal(run_out(&marked, &out), TC_ACT_REDIRECT);
		moved(OUT_PLAIN);
	}
}

static void
test_out_is_not_ours(void **state)
{
	struct packet_spec s = from_client(families, IPPROTO_TCP, PACKET_ACK);
	struct packet in, marked, out;

	(void)state;
	update();
	settle();
	in = packet_make(&s);
	look();
	assert_int_equal(run_out(&in, &out), TC_ACT_OK);
	assert_memory_equal(in.bytes, out.bytes, in.length);
	assert_int_equal(run_edge(&in, &marked), XDP_REDIRECT);
	moved(-1);
	/* A place that was given to another one meanwhile. */
	in = marked;
	in.bytes[6] ^= 1;
	assert_int_equal(run_out(&in, &out), TC_ACT_SHOT);
	moved(OUT_DROP(DESTINATION));
	/* A way that went. */
	put_peers(MSG_WAY_PLAIN);
	look();
	assert_int_equal(run_out(&marked, &out), TC_ACT_SHOT);
	moved(OUT_DROP(NO_WAY));
	put_peers(MSG_WAY_SEALED);
	set_hops(&marked, 1);
	look();
	assert_int_equal(run_out(&marked, &out), TC_ACT_SHOT);
	moved(OUT_DROP(HOPS));
	/* The relay answers for it: it has come as far as it could. */
	in = packet_make(&s);
	set_hops(&in, 1);
	assert_int_equal(run_edge(&in, &out), XDP_PASS);
	assert_memory_equal(in.bytes, out.bytes, in.length);
}

/* What a client may send at most is what the path takes, less the header. */
static void
test_out_sizes(void **state)
{
	(void)state;
	update();
	settle();
	EACH(f)
	{
		uint32_t network = f->head, room = PATH - f->head;
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_ACK);
		struct packet in, marked, out;

		s.payload = (uint16_t)(room - network - 20);
		check_out(f, &s, f->replica);
		s.payload++;
		in = packet_make(&s);
		assert_int_equal(run_edge(&in, &marked), XDP_REDIRECT);
		look();
		assert_int_equal(run_out(&marked, &out), TC_ACT_REDIRECT);
		moved(OUT_DROP(TOO_LARGE));
		/* Of the service, to the client, by the way of replies. */
		static const uint8_t reply[] = EDGE_REPLY_MAC;
		assert_memory_equal(out.bytes, reply, 6);
		assert_true(is_at(&out, 14 + (f->v6 ? 8 : 12), f->own));
		assert_true(is_at(&out, 14 + (f->v6 ? 24 : 16), f->client));
		out.l4 = 14 + network;
		assert_int_equal(out.bytes[out.l4], f->v6 ? 2 : 3);
		assert_int_equal(packet_get16(out.bytes + out.l4 + 6), room);
		assert_true(packet_sums_right(&out));
		/* What is too long for it is joined by the stack, and the relay's. */
		s = from_client(f, IPPROTO_UDP, 0);
		s.payload = (uint16_t)(room - network - 8 + 1);
		in = packet_make(&s);
		assert_int_equal(run_edge(&in, &out), XDP_PASS);
	}
}

/* SYN with a segment size of 1460. */
static struct packet
syn_with_mss(const struct family *f)
{
	struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_SYN);
	struct packet p;
	uint8_t *l4;

	s.payload = 4;
	p = packet_make(&s);
	l4 = p.bytes + p.l4;
	l4[12] = 0x60;
	l4[20] = 2;
	l4[21] = 4;
	packet_put16(l4 + 22, 1460);
	packet_put16(l4 + 16, 0);
	packet_put16(l4 + 16, (uint16_t)~packet_l4_sum(&p, IPPROTO_TCP));
	return p;
}

static void
test_out_segments(void **state)
{
	(void)state;
	update();
	settle();
	EACH(f)
	{
		struct packet in = syn_with_mss(f), marked, out, p;

		assert_int_equal(run_edge(&in, &marked), XDP_REDIRECT);
		assert_int_equal(run_out(&marked, &out), TC_ACT_REDIRECT);
		p = unwrap(f, &out);
		assert_int_equal(packet_get16(p.bytes + p.l4 + 22), PATH - 2 * f->head - 20);
		assert_true(packet_sums_right(&p));
	}
}

/* ---- into a container ---- */

static struct packet
wrapped(const struct family *f, const struct packet_spec *s)
{
	struct packet p = packet_make(s);

	return wrap(f, f->other, f->container, &p);
}

static void
check_in(const struct family *f, const struct packet_spec *s)
{
	struct packet in = wrapped(f, s), out;
	uint16_t inside = s->protocol == IPPROTO_TCP ? TCP_INSIDE : UDP_INSIDE;

	look();
	assert_int_equal(run_in(&in, &out), TC_ACT_REDIRECT);
	moved(IN_LOCAL);
	out.l4 = in.l4 + (s->options ? s->options * (f->v6 ? 8u : 4u) : 0);
	assert_int_equal(out.length, in.length - f->head);
	assert_memory_equal(out.bytes, rig_mac, 6);
	assert_true(packet_is_to(&out, f->container, inside));
	assert_true(packet_is_from(&out, f->client, s->from_port));
	assert_true(packet_sums_right(&out));
}

static void
test_in(void **state)
{
	(void)state;
	serve_here();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_SYN);
		struct packet_spec u = from_client(f, IPPROTO_UDP, 0);

		check_in(f, &s);
		check_in(f, &u);
		s.options = 2;
		s.flags = PACKET_ACK;
		check_in(f, &s);
		/* Whatever addresses the other node has. */
		s.to = f->v6 ? "2001:db8:99::1" : "192.0.2.99";
		check_in(f, &s);
	}
}

static void
test_in_refuses(void **state)
{
	static const char *const nobody4[] = {"10.200.8.9", "10.200.7.11", "127.0.0.1",
					      "0.1.2.3",    "224.0.0.5",   "255.255.255.255"};
	static const char *const nobody6[] = {"fd00:8::9", "fd00:7::11", "::1",
					      "::",        "ff02::5",    "fe80::7"};

	(void)state;
	serve_here();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_SYN);
		struct packet p, inner;

		for (int i = 0; i < 6; i++) {
			s.from = f->v6 ? nobody6[i] : nobody4[i];
			p = wrapped(f, &s);
			refused(&p, IN_DROP(CLIENT));
		}
		s.from = f->client;
		s.to_port = 80;
		p = wrapped(f, &s);
		refused(&p, IN_DROP(ENDPOINT));
		s.protocol = IPPROTO_UDP;
		s.to_port = TCP_PORT;
		p = wrapped(f, &s);
		refused(&p, IN_DROP(ENDPOINT));
		/* The container's own port is no endpoint. */
		s.to_port = UDP_INSIDE;
		p = wrapped(f, &s);
		refused(&p, IN_DROP(ENDPOINT));
		s.protocol = 47;
		p = wrapped(f, &s);
		refused(&p, IN_DROP(CLIENT));
		/* A header in a header. */
		s = from_client(f, IPPROTO_TCP, PACKET_SYN);
		inner = wrapped(f, &s);
		p = wrap(f, f->other, f->container, &inner);
		refused(&p, IN_DROP(CLIENT));
		/* For nobody here. */
		inner = packet_make(&s);
		p = wrap(f, f->other, f->v6 ? "fd00:7::77" : "10.200.7.77", &inner);
		refused(&p, IN_DROP(DESTINATION));
		/* Larger than its device takes. */
		s.payload = 1400;
		p = wrapped(f, &s);
		refused(&p, IN_DROP(TOO_LARGE));
	}
}

static void
test_in_cut_and_random(void **state)
{
	struct world_seeded w;

	(void)state;
	serve_here();
	world_seeded_init(&w, 17, 0, 0);
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_ACK);
		struct packet whole = wrapped(f, &s), p = whole, out;

		for (p.length = 14 + f->head; p.length < whole.length - 100; p.length++)
			assert_int_equal(run_in(&p, &out), TC_ACT_SHOT);
		for (int i = 0; i < 20000; i++) {
			p = whole;
			for (int k = 0; k < 4; k++)
				p.bytes[14 + world_random_below(&w.world, 110)] =
					(uint8_t)world_random_below(&w.world, 256);
			p.length = 64 + (uint32_t)world_random_below(&w.world, 190);
			int verdict = run_in(&p, &out);
			assert_true(verdict == TC_ACT_SHOT || verdict == TC_ACT_REDIRECT);
		}
	}
}

static void
make_fragments(const struct family *f, const struct packet *whole, struct packet *first,
	       struct packet *later)
{
	*first = *later = *whole;
	if (f->v6) { /* the extension header of `whole` */
		first->bytes[20] = later->bytes[20] = IPPROTO_FRAGMENT;
		first->bytes[54 + 3] = 1;
		first->bytes[54 + 7] = later->bytes[54 + 7] = 9;
		packet_put16(later->bytes + 56, 40 << 3);
		return;
	}
	first->bytes[20] = 0x20;
	first->bytes[19] = later->bytes[19] = 9;
	later->bytes[21] = 40;
	set_hops(first, 64);
	set_hops(later, 64);
}

static void
test_in_fragments(void **state)
{
	(void)state;
	serve_here();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_UDP, 0);
		struct packet whole, first, later, out;

		s.options = f->v6;
		whole = packet_make(&s);
		make_fragments(f, &whole, &first, &later);
		first = wrap(f, f->other, f->container, &first);
		later = wrap(f, f->other, f->container, &later);
		refused(&later, IN_DROP(ENDPOINT));
		assert_int_equal(run_in(&first, &out), TC_ACT_REDIRECT);
		assert_true(is_at(&out, 14 + (f->v6 ? 24 : 16), f->container));
		assert_int_equal(run_in(&later, &out), TC_ACT_REDIRECT);
		assert_true(is_at(&out, 14 + (f->v6 ? 24 : 16), f->container));
		assert_memory_equal(out.bytes + 14 + f->head, later.bytes + 14 + 2 * f->head,
				    out.length - 14 - f->head);
		if (!f->v6)
			assert_int_equal(packet_fold(packet_sum(out.bytes + 14, 20, 0)), 0xffff);
	}
}

/* Of a router between the service and its client. */
static struct packet
error_about(const struct family *f, const char *service, uint16_t port)
{
	struct packet_spec s = {.from = service,
				.to = f->client,
				.from_port = port,
				.to_port = 40000,
				.protocol = IPPROTO_TCP,
				.flags = PACKET_ACK};
	struct packet quoted = packet_make(&s);

	return packet_icmp_error(f->v6 ? "2001:db8:ffff::1" : "198.18.0.1", service, &quoted,
				 f->v6 ? 2 : 3, f->v6 ? 0 : 4);
}

static void
test_in_errors(void **state)
{
	(void)state;
	serve_here();
	EACH(f)
	{
		struct packet p = error_about(f, f->own, TCP_PORT), out;
		uint32_t quoted = 14 + f->head + 8;

		p = wrap(f, f->other, f->container, &p);
		assert_int_equal(run_in(&p, &out), TC_ACT_REDIRECT);
		out.l4 = 14 + f->head;
		assert_true(packet_sums_right(&out));
		assert_true(is_at(&out, 14 + (f->v6 ? 24 : 16), f->container));
		assert_true(is_at(&out, quoted + (f->v6 ? 8 : 12), f->container));
		assert_int_equal(packet_get16(out.bytes + quoted + f->head), TCP_INSIDE);
		if (!f->v6)
			assert_int_equal(packet_fold(packet_sum(out.bytes + quoted, 20, 0)),
					 0xffff);
		p = error_about(f, f->own, 81);
		p = wrap(f, f->other, f->container, &p);
		refused(&p, IN_DROP(ENDPOINT));
	}
}

/* The edge sends errors after the packets that they are about. */
static void
test_out_errors(void **state)
{
	(void)state;
	update();
	settle();
	EACH(f)
	{
		struct packet in = error_about(f, f->own, TCP_PORT), marked, out, want = in;

		assert_int_equal(run_edge(&in, &marked), XDP_REDIRECT);
		assert_int_equal(run_out(&marked, &out), TC_ACT_REDIRECT);
		set_hops(&want, 63);
		check_header(f, &out, f->replica, &want);
	}
}

/* ---- back ---- */

static struct packet_spec
from_container(const struct family *f, uint8_t protocol)
{
	return (struct packet_spec){.from = f->container,
				    .to = f->client,
				    .from_port = protocol == IPPROTO_TCP ? TCP_INSIDE : UDP_INSIDE,
				    .to_port = 40000,
				    .protocol = protocol,
				    .flags = PACKET_ACK,
				    .payload = 60};
}

/* Its reply goes to that node; NULL: out by the uplink of this one. */
static void
goes_back(const struct family *f, uint8_t protocol, const char *node, const char *service)
{
	struct packet_spec s = from_container(f, protocol), said = s;
	struct packet p = packet_make(&s), out, want;

	look();
	assert_int_equal(run_back(&p, &out), TC_ACT_REDIRECT);
	said.from = service;
	said.from_port = protocol == IPPROTO_TCP ? TCP_PORT : UDP_PORT;
	want = packet_make(&said);
	if (node) {
		moved(BACK_SEALED);
		check_header(f, &out, node, &want);
		return;
	}
	moved(-1);
	assert_int_equal(out.length, want.length);
	assert_memory_equal(out.bytes + 14, want.bytes + 14, want.length - 14);
}

static void
comes_by(const struct family *f, uint8_t protocol, uint8_t flags, const char *node, const char *to)
{
	struct packet_spec s = from_client(f, protocol, flags);
	struct packet p, out;

	s.to = to;
	p = packet_make(&s);
	p = wrap(f, node, f->container, &p);
	assert_int_equal(run_in(&p, &out), TC_ACT_REDIRECT);
}

/* The container takes the connection that came by that node. */
static void
is_answered(const struct family *f, const char *node)
{
	struct packet_spec s = from_container(f, IPPROTO_TCP);
	struct packet p, out;

	s.flags |= PACKET_SYN;
	s.payload = 0;
	s.acknowledged = 1;
	p = packet_make(&s);
	assert_int_equal(run_back(&p, &out), TC_ACT_REDIRECT);
	assert_true(is_at(&out, 14 + (f->v6 ? 24 : 16), node));
}

static void
begins(const struct family *f, const char *node, const char *to)
{
	comes_by(f, IPPROTO_TCP, PACKET_SYN, node, to);
	is_answered(f, node);
}

static void
test_back(void **state)
{
	(void)state;
	serve_here();
	EACH(f)
	{
		goes_back(f, IPPROTO_TCP, NULL, f->shared); /* of nobody who is known */
		begins(f, f->other, f->own);
		goes_back(f, IPPROTO_TCP, f->other, f->own);
		comes_by(f, IPPROTO_UDP, 0, f->other, f->shared);
		goes_back(f, IPPROTO_UDP, f->other, f->shared);
	}
}

/* A note that was forgotten is made anew by the flow's next packet. */
static void
test_back_after_a_late_packet(void **state)
{
	(void)state;
	serve_here();
	EACH(f)
	{
		comes_by(f, IPPROTO_TCP, PACKET_ACK, f->other, f->own);
		goes_back(f, IPPROTO_TCP, f->other, f->own);
	}
}

/* An address of several nodes: the flow's packets come by another one, or by this one itself. */
static void
test_back_follows_the_flow(void **state)
{
	(void)state;
	serve_here();
	settle();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_ACK);
		struct packet p, out;

		begins(f, f->other, f->shared);
		comes_by(f, IPPROTO_TCP, PACKET_ACK, f->third, f->shared);
		goes_back(f, IPPROTO_TCP, f->third, f->shared);
		s.to = f->shared;
		p = packet_make(&s);
		assert_int_equal(run_edge(&p, &out), XDP_REDIRECT);
		assert_int_equal(out.bytes[5], rig_mac[5]);
		goes_back(f, IPPROTO_TCP, NULL, f->shared);
	}
}

/* The same ports of a client for another address of the service: the older flow's last words change
 * nothing. */
static void
test_back_when_ports_are_used_again(void **state)
{
	(void)state;
	serve_here();
	EACH(f)
	{
		begins(f, f->other, f->own);
		begins(f, f->third, f->shared);
		comes_by(f, IPPROTO_TCP, PACKET_ACK, f->other, f->own);
		goes_back(f, IPPROTO_TCP, f->third, f->shared);
	}
}

static void
test_back_sizes(void **state)
{
	(void)state;
	serve_here();
	EACH(f)
	{
		struct packet_spec s = from_container(f, IPPROTO_TCP);
		uint32_t room = PATH - f->head;
		struct packet p, out;

		begins(f, f->other, f->own);
		s.payload = (uint16_t)(room - f->head - 20 + 1);
		p = packet_make(&s);
		look();
		assert_int_equal(run_back(&p, &out), TC_ACT_REDIRECT);
		moved(TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_TOO_LARGE));
		/* The container hears it, of its own node, about what it has sent. */
		assert_true(is_at(&out, 14 + (f->v6 ? 8 : 12), f->node));
		assert_true(is_at(&out, 14 + (f->v6 ? 24 : 16), f->container));
		assert_int_equal(packet_get16(out.bytes + 14 + f->head + 6), room);
		assert_memory_equal(out.bytes + 14 + f->head + 8, p.bytes + 14, 128);
		s.payload--;
		p = packet_make(&s);
		assert_int_equal(run_back(&p, &out), TC_ACT_REDIRECT);
		assert_int_equal(out.length, 14 + PATH);
	}
}

static void
test_back_fragments_and_errors(void **state)
{
	(void)state;
	serve_here();
	EACH(f)
	{
		struct packet_spec s = from_container(f, IPPROTO_UDP), about;
		struct packet whole, first, later, out, p;

		comes_by(f, IPPROTO_UDP, 0, f->other, f->own);
		s.options = f->v6;
		whole = packet_make(&s);
		make_fragments(f, &whole, &first, &later);
		assert_int_equal(run_back(&first, &out), TC_ACT_REDIRECT);
		p = unwrap(f, &out);
		assert_true(is_at(&p, 14 + (f->v6 ? 8 : 12), f->own));
		assert_int_equal(run_back(&later, &out), TC_ACT_REDIRECT);
		p = unwrap(f, &out);
		assert_true(is_at(&p, 14 + (f->v6 ? 8 : 12), f->own));
		assert_true(is_at(&out, 14 + (f->v6 ? 24 : 16), f->other));
		/* Whose it is. */
		assert_int_equal(packet_get16(out.bytes + 14 + (f->v6 ? 2 : 4)), LOOPBACK);
		/* Nobody listens there any more. */
		about = from_client(f, IPPROTO_UDP, 0);
		about.to = f->container;
		about.to_port = UDP_INSIDE;
		whole = packet_make(&about);
		p = packet_icmp_error(f->container, f->client, &whole, f->v6 ? 1 : 3,
				      f->v6 ? 4 : 3);
		assert_int_equal(run_back(&p, &out), TC_ACT_REDIRECT);
		p = unwrap(f, &out);
		assert_true(packet_sums_right(&p));
		assert_true(is_at(&p, 14 + (f->v6 ? 8 : 12), f->own));
		assert_true(is_at(&p, p.l4 + 8 + (f->v6 ? 24 : 16), f->own));
		assert_int_equal(packet_get16(p.bytes + p.l4 + 8 + f->head + 2), UDP_PORT);
	}
}

/* A node without addresses for clients has replies for those of others. */
static void
test_back_without_own_clients(void **state)
{
	(void)state;
	rig.uplink = 0;
	serve_here();
	EACH(f)
	{
		struct packet_spec s = from_container(f, IPPROTO_TCP);
		struct packet p = packet_make(&s), out;

		assert_int_equal(run_back(&p, &out), TC_ACT_OK);
		begins(f, f->other, f->own);
		goes_back(f, IPPROTO_TCP, f->other, f->own);
	}
}

/* By another node comes what is not of the connection, or of one of which nothing is known any
 * more: the container's reply says which. */
static void
test_back_and_strangers(void **state)
{
	(void)state;
	serve_here();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_ACK);
		struct packet_spec unknown = from_container(f, IPPROTO_TCP);
		struct packet p, out;

		s.sequence = 0x50000000;
		p = packet_make(&s);
		p = wrap(f, f->other, f->container, &p);
		assert_int_equal(run_in(&p, &out), TC_ACT_REDIRECT);
		goes_back(f, IPPROTO_TCP, NULL, f->shared);
		goes_back(f, IPPROTO_TCP, NULL, f->shared);
		assert_int_equal(run_in(&p, &out), TC_ACT_REDIRECT);
		unknown.flags = PACKET_RST;
		unknown.payload = 0;
		p = packet_make(&unknown);
		assert_int_equal(run_back(&p, &out), TC_ACT_REDIRECT);
		assert_true(is_at(&out, 14 + (f->v6 ? 24 : 16), f->other));
		goes_back(f, IPPROTO_TCP, NULL, f->shared);
		comes_by(f, IPPROTO_TCP, PACKET_ACK, f->other, f->own);
		goes_back(f, IPPROTO_TCP, f->other, f->own);
		goes_back(f, IPPROTO_TCP, f->other, f->own);
	}
}

/* The container has a connection of these ports: it says so by acknowledging that one. */
static struct packet
refuses(const struct family *f, const char *service)
{
	struct packet_spec s = from_container(f, IPPROTO_TCP);
	struct packet p, out;

	s.payload = 0;
	s.acknowledged = 4000;
	p = packet_make(&s);
	assert_int_equal(run_back(&p, &out), TC_ACT_REDIRECT);
	assert_true(is_at(&out, out.length - p.length + 14 + (f->v6 ? 8 : 12), service));
	return out;
}

static unsigned
class_of(const struct packet *p)
{
	return packet_is_v6(p) ? packet_get16(p->bytes + 14) >> 4 & 0xff : p->bytes[15];
}

/* It goes to the node by which the second one came, which is told from all other replies. */
static void
test_ports_that_are_taken(void **state)
{
	static const uint8_t taken[] = EDGE_TAKEN_MAC;

	(void)state;
	serve_here();
	settle();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_SYN);
		struct packet p, out;

		begins(f, f->other, f->own);
		goes_back(f, IPPROTO_TCP, f->other, f->own);
		comes_by(f, IPPROTO_TCP, PACKET_SYN, f->third, f->shared);
		goes_back(f, IPPROTO_TCP, f->other, f->own);
		out = refuses(f, f->shared);
		assert_true(is_at(&out, 14 + (f->v6 ? 24 : 16), f->third));
		assert_int_equal(class_of(&out), 0x0c);
		p = unwrap(f, &out);
		assert_int_equal(p.bytes[p.l4 + 13], PACKET_RST);
		assert_true(packet_sums_right(&p));
		goes_back(f, IPPROTO_TCP, f->other, f->own);
		/* It is said once. */
		out = refuses(f, f->own);
		assert_int_equal(class_of(&out), 0);
		/* One that came to this node, when half a second is over. */
		for (uint64_t from = world_mono_ns(); world_mono_ns() - from < 520000000;)
			usleep(10000);
		s.to = f->shared;
		p = packet_make(&s);
		assert_int_equal(run_edge(&p, &out), XDP_REDIRECT);
		out = refuses(f, f->shared);
		assert_memory_equal(out.bytes, taken, sizeof(taken));
		assert_true(packet_sums_right(&out));
		goes_back(f, IPPROTO_TCP, f->other, f->own);
	}
}

/* ---- to the client ---- */

static struct packet
reply_of(const struct family *f, const char *service, uint16_t port, const char *client)
{
	struct packet_spec s = {.from = service,
				.to = client,
				.from_port = port,
				.to_port = 40000,
				.protocol = IPPROTO_TCP,
				.flags = PACKET_ACK,
				.payload = 70};
	struct packet p = packet_make(&s);

	return wrap(f, f->other, f->node, &p);
}

static void
set_class(struct packet *p, uint8_t class)
{
	uint8_t *ip = p->bytes + 14;

	if (packet_is_v6(p)) {
		packet_put16(ip, (uint16_t)(0x6000 | class << 4));
		return;
	}
	ip[1] = class;
	packet_put16(ip + 10, 0);
	packet_put16(ip + 10, (uint16_t)~packet_fold(packet_sum(ip, 20, 0)));
}

static void
test_to_client(void **state)
{
	static const uint8_t mac[] = EDGE_REPLY_MAC, taken[] = EDGE_TAKEN_MAC;

	(void)state;
	update();
	EACH(f)
	{
		struct packet p = reply_of(f, f->own, TCP_PORT, f->client), out, want;

		look();
		assert_int_equal(run_in(&p, &out), TC_ACT_REDIRECT);
		moved(IN_WORLD);
		want = unwrap(f, &p);
		set_hops(&want, 63);
		assert_int_equal(out.length, want.length);
		assert_memory_equal(out.bytes, mac, 6);
		assert_memory_equal(out.bytes + 14, want.bytes + 14, want.length - 14);
		/* That its ports are taken, which ends in this node. */
		set_class(&p, 0x0c);
		assert_int_equal(run_in(&p, &out), TC_ACT_REDIRECT);
		assert_memory_equal(out.bytes, taken, 6);
		/* Only as an endpoint that clients come to here, and only to clients. */
		p = reply_of(f, f->own, 22, f->client);
		refused(&p, IN_DROP(CLIENT));
		p = reply_of(f, f->v6 ? "2001:db8:66::1" : "192.0.2.66", TCP_PORT, f->client);
		refused(&p, IN_DROP(CLIENT));
		p = reply_of(f, f->own, TCP_PORT, f->v6 ? "fd00:7::11" : "10.200.7.11");
		refused(&p, IN_DROP(CLIENT));
		p = reply_of(f, f->own, TCP_PORT, f->v6 ? "fd00:9::5" : "10.200.9.5");
		refused(&p, IN_DROP(CLIENT));
		want = unwrap(f, &p);
		p = reply_of(f, f->own, TCP_PORT, f->client);
		p = unwrap(f, &p);
		set_hops(&p, 1);
		p = wrap(f, f->other, f->node, &p);
		refused(&p, IN_DROP(HOPS));
	}
}

static void
test_to_client_errors_and_fragments(void **state)
{
	(void)state;
	update();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_UDP, 0), r;
		struct packet about = packet_make(&s), first, later, p, out;

		p = packet_icmp_error(f->own, f->client, &about, f->v6 ? 1 : 3, f->v6 ? 4 : 3);
		p = wrap(f, f->other, f->node, &p);
		assert_int_equal(run_in(&p, &out), TC_ACT_REDIRECT);
		out.l4 = 14 + f->head;
		assert_true(packet_sums_right(&out));
		s.to_port = 99;
		about = packet_make(&s);
		p = packet_icmp_error(f->own, f->client, &about, f->v6 ? 1 : 3, f->v6 ? 4 : 3);
		p = wrap(f, f->other, f->node, &p);
		refused(&p, IN_DROP(CLIENT));
		r = (struct packet_spec){.from = f->own,
					 .to = f->client,
					 .from_port = UDP_PORT,
					 .to_port = 40000,
					 .protocol = IPPROTO_UDP,
					 .options = f->v6,
					 .payload = 300};
		about = packet_make(&r);
		make_fragments(f, &about, &first, &later);
		later = wrap(f, f->other, f->node, &later);
		refused(&later, IN_DROP(CLIENT));
		first = wrap(f, f->other, f->node, &first);
		assert_int_equal(run_in(&first, &out), TC_ACT_REDIRECT);
		assert_int_equal(run_in(&later, &out), TC_ACT_REDIRECT);
	}
}

/* As the header of a reply names its container. */
static void
set_container(const struct family *f, struct packet *p, uint16_t container)
{
	packet_put16(p->bytes + 14 + (f->v6 ? 2 : 4), container);
}

/* One container of another node cannot take the places of the others there. */
static void
test_to_client_fragments_of_many(void **state)
{
	struct packet_spec r = {
		.from_port = UDP_PORT, .to_port = 40000, .protocol = IPPROTO_UDP, .payload = 300};

	(void)state;
	update();
	EACH(f)
	{
		struct packet about, first, later, out;

		r.from = f->own;
		r.to = f->client;
		r.options = f->v6;
		about = packet_make(&r);
		make_fragments(f, &about, &first, &later);
		later = wrap(f, f->other, f->node, &later);
		first = wrap(f, f->other, f->node, &first);
		set_container(f, &first, 7);
		set_container(f, &later, 7);
		assert_int_equal(run_in(&first, &out), TC_ACT_REDIRECT);
		set_container(f, &first, 8);
		for (uint32_t n = 0; n < EDGE_REPLIES_MAX + EDGE_FRAGMENTS_MAX; n++) {
			packet_put16(first.bytes + 14 + f->head + (f->v6 ? 46 : 4), (uint16_t)n);
			assert_int_equal(run_in(&first, &out), TC_ACT_REDIRECT);
		}
		assert_int_equal(run_in(&later, &out), TC_ACT_REDIRECT);
		set_container(f, &later, 9); /* of which none was seen */
		refused(&later, IN_DROP(CLIENT));
	}
}

static void
test_to_client_without_uplink(void **state)
{
	(void)state;
	rig.uplink = 0;
	update();
	EACH(f)
	{
		struct packet p = reply_of(f, f->own, TCP_PORT, f->client);

		refused(&p, IN_DROP(NO_WAY));
	}
}

/* ---- who may send a header ---- */

/* By the sealed way, a real device without Ethernet headers. */
static int tun = -1;

static void
comes_sealed(const struct packet *p, int counter)
{
	look();
	assert_int_equal(write(tun, p->bytes + 14, p->length - 14), p->length - 14);
	moved(counter);
}

static void
test_who_may(void **state)
{
	enum {
		LOCAL = TC_COUNT_WAY(MSG_FLOW_TUNNEL, MSG_FLOW_LOCAL),
		NOT_THERE = TC_COUNT_DROP(MSG_FLOW_TUNNEL, FLOW_ENDPOINT),
		NOBODY = TC_COUNT_DROP(MSG_FLOW_TUNNEL, FLOW_SOURCE),
	};

	(void)state;
	serve_here();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_SYN);
		struct packet inner = packet_make(&s), p, out;

		p = wrap(f, f->other, f->container, &inner);
		comes_sealed(&p, LOCAL);
		is_answered(f, f->other);
		goes_back(f, IPPROTO_TCP, f->other, f->own); /* it was taken out of the header */
		/* A container's own tunnel, and one of a peer that is no member: a packet as any
		 * other. Nothing is noted of it. */
		s.from_port = 40001;
		inner = packet_make(&s);
		p = wrap(f, f->replica, f->container, &inner);
		comes_sealed(&p, LOCAL);
		p = wrap(f, f->by_hand, f->container, &inner);
		comes_sealed(&p, LOCAL);
		s = from_container(f, IPPROTO_TCP);
		s.to_port = 40001;
		p = packet_make(&s);
		assert_int_equal(run_back(&p, &out), TC_ACT_REDIRECT);
		assert_int_equal(out.length, p.length);
		/* A source that is this node's own, or nobody's. */
		p = wrap(f, f->node, f->container, &inner);
		comes_sealed(&p, NOBODY);
		p = wrap(f, f->client, f->container, &inner);
		comes_sealed(&p, NOBODY);
		/* What a container of this node sends is only ever its own. */
		p = wrap(f, f->container, f->replica, &inner);
		look();
		assert_int_equal(run(veth_program(veth), &p, 0), TC_ACT_REDIRECT);
		moved(BACK_SEALED);
		p = wrap(f, f->other, f->container, &inner);
		look();
		assert_int_equal(run(veth_program(veth), &p, 0), TC_ACT_SHOT);
		moved(DROP_FOREIGN);
	}
	/* Nothing is balanced here. */
	across_end(rig.across);
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_SYN);
		struct packet inner = packet_make(&s), p;

		p = wrap(f, f->other, f->container, &inner);
		comes_sealed(&p, NOT_THERE);
	}
}

static void
comes_plain(const struct packet *p, int counter)
{
	int watch = watch_vxlan();

	look();
	send_vxlan("127.0.0.1", VNI, p);
	wait_for_packet(watch, p);
	moved(counter);
}

/* Sealed is how it has to come, unless both nodes trust the network. */
static void
test_plain_is_judged(void **state)
{
	enum msg_hook hook;
	struct err err = {0};

	(void)state;
	/* A container's device takes nothing from 127.0.0.1. */
	rig.veth.ifindex = if_nametoindex("a0");
	veth_remove(veth, HERE);
	assert_int_equal(veth_add(veth, &rig.veth, &here, &hook, &err), 0);
	serve_here();
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_SYN);
		struct packet inner = packet_make(&s), p;

		p = wrap(f, f->other, f->container, &inner);
		put_peers(MSG_WAY_SEALED | MSG_WAY_PLAIN);
		comes_plain(&p, IN_DROP(UNSEALED));
		put_peers(MSG_WAY_PLAIN | MSG_WAY_TRUSTED);
		comes_plain(&p, IN_LOCAL);
	}
}

/* ---- ways that change ---- */

/* 0: the relay's. */
static bool
is_sent(uint16_t port, uint8_t flags)
{
	struct packet_spec s = from_client(families, IPPROTO_TCP, flags);
	struct packet p, out;

	s.from_port = port;
	p = packet_make(&s);
	return run_edge(&p, &out) == XDP_REDIRECT;
}

/* Connections stay with the relay that has them, or with the kernel. */
static void
test_the_way_changes(void **state)
{
	(void)state;
	reach(SERVICES_BY_RELAY);
	update();
	settle();
	assert_false(is_sent(1, PACKET_SYN));
	reach(SERVICES_BY_KERNEL);
	update();
	assert_false(is_sent(1, PACKET_ACK));
	assert_true(is_sent(2, PACKET_SYN));
	assert_true(is_sent(2, PACKET_ACK));
	/* Nobody knows just now. */
	reach(SERVICES_AS_BEFORE);
	update();
	assert_false(is_sent(1, PACKET_ACK));
	assert_true(is_sent(2, PACKET_ACK));
	assert_true(is_sent(3, PACKET_SYN));
	settle();
	assert_true(is_sent(1, PACKET_ACK));
	assert_true(is_sent(4, PACKET_SYN));
	reach(SERVICES_BY_RELAY);
	update();
	assert_false(is_sent(5, PACKET_SYN));
	assert_true(is_sent(4, PACKET_ACK));
	settle();
	assert_false(is_sent(4, PACKET_ACK));
}

/* Its node does not answer just now: others are asked, and its connections stay. */
static void
test_a_node_is_doubted(void **state)
{
	unsigned there = 0;

	(void)state;
	rig.has_here = true;
	update();
	settle();
	for (uint16_t port = 1; port <= 40; port++) {
		struct packet_spec s = from_client(families, IPPROTO_TCP, PACKET_ACK);
		struct packet p, out;

		s.from_port = port;
		p = packet_make(&s);
		rig.backends[1].state = MSG_BACKEND_ACTIVE;
		update();
		assert_int_equal(run_edge(&p, &out), XDP_REDIRECT);
		bool away = memcmp(out.bytes, rig_mac, 6) != 0;
		there += away;
		rig.backends[1].state = MSG_BACKEND_DOUBTED;
		update();
		assert_int_equal(run_edge(&p, &out), XDP_REDIRECT);
		assert_int_equal(memcmp(out.bytes, rig_mac, 6) != 0, away);
		s.from_port = (uint16_t)(1000 + port);
		s.flags = PACKET_SYN;
		p = packet_make(&s);
		assert_int_equal(run_edge(&p, &out), XDP_REDIRECT);
		assert_memory_equal(out.bytes, rig_mac, 6);
	}
	assert_in_range(there, 5, 35);
	/* There is no other one. */
	rig.has_here = false;
	update();
	settle();
	assert_true(is_sent(9, PACKET_SYN));
}

/* A replica that drains is held by both nodes' counts. */
struct busy {
	bool busy[64];
};

static void
see_drain(void *arg, uint64_t replica, bool busy)
{
	((struct busy *)arg)->busy[replica] |= busy;
}

static void
test_draining(void **state)
{
	struct packet_spec s = from_client(families, IPPROTO_TCP, PACKET_ACK);
	struct busy now = {0};

	(void)state;
	rig.has_here = true;
	update();
	settle();
	rig.backends[0].state = rig.backends[1].state = MSG_BACKEND_DRAINING;
	update();
	rig.now_ms += 2 * PLACES_IDLE_MS;
	services_tick(rig.services, rig.now_ms);
	services_drains(rig.services, see_drain, &now);
	assert_false(now.busy[HERE] || now.busy[THERE]);
	check_in(families, &s);
	for (uint16_t port = 1; port <= 40; port++) {
		struct packet p, out;

		s.from_port = port;
		p = packet_make(&s);
		assert_int_equal(run_edge(&p, &out), XDP_REDIRECT);
	}
	services_tick(rig.services, rig.now_ms);
	services_drains(rig.services, see_drain, &now);
	assert_true(now.busy[HERE] && now.busy[THERE]);
}

static void
test_successor(void **state)
{
	(void)state;
	update();
	settle();
	assert_true(is_sent(1, PACKET_ACK));
	across_free(rig.across);
	services_free(rig.services);
	lb_close(rig.lb);
	tunnel_free(tunnel);
	identities_free(ids);
	veth_close(veth);
	open_rig();
	ids = identities_new(veth);
	assert_non_null(ids);
	assert_true(is_sent(1, PACKET_ACK));
	reach(SERVICES_AS_BEFORE);
	update();
	assert_true(is_sent(1, PACKET_ACK));
	EACH(f)
	{
		struct packet_spec s = from_client(f, IPPROTO_TCP, PACKET_ACK);

		check_out(f, &s, f->replica);
	}
}

static void
test_instruction_budget(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ACROSS_PROGRAMS; i++)
		bpf_world_check_budget(across_program(rig.across, (enum across_program)i),
				       INSTRUCTIONS_MAX);
}

static int
prepare(void **state)
{
	(void)state;
	if (bpf_world_enter(RIG_LINKS) != 0)
		return -1;
	tun = bpf_world_tun("sealed");
	return tun < 0 ? -1 : 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_out),
		TEST(test_out_came_by_another_node),
		TEST(test_out_begun_at_another_node),
		TEST(test_out_asks_one_after_the_other),
		TEST(test_out_by_the_plain_way),
		TEST(test_out_is_not_ours),
		TEST(test_out_sizes),
		TEST(test_out_segments),
		TEST(test_out_errors),
		TEST(test_in),
		TEST(test_in_refuses),
		TEST(test_in_cut_and_random),
		TEST(test_in_fragments),
		TEST(test_in_errors),
		TEST(test_back),
		TEST(test_back_after_a_late_packet),
		TEST(test_back_follows_the_flow),
		TEST(test_back_when_ports_are_used_again),
		TEST(test_back_sizes),
		TEST(test_back_fragments_and_errors),
		TEST(test_back_without_own_clients),
		TEST(test_back_and_strangers),
		TEST(test_ports_that_are_taken),
		TEST(test_to_client),
		TEST(test_to_client_errors_and_fragments),
		TEST(test_to_client_fragments_of_many),
		TEST(test_to_client_without_uplink),
		TEST(test_who_may),
		TEST(test_plain_is_judged),
		TEST(test_the_way_changes),
		TEST(test_a_node_is_doubted),
		TEST(test_draining),
		TEST(test_successor),
		TEST(test_instruction_budget),
	};
	return bpf_world_allowed() ? cmocka_run_group_tests(tests, prepare, bpf_world_leave) : 0;
}
