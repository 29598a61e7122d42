/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two engines (engine_rig.h) that find out what the path between them takes: the cable takes 9,000
 * bytes, but each end silently drops what is longer than a test says, as a router does that sends
 * no ICMP, or whose ICMP is filtered. Needs root, /dev/net/tun and nft.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/world.h"
#include "overlay/prober_udp.h"
#include "tests/net/engine_rig.h"

enum {
	CABLE = 9000,
	MTU = 8920,
	OUTER = 60, /* IPv4, UDP, WireGuard */
	SIZE_MAX_BYTES = 9000,
	TRIES = 20,
	ENDS = 2,
};

static struct engine_rig rig;

static struct end {
	struct engine_rig_end *end, *other;
	struct prober_udp *prober;
	uint32_t mtu;
	uint64_t rtt_ns;
} ends[ENDS];

static void
found(void *arg, uint64_t id, uint32_t mtu, uint64_t rtt_ns, bool another)
{
	struct end *e = arg;
	struct err err = {0};

	assert_int_equal(id, e->other->number);
	assert_true(another || e->mtu == mtu || !e->mtu);
	e->mtu = mtu;
	e->rtt_ns = rtt_ns;
	assert_int_equal(engine_set_peer_mtu(e->end->engine, e->other->public_key, mtu, &err), 0);
}

static void
open_end(struct end *e)
{
	struct sockaddr_storage at;
	struct prober_peer peer = {.id = e->other->number};
	struct err err = {0};
	struct addr own;
	char text[32];

	snprintf(text, sizeof(text), "10.9.0.%u", e->end->number);
	assert_true(addr_parse_ip(text, &own));
	snprintf(text, sizeof(text), "10.9.0.%u", e->other->number);
	assert_true(addr_parse_ip(text, &peer.address));
	socklen_t length = engine_rig_inner(e->end, 4, PROBER_PORT, &at);
	tun_rig_enter(e->end->ns);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, length), 0);
	tun_rig_home();
	const struct prober_calls calls = {.arg = e, .found = found};
	e->prober = prober_udp_new(fd, &own, MTU, &calls, &err);
	assert_non_null(e->prober);
	assert_int_equal(
		prober_set_peers(prober_udp_prober(e->prober), &peer, 1, world_mono_ns(), &err), 0);
}

/* What comes to an end and is longer is dropped from now on. */
static void
takes(const struct engine_rig_end *end, uint32_t bytes)
{
	tun_rig_enter(end->ns);
	tun_rig_run("nft 'add table inet t; delete table inet t; add table inet t;"
		    "add chain inet t c { type filter hook prerouting priority -300; };"
		    "add rule inet t c iifname eth0 meta length > %u drop'",
		    bytes);
	tun_rig_home();
}

static int
setup(void **state)
{
	/* One by one: a rule would see runs as one packet. */
	const struct engine_rig_options o = {
		.mtu = MTU, .cable_mtu = CABLE, .offload = TUN_USO, .no_gso = true};

	(void)state;
	engine_rig_open(&rig, &o);
	ends[0] = (struct end){.end = &rig.a, .other = &rig.b};
	ends[1] = (struct end){.end = &rig.b, .other = &rig.a};
	for (unsigned i = 0; i < ENDS; i++)
		open_end(&ends[i]);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ENDS; i++)
		prober_udp_free(ends[i].prober);
	engine_rig_close(&rig);
	return 0;
}

static int
wait_ms(void)
{
	uint64_t now = world_mono_ns(), next = UINT64_MAX;

	for (unsigned i = 0; i < ENDS; i++) {
		uint64_t due = prober_deadline(prober_udp_prober(ends[i].prober));

		next = due < next ? due : next;
	}
	return next <= now ? 0 : (int)((next - now) / 1000000 + 1);
}

/* Until both directions are known as they are to be: within a step of what fits. */
static void
probe_until(uint32_t a_to_b, uint32_t b_to_a)
{
	const uint32_t want[ENDS] = {a_to_b, b_to_a};
	uint64_t until = world_mono_ns() + 2 * ENGINE_RIG_WAIT_S * UINT64_C(1000000000);

	for (;;) {
		struct pollfd fds[ENDS];
		unsigned right = 0;

		for (unsigned i = 0; i < ENDS; i++) {
			prober_udp_read(ends[i].prober);
			prober_udp_tick(ends[i].prober);
			right += ends[i].mtu <= want[i] && ends[i].mtu + PROBE_STEP > want[i];
			fds[i] = (struct pollfd){.fd = prober_udp_fd(ends[i].prober),
						 .events = POLLIN};
		}
		if (right == ENDS)
			return;
		if (world_mono_ns() > until)
			fail_msg("%u and %u instead of %u and %u", ends[0].mtu, ends[1].mtu, a_to_b,
				 b_to_a);
		(void)poll(fds, ENDS, wait_ms());
	}
}

/* A datagram that is too long for the path is lost once: then its sender knows. */
static void
every_size(const struct engine_rig_end *from, const struct engine_rig_end *to, int version,
	   size_t step)
{
	for (size_t bytes = 1; bytes <= SIZE_MAX_BYTES; bytes += step) {
		unsigned i = 0;

		while (i < TRIES && !engine_rig_try(from, to, version, bytes))
			i++;
		if (i == TRIES)
			fail_msg("%zu bytes of IPv%d do not come through", bytes, version);
	}
}

static void
test_mixed(void **state)
{
	(void)state;
	takes(&rig.b, 1500); /* and the other way all of it */
	probe_until(1500 - OUTER, MTU);
	assert_true(ends[0].rtt_ns > 0 && ends[1].rtt_ns > 0);
	every_size(&rig.a, &rig.b, 4, 1);
	every_size(&rig.b, &rig.a, 6, 1);
	engine_rig_tcp(&rig.a, &rig.b, 4, 10 << 20);
	engine_rig_tcp(&rig.b, &rig.a, 6, 10 << 20);
}

static void
test_jumbo(void **state)
{
	(void)state;
	probe_until(MTU, MTU);
	every_size(&rig.a, &rig.b, 4, 97);
	engine_rig_tcp(&rig.a, &rig.b, 4, 10 << 20);
}

/* Below what is usual, and then the way is another one. */
static void
test_narrow(void **state)
{
	(void)state;
	takes(&rig.a, 1400);
	takes(&rig.b, 1400);
	probe_until(1400 - OUTER - 12, 1400 - OUTER - 12); /* in steps of 16 */
	every_size(&rig.a, &rig.b, 4, 97);
	takes(&rig.b, CABLE);
	prober_moved(prober_udp_prober(ends[0].prober), rig.b.number, world_mono_ns());
	probe_until(MTU, 1400 - OUTER - 12);
	takes(&rig.b, 1450);
	prober_moved(prober_udp_prober(ends[0].prober), rig.b.number, world_mono_ns());
	probe_until(1450 - OUTER, 1400 - OUTER - 12);
	every_size(&rig.a, &rig.b, 6, 97);
}

#define PATH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		PATH_TEST(test_mixed),
		PATH_TEST(test_jumbo),
		PATH_TEST(test_narrow),
	};

	if (system("nft list ruleset >/dev/null 2>&1") != 0) {
		printf("1..0 # SKIP there is no nft here\n");
		return 0;
	}
	return tun_rig_start() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
