/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs between nodes. What leaves is run through BPF_PROG_TEST_RUN; what comes in comes
 * over a real VXLAN device, from sockets of the loopback device: 127.0.0.1 is the peer, all other
 * addresses are strangers. Everything happens in a mount and a network namespace of the test's own.
 */
#include "dataplane/tunnel.h"

#include <errno.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/world.h"
#include "tests/bpf/tunnel_rig.h"

enum { INSTRUCTIONS_MAX = 4000 };

static void
put_peers(size_t count)
{
	const struct msg_peer all[] = {
		peer(11, "127.0.0.1", "10.200.8.0/24", "fd00:8::/64"),
		peer(12, "2001:db8::9", "10.200.9.0/24", "fd00:9::/64"),
	};
	const struct tunnel_row rows[] = {{.peer = &all[0]}, {.peer = &all[1]}};
	struct err err = {0};

	assert_int_equal(tunnel_peers(tunnel, rows, count, &err), 0);
}

static void
put_device(bool there, const char *listen)
{
	struct msg_underlay u = {.vni = VNI};
	struct msg_prefix p = {.mtu = 1420};
	struct err err = {0};

	u.ifindex = there ? if_nametoindex("vxlan") : 0;
	assert_true(addr_parse(listen, &u.listen));
	assert_true(addr_parse_ip("10.200.7.1", &p.service4));
	assert_true(addr_parse_ip("fd00:7::1", &p.service6));
	const struct tunnel_devices devices = {.underlay = &u, .prefix = &p};
	if (tunnel_devices(tunnel, &devices, &err) < 0)
		err_print(&err, "test", stderr);
	assert_int_equal(err.kind, ERR_NONE);
}

/* ---- what leaves ---- */

static void
test_out_of_containers(void **state)
{
	int program;
	struct tc_overlay_bytes before, after;

	(void)state;
	open_all(LOOPBACK);
	program = veth_program(veth);
	put_peers(2);
	put_device(false, "0.0.0.0:4789");
	/* No device: the stack's, as ever. */
	expect(program, "10.200.7.2", "10.200.8.5", 0, TC_ACT_OK, LEFT);
	put_device(true, "0.0.0.0:4789");
	assert_int_equal(tunnel_bytes(tunnel, 11, &before), 0);
	expect(program, "10.200.7.2", "10.200.8.5", 0, TC_ACT_REDIRECT, SENT);
	expect(program, "fd00:7::2", "fd00:8::5", 0, TC_ACT_REDIRECT, SENT);
	assert_int_equal(tunnel_bytes(tunnel, 11, &after), 0);
	assert_int_equal(after.sent - before.sent, 14 + 20 + 8 + 100 + 14 + 40 + 8 + 100);
	/* A peer behind IPv6. */
	expect(program, "10.200.7.2", "10.200.9.5", 0, TC_ACT_REDIRECT, SENT);
	/* No peer's; and nobody else's source gets out by a tunnel. */
	expect(program, "10.200.7.2", "10.200.10.5", 0, TC_ACT_OK, LEFT);
	expect(program, "10.200.7.3", "10.200.8.5", 0, TC_ACT_SHOT, DROP_FOREIGN);
	put_peers(1);
	expect(program, "10.200.7.2", "10.200.9.5", 0, TC_ACT_OK, LEFT);
	put_device(false, "0.0.0.0:4789");
	close_all();
}

static void
test_out_of_the_stack(void **state)
{
	struct packet p;
	int program;

	(void)state;
	open_all(LOOPBACK);
	put_peers(2);
	put_device(true, "0.0.0.0:4789");
	program = tunnel_program_out(tunnel);
	expect(program, "10.200.7.1", "10.200.8.5", 0, TC_ACT_OK, SENT_STACK);
	expect(program, "fd00:7::1", "fd00:9::5", 0, TC_ACT_OK, SENT_STACK);
	expect(program, "10.200.7.1", "10.200.10.5", 0, TC_ACT_SHOT, DROP_NO_PEER);
	/* What has its key goes on; discovery has nobody to go to. */
	expect(program, "10.200.7.2", "10.200.10.5", MARK, TC_ACT_OK, TC_COUNTS);
	expect(program, "fe80::1", "ff02::2", 0, TC_ACT_SHOT, TC_COUNTS);
	p = make("10.200.7.1", "10.200.8.5", 0);
	p.bytes[12] = 0x12;
	assert_int_equal(run(program, &p, 0), TC_ACT_SHOT);
	put_device(false, "0.0.0.0:4789");
	close_all();
}

