/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program on containers' devices: packets through BPF_PROG_TEST_RUN with verdict, bytes and
 * counters compared; hooks and pins taken over by a successor. Everything happens in a mount and a
 * network namespace of the test's own.
 */
#include "dataplane/veth.h"

#include <errno.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"
#include "dataplane/bpf/tc_event.h"
#include "dataplane/hook.h"
#include "dataplane/libbpf.h"
#include "ring/identity.h"
#include "tests/support/bpf_world.h"

/* What moves, of the programs' counters. */
enum {
	REDIRECTED = TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_LOCAL),
	PASSED = TC_COUNT_WAY(MSG_FLOW_VETH, MSG_FLOW_STACK),
	DROP_SOURCE = TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_SOURCE),
	DROP_UNKNOWN = TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_UNKNOWN),
	DROP_UNKNOWN_LINK = TC_COUNT_DROP(MSG_FLOW_VETH, FLOW_UNKNOWN_LINK),
};

enum { LOOPBACK = 1, INSTRUCTIONS_MAX = 2000, RANDOM_BYTES = 256 };

static const uint8_t other_mac[6] = {2, 0, 0, 0, 0, 9};
static const struct tc_identity usual = {
	.deployment = 1, .service = 10, .flags = IDENTITY_USUAL | TC_IDENTITY_KNOWN};

static struct msg_veth
row_of(uint64_t replica, uint32_t ifindex, const char *addr4, const char *addr6)
{
	struct msg_veth row = {.replica = replica, .ifindex = ifindex};

	assert_true(addr_parse_ip(addr4, &row.addr4));
	assert_true(addr_parse_ip(addr6, &row.addr6));
	if (ifindex != LOOPBACK)
		memcpy(row.mac, other_mac, 6);
	return row;
}

/* The test's "container" sends over the loopback device, where test runs come from. */
static struct veth *
open_with_rows(uint32_t other_link)
{
	struct veth *v = NULL;
	struct err err = {0};
	const struct msg_veth self = row_of(1, LOOPBACK, "10.200.7.2", "fd00::2");
	const struct msg_veth other = row_of(2, other_link, "10.200.7.3", "fd00::3");
	enum msg_hook hook;

	if (veth_open(getuid(), &v, &err) < 0)
		err_print(&err, "test", stderr);
	assert_non_null(v);
	assert_int_equal(veth_add(v, &self, &usual, &hook, &err), 0);
	assert_int_equal(veth_add(v, &other, &usual, &hook, &err), 0);
	return v;
}

static struct packet
make(const char *from, const char *to)
{
	struct packet_spec spec = {.from = from, .to = to, .protocol = IPPROTO_TCP};

	return packet_make(&spec);
}

static int
run(struct veth *v, const struct packet *in, struct packet *out)
{
	int verdict = bpf_world_run(veth_program(v), in, NULL, out);

	/* Newer kernels make no test packet of a header that is cut. */
	if (verdict == -EINVAL && in->length < ETH_HLEN + sizeof(struct ipv6hdr))
		return TC_ACT_SHOT;
	assert_true(verdict >= 0);
	return verdict;
}

static void
expect(struct veth *v, struct packet in, int verdict, int counter, bool redirected)
{
	uint64_t before[TC_COUNTS], after[TC_COUNTS];
	struct packet out;
	struct err err = {0};

	assert_int_equal(veth_counts(v, before, &err), 0);
	assert_int_equal(run(v, &in, &out), verdict);
	assert_int_equal(veth_counts(v, after, &err), 0);
	for (int i = 0; i < TC_COUNTS; i++)
		assert_int_equal(after[i], before[i] + (i == counter));
	assert_int_equal(out.length, in.length);
	if (redirected)
		memcpy(in.bytes, other_mac, 6);
	assert_memory_equal(out.bytes, in.bytes, in.length);
}

