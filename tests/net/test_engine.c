/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: two of them with a cable between (engine_rig.h), and traffic of all kinds through
 * all ways that a kernel may leave open. Needs root and /dev/net/tun.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/world.h"
#include "overlay/engine/udp.h"
#include "tests/net/engine_rig.h"
#include "tests/support/sweep.h"

enum { MB = 1 << 20, STREAMS = 4, JUMBO = 8900, SIZES = 9000 };

static struct engine_rig rig;

static int
teardown(void **state)
{
	(void)state;
	engine_rig_close(&rig);
	return 0;
}

/* ---- traffic ---- */

static void
check_streams(uint64_t bytes)
{
	static const enum engine_count none[] = {ENGINE_DROP_MALFORMED, ENGINE_DROP_FORGED,
						 ENGINE_DROP_REPLAYED, ENGINE_DROP_SOURCE};
	struct engine_rig_tap *tap = engine_rig_tap(&rig.a);

	for (int version = 4; version <= 6; version += 2) {
		engine_rig_tcp(&rig.a, &rig.b, version, bytes);
		engine_rig_tcp(&rig.b, &rig.a, version, bytes);
		assert_true(engine_rig_heard(tap, NULL, NULL) > 0);
	}
	engine_rig_tap_close(tap);
	for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		assert_int_equal(engine_rig_count(&rig.a, none[i]), 0);
		assert_int_equal(engine_rig_count(&rig.b, none[i]), 0);
	}
}

static void
test_streams(void **state)
{
	const struct engine_rig_options o = {.offload = TUN_USO};

	(void)state;
	engine_rig_open(&rig, &o);
	check_streams(40 * MB);
	assert_true(engine_rig_count(&rig.a, ENGINE_OUT_PACKETS) > 0);
	assert_true(engine_rig_count(&rig.b, ENGINE_IN_PACKETS) > 0);
}

static void
test_streams_over_v6(void **state)
{
	const struct engine_rig_options o = {.offload = TUN_USO, .v6 = true, .mtu = 1400};

	(void)state;
	engine_rig_open(&rig, &o);
	check_streams(10 * MB);
}

/* As an old kernel has it, and with the reference's cipher. */
static void
test_streams_without_offloads(void **state)
{
	const struct engine_rig_options o = {
		.offload = TUN_PLAIN, .no_gso = true, .no_gro = true, .aead = "evp"};

	(void)state;
	engine_rig_open(&rig, &o);
	assert_string_equal(engine_aead(rig.a.engine), "evp");
	check_streams(5 * MB);
}

static void *
stream(void *arg)
{
	const uint64_t *bytes = arg;

	engine_rig_tcp(&rig.a, &rig.b, 4, *bytes);
	return NULL;
}

/* Several flows on several queues; each of them in order. */
static void
test_queues(void **state)
{
	const struct engine_rig_options o = {.offload = TUN_USO, .queues = 4};
	uint64_t bytes = 20 * MB, disorder;
	pthread_t threads[STREAMS];

	(void)state;
	engine_rig_open(&rig, &o);
	engine_rig_reach(&rig.a, &rig.b, 4);
	struct engine_rig_load *load = engine_rig_load(&rig.b, &rig.a);
	for (unsigned i = 0; i < STREAMS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, stream, &bytes), 0);
	for (unsigned i = 0; i < STREAMS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	engine_rig_load_stop(load, &disorder);
	assert_int_equal(disorder, 0);
}

static void
check_sizes(void)
{
	for (int version = 4; version <= 6; version += 2) {
		engine_rig_reach(&rig.a, &rig.b, version);
		for (size_t bytes = 1; bytes <= SIZES; bytes += version == 4 ? 1 : 13)
			if (!engine_rig_echo(&rig.a, &rig.b, version, bytes) &&
			    !engine_rig_echo(&rig.a, &rig.b, version, bytes))
				fail_msg("a datagram of %zu bytes does not come through", bytes);
	}
}

static void
test_sizes(void **state)
{
	const struct engine_rig_options o = {.offload = TUN_USO};

	(void)state;
	engine_rig_open(&rig, &o);
	check_sizes();
}

