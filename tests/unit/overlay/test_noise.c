/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends that shake hands, and everybody who should not be able to. */
#include "overlay/wg/noise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include "base/world.h"

struct end {
	struct noise_identity id;
	struct noise_peer peer;
	struct noise noise;
	struct noise_keys keys;
};

static bool no_memory; /* for the library */

static void *
library_malloc(size_t bytes, const char *file, int line)
{
	(void)file;
	(void)line;
	return no_memory ? NULL : malloc(bytes);
}

static void *
library_realloc(void *data, size_t bytes, const char *file, int line)
{
	(void)file;
	(void)line;
	return no_memory ? NULL : realloc(data, bytes);
}

static void
library_free(void *data, const char *file, int line)
{
	(void)file;
	(void)line;
	free(data);
}

static struct primitive p;
static struct end alice, bob;
static struct world_seeded world;
static uint8_t initiation[NOISE_INITIATION], response[NOISE_RESPONSE];

static void
draw(uint8_t out[PRIMITIVE_KEY])
{
	world_random(&world.world, out, PRIMITIVE_KEY);
}

static void
new_identity(struct end *e)
{
	uint8_t key[PRIMITIVE_KEY];

	*e = (struct end){0};
	draw(key);
	assert_true(noise_identity_set(&e->id, key));
}

static int
setup(void **state)
{
	struct err err = {0};

	(void)state;
	world_seeded_init(&world, 7, 1, 1);
	assert_int_equal(primitive_init(&p, &err), 0);
	new_identity(&alice);
	new_identity(&bob);
	noise_peer_set(&alice.peer, &alice.id, bob.id.public_key);
	noise_peer_set(&bob.peer, &bob.id, alice.id.public_key);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	primitive_fini(&p);
	return 0;
}

static bool
begin(struct end *e, int64_t wall_ns)
{
	uint8_t random[PRIMITIVE_KEY], timestamp[NOISE_TIMESTAMP];

	draw(random);
	noise_timestamp(wall_ns, timestamp);
	return noise_initiate(&p, &e->id, &e->peer, 11, random, timestamp, &e->noise, initiation);
}

static bool
hear(struct end *e, const uint8_t *packet)
{
	struct noise_claim claim;
	uint8_t timestamp[NOISE_TIMESTAMP];

	return noise_read_initiation(&p, &e->id, packet, &claim) &&
	       memcmp(claim.public_key, e->peer.public_key, PRIMITIVE_KEY) == 0 &&
	       noise_consume_initiation(&p, &e->peer, packet, &claim, &e->noise, timestamp);
}

static bool
answer(struct end *e)
{
	uint8_t random[PRIMITIVE_KEY];

	draw(random);
	return noise_respond(&p, &e->peer, 22, random, &e->noise, response, &e->keys);
}

static bool
finish(struct end *e, const uint8_t *packet)
{
	return noise_consume_response(&p, &e->id, &e->peer, packet, &e->noise, &e->keys);
}

static void
check_keys(void)
{
	assert_memory_equal(alice.keys.send, bob.keys.receive, PRIMITIVE_KEY);
	assert_memory_equal(alice.keys.receive, bob.keys.send, PRIMITIVE_KEY);
	assert_memory_not_equal(alice.keys.send, alice.keys.receive, PRIMITIVE_KEY);
	assert_int_equal(alice.keys.local, 11);
	assert_int_equal(alice.keys.remote, 22);
	assert_int_equal(bob.keys.local, 22);
	assert_int_equal(bob.keys.remote, 11);
	assert_true(alice.keys.initiator);
	assert_false(bob.keys.initiator);
}

static void
test_handshake(void **state)
{
	struct noise empty = {0};

	(void)state;
	assert_true(begin(&alice, 1000));
	assert_int_equal(noise_type(initiation, sizeof(initiation)), NOISE_TYPE_INITIATION);
	assert_true(hear(&bob, initiation));
	assert_true(answer(&bob));
	assert_int_equal(noise_type(response, sizeof(response)), NOISE_TYPE_RESPONSE);
	assert_true(finish(&alice, response));
	check_keys();
	/* Nothing of it is left. */
	assert_memory_equal(&alice.noise, &empty, sizeof(empty));
	assert_memory_equal(&bob.noise, &empty, sizeof(empty));
}

static void
test_each_part_counts_once(void **state)
{
	test_handshake(state);
	assert_false(finish(&alice, response));
	assert_false(answer(&bob));
}

static void
test_keys_are_new_each_time(void **state)
{
	uint8_t before[PRIMITIVE_KEY];

	test_handshake(state);
	memcpy(before, alice.keys.send, sizeof(before));
	test_handshake(state);
	assert_memory_not_equal(before, alice.keys.send, sizeof(before));
}

static void
test_psk(void **state)
{
	(void)state;
	draw(alice.peer.psk);
	assert_true(begin(&alice, 1000));
	assert_true(hear(&bob, initiation)); /* it comes in with the answer only */
	assert_true(answer(&bob));
	assert_false(finish(&alice, response));
	assert_int_equal(alice.noise.state, NOISE_INITIATED);
	memcpy(bob.peer.psk, alice.peer.psk, PRIMITIVE_KEY);
	assert_true(hear(&bob, initiation));
	assert_true(answer(&bob));
	assert_true(finish(&alice, response));
	check_keys();
}

