/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_BPF_TUNNEL_RIG_H
#define TESTS_BPF_TUNNEL_RIG_H

/*
 * What tests of the programs between nodes share: a container 10.200.7.2, fd00:7::2 and its
 * programs; packets run through them, or sent from sockets of the loopback device through a real
 * VXLAN device `vxlan`: 127.0.0.1 is the peer, all other addresses are strangers. Include cmocka.h
 * before.
 */

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include "base/text.h"
#include "dataplane/bpf/tc_event.h"
#include "dataplane/skel.h"
#include "dataplane/tunnel.h"
#include "ring/identity.h"
#include "tests/support/bpf_world.h"

#define RIG_LINKS                                                                          \
	"ip link add a0 type veth peer name b0 && "                                        \
	"ip link set a0 up && ip link set b0 up && ip link add vxlan type vxlan external " \
	"dstport 4789 && "                                                                 \
	"echo 1 > /proc/sys/net/ipv6/conf/vxlan/addr_gen_mode && ip link set vxlan up"

enum { LOOPBACK = 1, PORT = 4789, VNI = 7, MARK = 0x5a4c0001 };

/* What moves, of the programs' counters. */
enum {
	SENT = TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_PLAIN),
	LEFT = TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_STACK),
	DROP_FOREIGN = TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_SOURCE),
	DELIVERED = TC_COUNT_WAY(MSG_FLOW_VXLAN, MSG_FLOW_LOCAL),
	PASSED = TC_COUNT_WAY(MSG_FLOW_VXLAN, MSG_FLOW_STACK),
	DROP_TUNNEL = TC_COUNT_DROP(MSG_FLOW_VXLAN, FLOW_TUNNEL),
	DROP_PEER = TC_COUNT_DROP(MSG_FLOW_VXLAN, FLOW_PEER),
	DROP_SOURCE = TC_COUNT_DROP(MSG_FLOW_VXLAN, FLOW_SOURCE),
	DROP_DESTINATION = TC_COUNT_DROP(MSG_FLOW_VXLAN, FLOW_DESTINATION),
	SENT_STACK = TC_COUNT_WAY(MSG_FLOW_FABRIC, MSG_FLOW_PLAIN),
	DROP_NO_PEER = TC_COUNT_DROP(MSG_FLOW_FABRIC, FLOW_DESTINATION),
};

static const uint8_t rig_mac[6] = {2, 0, 0, 0, 0, 9}; /* of the container's end */

static struct veth *veth;
static struct tunnel *tunnel;

/* ---- what the programs know ---- */

static inline struct msg_peer
peer(uint64_t id, const char *address, const char *v4, const char *v6)
{
	struct msg_peer p = {.id = id, .ways = MSG_WAY_PLAIN | MSG_WAY_TRUSTED};

	text_format(p.name, sizeof(p.name), "peer-%u", (unsigned)id);
	assert_true(addr_parse_ip(address, &p.address));
	assert_true(addr_parse_prefix(v4, &p.v4));
	assert_true(addr_parse_prefix(v6, &p.v6));
	return p;
}

/* What is sent from sockets is received on the CPU that sends it. */
static inline void
stay_on_this_cpu(void)
{
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET((size_t)sched_getcpu(), &here);
	assert_int_equal(sched_setaffinity(0, sizeof(here), &here), 0);
}

/* link: of a container. LOOPBACK, where test runs come from, for what leaves it; another one for
 * what comes in by sockets, since a container's device takes nothing from 127.0.0.1. identity: what
 * it is; NULL: what a predecessor wrote, or nobody. */
static inline void
open_as(uint32_t link, const struct tc_identity *identity)
{
	struct msg_veth self = {.replica = 1, .ifindex = link};
	struct err err = {0};
	enum msg_hook hook;

	stay_on_this_cpu();
	memcpy(self.mac, rig_mac, sizeof(self.mac));
	if (veth_open(getuid(), &veth, &err) < 0)
		err_print(&err, "test", stderr);
	assert_non_null(veth);
	tunnel = tunnel_new(veth);
	assert_non_null(tunnel);
	assert_true(addr_parse_ip("10.200.7.2", &self.addr4));
	assert_true(addr_parse_ip("fd00:7::2", &self.addr6));
	if (veth_add(veth, &self, identity, &hook, &err) < 0)
		err_print(&err, "test", stderr);
	assert_int_equal(err.kind, ERR_NONE);
}

