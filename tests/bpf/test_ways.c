/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which way a packet goes, and whether it may (docs/decisions/016), for both families: out of a
 * container, in over a real VXLAN device and in over a real TUN device, which stands for the sealed
 * one. The peer 10.200.8.0/24 is a member of the cluster, 10.200.9.0/24 was written by hand.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "dataplane/identities.h"
#include "dataplane/telling.h"
#include "tests/bpf/tunnel_rig.h"
#include "tests/support/sweep.h"

enum { INSTRUCTIONS_MAX = 12000, MEMBER = 11, BY_HAND = 12, HERE = 1, THERE = 2, BESIDE = 3 };

enum {
	SEALED = TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_SEALED),
	LOCAL = TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_LOCAL),
	OUT_ISOLATED = TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_ISOLATED),
	OUT_UNKNOWN = TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_UNKNOWN),
	OUT_DESTINATION = TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_DESTINATION),
	OUT_NO_WAY = TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_NO_WAY),
	STACK_NO_WAY = TC_COUNT_DROP(MSG_FLOW_FABRIC, FLOW_NO_WAY),
	IN_ISOLATED = TC_COUNT_DROP(MSG_FLOW_VXLAN, FLOW_ISOLATED),
	IN_UNSEALED = TC_COUNT_DROP(MSG_FLOW_VXLAN, FLOW_UNSEALED),
	IN_UNKNOWN = TC_COUNT_DROP(MSG_FLOW_VXLAN, FLOW_UNKNOWN),
	TUN_DELIVERED = TC_COUNT_WAY(MSG_FLOW_TUNNEL, MSG_FLOW_LOCAL),
	TUN_STACK = TC_COUNT_WAY(MSG_FLOW_TUNNEL, MSG_FLOW_STACK),
	TUN_SOURCE = TC_COUNT_DROP(MSG_FLOW_TUNNEL, FLOW_SOURCE),
	TUN_SHORT = TC_COUNT_DROP(MSG_FLOW_TUNNEL, FLOW_SHORT),
	TUN_DESTINATION = TC_COUNT_DROP(MSG_FLOW_TUNNEL, FLOW_DESTINATION),
	TUN_ISOLATED = TC_COUNT_DROP(MSG_FLOW_TUNNEL, FLOW_ISOLATED),
	TUN_UNKNOWN = TC_COUNT_DROP(MSG_FLOW_TUNNEL, FLOW_UNKNOWN),
	TUN_TUNNEL = TC_COUNT_DROP(MSG_FLOW_TUNNEL, FLOW_TUNNEL),
};

/* Overlays. */
enum {
	DEFAULT = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_SEALED |
		  MSG_IDENTITY_SERVICE_ISOLATED | MSG_IDENTITY_GLOBAL_ON |
		  MSG_IDENTITY_GLOBAL_SEALED,
	OPENLY = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_GLOBAL_ON, /* encrypted: false */
	ALONE = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_SEALED |
		MSG_IDENTITY_SERVICE_ISOLATED,
};

enum { BOTH = MSG_WAY_PLAIN | MSG_WAY_SEALED };

static struct identities *ids;
static int tun = -1;

/* ---- what the programs know ---- */

static void
put_ways(uint32_t ways)
{
	struct msg_peer member = peer(MEMBER, "127.0.0.1", "10.200.8.0/24", "fd00:8::/64");
	struct msg_peer by_hand = peer(BY_HAND, "127.0.0.3", "10.200.9.0/24", "fd00:9::/64");
	const struct tunnel_row rows[] = {{.peer = &member, .member = true}, {.peer = &by_hand}};
	struct err err = {0};

	member.ways = ways;
	assert_int_equal(tunnel_peers(tunnel, rows, 2, &err), 0);
}