/* ---- what comes in ---- */

static void
test_in(void **state)
{
	struct tc_overlay_bytes before, after;
	struct packet arp = make("10.200.8.5", "10.200.7.2", 100);

	(void)state;
	open_all(if_nametoindex("a0"));
	put_peers(2);
	put_device(true, "0.0.0.0:4789");
	assert_int_equal(tunnel_bytes(tunnel, 11, &before), 0);
	comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.2", 100, DELIVERED);
	comes("127.0.0.1", VNI, "fd00:8::5", "fd00:7::2", 100, DELIVERED);
	assert_int_equal(tunnel_bytes(tunnel, 11, &after), 0);
	assert_int_equal(after.received - before.received, 14 + 28 + 100 + 14 + 48 + 100);
	/* The node's own address, and what is too large for a container's link. */
	comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.1", 100, PASSED);
	comes("127.0.0.1", VNI, "fd00:8::5", "fd00:7::1", 100, PASSED);
	comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.2", 1420 - 28, DELIVERED);
	comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.2", 1420 - 27, PASSED);
	/* A stranger; another number; a source of nobody, of another peer, of our own. */
	comes("127.0.0.2", VNI, "10.200.8.5", "10.200.7.2", 100, DROP_PEER);
	comes("127.0.0.1", VNI + 1, "10.200.8.5", "10.200.7.2", 100, DROP_TUNNEL);
	comes("127.0.0.1", VNI, "10.200.10.5", "10.200.7.2", 100, DROP_SOURCE);
	comes("127.0.0.1", VNI, "10.200.9.5", "10.200.7.2", 100, DROP_SOURCE);
	comes("127.0.0.1", VNI, "fd00:9::5", "fd00:7::2", 100, DROP_SOURCE);
	comes("127.0.0.1", VNI, "10.200.7.2", "10.200.7.2", 100, DROP_SOURCE);
	comes("127.0.0.1", VNI, "10.200.8.5", "192.0.2.1", 100, DROP_DESTINATION);
	comes("127.0.0.1", VNI, "fd00:8::5", "ff02::1", 100, DROP_DESTINATION);
	uint64_t count[TC_COUNTS];
	counts(count);
	arp.bytes[12] = 0x08;
	arp.bytes[13] = 0x06;
	int watch = watch_vxlan();
	send_vxlan("127.0.0.1", VNI, &arp);
	wait_for_packet(watch, &arp);
	expect_count(DROP_SOURCE, count[DROP_SOURCE] + 1);
	/* An address to listen on that it was not for. */
	put_device(true, "127.0.0.9:4789");
	comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.2", 100, DROP_TUNNEL);
	put_device(true, "127.0.0.1:4789");
	comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.2", 100, DELIVERED);
	put_device(false, "0.0.0.0:4789");
	close_all();
}

static void
test_in_without_a_tunnel(void **state)
{
	(void)state;
	open_all(LOOPBACK);
	put_peers(2);
	put_device(true, "0.0.0.0:4789");
	expect(tunnel_program_in(tunnel), "10.200.8.5", "10.200.7.2", 0, TC_ACT_SHOT, DROP_TUNNEL);
	put_device(false, "0.0.0.0:4789");
	close_all();
}

static void
test_random(void **state)
{
	struct world_seeded w;
	struct packet p = {.length = 0};

	(void)state;
	open_all(if_nametoindex("a0"));
	put_peers(2);
	put_device(true, "0.0.0.0:4789");
	world_seeded_init(&w, 11, 0, 0);
	for (int i = 0; i < 5000; i++) {
		world_random(&w.world, p.bytes, 300);
		p.length = (uint32_t)(60 + world_random_below(&w.world, 240));
		packet_put16(p.bytes + 12, i % 2 ? 0x0800 : 0x86dd);
		send_vxlan("127.0.0.1", VNI, &p);
		int verdict = run(tunnel_program_out(tunnel), &p, 0);
		assert_true(verdict == TC_ACT_OK || verdict == TC_ACT_SHOT);
	}
	comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.2", 100, DELIVERED);
	put_device(false, "0.0.0.0:4789");
	close_all();
}