static inline void
open_all(uint32_t link)
{
	static const struct tc_identity usual = {
		.deployment = 1,
		.service = 10,
		.replica = 1,
		.flags = IDENTITY_USUAL | TC_IDENTITY_KNOWN,
	};

	open_as(link, &usual);
}

static inline void
close_all(void)
{
	tunnel_free(tunnel);
	veth_remove(veth, 1);
	veth_close(veth);
}

/* ---- running ---- */

static inline void
counts(uint64_t out[TC_COUNTS])
{
	struct err err = {0};

	assert_int_equal(veth_counts(veth, out, &err), 0);
}

static inline int
run(int program, const struct packet *in, uint32_t mark)
{
	static struct packet out;
	struct __sk_buff context = {.mark = mark};
	int verdict = bpf_world_run(program, in, &context, &out);

	assert_true(verdict >= 0);
	return verdict;
}

static inline struct packet
make(const char *from, const char *to, uint16_t payload)
{
	struct packet_spec spec = {.from = from,
				   .to = to,
				   .from_port = 4000,
				   .to_port = 7000,
				   .protocol = IPPROTO_UDP,
				   .payload = payload};

	return packet_make(&spec);
}

static inline void
expect(int program, const char *from, const char *to, uint32_t mark, int verdict, int counter)
{
	uint64_t before[TC_COUNTS], after[TC_COUNTS];
	struct packet p = make(from, to, 100);

	counts(before);
	assert_int_equal(run(program, &p, mark), verdict);
	counts(after);
	for (int i = 0; i < TC_COUNTS; i++)
		assert_int_equal(after[i], before[i] + (i == counter));
}

static inline void
send_vxlan(const char *outer, uint32_t vni, const struct packet *inner)
{
	struct sockaddr_in from = {.sin_family = AF_INET};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	uint8_t datagram[2200] = {8, 0, 0, 0};
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	datagram[4] = (uint8_t)(vni >> 16);
	datagram[5] = (uint8_t)(vni >> 8);
	datagram[6] = (uint8_t)vni;
	memcpy(datagram + 8, inner->bytes, inner->length);
	inet_pton(AF_INET, outer, &from.sin_addr);
	inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
	assert_int_equal(bind(sock, (void *)&from, sizeof(from)), 0);
	assert_int_equal(sendto(sock, datagram, 8 + inner->length, 0, (void *)&to, sizeof(to)),
			 8 + inner->length);
	close(sock);
}

/* ---- what came ---- */

/* Packets of the VXLAN device as they come, before the programs have them: on the CPU on which the
 * test runs they are done with when it is its turn again. */
static inline int
watch_vxlan(void)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = (int)if_nametoindex("vxlan")};
	int sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	assert_true(sock >= 0);
	assert_int_equal(bind(sock, (void *)&at, sizeof(at)), 0);
	return sock;
}

/* One like it: others may still have been on the way. */
static inline void
wait_for_packet(int watch, const struct packet *want)
{
	struct pollfd p = {.fd = watch, .events = POLLIN};
	uint8_t got[sizeof(want->bytes)];
	ssize_t n;

	do {
		assert_int_equal(poll(&p, 1, 20000), 1);
		n = recv(watch, got, sizeof(got), 0);
	} while (n != (ssize_t)want->length || memcmp(got, want->bytes, want->length) != 0);
	close(watch);
}

static inline void
expect_count(int which, uint64_t want)
{
	uint64_t now[TC_COUNTS];

	counts(now);
	if (now[which] != want)
		fail_msg("counter %d is %llu, not %llu", which, (unsigned long long)now[which],
			 (unsigned long long)want);
}

static inline void
comes(const char *outer, uint32_t vni, const char *from, const char *to, uint16_t payload,
      int counter)
{
	uint64_t before[TC_COUNTS], after[TC_COUNTS];
	struct packet p = make(from, to, payload);

	int watch = watch_vxlan();

	counts(before);
	send_vxlan(outer, vni, &p);
	wait_for_packet(watch, &p);
	expect_count(counter, before[counter] + 1);
	counts(after);
	for (int i = 0; i < TC_COUNTS; i++)
		assert_int_equal(after[i], before[i] + (i == counter));
}

#endif