static void
put_devices(bool plain, bool sealed)
{
	struct msg_underlay u = {.vni = VNI, .ifindex = plain ? if_nametoindex("vxlan") : 0};
	struct msg_tunnel t = {.state = sealed ? MSG_TUNNEL_UP : MSG_TUNNEL_FAILED,
			       .ifindex = if_nametoindex("sealed")};
	struct msg_prefix p = {.mtu = 1420};
	const struct tunnel_devices devices = {.underlay = &u, .tunnel = &t, .prefix = &p};
	struct err err = {0};

	assert_true(addr_parse_prefix("10.200.7.0/24", &p.v4));
	assert_true(addr_parse_prefix("fd00:7::/64", &p.v6));
	assert_true(addr_parse_ip("10.200.7.1", &p.service4));
	assert_true(addr_parse_ip("fd00:7::1", &p.service6));
	if (tunnel_devices(tunnel, &devices, &err) < 0)
		err_print(&err, "test", stderr);
	assert_int_equal(err.kind, ERR_NONE);
}

static void
put_identity(uint64_t replica, uint64_t deployment, uint64_t service, uint32_t flags,
	     const char *v4, const char *v6)
{
	struct msg_identity row = {
		.deployment = deployment, .service = service, .node = 5, .flags = flags};
	struct err err = {0};

	if (v4)
		assert_true(addr_parse_ip(v4, &row.addr4));
	if (v6)
		assert_true(addr_parse_ip(v6, &row.addr6));
	assert_int_equal(identities_change(ids, replica, &row, &err), 0);
}

/* The own container is of deployment 1, service 10. */
static void
put_here(uint32_t flags)
{
	put_identity(HERE, 1, 10, flags, NULL, NULL);
}

static void
put_there(uint64_t deployment, uint64_t service, uint32_t flags)
{
	put_identity(THERE, deployment, service, flags, "10.200.8.5", "fd00:8::5");
}

static void
settle(bool whole)
{
	struct err err = {0};

	assert_int_equal(identities_settle(ids, whole, &err), 0);
}

static void
begin(uint32_t link)
{
	open_as(link, NULL);
	ids = identities_new(veth);
	assert_non_null(ids);
	identities_begin(ids, 1);
	settle(true);
	put_devices(true, true);
	put_ways(BOTH);
}

static void
end(void)
{
	put_devices(false, false);
	settle(true); /* nothing is known */
	identities_free(ids);
	close_all();
}

/* ---- out of a container ---- */

static void
goes(const char *to4, const char *to6, int verdict, int counter)
{
	expect(veth_program(veth), "10.200.7.2", to4, 0, verdict, counter);
	expect(veth_program(veth), "fd00:7::2", to6, 0, verdict, counter);
}

static void
goes_there(int verdict, int counter)
{
	goes("10.200.8.5", "fd00:8::5", verdict, counter);
}

static void
test_way_by_both_ends(void **state)
{
	(void)state;
	begin(LOOPBACK);
	put_here(DEFAULT);
	put_there(1, 10, DEFAULT);
	goes_there(TC_ACT_REDIRECT, SEALED);
	put_here(OPENLY);
	goes_there(TC_ACT_REDIRECT, SEALED);
	put_there(1, 10, OPENLY);
	goes_there(TC_ACT_REDIRECT, SENT);
	put_there(2, 20, OPENLY);
	goes_there(TC_ACT_REDIRECT, SENT);
	put_there(2, 20, OPENLY | MSG_IDENTITY_GLOBAL_ISOLATED);
	goes_there(TC_ACT_SHOT, OUT_ISOLATED);
	put_there(1, 11, ALONE);
	put_here(ALONE);
	goes_there(TC_ACT_SHOT, OUT_ISOLATED);
	put_there(1, 10, ALONE);
	goes_there(TC_ACT_REDIRECT, SEALED);
	end();
}