/* The process dies; packets go on; its successor finds peers, hooks and counters, and drops what is
 * no longer said. */
static void
test_successor(void **state)
{
	uint64_t before[TC_COUNTS];
	struct packet p = make("10.200.8.5", "10.200.7.2", 100);

	(void)state;
	open_all(if_nametoindex("a0"));
	put_peers(2);
	put_device(true, "0.0.0.0:4789");
	counts(before);
	tunnel_free(tunnel);
	veth_close(veth);
	int watch = watch_vxlan();
	send_vxlan("127.0.0.1", VNI, &p);
	wait_for_packet(watch, &p);
	open_all(if_nametoindex("a0"));
	expect_count(DELIVERED, before[DELIVERED] + 1);
	expect(tunnel_program_out(tunnel), "10.200.7.1", "10.200.9.5", 0, TC_ACT_OK, SENT_STACK);
	put_device(true, "0.0.0.0:4789");
	put_peers(1);
	expect(tunnel_program_out(tunnel), "10.200.7.1", "10.200.9.5", 0, TC_ACT_SHOT,
	       DROP_NO_PEER);
	comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.2", 100, DELIVERED);
	put_device(false, "0.0.0.0:4789");
	assert_int_equal(access("1/vxlan-in", F_OK), -1);
	assert_int_equal(access("1/vxlan-out", F_OK), -1);
	close_all();
}

/* Rows are another process's. */
static void
test_rows_that_lie(void **state)
{
	struct msg_peer lies[] = {
		peer(11, "127.0.0.1", "10.200.8.0/24", "fd00:8::/64"),
		peer(12, "127.0.0.2", "10.200.9.0/24", "fd00:9::/64"),
		peer(13, "127.0.0.3", "10.200.10.0/24", "fd00:10::/64"),
	};
	const struct tunnel_row rows[] = {
		{.peer = &lies[0]}, {.peer = &lies[1]}, {.peer = &lies[2]}};
	struct err err = {0};

	(void)state;
	open_all(LOOPBACK);
	lies[1].v4.bits = 200;
	memset(lies[2].name, 'x', sizeof(lies[2].name));
	assert_int_equal(tunnel_peers(tunnel, rows, 3, &err), 0);
	put_device(true, "0.0.0.0:4789");
	expect(veth_program(veth), "10.200.7.2", "10.200.8.5", 0, TC_ACT_REDIRECT, SENT);
	expect(veth_program(veth), "10.200.7.2", "10.200.9.5", 0, TC_ACT_OK, LEFT);
	expect(veth_program(veth), "10.200.7.2", "10.200.10.5", 0, TC_ACT_OK, LEFT);
	put_device(false, "0.0.0.0:4789");
	close_all();
}

/* ---- what is written, and what fails ---- */

static struct dl_libbpf real;
static unsigned puts_done, deletes_done;
static unsigned calls, failing; /* the one that fails; 0: none does */

static int
counted_put(int fd, const void *key, const void *value, __u64 flags)
{
	puts_done++;
	return ++calls == failing ? -ENOMEM : real.bpf_map_update_elem(fd, key, value, flags);
}

static int
counted_delete(int fd, const void *key)
{
	deletes_done++;
	return real.bpf_map_delete_elem(fd, key);
}

static int
failing_update(int link, int program, const struct bpf_link_update_opts *opts)
{
	return ++calls == failing ? -ENOMEM : real.bpf_link_update(link, program, opts);
}

static int
failing_create(int program, int target, enum bpf_attach_type type,
	       const struct bpf_link_create_opts *opts)
{
	return ++calls == failing ? -ENOMEM : real.bpf_link_create(program, target, type, opts);
}

static int
failing_attach(const struct bpf_tc_hook *hook, struct bpf_tc_opts *opts)
{
	return ++calls == failing ? -ENOMEM : real.bpf_tc_attach(hook, opts);
}