static void
test_sizes_of_jumbo_frames(void **state)
{
	const struct engine_rig_options o = {.offload = TUN_USO, .mtu = JUMBO, .cable_mtu = 9000};

	(void)state;
	engine_rig_open(&rig, &o);
	check_sizes();
	check_streams(20 * MB);
}

/* ---- what does not fit ---- */

/* The kernel learns the MTU of a way that it may not fragment for. */
static void
await_mtu(int version, int mtu)
{
	defer_close int fd = engine_rig_socket(&rig.a, SOCK_DGRAM, version);
	static const int must_not = IP_PMTUDISC_DO;
	uint8_t data[1350] = {0};
	struct sockaddr_storage at;
	socklen_t bytes = engine_rig_inner(&rig.b, version, 9, &at);
	int level = version == 6 ? IPPROTO_IPV6 : IPPROTO_IP, is = 0;
	uint64_t until = world_mono_ns() + ENGINE_RIG_WAIT_S * UINT64_C(1000000000);

	assert_int_equal(setsockopt(fd, level, version == 6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER,
				    &must_not, sizeof(must_not)),
			 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, bytes), 0);
	while (is != mtu) {
		socklen_t length = sizeof(is);

		if (world_mono_ns() > until)
			fail_msg("the MTU is %d", is);
		(void)!send(fd, data, sizeof(data), 0);
		poll(NULL, 0, 2);
		assert_int_equal(
			getsockopt(fd, level, version == 6 ? IPV6_MTU : IP_MTU, &is, &length), 0);
	}
}