static void
test_way_by_peer(void **state)
{
	(void)state;
	begin(LOOPBACK);
	put_here(DEFAULT);
	put_there(1, 10, DEFAULT);
	/* Never plain for want of the other one. */
	put_ways(MSG_WAY_PLAIN);
	goes_there(TC_ACT_SHOT, OUT_NO_WAY);
	put_ways(MSG_WAY_PLAIN | MSG_WAY_TRUSTED);
	goes_there(TC_ACT_REDIRECT, SENT);
	put_ways(MSG_WAY_SEALED | MSG_WAY_TRUSTED);
	goes_there(TC_ACT_REDIRECT, SEALED);
	put_ways(0);
	goes_there(TC_ACT_SHOT, OUT_NO_WAY);
	put_ways(BOTH);
	put_devices(true, false);
	goes_there(TC_ACT_SHOT, OUT_NO_WAY);
	/* What may go plain goes sealed rather than not at all. */
	put_devices(false, true);
	put_here(OPENLY);
	put_there(1, 10, OPENLY);
	goes_there(TC_ACT_REDIRECT, SEALED);
	/* The stack has no way either, but to the world. */
	put_devices(false, false);
	goes_there(TC_ACT_SHOT, OUT_NO_WAY);
	put_devices(true, true);
	goes_there(TC_ACT_REDIRECT, SENT);
	/* Their proxies and name server are nobody's. */
	goes("10.200.8.1", "fd00:8::1", TC_ACT_REDIRECT, SEALED);
	put_here(ALONE);
	goes("10.200.8.1", "fd00:8::1", TC_ACT_REDIRECT, SEALED);
	/* By hand: no identities, no keys. */
	goes("10.200.9.5", "fd00:9::5", TC_ACT_REDIRECT, SENT);
	end();
}

/* To many that are nobody's: what the programs knew before they know after. */
static void
flood(void)
{
	struct packet_spec spec = {.from = "fd00:7::2", .protocol = IPPROTO_UDP, .payload = 20};
	char to[64];

	for (unsigned i = 0; i < 3 * 4096; i++) {
		text_format(to, sizeof(to), "fd00:8::%x:%x", i >> 8 | 1, i & 0xff);
		spec.to = to;
		const struct packet p = packet_make(&spec);
		assert_int_equal(run(veth_program(veth), &p, 0), TC_ACT_SHOT);
	}
}

static void
test_who_is_not_known(void **state)
{
	struct err err = {0};

	(void)state;
	begin(LOOPBACK);
	/* The container itself: neither to nodes nor to the world. */
	put_there(1, 10, OPENLY);
	goes_there(TC_ACT_SHOT, OUT_UNKNOWN);
	goes("10.200.8.1", "fd00:8::1", TC_ACT_SHOT, OUT_UNKNOWN);
	goes("10.200.9.5", "fd00:9::5", TC_ACT_SHOT, OUT_UNKNOWN);
	goes("10.200.7.1", "fd00:7::1", TC_ACT_SHOT, OUT_UNKNOWN);
	goes("192.0.2.1", "2001:db8::1", TC_ACT_SHOT, OUT_UNKNOWN);
	put_here(OPENLY);
	goes_there(TC_ACT_REDIRECT, SENT);
	/* The other one: not yet, or not any more. */
	assert_int_equal(identities_change(ids, THERE, NULL, &err), 0);
	goes_there(TC_ACT_SHOT, OUT_UNKNOWN);
	settle(false);
	goes_there(TC_ACT_SHOT, OUT_UNKNOWN);
	flood();
	goes_there(TC_ACT_SHOT, OUT_UNKNOWN);
	/* It has come round. */
	put_there(1, 10, OPENLY);
	goes_there(TC_ACT_REDIRECT, SENT);
	flood();
	goes_there(TC_ACT_REDIRECT, SENT);
	/* Peers by hand have no identities. */
	goes("10.200.9.5", "fd00:9::5", TC_ACT_REDIRECT, SENT);
	end();
}

/* Nobody has said who is of the cluster: nobody's containers are taken for those of a peer by hand,
 * who are not judged. */
static void
test_members_are_not_said(void **state)
{
	struct msg_peer member = peer(MEMBER, "127.0.0.1", "10.200.8.0/24", "fd00:8::/64");
	const struct tunnel_row untold = {.peer = &member, .member_as_before = true};
	const struct tunnel_row by_hand = {.peer = &member};
	struct err err = {0};

	(void)state;
	begin(LOOPBACK);
	put_here(OPENLY);
	assert_int_equal(tunnel_peers(tunnel, NULL, 0, &err), 0);
	assert_int_equal(tunnel_peers(tunnel, &untold, 1, &err), 0);
	goes_there(TC_ACT_SHOT, OUT_UNKNOWN);
	assert_int_equal(tunnel_peers(tunnel, &by_hand, 1, &err), 0);
	goes_there(TC_ACT_REDIRECT, SENT);
	assert_int_equal(tunnel_peers(tunnel, &untold, 1, &err), 0);
	goes_there(TC_ACT_REDIRECT, SENT);
	end();
}

