/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two engines behind NATs (nft masquerade), which speak to each other through a third one:
 *
 *   engine 1 - 192.168.1.2 -- NAT 10.8.0.11 --.
 *                                             |-- bridge --- 10.8.0.21 - engine 3, relay
 *   engine 2 - 192.168.1.2 -- NAT 10.8.0.12 --'        `---- 10.8.0.22 - engine 4, relay
 *
 * Each has 10.9.0.N and fd09::N inside. Needs root, /dev/net/tun and nft.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/world.h"
#include "overlay/engine/engine_inside.h"
#include "overlay/relay.h"
#include "tests/net/engine_rig.h"

enum { ENDS = 4, HIDDEN = 2, MB = 1 << 20, KEEPALIVE_S = 25 };

static struct engine_rig rig; /* its options and its clock */
static struct engine_rig_end ends[ENDS + 1];
static int nats[HIDDEN + 1], middle;

/* ---- the place ---- */

static void
join_middle(int ns, const char *name, const char *address)
{
	tun_rig_enter(ns);
	tun_rig_run("ip link add eth0 type veth peer name %s netns /proc/%d/fd/%d", name, getpid(),
		    middle);
	tun_rig_run("ip link set lo up && ip link set eth0 up && ip addr add %s/24 dev eth0",
		    address);
	tun_rig_enter(middle);
	tun_rig_run("ip link set %s master br0 up", name);
	tun_rig_home();
}

static void
make_nat(unsigned i)
{
	char name[16], address[32];

	nats[i] = tun_rig_namespace();
	snprintf(name, sizeof(name), "nat%u", i);
	snprintf(address, sizeof(address), "10.8.0.%u", 10 + i);
	join_middle(nats[i], name, address);
	tun_rig_enter(nats[i]);
	tun_rig_run("ip link add in0 type veth peer name eth0 netns /proc/%d/fd/%d", getpid(),
		    ends[i].ns);
	tun_rig_run("ip link set in0 up && ip addr add 192.168.1.1/24 dev in0 &&"
		    "echo 1 >/proc/sys/net/ipv4/ip_forward &&"
		    "nft 'add table ip n; add chain ip n p { type nat hook postrouting priority "
		    "100; }; add rule ip n p oifname eth0 masquerade random;"
		    "add chain ip n f { type filter hook forward priority 0; policy drop; };"
		    "add rule ip n f iifname in0 accept;"
		    "add rule ip n f ct state established accept'");
	tun_rig_enter(ends[i].ns);
	tun_rig_run("ip link set lo up && ip link set eth0 up &&"
		    "ip addr add 192.168.1.2/24 dev eth0 && ip route add default via 192.168.1.1");
	tun_rig_home();
}

static void
make_relay_end(unsigned i)
{
	char name[16], address[32];

	snprintf(name, sizeof(name), "relay%u", i);
	snprintf(address, sizeof(address), "10.8.0.%u", 18 + i);
	join_middle(ends[i].ns, name, address);
	assert_true(addr_parse_ip(address, &ends[i].endpoint));
	ends[i].endpoint.port = ENGINE_RIG_PORT;
}

/* to is told of whom, and that it is where `at` is; NULL: it is to come. */
static void
introduce(unsigned to, unsigned whom, const struct addr *at)
{
	struct setup change = {0};
	struct setup_peer *peer;
	struct addr_prefix prefix;
	char text[64];

	assert_int_equal(setup_add_peer(&change, ends[whom].public_key, &peer), SETUP_OK);
	memcpy(peer->psk, rig.psk, SETUP_KEY);
	peer->has_psk = peer->has_keepalive = true;
	peer->keepalive_s = KEEPALIVE_S;
	peer->has_endpoint = at != NULL;
	if (at)
		peer->endpoint = *at;
	snprintf(text, sizeof(text), "10.9.0.%u/32", whom);
	assert_true(addr_parse_prefix(text, &prefix));
	assert_int_equal(setup_add_prefix(&change, peer, &prefix, false), SETUP_OK);
	snprintf(text, sizeof(text), "fd09::%u/128", whom);
	assert_true(addr_parse_prefix(text, &prefix));
	assert_int_equal(setup_add_prefix(&change, peer, &prefix, false), SETUP_OK);
	engine_rig_change(&ends[to], &change);
	setup_fini(&change);
}