static void
test_verdicts(void **state)
{
	struct veth *v = open_with_rows(if_nametoindex("a0"));
	struct packet arp = {.length = 64};

	(void)state;
	expect(v, make("10.200.7.2", "10.200.7.3"), TC_ACT_REDIRECT, REDIRECTED, true);
	expect(v, make("fd00::2", "fd00::3"), TC_ACT_REDIRECT, REDIRECTED, true);
	expect(v, make("10.200.7.2", "192.0.2.1"), TC_ACT_OK, PASSED, false);
	expect(v, make("fd00::2", "2001:db8::1"), TC_ACT_OK, PASSED, false);
	expect(v, make("10.200.7.9", "10.200.7.3"), TC_ACT_SHOT, DROP_SOURCE, false);
	expect(v, make("fd00::9", "fd00::3"), TC_ACT_SHOT, DROP_SOURCE, false);
	/* Neighbour discovery is the stack's. */
	expect(v, make("fe80::2", "ff02::1"), TC_ACT_OK, PASSED, false);
	expect(v, make("::", "ff02::1"), TC_ACT_OK, PASSED, false);
	packet_put16(arp.bytes + 12, ETH_P_ARP);
	expect(v, arp, TC_ACT_OK, PASSED, false);
	packet_put16(arp.bytes + 12, 0x88cc);
	expect(v, arp, TC_ACT_SHOT, DROP_SOURCE, false);
	veth_remove(v, 2);
	expect(v, make("10.200.7.2", "10.200.7.3"), TC_ACT_OK, PASSED, false);
	veth_remove(v, 1);
	expect(v, make("10.200.7.2", "10.200.7.3"), TC_ACT_SHOT, DROP_UNKNOWN_LINK, false);
	veth_close(v);
}

static void
test_short_and_random(void **state)
{
	struct veth *v = open_with_rows(if_nametoindex("a0"));
	struct world_seeded w;
	struct packet p = make("10.200.7.2", "10.200.7.3"), out;

	(void)state;
	for (p.length = 14; p.length < 34; p.length++) /* an IPv4 header cut */
		assert_int_equal(run(v, &p, &out), TC_ACT_SHOT);
	world_seeded_init(&w, 7, 0, 0);
	for (int i = 0; i < 20000; i++) {
		static const uint16_t types[] = {ETH_P_IP, ETH_P_IPV6, ETH_P_ARP, 0x1234};
		int verdict;

		world_random(&w.world, p.bytes, RANDOM_BYTES);
		p.length = 14 + (uint32_t)world_random_below(&w.world, RANDOM_BYTES - 14);
		packet_put16(p.bytes + 12, types[i % 4]);
		verdict = run(v, &p, &out);
		assert_true(verdict == TC_ACT_OK || verdict == TC_ACT_SHOT ||
			    verdict == TC_ACT_REDIRECT);
	}
	veth_remove(v, 1);
	veth_remove(v, 2);
	veth_close(v);
}

/* The process dies (close keeps the pins), its successor finds addresses, counters and hooks. */
static void
test_successor_takes_over(void **state)
{
	uint32_t a0 = if_nametoindex("a0");
	struct veth *v = open_with_rows(a0);
	uint64_t before[TC_COUNTS], after[TC_COUNTS];
	struct err err = {0};

	(void)state;
	assert_int_equal(veth_counts(v, before, &err), 0);
	veth_close(v);
	assert_int_equal(veth_open(getuid(), &v, &err), 0);
	expect(v, make("10.200.7.2", "10.200.7.3"), TC_ACT_REDIRECT, REDIRECTED, true);
	assert_int_equal(veth_counts(v, after, &err), 0);
	assert_int_equal(after[REDIRECTED], before[REDIRECTED] + 1);
	if (access("1/veth-2", F_OK) == 0) { /* tcx */
		int old = libbpf.bpf_obj_get("1/veth-2");
		struct msg_veth row = {.replica = 2, .ifindex = a0};
		enum msg_hook hook;

		assert_true(old >= 0);
		close(old);
		assert_true(addr_parse_ip("10.200.7.3", &row.addr4));
		assert_int_equal(veth_add(v, &row, NULL, &hook, &err), 0);
		assert_int_equal(hook, MSG_HOOK_TCX);
	}
	veth_remove(v, 2);
	assert_int_equal(access("1/veth-2", F_OK), -1);
	veth_close(v);
}