/* Of this node's prefix, and no container's that is judged: the stack would find its device. */
static void
test_nobody_here(void **state)
{
	const struct msg_prefix none = {.mtu = 1420};
	struct err err = {0};

	(void)state;
	begin(LOOPBACK);
	put_here(DEFAULT);
	/* Nobody's device: the stack has no way, and says so. */
	goes("10.200.7.9", "fd00:7::9", TC_ACT_OK, LEFT);
	/* Of this device alone: routers say of themselves on all their links that they are. */
	assert_int_equal(system("echo 1 > /proc/sys/net/ipv4/conf/lo/forwarding && "
				"echo 1 > /proc/sys/net/ipv6/conf/lo/forwarding && "
				"ip route add 10.200.7.9 dev a0 && ip route add fd00:7::9 dev a0"),
			 0);
	goes("10.200.7.9", "fd00:7::9", TC_ACT_SHOT, OUT_DESTINATION);
	goes("10.200.7.8", "fd00:7::8", TC_ACT_OK, LEFT);
	/* The node itself, and the world. */
	assert_int_equal(system("ip route add default dev a0 && ip -6 route add default dev a0"),
			 0);
	goes("10.200.7.1", "fd00:7::1", TC_ACT_OK, LEFT);
	goes("10.200.10.5", "fd00:10::5", TC_ACT_OK, LEFT);
	/* By the world's way nothing of this node's leaves. */
	goes("10.200.7.8", "fd00:7::8", TC_ACT_SHOT, OUT_DESTINATION);
	assert_int_equal(tunnel_prefix(tunnel, &none, &err), 0);
	goes("10.200.7.8", "fd00:7::8", TC_ACT_OK, LEFT);
	assert_int_equal(system("ip route flush dev a0 && ip -6 route flush dev a0 && "
				"echo 0 > /proc/sys/net/ipv4/conf/lo/forwarding && "
				"echo 0 > /proc/sys/net/ipv6/conf/lo/forwarding"),
			 0);
	end();
}

/* Two containers of this node. */
static void
test_same_node(void **state)
{
	struct msg_veth other = {.replica = BESIDE, .ifindex = if_nametoindex("a0")};
	struct tc_identity before = {0};
	struct err err = {0};
	enum msg_hook hook;

	(void)state;
	begin(LOOPBACK);
	assert_true(addr_parse_ip("10.200.7.3", &other.addr4));
	assert_true(addr_parse_ip("fd00:7::3", &other.addr6));
	assert_int_equal(veth_add(veth, &other, &before, &hook, &err), 0);
	goes("10.200.7.3", "fd00:7::3", TC_ACT_SHOT, OUT_UNKNOWN);
	put_here(ALONE);
	goes("10.200.7.3", "fd00:7::3", TC_ACT_SHOT, OUT_UNKNOWN);
	settle(false);
	goes("10.200.7.3", "fd00:7::3", TC_ACT_SHOT, OUT_UNKNOWN);
	settle(true);
	put_identity(BESIDE, 1, 11, ALONE, "10.200.7.3", "fd00:7::3");
	goes("10.200.7.3", "fd00:7::3", TC_ACT_SHOT, OUT_ISOLATED);
	put_identity(BESIDE, 1, 10, ALONE, "10.200.7.3", "fd00:7::3");
	goes("10.200.7.3", "fd00:7::3", TC_ACT_REDIRECT, LOCAL);
	/* Encryption is between nodes. */
	put_identity(BESIDE, 1, 10, OPENLY, "10.200.7.3", "fd00:7::3");
	goes("10.200.7.3", "fd00:7::3", TC_ACT_REDIRECT, LOCAL);
	/* It drains: its row is gone, its device is not. */
	put_identity(BESIDE, 2, 11, ALONE, "10.200.7.3", "fd00:7::3");
	assert_int_equal(identities_change(ids, BESIDE, NULL, &err), 0);
	goes("10.200.7.3", "fd00:7::3", TC_ACT_SHOT, OUT_ISOLATED);
	veth_remove(veth, BESIDE);
	end();
}

