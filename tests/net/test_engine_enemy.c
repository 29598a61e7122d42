/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody on the cable can do to an engine (engine_rig.h): say again what was said, change
 * it, say anything at all, and much of it. Needs root and /dev/net/tun.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/world.h"
#include "overlay/wg/noise.h"
#include "tests/net/engine_rig.h"

enum { CAUGHT_MAX = 256, CAUGHT_BYTES = 2048, ECHOES = 20 };

struct caught { /* datagrams of one type, from the cable */
	unsigned count, type;
	struct {
		size_t bytes;
		uint8_t data[CAUGHT_BYTES];
	} items[CAUGHT_MAX];
};

static struct engine_rig rig;
static struct caught caught;
static struct engine_rig_tap *tap;
static int enemy = -1; /* UDP, in a's namespace */

/* Datagrams are on the cable one by one. */
static int
setup(void **state)
{
	const struct engine_rig_options o = {.no_gso = true, .no_gro = true};
	struct sockaddr_storage at;

	(void)state;
	engine_rig_open_cable(&rig, &o);
	tap = engine_rig_tap(&rig.b);
	engine_rig_start(&rig, &rig.b);
	engine_rig_introduce(&rig, &rig.b, &rig.a, false);
	engine_rig_start(&rig, &rig.a);
	engine_rig_introduce(&rig, &rig.a, &rig.b, true);
	engine_rig_reach(&rig.a, &rig.b, 4);
	tun_rig_enter(rig.a.ns);
	enemy = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t bytes = addr_to_sockaddr(&rig.b.endpoint, &at);
	assert_int_equal(connect(enemy, (struct sockaddr *)&at, bytes), 0);
	tun_rig_home();
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	fd_close(&enemy);
	engine_rig_tap_close(tap);
	engine_rig_close(&rig);
	return 0;
}

static void
visit(void *arg, const uint8_t *data, size_t bytes)
{
	struct caught *c = arg;

	if (noise_type(data, bytes) != c->type || c->count == CAUGHT_MAX || bytes > CAUGHT_BYTES)
		return;
	memcpy(c->items[c->count].data, data, bytes);
	c->items[c->count++].bytes = bytes;
}

static void catch (unsigned type)
{
	caught.count = 0;
	caught.type = type;
	engine_rig_heard(tap, visit, &caught);
}

static void
say(const void *data, size_t bytes)
{
	assert_int_equal(send(enemy, data, bytes, 0), (ssize_t)bytes);
}

static void
check_unmoved(void)
{
	const struct setup_peer p = engine_rig_peer(&rig.b, rig.a.public_key);

	assert_true(addr_equal(&p.endpoint, &rig.a.endpoint));
	assert_true(engine_rig_echo(&rig.a, &rig.b, 4, 500));
}

/* ---- again, and changed ---- */

static void
test_replay(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ECHOES; i++)
		assert_true(engine_rig_echo(&rig.a, &rig.b, 4, 500));
	catch (NOISE_TYPE_DATA);
	assert_true(caught.count >= 2 * ECHOES);
	uint64_t in = engine_rig_count(&rig.b, ENGINE_IN_PACKETS);
	for (unsigned i = 0; i < caught.count; i++)
		say(caught.items[i].data, caught.items[i].bytes);
	/* Those of the other direction are of no session of this end. */
	engine_rig_await(&rig.b, ENGINE_DROP_REPLAYED, ECHOES);
	engine_rig_await(&rig.b, ENGINE_DROP_UNKNOWN, ECHOES);
	assert_int_equal(engine_rig_count(&rig.b, ENGINE_IN_PACKETS), in);
	assert_int_equal(engine_rig_count(&rig.b, ENGINE_DROP_FORGED), 0);
	check_unmoved();
}

static void
test_handshake_again(void **state)
{
	(void)state;
	catch (NOISE_TYPE_INITIATION);
	assert_true(caught.count >= 1);
	for (unsigned i = 0; i < caught.count; i++)
		say(caught.items[i].data, caught.items[i].bytes);
	engine_rig_await(&rig.b, ENGINE_DROP_REPLAYED, 1);
	/* Without its first MAC. */
	caught.items[0].data[NOISE_INITIATION - 20] ^= 1;
	say(caught.items[0].data, caught.items[0].bytes);
	engine_rig_await(&rig.b, ENGINE_DROP_FORGED, 1);
	check_unmoved();
}

static void
test_forged(void **state)
{
	unsigned sent = 0;

	(void)state;
	for (unsigned i = 0; i < ECHOES; i++)
		assert_true(engine_rig_echo(&rig.a, &rig.b, 4, 500));
	catch (NOISE_TYPE_DATA);
	for (unsigned i = 0; i < caught.count; i++) {
		uint8_t *data = caught.items[i].data;

		/* A counter that is still to come; a bit of the text; one of the tag. */
		switch (i % 3) {
		case 0:
			data[9] ^= 0x40;
			break;
		case 1:
			data[NOISE_HEADER + i] ^= 0x01;
			break;
		case 2:
			data[caught.items[i].bytes - 1] ^= 0x80;
		}
		say(data, caught.items[i].bytes);
		sent++;
	}
	assert_true(sent >= 2 * ECHOES);
	engine_rig_await(&rig.b, ENGINE_DROP_FORGED, ECHOES);
	assert_int_equal(engine_rig_count(&rig.b, ENGINE_DROP_REPLAYED), 0);
	check_unmoved();
}