/* Who it is stays known, for that replica at that device. */
static void
test_identity_is_left(void **state)
{
	struct tc_identity identity = usual;
	struct msg_veth row = {.replica = 1, .ifindex = LOOPBACK};
	struct veth *v = NULL;
	struct err err = {0};
	enum msg_hook hook;

	(void)state;
	identity.replica = 1;
	assert_int_equal(veth_open(getuid(), &v, &err), 0);
	assert_true(addr_parse_ip("10.200.7.2", &row.addr4));
	assert_false(veth_has(v, 1) || veth_knows(v, &row));
	assert_int_equal(veth_add(v, &row, &identity, &hook, &err), 0);
	assert_true(veth_has(v, 1) && veth_knows(v, &row));
	veth_close(v);
	assert_int_equal(veth_open(getuid(), &v, &err), 0);
	assert_false(veth_has(v, 1));
	assert_true(veth_knows(v, &row));
	row.replica = 2;
	assert_false(veth_knows(v, &row));
	row.replica = 1;
	row.ifindex++;
	assert_false(veth_knows(v, &row));
	row.ifindex--;
	assert_int_equal(veth_add(v, &row, NULL, &hook, &err), 0);
	expect(v, make("10.200.7.2", "192.0.2.1"), TC_ACT_OK, PASSED, false);
	veth_remove(v, 1);
	assert_false(veth_has(v, 1) || veth_knows(v, &row));
	/* Nobody wrote anything: it does not pass. */
	assert_int_equal(veth_add(v, &row, NULL, &hook, &err), 0);
	expect(v, make("10.200.7.2", "192.0.2.1"), TC_ACT_SHOT, DROP_UNKNOWN, false);
	assert_false(veth_knows(v, &row));
	veth_remove(v, 1);
	veth_close(v);
}

/* A container that went while nobody watched: its entries and its pin go when the successor knows
 * who is left. */
static void
test_forgets_what_a_predecessor_left(void **state)
{
	uint32_t a0 = if_nametoindex("a0");
	const struct msg_veth self = row_of(1, LOOPBACK, "10.200.7.2", "fd00::2");
	struct veth *v = open_with_rows(a0);
	struct err err = {0};
	enum msg_hook hook;
	bool pinned = access("1/veth-2", F_OK) == 0; /* tcx */

	(void)state;
	veth_close(v);
	assert_int_equal(veth_open(getuid(), &v, &err), 0);
	assert_int_equal(veth_add(v, &self, &usual, &hook, &err), 0);
	expect(v, make("10.200.7.2", "10.200.7.3"), TC_ACT_REDIRECT, REDIRECTED, true);
	veth_forget_others(v);
	expect(v, make("10.200.7.2", "10.200.7.3"), TC_ACT_OK, PASSED, false);
	expect(v, make("fd00::2", "fd00::3"), TC_ACT_OK, PASSED, false);
	assert_int_equal(access("1/veth-2", F_OK), -1);
	assert_int_equal(access("1/veth-1", F_OK), pinned ? 0 : -1);
	veth_remove(v, 1);
	veth_close(v);
}

/* An address that went to a new container before the old one was removed stays with the new one;
 * one that a container gave up is no longer its. */
static void
test_address_changes_hands(void **state)
{
	uint32_t a0 = if_nametoindex("a0");
	struct veth *v;
	struct msg_veth heir = {.replica = 3};
	struct err err = {0};
	enum msg_hook hook;

	(void)state;
	assert_int_equal(system("ip link add h0 type veth peer name h1"), 0);
	v = open_with_rows(a0);
	heir.ifindex = if_nametoindex("h0");
	memcpy(heir.mac, other_mac, 6);
	assert_true(addr_parse_ip("10.200.7.3", &heir.addr4));
	assert_true(addr_parse_ip("fd00::3", &heir.addr6));
	assert_int_equal(veth_add(v, &heir, &usual, &hook, &err), 0);
	veth_remove(v, 2);
	expect(v, make("10.200.7.2", "10.200.7.3"), TC_ACT_REDIRECT, REDIRECTED, true);
	expect(v, make("fd00::2", "fd00::3"), TC_ACT_REDIRECT, REDIRECTED, true);
	assert_true(addr_parse_ip("10.200.7.4", &heir.addr4));
	assert_int_equal(veth_add(v, &heir, &usual, &hook, &err), 0);
	expect(v, make("10.200.7.2", "10.200.7.3"), TC_ACT_OK, PASSED, false);
	expect(v, make("10.200.7.2", "10.200.7.4"), TC_ACT_REDIRECT, REDIRECTED, true);
	veth_remove(v, 3);
	veth_remove(v, 1);
	veth_close(v);
	assert_int_equal(system("ip link del h0"), 0);
}