/* The stack's routes send what must be sealed to the other device; what comes here all the same is
 * not let out. */
static void
test_stack(void **state)
{
	(void)state;
	begin(LOOPBACK);
	expect(tunnel_program_out(tunnel), "10.200.7.1", "10.200.8.5", 0, TC_ACT_SHOT,
	       STACK_NO_WAY);
	expect(tunnel_program_out(tunnel), "fd00:7::1", "fd00:8::5", 0, TC_ACT_SHOT, STACK_NO_WAY);
	put_ways(BOTH | MSG_WAY_TRUSTED);
	expect(tunnel_program_out(tunnel), "10.200.7.1", "10.200.8.5", 0, TC_ACT_OK, SENT_STACK);
	end();
}

/* ---- in, plain ---- */

static void
comes_plain(const char *from4, const char *from6, int counter)
{
	comes("127.0.0.1", VNI, from4, "10.200.7.2", 100, counter);
	comes("127.0.0.1", VNI, from6, "fd00:7::2", 100, counter);
}

static void
test_in_plain(void **state)
{
	(void)state;
	begin(if_nametoindex("a0"));
	put_there(1, 10, DEFAULT);
	comes_plain("10.200.8.5", "fd00:8::5", IN_UNKNOWN);
	comes("127.0.0.3", VNI, "10.200.9.5", "10.200.7.2", 100, IN_UNKNOWN);
	put_here(DEFAULT);
	comes_plain("10.200.8.5", "fd00:8::5", IN_UNSEALED);
	put_here(OPENLY);
	comes_plain("10.200.8.5", "fd00:8::5", IN_UNSEALED);
	put_there(1, 10, OPENLY);
	comes_plain("10.200.8.5", "fd00:8::5", DELIVERED);
	put_there(1, 11, ALONE);
	put_here(ALONE);
	comes_plain("10.200.8.5", "fd00:8::5", IN_ISOLATED);
	/* Of nobody that is known. */
	put_here(OPENLY);
	comes_plain("10.200.8.6", "fd00:8::6", IN_UNKNOWN);
	settle(false);
	comes_plain("10.200.8.6", "fd00:8::6", IN_UNKNOWN);
	settle(true);
	/* The other node itself, and to this one. */
	comes_plain("10.200.8.1", "fd00:8::1", IN_UNSEALED);
	comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.1", 100, IN_UNSEALED);
	comes("127.0.0.1", VNI, "fd00:8::5", "fd00:7::1", 100, IN_UNSEALED);
	put_ways(BOTH | MSG_WAY_TRUSTED);
	comes_plain("10.200.8.1", "fd00:8::1", DELIVERED);
	comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.1", 100, PASSED);
	/* Isolation holds between those who trust each other. */
	put_here(ALONE);
	comes_plain("10.200.8.5", "fd00:8::5", IN_ISOLATED);
	comes("127.0.0.3", VNI, "10.200.9.5", "10.200.7.2", 100, DELIVERED);
	end();
}

/* ---- in, sealed ---- */

/* What another node's container sent, as the device of sealed traffic gives it. */
static void
give(const struct packet *p)
{
	assert_int_equal(write(tun, p->bytes + 14, p->length - 14), p->length - 14);
}

static void
comes_sealed(const char *from, const char *to, uint16_t payload, int counter)
{
	uint64_t before[TC_COUNTS], after[TC_COUNTS];
	struct packet p = make(from, to, payload);

	counts(before);
	give(&p);
	expect_count(counter, before[counter] + 1);
	counts(after);
	for (int i = 0; i < TC_COUNTS; i++)
		assert_int_equal(after[i], before[i] + (i == counter));
}