static void
test_mtu_of_a_peer(void **state)
{
	const struct engine_rig_options o = {.offload = TUN_USO};
	const uint8_t nobody[SETUP_KEY] = {1};
	struct err err = {0};

	(void)state;
	engine_rig_open(&rig, &o);
	assert_int_equal(engine_set_peer_mtu(rig.a.engine, nobody, 1300, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(engine_set_peer_mtu(rig.a.engine, rig.b.public_key, 1279, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(engine_set_peer_mtu(rig.a.engine, rig.b.public_key, 1300, &err), 0);
	/* Super-packets, too: it is their pieces that count. */
	engine_rig_tcp(&rig.a, &rig.b, 4, 4 * MB);
	engine_rig_tcp(&rig.a, &rig.b, 6, 4 * MB);
	assert_true(engine_rig_count(&rig.a, ENGINE_DROP_TOO_BIG) > 0);
	await_mtu(4, 1300);
	await_mtu(6, 1300);
	assert_int_equal(engine_set_peer_mtu(rig.a.engine, rig.b.public_key, 0, &err), 0);
	uint64_t before = engine_rig_count(&rig.a, ENGINE_DROP_TOO_BIG);
	tun_rig_enter(rig.a.ns);
	tun_rig_run("ip route flush cache && ip -6 route flush cache");
	tun_rig_home();
	engine_rig_tcp(&rig.a, &rig.b, 4, 4 * MB);
	assert_int_equal(engine_rig_count(&rig.a, ENGINE_DROP_TOO_BIG), before);
}

/* ---- the end, and the beginning ---- */

static void
test_end_under_load(void **state)
{
	const struct engine_rig_options o = {.offload = TUN_USO, .queues = 2};
	uint64_t disorder;

	(void)state;
	engine_rig_open(&rig, &o);
	struct engine_rig_load *there = engine_rig_load(&rig.a, &rig.b);
	struct engine_rig_load *back = engine_rig_load(&rig.b, &rig.a);
	engine_rig_load_more(there, 1000);
	engine_rig_load_more(back, 1000);
	engine_free(rig.b.engine);
	rig.b.engine = NULL;
	engine_rig_start(&rig, &rig.b);
	engine_rig_introduce(&rig, &rig.b, &rig.a, true);
	engine_rig_load_more(there, 1000);
	engine_rig_load_more(back, 1000);
	engine_rig_load_stop(there, &disorder);
	engine_rig_load_stop(back, &disorder);
}

/* Who comes after one that died knows no sessions. The others learn it from it. */
static void
test_successor_begins(void **state)
{
	const struct engine_rig_options o = {.offload = TUN_USO};

	(void)state;
	engine_rig_open(&rig, &o);
	engine_rig_reach(&rig.a, &rig.b, 4);
	uint64_t before = engine_rig_count(&rig.b, ENGINE_HANDSHAKES);
	engine_free(rig.a.engine);
	rig.a.engine = NULL;
	engine_rig_start(&rig, &rig.a);
	engine_rig_introduce(&rig, &rig.a, &rig.b, true);
	engine_rig_await(&rig.b, ENGINE_HANDSHAKES, before + 1);
	assert_true(engine_rig_echo(&rig.b, &rig.a, 4, 100));
}

/* How often threads other than this one have gone to sleep so far. */
static uint64_t
sleeps(void)
{
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *d;
	uint64_t sum = 0;

	assert_non_null(tasks);
	while ((d = readdir(tasks))) {
		unsigned long long count;
		char path[300], line[128];

		if (d->d_name[0] == '.' || atoi(d->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", d->d_name);
		FILE *f = fopen(path, "r");
		assert_non_null(f);
		while (fgets(line, sizeof(line), f))
			if (sscanf(line, "voluntary_ctxt_switches: %llu", &count) == 1)
				sum += count;
		fclose(f);
	}
	closedir(tasks);
	return sum;
}

/* Without packets there is a second in which no thread wakes up: nothing is asked regularly. */
static void
test_rest(void **state)
{
	const struct engine_rig_options o = {.offload = TUN_USO, .queues = 2};
	uint64_t until = world_mono_ns() + ENGINE_RIG_WAIT_S * UINT64_C(1000000000), before;

	(void)state;
	engine_rig_open(&rig, &o);
	engine_rig_reach(&rig.a, &rig.b, 4);
	do {
		assert_true(world_mono_ns() < until);
		before = sleeps();
		poll(NULL, 0, 1000);
	} while (sleeps() != before);
	assert_true(engine_rig_echo(&rig.a, &rig.b, 4, 100));
}

static void
open_parts(struct engine_config *c)
{
	const struct udp_config port = {0};
	struct err err = {0};
	struct udp u;

	*c = (struct engine_config){.mtu = TUN_RIG_MTU, .queues_count = 1, .udp6 = -1};
	tun_rig_enter(rig.a.ns);
	tun_rig_open(&c->queues[0], "wg0", TUN_USO);
	assert_int_equal(udp_open(&u, &port, &err), 0);
	tun_rig_home();
	c->udp4 = u.fd;
}

/* What a failed start was given is still the caller's. */
static void
test_start_without_memory(void **state)
{
	const struct engine_rig_options o = {0};
	struct engine_config c;
	struct err err = {0};

	(void)state;
	engine_rig_open_cable(&rig, &o);
	open_parts(&c);
	c.mtu = TUN_MTU_MIN - 1;
	assert_null(engine_new(&c, &err));
	assert_int_equal(err.kind, ERR_INVALID);
	c.mtu = TUN_RIG_MTU;
	c.aead = "rot13";
	assert_null(engine_new(&c, &err));
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	c.aead = "evp";
	sweep_each(s)
	{
		struct engine_config copy = c;

		copy.queues[0].fd = dup(c.queues[0].fd);
		copy.udp4 = dup(c.udp4);
		struct engine *e = engine_new(&copy, &err);
		if (!e) {
			assert_true(sweep_failed());
			assert_int_equal(err.kind, ERR_NO_MEMORY);
			assert_int_equal(close(copy.udp4), 0);
			tun_close(&copy.queues[0]);
		}
		engine_free(e);
		if (e) {
			assert_int_equal(fcntl(copy.udp4, F_GETFD), -1);
			assert_int_equal(fcntl(copy.queues[0].fd, F_GETFD), -1);
		}
	}
	tun_close(&c.queues[0]);
	assert_int_equal(close(c.udp4), 0);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_streams),
		TEST(test_streams_over_v6),
		TEST(test_streams_without_offloads),
		TEST(test_queues),
		TEST(test_sizes),
		TEST(test_sizes_of_jumbo_frames),
		TEST(test_mtu_of_a_peer),
		TEST(test_end_under_load),
		TEST(test_successor_begins),
		TEST(test_rest),
		TEST(test_start_without_memory),
	};

	return tun_rig_start() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