/* Of either message each bit counts, but those of the MACs behind it. */
static void
test_every_bit_counts(void **state)
{
	(void)state;
	assert_true(begin(&alice, 1000));
	for (size_t i = 8; i < NOISE_INITIATION - NOISE_MACS; i++) {
		struct noise before = bob.noise;

		initiation[i] ^= 0x10;
		assert_false(hear(&bob, initiation));
		assert_memory_equal(&before, &bob.noise, sizeof(before));
		initiation[i] ^= 0x10;
	}
	assert_true(hear(&bob, initiation));
	assert_true(answer(&bob));
	for (size_t i = 8; i < NOISE_RESPONSE - NOISE_MACS; i++) {
		response[i] ^= 0x10;
		assert_false(finish(&alice, response));
		response[i] ^= 0x10;
	}
	assert_true(finish(&alice, response));
	check_keys();
}

static void
test_strangers(void **state)
{
	struct end mallory, carol;

	(void)state;
	new_identity(&mallory);
	new_identity(&carol);
	noise_peer_set(&mallory.peer, &mallory.id, bob.id.public_key);
	assert_true(begin(&mallory, 1000));
	assert_false(hear(&bob, initiation));
	/* Meant for another one. */
	assert_true(begin(&alice, 1000));
	carol.peer = bob.peer;
	assert_false(hear(&carol, initiation));
	/* Whoever has alice's public key alone cannot speak for her. */
	memcpy(mallory.id.public_key, alice.id.public_key, PRIMITIVE_KEY);
	assert_true(begin(&mallory, 1000));
	struct noise_claim claim;
	uint8_t timestamp[NOISE_TIMESTAMP];
	assert_true(noise_read_initiation(&p, &bob.id, initiation, &claim));
	assert_memory_equal(claim.public_key, alice.id.public_key, PRIMITIVE_KEY);
	assert_false(
		noise_consume_initiation(&p, &bob.peer, initiation, &claim, &bob.noise, timestamp));
	assert_int_equal(bob.noise.state, NOISE_IDLE);
}

static void
test_both_begin(void **state)
{
	uint8_t first[NOISE_INITIATION];

	(void)state;
	assert_true(begin(&alice, 1000));
	memcpy(first, initiation, sizeof(first));
	assert_true(begin(&bob, 1000));
	/* Who hears the other one gives up its own. */
	assert_true(hear(&bob, first));
	assert_true(answer(&bob));
	assert_true(finish(&alice, response));
	check_keys();
}

static void
test_unusable_peer(void **state)
{
	const uint8_t zero[PRIMITIVE_KEY] = {0};

	(void)state;
	noise_peer_set(&alice.peer, &alice.id, zero);
	assert_int_equal(alice.peer.state, NOISE_SHARED_NEVER);
	assert_false(noise_peer_ready(&alice.peer, &alice.id));
	assert_false(begin(&alice, 1000));
	assert_int_equal(alice.noise.state, NOISE_IDLE);
}

/* That is not for good. */
static void
test_peer_without_memory(void **state)
{
	(void)state;
	no_memory = true;
	noise_peer_set(&alice.peer, &alice.id, bob.id.public_key);
	bool ready = noise_peer_ready(&alice.peer, &alice.id);
	no_memory = false;
	assert_false(ready);
	assert_int_equal(alice.peer.state, NOISE_SHARED_UNKNOWN);
	assert_false(begin(&alice, 1000));
	assert_true(noise_peer_ready(&alice.peer, &alice.id));
	assert_true(begin(&alice, 1000));
	assert_memory_equal(alice.peer.shared, bob.peer.shared, PRIMITIVE_KEY);
}

static void
test_timestamps(void **state)
{
	static const int64_t times[] = {0, 1 << 24, 999999999, 1000000000, 1700000000000000000};
	uint8_t before[NOISE_TIMESTAMP] = {0}, now[NOISE_TIMESTAMP];

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		noise_timestamp(times[i], now);
		assert_true(memcmp(now, before, sizeof(now)) > 0);
		memcpy(before, now, sizeof(now));
	}
	/* The second that TAI64 counts ten ahead of UTC, as in 1970. */
	noise_timestamp((INT64_C(0x37c219bf) - 10) * 1000000000, now);
	assert_memory_equal(now, "\x40\0\0\0\x37\xc2\x19\xbf\0\0\0\0", NOISE_TIMESTAMP);
	/* Nearby times look the same. */
	noise_timestamp((INT64_C(0x37c219bf) - 10) * 1000000000 + 1000, before);
	assert_memory_equal(now, before, sizeof(now));
	noise_timestamp(-5, now);
	noise_timestamp(0, before);
	assert_memory_equal(now, before, sizeof(now));
}

static void
test_types(void **state)
{
	uint8_t packet[200] = {0};

	(void)state;
	for (size_t n = 0; n < sizeof(packet); n++)
		assert_int_equal(noise_type(packet, n), 0);
	packet[0] = NOISE_TYPE_DATA;
	for (size_t n = 0; n < sizeof(packet); n++)
		assert_int_equal(noise_type(packet, n), n >= 32 ? NOISE_TYPE_DATA : 0);
	packet[0] = NOISE_TYPE_COOKIE;
	assert_int_equal(noise_type(packet, NOISE_COOKIE), NOISE_TYPE_COOKIE);
	assert_int_equal(noise_type(packet, NOISE_COOKIE + 1), 0);
	packet[1] = 1; /* reserved */
	assert_int_equal(noise_type(packet, NOISE_COOKIE), 0);
	packet[0] = 5;
	packet[1] = 0;
	assert_int_equal(noise_type(packet, NOISE_COOKIE), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_handshake),
		TEST(test_each_part_counts_once),
		TEST(test_keys_are_new_each_time),
		TEST(test_psk),
		TEST(test_every_bit_counts),
		TEST(test_strangers),
		TEST(test_both_begin),
		TEST(test_unusable_peer),
		TEST(test_peer_without_memory),
		TEST(test_timestamps),
		TEST(test_types),
	};

	if (CRYPTO_set_mem_functions(library_malloc, library_realloc, library_free) != 1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