static void
begin_to_count(unsigned at)
{
	real = libbpf;
	puts_done = deletes_done = calls = 0;
	failing = at;
	libbpf.bpf_map_update_elem = counted_put;
	libbpf.bpf_map_delete_elem = counted_delete;
}

static void
begin_to_fail_hooks(unsigned at)
{
	real = libbpf;
	calls = 0;
	failing = at;
	libbpf.bpf_link_update = failing_update;
	libbpf.bpf_link_create = failing_create;
	libbpf.bpf_tc_attach = failing_attach;
}

static void
writes(const struct tunnel_row *rows, size_t count, unsigned puts, unsigned deletes)
{
	struct err err = {0};

	begin_to_count(0);
	int rc = tunnel_peers(tunnel, rows, count, &err);
	libbpf = real;
	assert_int_equal(rc, 0);
	assert_int_equal(puts_done, puts);
	assert_int_equal(deletes_done, deletes);
}

static void
goes(const char *to)
{
	expect(veth_program(veth), "10.200.7.2", to, 0, TC_ACT_REDIRECT, SENT);
}

/* Of many peers the one that has changed. */
static void
test_what_differs_is_written(void **state)
{
	struct msg_peer all[] = {
		peer(11, "127.0.0.1", "10.200.8.0/24", "fd00:8::/64"),
		peer(12, "127.0.0.2", "10.200.9.0/24", "fd00:9::/64"),
		peer(13, "127.0.0.3", "10.200.10.0/24", "fd00:10::/64"),
	};
	const struct tunnel_row rows[] = {{.peer = &all[0]}, {.peer = &all[1]}, {.peer = &all[2]}};
	struct err err = {0};

	(void)state;
	open_all(LOOPBACK);
	put_device(true, "0.0.0.0:4789");
	assert_int_equal(tunnel_peers(tunnel, rows, 0, &err), 0); /* of other tests */
	writes(rows, 2, 8, 0);
	writes(rows, 2, 0, 0);
	writes(rows, 3, 4, 0);
	all[1].mtu = 1400;
	writes(rows, 3, 2, 0);
	assert_true(addr_parse_ip("127.0.0.9", &all[0].address));
	writes(rows, 3, 3, 1);
	goes("10.200.8.5");
	/* A prefix that two say is theirs goes over to the one that is left. */
	all[2].v4 = all[1].v4;
	writes(rows, 3, 2, 1);
	goes("10.200.9.5");
	writes(rows, 2, 1, 3);
	goes("10.200.9.5");
	writes(rows, 0, 0, 8);
	expect(veth_program(veth), "10.200.7.2", "10.200.9.5", 0, TC_ACT_OK, LEFT);
	put_device(false, "0.0.0.0:4789");
	close_all();
}

/* Whatever write fails: the next time all is as it is wanted. */
static void
test_peers_after_a_failure(void **state)
{
	struct msg_peer all[] = {
		peer(11, "127.0.0.1", "10.200.8.0/24", "fd00:8::/64"),
		peer(12, "127.0.0.2", "10.200.9.0/24", "fd00:9::/64"),
	};
	const struct tunnel_row rows[] = {{.peer = &all[0]}, {.peer = &all[1]}};
	bool done = false;

	(void)state;
	open_all(LOOPBACK);
	put_device(true, "0.0.0.0:4789");
	for (unsigned n = 1; !done; n++) {
		struct err err = {0};

		assert_int_equal(tunnel_peers(tunnel, rows, 0, &err), 0);
		begin_to_count(n);
		done = tunnel_peers(tunnel, rows, 2, &err) == 0;
		libbpf = real;
		assert_int_equal(err.kind == ERR_NONE, done);
		if (!done)
			writes(rows, 2, 8, 0);
		goes("10.200.8.5");
		goes("10.200.9.5");
		assert_in_range(n, 1, 20);
	}
	put_device(false, "0.0.0.0:4789");
	close_all();
}

/* Whether programs know the device. */
static bool
sends_plain(void)
{
	int fd = libbpf.bpf_map__fd(veth_loaded(veth)->maps.overlay_self);
	struct tc_overlay_self self = {0};
	const uint32_t key = 0;

	assert_int_equal(libbpf.bpf_map_lookup_elem(fd, &key, &self), 0);
	return self.ifindex != 0;
}