/* A device that was deleted and another with the same number: its old pin must not pass for it. */
static void
test_gone_device(void **state)
{
	struct msg_veth row = {.replica = 5};
	struct veth *v;
	struct err err = {0};
	enum msg_hook hook;

	(void)state;
	assert_int_equal(veth_open(getuid(), &v, &err), 0);
	assert_int_equal(system("ip link add g0 type veth peer name g1"), 0);
	row.ifindex = if_nametoindex("g0");
	assert_true(addr_parse_ip("10.200.7.5", &row.addr4));
	assert_int_equal(veth_add(v, &row, NULL, &hook, &err), 0);
	assert_int_equal(system("ip link del g0"), 0);
	assert_int_equal(veth_add(v, &row, NULL, &hook, &err), -1);
	assert_int_not_equal(err.kind, ERR_NONE);
	assert_int_equal(system("ip link add g0 type veth peer name g1"), 0);
	row.ifindex = if_nametoindex("g0");
	err_clear(&err);
	assert_int_equal(veth_add(v, &row, NULL, &hook, &err), 0);
	veth_remove(v, 5);
	veth_close(v);
}

static void
test_older_kernels_hook(void **state)
{
	LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = (int)if_nametoindex("b0"),
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HOOK_CLSACT_HANDLE,
		    .priority = HOOK_CLSACT_PRIORITY);
	struct hook h = {.kind = MSG_HOOK_CLSACT, .ifindex = where.ifindex, .link_fd = -1};
	LIBBPF_OPTS(bpf_tc_opts, put, .handle = HOOK_CLSACT_HANDLE,
		    .priority = HOOK_CLSACT_PRIORITY, .flags = BPF_TC_F_REPLACE);
	struct veth *v;
	struct err err = {0};

	(void)state;
	assert_int_equal(veth_open(getuid(), &v, &err), 0);
	put.prog_fd = veth_program(v);
	assert_int_equal(libbpf.bpf_tc_hook_create(&where), 0);
	assert_int_equal(libbpf.bpf_tc_attach(&where, &put), 0);
	assert_int_equal(libbpf.bpf_tc_query(&where, &opts), 0);
	hook_detach(&h);
	opts.prog_fd = 0;
	opts.prog_id = 0;
	opts.flags = 0;
	assert_int_not_equal(libbpf.bpf_tc_query(&where, &opts), 0);
	veth_close(v);
}

/* Whoever does without BPF takes off what its predecessor hooked, in either way; maps stay. */
static void
test_leaves_nothing_hooked(void **state)
{
	LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = (int)if_nametoindex("b0"),
		    .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, put, .handle = HOOK_CLSACT_HANDLE,
		    .priority = HOOK_CLSACT_PRIORITY, .flags = BPF_TC_F_REPLACE);
	LIBBPF_OPTS(bpf_tc_opts, found, .handle = HOOK_CLSACT_HANDLE,
		    .priority = HOOK_CLSACT_PRIORITY);
	struct veth *v = open_with_rows(if_nametoindex("a0"));

	(void)state;
	int made = libbpf.bpf_tc_hook_create(&where);
	assert_true(made == 0 || made == -EEXIST);
	put.prog_fd = veth_program(v);
	assert_int_equal(libbpf.bpf_tc_attach(&where, &put), 0);
	veth_close(v);
	hook_leave_all(1);
	assert_int_equal(access("1/veth-1", F_OK), -1);
	assert_int_equal(access("1/veth-2", F_OK), -1);
	assert_int_equal(access("1/tc7-sources", F_OK), 0);
	assert_int_not_equal(libbpf.bpf_tc_query(&where, &found), 0);
	/* Harmless where there is nothing. */
	hook_leave_all(1);
}