static void
start_relay(unsigned i)
{
	uint8_t keys[HIDDEN][SETUP_KEY];
	struct err err = {0};

	engine_rig_start(&rig, &ends[i]);
	for (unsigned k = 1; k <= HIDDEN; k++) {
		introduce(i, k, NULL);
		memcpy(keys[k - 1], ends[k].public_key, SETUP_KEY);
	}
	assert_int_equal(
		engine_relay(ends[i].engine, (const uint8_t(*)[SETUP_KEY])keys, HIDDEN, &err), 0);
}

static int
setup(void **state)
{
	struct world w;

	(void)state;
	rig = (struct engine_rig){.options = {.mtu = 1420, .queues = 1, .offload = TUN_USO}};
	world_real(&w);
	world_random(&w, rig.psk, sizeof(rig.psk));
	middle = tun_rig_namespace();
	tun_rig_enter(middle);
	tun_rig_run("ip link add br0 type bridge && ip link set br0 up");
	tun_rig_home();
	for (unsigned i = 1; i <= ENDS; i++) {
		ends[i] = (struct engine_rig_end){.number = (uint8_t)i, .ns = tun_rig_namespace()};
		engine_rig_key(ends[i].private_key, ends[i].public_key);
		if (i <= HIDDEN)
			make_nat(i);
		else
			make_relay_end(i);
	}
	for (unsigned i = ENDS; i > 0; i--) {
		if (i > HIDDEN) {
			start_relay(i);
			continue;
		}
		engine_rig_start(&rig, &ends[i]);
		introduce(i, 3, &ends[3].endpoint);
		introduce(i, 4, &ends[4].endpoint);
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= ENDS; i++) {
		engine_free(ends[i].engine);
		close(ends[i].ns);
	}
	for (unsigned i = 1; i <= HIDDEN; i++)
		close(nats[i]);
	close(middle);
	return 0;
}

static void
use(unsigned relay)
{
	introduce(1, 2, &ends[relay].endpoint);
	introduce(2, 1, &ends[relay].endpoint);
}

static void
pass(uint64_t seconds)
{
	const struct setup nothing = {0};

	rig.ahead_ns += seconds * UINT64_C(1000000000);
	for (unsigned i = 1; i <= ENDS; i++) {
		if (ends[i].engine)
			engine_rig_change(&ends[i], &nothing);
	}
}

/* Until they have found each other; time is helped along. */
static void
reach(unsigned from, unsigned to, int version)
{
	for (unsigned i = 0; i < ENGINE_RIG_WAIT_S; i++) {
		if (engine_rig_try(&ends[from], &ends[to], version, 100))
			return;
		pass(6);
	}
	fail_msg("%u does not reach %u", from, to);
}

/* ---- tests ---- */

static void
test_through(void **state)
{
	struct engine_rig_tap *tap = engine_rig_tap(&ends[3]);

	(void)state;
	use(3);
	reach(1, 2, 4);
	reach(2, 1, 6);
	assert_true(engine_rig_count(&ends[3], ENGINE_RELAYED) > 0);
	for (int version = 4; version <= 6; version += 2) {
		engine_rig_tcp(&ends[1], &ends[2], version, 20 * MB);
		engine_rig_tcp(&ends[2], &ends[1], version, 20 * MB);
	}
	/* It passes datagrams by, and none of them shows what is in it. */
	assert_true(engine_rig_heard(tap, NULL, NULL) > 0);
	assert_true(engine_rig_count(&ends[3], ENGINE_RELAYED) > 80 * MB / 1500);
	assert_int_equal(engine_rig_count(&ends[3], ENGINE_IN_PACKETS), 0);
	assert_int_equal(engine_rig_count(&ends[4], ENGINE_RELAYED), 0);
	/* With the relay itself they speak as ever. */
	reach(1, 3, 4);
	reach(3, 2, 4);
	engine_rig_tap_close(tap);
}

/* New keys come through the relay like the old ones did. */
static void
test_rekey(void **state)
{
	(void)state;
	use(3);
	reach(1, 2, 4);
	for (unsigned i = 0; i < 6; i++) {
		pass(130);
		reach(1, 2, 4);
		reach(2, 1, 4);
	}
}

static void
test_fail_over(void **state)
{
	(void)state;
	use(3);
	reach(1, 2, 4);
	engine_free(ends[3].engine);
	ends[3].engine = NULL;
	assert_false(engine_rig_try(&ends[1], &ends[2], 4, 100));
	use(4);
	reach(1, 2, 4);
	reach(2, 1, 4);
	assert_true(engine_rig_count(&ends[4], ENGINE_RELAYED) > 0);
	/* The first one again, with nothing of what it knew. */
	start_relay(3);
	use(3);
	reach(1, 2, 4);
	assert_true(engine_rig_count(&ends[3], ENGINE_RELAYED) > 0);
}