static void
test_in_sealed(void **state)
{
	(void)state;
	begin(if_nametoindex("a0"));
	put_here(DEFAULT);
	put_there(1, 10, DEFAULT);
	comes_sealed("10.200.8.5", "10.200.7.2", 100, TUN_DELIVERED);
	comes_sealed("fd00:8::5", "fd00:7::2", 100, TUN_DELIVERED);
	/* Sealed is never worse than plain. */
	put_here(OPENLY);
	put_there(1, 10, OPENLY);
	comes_sealed("10.200.8.5", "10.200.7.2", 100, TUN_DELIVERED);
	put_there(1, 11, ALONE);
	put_here(ALONE);
	comes_sealed("10.200.8.5", "10.200.7.2", 100, TUN_ISOLATED);
	comes_sealed("fd00:8::5", "fd00:7::2", 100, TUN_ISOLATED);
	/* The other node itself, and to this one. */
	comes_sealed("10.200.8.1", "10.200.7.2", 100, TUN_DELIVERED);
	comes_sealed("fd00:8::1", "fd00:7::2", 100, TUN_DELIVERED);
	comes_sealed("10.200.8.5", "10.200.7.1", 100, TUN_STACK);
	comes_sealed("fd00:8::5", "fd00:7::1", 100, TUN_STACK);
	/* Sources of this node, of no peer; for nobody. */
	comes_sealed("10.200.7.3", "10.200.7.2", 100, TUN_SOURCE);
	comes_sealed("fd00:7::3", "fd00:7::2", 100, TUN_SOURCE);
	comes_sealed("192.0.2.1", "10.200.7.2", 100, TUN_SOURCE);
	comes_sealed("10.200.8.5", "10.200.7.9", 100, TUN_DESTINATION);
	comes_sealed("fd00:8::5", "fd00:7::9", 100, TUN_DESTINATION);
	/* Not known. */
	comes_sealed("10.200.8.6", "10.200.7.2", 100, TUN_UNKNOWN);
	comes_sealed("fd00:8::6", "fd00:7::2", 100, TUN_UNKNOWN);
	/* Too large for the container's link: the stack says so. */
	comes_sealed("10.200.8.6", "10.200.7.1", 1450 - 28, TUN_STACK);
	put_there(1, 10, ALONE);
	comes_sealed("10.200.8.5", "10.200.7.2", 1420 - 28, TUN_DELIVERED);
	comes_sealed("10.200.8.5", "10.200.7.2", 1450 - 28, TUN_STACK);
	end();
}

/* A link whose other end is in a namespace of its own, as a container's is: the kernel redirects
 * into another one only. Gives the namespace; the link goes with it. */
static int
make_container(void)
{
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), ns;
	char command[160];

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(home >= 0 && ns >= 0);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	text_format(command, sizeof(command),
		    "ip link add c0 type veth peer name c1 && ip link set c1 netns /proc/%d/fd/%d "
		    "&& ip link set c0 up",
		    getpid(), ns);
	assert_int_equal(system(command), 0);
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
	assert_int_equal(system("ip link set c1 up"), 0);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	close(home);
	return ns;
}

/* Descriptor of what comes out of c1. */
static int
listen_in(int ns)
{
	const struct timeval patience = {.tv_sec = 20};
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), sock;

	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
	sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	at.sll_ifindex = (int)if_nametoindex("c1");
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	close(home);
	assert_true(sock >= 0);
	assert_int_equal(bind(sock, (void *)&at, sizeof(at)), 0);
	assert_int_equal(setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return sock;
}

/* It comes out of the container's end of the link as an Ethernet frame to its own address. */
static void
test_frame_in_container(void **state)
{
	struct packet p = make("10.200.8.5", "10.200.7.2", 333);
	uint8_t frame[2048];
	ssize_t n = 0;

	(void)state;
	int ns = make_container();
	begin(if_nametoindex("c0"));
	put_here(DEFAULT);
	put_there(1, 10, DEFAULT);
	int sock = listen_in(ns);
	give(&p);
	while (n != (ssize_t)p.length || memcmp(frame + 12, p.bytes + 12, 2) != 0) {
		n = recv(sock, frame, sizeof(frame), 0);
		assert_true(n > 0);
	}
	assert_memory_equal(frame, rig_mac, sizeof(rig_mac));
	assert_memory_equal(frame + 12, p.bytes + 12, p.length - 12);
	close(sock);
	end();
	close(ns);
}