/* ---- what fails ---- */

static struct dl_libbpf real;
static unsigned calls, failing; /* the one that fails; 0: none does */

static bool
fails(void)
{
	return ++calls == failing;
}

static int
failing_get(const char *path)
{
	return fails() ? -EMFILE : real.bpf_obj_get(path);
}

static int
failing_info(int fd, void *info, __u32 *bytes)
{
	return fails() ? -ENOMEM : real.bpf_obj_get_info_by_fd(fd, info, bytes);
}

static int
failing_pin(int fd, const char *path)
{
	return fails() ? -ENOMEM : real.bpf_obj_pin(fd, path);
}

static int
failing_put(int fd, const void *key, const void *value, __u64 flags)
{
	return fails() ? -E2BIG : real.bpf_map_update_elem(fd, key, value, flags);
}

static int
failing_update(int link, int program, const struct bpf_link_update_opts *opts)
{
	return fails() ? -ENOMEM : real.bpf_link_update(link, program, opts);
}

static int
failing_create(int program, int target, enum bpf_attach_type type,
	       const struct bpf_link_create_opts *opts)
{
	return fails() ? -ENOMEM : real.bpf_link_create(program, target, type, opts);
}

static int
failing_attach(const struct bpf_tc_hook *hook, struct bpf_tc_opts *opts)
{
	return fails() ? -ENOMEM : real.bpf_tc_attach(hook, opts);
}

static int
failing_hook(struct bpf_tc_hook *hook)
{
	return fails() ? -ENOMEM : real.bpf_tc_hook_create(hook);
}

static int query_fails;

static int
failing_query(const struct bpf_tc_hook *hook, struct bpf_tc_opts *opts)
{
	(void)hook, (void)opts;
	return query_fails;
}

static void
begin_to_fail(unsigned at)
{
	calls = 0;
	failing = at;
	real = libbpf;
	libbpf.bpf_obj_get = failing_get;
	libbpf.bpf_obj_get_info_by_fd = failing_info;
	libbpf.bpf_obj_pin = failing_pin;
	libbpf.bpf_map_update_elem = failing_put;
	libbpf.bpf_link_update = failing_update;
	libbpf.bpf_link_create = failing_create;
	libbpf.bpf_tc_attach = failing_attach;
	libbpf.bpf_tc_hook_create = failing_hook;
}

/* The number of the program on a device, and of the link that holds it there (tcx); 0: none. */
static uint32_t
program_on(uint64_t replica, uint32_t ifindex, uint32_t *link_out)
{
	LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HOOK_CLSACT_HANDLE,
		    .priority = HOOK_CLSACT_PRIORITY);
	struct bpf_link_info info = {0};
	uint32_t bytes = sizeof(info);
	char pin[64];

	*link_out = 0;
	text_format(pin, sizeof(pin), "1/veth-%u", (unsigned)replica);
	int fd = libbpf.bpf_obj_get(pin);
	if (fd < 0)
		return libbpf.bpf_tc_query(&where, &opts) == 0 ? opts.prog_id : 0;
	assert_int_equal(libbpf.bpf_obj_get_info_by_fd(fd, &info, &bytes), 0);
	close(fd);
	*link_out = info.id;
	return info.prog_id;
}

static uint32_t
program_of(const struct veth *v)
{
	struct bpf_prog_info info = {0};
	uint32_t bytes = sizeof(info);

	assert_int_equal(libbpf.bpf_obj_get_info_by_fd(veth_program(v), &info, &bytes), 0);
	return info.id;
}

/* One call after the other fails while a successor takes a device over: what stood stays, on the
 * same link, and so do the container's addresses; it is replaced with the next try. */