/* A NAT has another address outside from now on. */
static void
test_another_address(void **state)
{
	(void)state;
	use(3);
	reach(1, 2, 4);
	tun_rig_enter(nats[1]);
	tun_rig_run("ip addr flush dev eth0 scope global && ip addr add 10.8.0.31/24 dev eth0");
	tun_rig_home();
	reach(1, 2, 4);
	reach(2, 1, 4);
}

/* Nobody is relayed who was not named, and nobody any more who was. */
static void
test_no_open_relay(void **state)
{
	struct err err = {0};

	(void)state;
	use(3);
	reach(1, 2, 4);
	uint64_t before = engine_rig_count(&ends[3], ENGINE_DROP_FORGED);
	assert_int_equal(engine_relay(ends[3].engine,
				      (const uint8_t(*)[SETUP_KEY])ends[1].public_key, 1, &err),
			 0);
	uint64_t relayed = engine_rig_count(&ends[3], ENGINE_RELAYED);
	assert_false(engine_rig_try(&ends[1], &ends[2], 4, 100));
	pass(200);
	assert_false(engine_rig_try(&ends[1], &ends[2], 4, 100));
	engine_rig_await(&ends[3], ENGINE_DROP_FORGED, before + 1); /* their handshakes */
	assert_int_equal(engine_rig_count(&ends[3], ENGINE_RELAYED), relayed);
	reach(1, 3, 4);
}

static void
test_peer_goes(void **state)
{
	struct setup change = {0};
	struct setup_peer *peer;

	(void)state;
	use(3);
	reach(1, 2, 4);
	uint64_t absent = engine_rig_count(&ends[3], ENGINE_DROP_ABSENT);
	assert_int_equal(setup_add_peer(&change, ends[2].public_key, &peer), SETUP_OK);
	peer->remove = true;
	engine_rig_change(&ends[3], &change);
	setup_fini(&change);
	uint64_t relayed = engine_rig_count(&ends[3], ENGINE_RELAYED);
	engine_rig_send(&ends[1], &ends[2]);
	engine_rig_await(&ends[3], ENGINE_DROP_ABSENT, absent + 1);
	assert_int_equal(engine_rig_count(&ends[3], ENGINE_RELAYED), relayed);
	introduce(3, 2, NULL);
	pass(130); /* new sessions */
	reach(1, 2, 4);
}

static size_t
flows_of(unsigned i)
{
	struct engine_relay *r = &ends[i].engine->relay;

	pthread_mutex_lock(&r->lock);
	size_t count = relay_flows(r->core);
	pthread_mutex_unlock(&r->lock);
	return count;
}

static void
test_silent_flows_end(void **state)
{
	(void)state;
	use(3);
	reach(1, 2, 4);
	assert_true(flows_of(3) > 0);
	for (unsigned i = 1; i <= HIDDEN; i++) {
		engine_free(ends[i].engine);
		ends[i].engine = NULL;
	}
	pass(RELAY_FLOW_MS / 1000);
	uint64_t until = world_mono_ns() + ENGINE_RIG_WAIT_S * UINT64_C(1000000000);
	while (flows_of(3) > 0)
		assert_true(world_mono_ns() < until);
}

static void
test_limit(void **state)
{
	static uint8_t keys[RELAY_NODES_MAX + 1][SETUP_KEY];
	struct err err = {0};

	(void)state;
	use(3);
	for (size_t i = 0; i <= RELAY_NODES_MAX; i++)
		memcpy(keys[i], &i, sizeof(i));
	assert_int_equal(engine_relay(ends[3].engine, (const uint8_t(*)[SETUP_KEY])keys,
				      RELAY_NODES_MAX + 1, &err),
			 -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	reach(1, 2, 4); /* as it was */
}

#define RELAY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RELAY_TEST(test_through),       RELAY_TEST(test_rekey),
		RELAY_TEST(test_fail_over),     RELAY_TEST(test_another_address),
		RELAY_TEST(test_no_open_relay), RELAY_TEST(test_limit),
		RELAY_TEST(test_peer_goes),     RELAY_TEST(test_silent_flows_end),
	};

	if (system("nft list ruleset >/dev/null 2>&1") != 0) {
		printf("1..0 # SKIP there is no nft here\n");
		return 0;
	}
	return tun_rig_start() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