/* A program that stands on another device than the one that is named, as between two devices. */
static void
test_another_device(void **state)
{
	struct packet cut = make("10.200.8.5", "10.200.7.2", 100);
	uint64_t before[TC_COUNTS];
	uint32_t zero = 0;
	struct tc_overlay_self self;
	int fd;

	(void)state;
	begin(if_nametoindex("a0"));
	fd = libbpf.bpf_map__fd(veth_loaded(veth)->maps.overlay_self);
	assert_int_equal(libbpf.bpf_map_lookup_elem(fd, &zero, &self), 0);
	assert_int_equal(self.tunnel, if_nametoindex("sealed"));
	cut.length = 14 + 19;
	counts(before);
	assert_int_equal(write(tun, cut.bytes + 14, 19), 19);
	expect_count(TUN_SHORT, before[TUN_SHORT] + 1);
	self.tunnel++;
	assert_int_equal(libbpf.bpf_map_update_elem(fd, &zero, &self, BPF_ANY), 0);
	comes_sealed("10.200.8.5", "10.200.7.2", 100, TUN_TUNNEL);
	end();
	assert_int_equal(access("1/tunnel-in", F_OK), -1);
}

/* The process dies: packets are judged on, and its successor knows what it knew until it is told
 * otherwise. */
static void
test_successor(void **state)
{
	(void)state;
	begin(LOOPBACK);
	put_here(ALONE);
	put_there(1, 11, ALONE);
	put_identity(BESIDE, 1, 10, ALONE, "10.200.8.7", "fd00:8::7");
	goes_there(TC_ACT_SHOT, OUT_ISOLATED);
	identities_free(ids);
	tunnel_free(tunnel);
	veth_close(veth);
	open_as(LOOPBACK, NULL);
	ids = identities_new(veth);
	assert_non_null(ids);
	goes_there(TC_ACT_SHOT, OUT_ISOLATED);
	goes("10.200.8.7", "fd00:8::7", TC_ACT_REDIRECT, SEALED);
	put_devices(true, true);
	/* Not whole: what is not said may yet be. */
	identities_begin(ids, 7);
	settle(false);
	goes_there(TC_ACT_SHOT, OUT_ISOLATED);
	put_here(ALONE);
	put_there(1, 10, ALONE);
	settle(true);
	goes_there(TC_ACT_REDIRECT, SEALED);
	goes("10.200.8.7", "fd00:8::7", TC_ACT_SHOT, OUT_UNKNOWN);
	/* Another scheduler says it all again, but for one. */
	identities_begin(ids, 8);
	put_here(ALONE);
	settle(false);
	goes_there(TC_ACT_REDIRECT, SEALED);
	settle(true);
	goes_there(TC_ACT_SHOT, OUT_UNKNOWN);
	end();
}

/* Maps of a program of another number go when all devices have ours; those of the balancer, whose
 * pins are in the same folder, stay. */
static void
test_older_pins(void **state)
{
	static const char *const names[] = {"local4", "overlay_counts", "tc5-seen", "edge1-vips4",
					    "tc7-seen"};

	(void)state;
	begin(LOOPBACK);
	for (int i = 0; i < 4; i++) {
		char path[64];

		text_format(path, sizeof(path), "1/%s", names[i]);
		assert_int_equal(
			libbpf.bpf_obj_pin(libbpf.bpf_map__fd(veth_loaded(veth)->maps.seen), path),
			0);
	}
	veth_forget_others(veth);
	for (int i = 0; i < 5; i++) {
		char path[64];

		text_format(path, sizeof(path), "1/%s", names[i]);
		assert_int_equal(access(path, F_OK), i < 3 ? -1 : 0);
	}
	assert_int_equal(unlink("1/edge1-vips4"), 0);
	end();
}