static void
test_predecessor_stays_until_replaced(void **state)
{
	uint32_t a0 = if_nametoindex("a0"), link, link_before;
	const struct msg_veth row = row_of(2, a0, "10.200.7.3", "fd00::3");
	bool kept = false, added = false;
	enum hook_left left;
	enum msg_hook hook, found;

	(void)state;
	for (unsigned n = 1; !added; n++) {
		struct veth *v = open_with_rows(a0);
		struct err err = {0};
		uint32_t before = program_on(2, a0, &link_before);

		assert_int_equal(before, program_of(v));
		veth_close(v);
		assert_int_equal(veth_open(getuid(), &v, &err), 0);
		begin_to_fail(n);
		added = veth_add(v, &row, &usual, &hook, &err) == 0;
		libbpf = real;
		left = veth_left(v, &row, &found);
		assert_int_equal(left, HOOK_STANDS);
		assert_int_equal(program_on(2, a0, &link), added ? program_of(v) : before);
		assert_int_equal(link, link_before);
		assert_int_equal(veth_has(v, 2), added);
		expect(v, make("10.200.7.2", "10.200.7.3"), TC_ACT_REDIRECT, REDIRECTED, true);
		expect(v, make("fd00::2", "fd00::3"), TC_ACT_REDIRECT, REDIRECTED, true);
		if (!added) {
			assert_int_not_equal(err.kind, ERR_NONE);
			err_clear(&err);
			assert_int_equal(veth_add(v, &row, &usual, &hook, &err), 0);
			kept = true;
		}
		assert_int_equal(hook, found);
		assert_true(veth_has(v, 2));
		assert_int_equal(program_on(2, a0, &link), program_of(v));
		assert_int_equal(link, link_before);
		veth_remove(v, 2);
		veth_forget_others(v);
		assert_int_equal(program_on(2, a0, &link), 0);
		veth_close(v);
		assert_in_range(n, 1, 50);
	}
	assert_true(kept);
}

/* Where nothing stood nothing is left. */
static void
test_what_fails_leaves_nothing(void **state)
{
	uint32_t a0 = if_nametoindex("a0"), link;
	const struct msg_veth row = row_of(2, a0, "10.200.7.4", "fd00::4");
	struct veth *v = open_with_rows(a0);
	bool added = false;
	enum msg_hook hook;

	(void)state;
	for (unsigned n = 1; !added; n++) {
		struct err err = {0};

		veth_remove(v, 2);
		begin_to_fail(n);
		added = veth_add(v, &row, &usual, &hook, &err) == 0;
		libbpf = real;
		assert_int_equal(veth_has(v, 2), added);
		if (added)
			break;
		assert_int_equal(veth_left(v, &row, &hook), HOOK_NOTHING);
		assert_int_equal(program_on(2, a0, &link), 0);
		assert_int_equal(access("1/veth-2", F_OK), -1);
		expect(v, make("10.200.7.2", "10.200.7.4"), TC_ACT_OK, PASSED, false);
		expect(v, make("fd00::2", "fd00::4"), TC_ACT_OK, PASSED, false);
		assert_in_range(n, 1, 50);
	}
	veth_remove(v, 2);
	veth_remove(v, 1);
	veth_close(v);
}

/* What the kernel does not say is not taken for nothing: a program may stand there. */
static void
test_what_stands_is_not_known(void **state)
{
	const struct msg_veth row = row_of(9, if_nametoindex("a0"), "10.200.7.9", "fd00::9");
	struct veth *v = open_with_rows(row.ifindex);
	enum msg_hook hook;

	(void)state;
	veth_remove(v, 2);
	real = libbpf;
	libbpf.bpf_tc_query = failing_query;
	query_fails = -ENOMEM;
	enum hook_left left = veth_left(v, &row, &hook);
	query_fails = -ENODEV;
	enum hook_left gone = veth_left(v, &row, &hook);
	libbpf = real;
	assert_int_equal(left, HOOK_UNKNOWN);
	assert_int_equal(gone, HOOK_NOTHING);
	assert_int_equal(veth_left(v, &row, &hook), HOOK_NOTHING);
	veth_remove(v, 1);
	veth_close(v);
}