static void
test_anything(void **state)
{
	uint8_t data[256] = {0};

	(void)state;
	for (uint8_t type = 0; type < 8; type++)
		for (size_t bytes = 1; bytes < sizeof(data); bytes += 5) {
			data[0] = type;
			memset(data + 4, (int)bytes, sizeof(data) - 4);
			say(data, bytes);
		}
	/* All types, with lengths that are right and such that are not. */
	engine_rig_await(&rig.b, ENGINE_DROP_MALFORMED, 100);
	engine_rig_await(&rig.b, ENGINE_DROP_UNKNOWN, 10);
	check_unmoved();
}

/* ---- wrong keys, wrong addresses ---- */

static void
test_wrong_preshared_key(void **state)
{
	(void)state;
	rig.psk[0] ^= 1;
	engine_rig_introduce(&rig, &rig.b, &rig.a, false);
	uint64_t handshakes = engine_rig_count(&rig.a, ENGINE_HANDSHAKES);
	engine_rig_pass(&rig, 200);
	engine_rig_send(&rig.a, &rig.b);
	engine_rig_await(&rig.a, ENGINE_DROP_FORGED, 1);
	assert_int_equal(engine_rig_count(&rig.a, ENGINE_HANDSHAKES), handshakes);
	engine_rig_introduce(&rig, &rig.a, &rig.b, true);
	engine_rig_pass(&rig, 6);
	engine_rig_reach(&rig.a, &rig.b, 4);
}

static void
test_unknown_key(void **state)
{
	struct setup change = {.has_private_key = true};
	uint8_t public_key[SETUP_KEY];

	(void)state;
	engine_rig_key(change.private_key, public_key);
	engine_rig_change(&rig.a, &change);
	engine_rig_send(&rig.a, &rig.b);
	engine_rig_await(&rig.b, ENGINE_DROP_UNKNOWN, 1);
	assert_int_equal(engine_rig_count(&rig.b, ENGINE_DROP_SOURCE), 0);
}

static void
test_wrong_source(void **state)
{
	defer_close int fd = engine_rig_socket(&rig.a, SOCK_DGRAM, 4);
	struct sockaddr_storage at;
	socklen_t bytes = engine_rig_inner(&rig.b, 4, 9, &at);
	struct sockaddr_in other = {.sin_family = AF_INET};

	(void)state;
	tun_rig_enter(rig.a.ns);
	tun_rig_run("ip addr add 10.9.0.77/24 dev wg0");
	defer_close int wrong = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	tun_rig_home();
	other.sin_addr.s_addr = htonl(0x0a09004d);
	assert_int_equal(bind(wrong, (struct sockaddr *)&other, sizeof(other)), 0);
	uint64_t in = engine_rig_count(&rig.b, ENGINE_IN_PACKETS);
	assert_int_equal(sendto(wrong, "x", 1, 0, (struct sockaddr *)&at, bytes), 1);
	engine_rig_await(&rig.b, ENGINE_DROP_SOURCE, 1);
	assert_int_equal(engine_rig_count(&rig.b, ENGINE_IN_PACKETS), in);
	assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&at, bytes), 1);
	engine_rig_await(&rig.b, ENGINE_IN_PACKETS, in + 1);
}

/* ---- much ---- */

static _Atomic bool enough;

static void *
flood(void *arg)
{
	(void)arg;
	while (!enough)
		(void)!send(enemy, caught.items[0].data, caught.items[0].bytes, 0);
	return NULL;
}

/* Under load one has to prove its address; who can gets through all the same. */
static void
test_flood(void **state)
{
	uint64_t until = world_mono_ns() + ENGINE_RIG_WAIT_S * UINT64_C(1000000000), before;
	pthread_t thread;

	(void)state;
	catch (NOISE_TYPE_INITIATION);
	assert_true(caught.count >= 1);
	enough = false;
	assert_int_equal(pthread_create(&thread, NULL, flood, NULL), 0);
	engine_rig_await(&rig.b, ENGINE_COOKIES, 100);
	before = engine_rig_count(&rig.a, ENGINE_HANDSHAKES);
	engine_rig_pass(&rig, 200);
	while (engine_rig_count(&rig.a, ENGINE_HANDSHAKES) == before) {
		assert_true(world_mono_ns() < until);
		engine_rig_send(&rig.a, &rig.b);
		poll(NULL, 0, 100);
		engine_rig_pass(&rig, 6);
	}
	enough = true;
	assert_int_equal(pthread_join(thread, NULL), 0);
	engine_rig_reach(&rig.a, &rig.b, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_replay),       TEST(test_handshake_again), TEST(test_forged),
		TEST(test_anything),     TEST(test_unknown_key),     TEST(test_wrong_preshared_key),
		TEST(test_wrong_source), TEST(test_flood),
	};

	return tun_rig_start() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