/* Rows are another process's. */
static void
test_rows_that_lie(void **state)
{
	struct msg_identity row = {.deployment = 1, .service = 10, .flags = DEFAULT};
	struct err err = {0};

	(void)state;
	begin(LOOPBACK);
	assert_true(addr_parse_ip("10.200.8.5", &row.addr4));
	assert_true(addr_parse_ip("fd00:8::5", &row.addr6));
	for (int i = 0; i < 5; i++) {
		struct msg_identity lie = row;

		err_clear(&err);
		lie.deployment = i == 0 ? 0 : 1;
		lie.service = i == 1 ? 0 : 10;
		lie.flags |= i == 2 ? TC_IDENTITY_KNOWN : 0;
		if (i == 3)
			lie.addr4 = row.addr6;
		if (i == 4)
			lie.addr6 = row.addr4;
		assert_int_equal(identities_change(ids, THERE, &lie, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
		assert_null(identities_get(ids, THERE));
	}
	err_clear(&err);
	assert_int_equal(identities_change(ids, THERE, &row, &err), 0);
	assert_int_equal(identities_get(ids, THERE)->service, 10);
	/* An address goes over before the one that had it is gone. */
	assert_int_equal(identities_change(ids, BESIDE, &row, &err), 0);
	assert_int_equal(identities_change(ids, THERE, NULL, &err), 0);
	put_here(OPENLY);
	row.flags = OPENLY;
	assert_int_equal(identities_change(ids, BESIDE, &row, &err), 0);
	goes_there(TC_ACT_REDIRECT, SENT);
	end();
}

/* Said, and nothing is half there: what was known before holds. */
static void
test_no_memory(void **state)
{
	struct msg_identity row = {.deployment = 2, .service = 10, .flags = DEFAULT};
	struct msg_peer p = peer(MEMBER, "127.0.0.1", "10.200.8.0/24", "fd00:8::/64");
	const struct tunnel_row peers = {.peer = &p, .member = true};

	(void)state;
	begin(LOOPBACK);
	put_here(DEFAULT);
	put_there(1, 10, DEFAULT);
	p.ways = BOTH;
	assert_true(addr_parse_ip("10.200.8.7", &row.addr4));
	assert_true(addr_parse_ip("fd00:8::7", &row.addr6));
	sweep_each(s)
	{
		struct identities *other = identities_new(veth);
		struct err err = {0};
		int rc = other ? identities_change(other, BESIDE, &row, &err) : -1;

		if (rc == 0)
			rc = identities_settle(other, true, &err);
		assert_int_equal(rc < 0, sweep_failed());
		identities_free(other);
	}
	sweep_each(s)
	{
		struct tunnel *other = tunnel_new(veth);
		struct err err = {0};
		int rc = other ? tunnel_peers(other, &peers, 1, &err) : -1;

		assert_int_equal(rc < 0, sweep_failed());
		tunnel_free(other);
	}
	sweep_each(s)
	{
		struct telling *telling = NULL;
		struct err err = {0};
		int rc = telling_open(veth, &telling, &err);

		assert_int_equal(rc < 0, sweep_failed());
		telling_free(telling);
	}
	put_there(1, 10, DEFAULT);
	goes_there(TC_ACT_REDIRECT, SEALED);
	end();
}

static void
test_instruction_budget(void **state)
{
	const struct tc_veth *loaded;

	(void)state;
	begin(LOOPBACK);
	loaded = veth_loaded(veth);
	bpf_world_check_budget(tunnel_program_sealed(tunnel), INSTRUCTIONS_MAX);
	bpf_world_check_budget(libbpf.bpf_program__fd(loaded->progs.tc_away), INSTRUCTIONS_MAX);
	end();
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_way_by_both_ends),
		cmocka_unit_test(test_way_by_peer),
		cmocka_unit_test(test_who_is_not_known),
		cmocka_unit_test(test_members_are_not_said),
		cmocka_unit_test(test_nobody_here),
		cmocka_unit_test(test_same_node),
		cmocka_unit_test(test_stack),
		cmocka_unit_test(test_in_plain),
		cmocka_unit_test(test_in_sealed),
		cmocka_unit_test(test_frame_in_container),
		cmocka_unit_test(test_another_device),
		cmocka_unit_test(test_successor),
		cmocka_unit_test(test_older_pins),
		cmocka_unit_test(test_rows_that_lie),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_instruction_budget),
	};
	return bpf_world_allowed() ? cmocka_run_group_tests(tests, prepare, bpf_world_leave) : 0;
}