/* A container that gets another address when the maps have no place for it keeps the one it has. */
static void
test_addresses_are_whole(void **state)
{
	uint32_t a0 = if_nametoindex("a0");
	const struct msg_veth row = row_of(2, a0, "10.200.7.5", "fd00::5");
	struct veth *v = open_with_rows(a0);
	struct err err = {0};
	enum msg_hook hook;

	(void)state;
	for (unsigned n = 1; n <= 3; n++) { /* the source, then an address of each family */
		begin_to_fail(n);
		assert_int_equal(veth_add(v, &row, &usual, &hook, &err), -1);
		libbpf = real;
		assert_int_equal(err.kind, ERR_LIMIT);
		assert_int_equal(veth_left(v, &row, &hook), HOOK_STANDS);
		expect(v, make("10.200.7.2", "10.200.7.3"), TC_ACT_REDIRECT, REDIRECTED, true);
		expect(v, make("fd00::2", "fd00::3"), TC_ACT_REDIRECT, REDIRECTED, true);
		expect(v, make("10.200.7.2", "10.200.7.5"), TC_ACT_OK, PASSED, false);
		expect(v, make("fd00::2", "fd00::5"), TC_ACT_OK, PASSED, false);
	}
	err_clear(&err);
	assert_int_equal(veth_add(v, &row, &usual, &hook, &err), 0);
	expect(v, make("10.200.7.2", "10.200.7.3"), TC_ACT_OK, PASSED, false);
	expect(v, make("fd00::2", "fd00::5"), TC_ACT_REDIRECT, REDIRECTED, true);
	veth_remove(v, 2);
	veth_remove(v, 1);
	veth_close(v);
}

static int
refuse_to_load(struct bpf_object_skeleton *skeleton)
{
	(void)skeleton;
	return -EINVAL;
}

static int
has_no_ring(enum bpf_map_type type, const void *more)
{
	(void)more;
	return type != BPF_MAP_TYPE_RINGBUF;
}

/* A kernel that refuses the programs: what it lacks is named, if that is it. */
static void
test_refused(void **state)
{
	struct veth *v = NULL;
	struct err err = {0};

	(void)state;
	assert_int_equal(dl_load_libbpf(&err), 0);
	real = libbpf;
	bpf_object__load_skeleton = refuse_to_load; /* a macro of dataplane/libbpf.h */
	assert_int_equal(veth_open(getuid(), &v, &err), -1);
	assert_null(v);
	assert_non_null(strstr(err.what, "the kernel refuses the program"));
	for (size_t i = 0; i < sizeof(err.why) / sizeof(err.why[0]); i++)
		assert_null(strstr(err.why[i], "this kernel has no"));
	libbpf.libbpf_probe_bpf_map_type = has_no_ring;
	err_clear(&err);
	assert_int_equal(veth_open(getuid(), &v, &err), -1);
	bool named = false;
	for (size_t i = 0; i < sizeof(err.why) / sizeof(err.why[0]); i++)
		named |= strstr(err.why[i], "this kernel has no ring buffers (Linux 5.8)") != NULL;
	assert_true(named);
	libbpf = real;
}

static void
test_instruction_budget(void **state)
{
	struct veth *v;
	struct err err = {0};

	(void)state;
	assert_int_equal(veth_open(getuid(), &v, &err), 0);
	bpf_world_check_budget(veth_program(v), INSTRUCTIONS_MAX);
	veth_close(v);
}

static int
prepare(void **state)
{
	(void)state;
	return bpf_world_enter("ip link add a0 type veth peer name b0 && "
			       "ip link set a0 up && ip link set b0 up");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_short_and_random),
		cmocka_unit_test(test_successor_takes_over),
		cmocka_unit_test(test_identity_is_left),
		cmocka_unit_test(test_forgets_what_a_predecessor_left),
		cmocka_unit_test(test_address_changes_hands),
		cmocka_unit_test(test_gone_device),
		cmocka_unit_test(test_older_kernels_hook),
		cmocka_unit_test(test_leaves_nothing_hooked),
		cmocka_unit_test(test_predecessor_stays_until_replaced),
		cmocka_unit_test(test_what_fails_leaves_nothing),
		cmocka_unit_test(test_what_stands_is_not_known),
		cmocka_unit_test(test_addresses_are_whole),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_instruction_budget),
	};
	return bpf_world_allowed() ? cmocka_run_group_tests(tests, prepare, bpf_world_leave) : 0;
}