static int
try_device(void)
{
	struct msg_underlay u = {.vni = VNI, .ifindex = if_nametoindex("vxlan")};
	struct msg_prefix p = {.mtu = 1420};
	const struct tunnel_devices devices = {.underlay = &u, .prefix = &p};
	struct err err = {0};

	assert_true(addr_parse_ip("10.200.7.1", &p.service4));
	assert_true(addr_parse_ip("fd00:7::1", &p.service6));
	int rc = tunnel_devices(tunnel, &devices, &err);
	assert_int_equal(err.kind == ERR_NONE, rc == 0);
	return rc;
}

/* A successor cannot replace one program or the other: the predecessor's goes on, both ways, and is
 * replaced with the next try. */
static void
test_predecessor_stays(void **state)
{
	unsigned failures = 0;
	bool done = false;

	(void)state;
	for (unsigned n = 1; !done; n++) {
		open_all(if_nametoindex("a0"));
		put_peers(2);
		put_device(true, "0.0.0.0:4789");
		tunnel_free(tunnel);
		veth_close(veth);
		open_all(if_nametoindex("a0"));
		put_peers(2);
		begin_to_fail_hooks(n);
		done = try_device() == 0;
		libbpf = real;
		failures += !done;
		for (int i = 0; i < 2; i++) {
			comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.2", 100, DELIVERED);
			expect(tunnel_program_out(tunnel), "10.200.7.1", "10.200.8.5", 0, TC_ACT_OK,
			       SENT_STACK);
			assert_int_equal(sends_plain(), true);
			assert_int_equal(try_device(), 0);
		}
		put_device(false, "0.0.0.0:4789");
		close_all();
		assert_in_range(n, 1, 20);
	}
	assert_true(failures >= 2);
}

/* Where nothing stood: nothing is sent by a device that has not both, and nothing comes in that no
 * program has judged. */
static void
test_half_a_device(void **state)
{
	unsigned failures = 0;
	bool done = false;

	(void)state;
	open_all(if_nametoindex("a0"));
	put_peers(2);
	assert_int_equal(try_device(), 0);
	/* A kernel without tcx is asked for that, too. */
	const unsigned one = access("1/vxlan-in", F_OK) == 0 ? 1 : 2;
	put_device(false, "0.0.0.0:4789");
	for (unsigned n = 1; !done; n++) {
		begin_to_fail_hooks(n);
		done = try_device() == 0;
		libbpf = real;
		failures += !done;
		assert_int_equal(sends_plain(), done);
		if (!done && n > one) /* what comes in is judged already */
			comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.2", 100, DROP_TUNNEL);
		assert_int_equal(try_device(), 0);
		assert_true(sends_plain());
		comes("127.0.0.1", VNI, "10.200.8.5", "10.200.7.2", 100, DELIVERED);
		put_device(false, "0.0.0.0:4789");
		assert_false(sends_plain());
		assert_int_equal(access("1/vxlan-in", F_OK), -1);
		assert_int_equal(access("1/vxlan-out", F_OK), -1);
		assert_in_range(n, 1, 20);
	}
	assert_true(failures >= 2);
	close_all();
}

static void
test_instruction_budget(void **state)
{
	(void)state;
	open_all(LOOPBACK);
	bpf_world_check_budget(tunnel_program_in(tunnel), INSTRUCTIONS_MAX);
	bpf_world_check_budget(tunnel_program_out(tunnel), INSTRUCTIONS_MAX);
	close_all();
}

static int
prepare(void **state)
{
	(void)state;
	return bpf_world_enter(RIG_LINKS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_out_of_containers),
		cmocka_unit_test(test_out_of_the_stack),
		cmocka_unit_test(test_in),
		cmocka_unit_test(test_in_without_a_tunnel),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_successor),
		cmocka_unit_test(test_rows_that_lie),
		cmocka_unit_test(test_what_differs_is_written),
		cmocka_unit_test(test_peers_after_a_failure),
		cmocka_unit_test(test_predecessor_stays),
		cmocka_unit_test(test_half_a_device),
		cmocka_unit_test(test_instruction_budget),
	};
	return bpf_world_allowed() ? cmocka_run_group_tests(tests, prepare, bpf_world_leave) : 0;
}
