/* SPDX-License-Identifier: Apache-2.0 */
/* A device under load, its configuration, a thousand peers, and no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/sweep.h"
#include "tests/support/wg_pair.h"

/* ---- load ---- */

static void
test_cookies(void **state)
{
	(void)state;
	b->queued = WG_QUEUED;
	uint64_t id = wg_say(a, to_b);
	assert_int_equal(wg_deliver(&wire), DEVICE_COOKIE);
	assert_int_equal(wire.packets[0]->bytes, NOISE_COOKIE);
	struct wg_packet cookie = *wire.packets[0];
	assert_int_equal(wg_deliver(&wire), DEVICE_OK);
	assert_int_equal(state_of(to_b).rx_bytes, NOISE_COOKIE);
	/* It answers one message, once. */
	assert_int_equal(wg_give(a, &cookie), DEVICE_FORGED);
	assert_int_equal(wire.count, 0);
	/* The next one has a second MAC. */
	wg_pass(&wire, 6 * wg_second, true);
	assert_int_equal(wg_deliver(&wire), DEVICE_OK);
	wg_deliver_all(&wire);
	assert_true(wg_got(b, id));
}

static void
test_cookie_of_another_address(void **state)
{
	(void)state;
	b->queued = WG_QUEUED;
	wg_say(a, to_b);
	wg_deliver_all(&wire);
	wg_pass(&wire, 6 * wg_second, true);
	assert_true(addr_parse("203.0.113.1:51820", &wire.packets[0]->from));
	assert_int_equal(wg_deliver(&wire), DEVICE_COOKIE);
}

static void
test_cookie_for_a_response(void **state)
{
	(void)state;
	wg_say(a, to_b);
	wg_deliver(&wire);
	a->queued = WG_QUEUED;
	assert_int_equal(wg_deliver(&wire), DEVICE_COOKIE);
	assert_false(to_a->awake->cookie.has_cookie);
	assert_int_equal(wg_deliver(&wire), DEVICE_OK);
	assert_true(to_a->awake->cookie.has_cookie);
	/* A message that nobody sent is not a reply to any. */
	uint8_t reply[NOISE_COOKIE] = {NOISE_TYPE_COOKIE};
	assert_int_equal(
		device_receive(a->device, wg_world(&wire), &b->addr, reply, sizeof(reply), 0),
		DEVICE_UNKNOWN);
}

static void
test_load_begins_and_ends(void **state)
{
	(void)state;
	wg_say(a, to_b);
	struct wg_packet copy = *wire.packets[0];
	b->queued = WG_QUEUED - 1;
	assert_int_equal(wg_give(b, &copy), DEVICE_OK);
	b->queued = WG_QUEUED;
	assert_int_equal(wg_give(b, &copy), DEVICE_COOKIE);
	b->queued = 0;
	wg_jump(&wire, DEVICE_LOADED_MS * wg_ms - 1);
	assert_int_equal(wg_give(b, &copy), DEVICE_COOKIE);
	wg_jump(&wire, 1);
	assert_int_equal(wg_give(b, &copy), DEVICE_REPLAYED);
	/* Who does not know whom it speaks to gets no cookie. */
	b->queued = WG_QUEUED;
	copy.data[20] ^= 1;
	assert_int_equal(wg_give(b, &copy), DEVICE_FORGED);
}

static void
test_limit_of_an_address(void **state)
{
	unsigned looked_at = 0, limited = 0;

	(void)state;
	b->queued = WG_QUEUED;
	wg_say(a, to_b);
	wg_deliver_all(&wire);
	wg_pass(&wire, 6 * wg_second, true);
	struct wg_packet proven = *wire.packets[0];
	for (unsigned i = 0; i < 50; i++) {
		enum device_result r = wg_give(b, &proven);

		limited += r == DEVICE_LIMITED;
		looked_at += r == DEVICE_OK || r == DEVICE_REPLAYED;
	}
	assert_int_equal(looked_at, LIMITER_BURST);
	assert_int_equal(limited, 50 - LIMITER_BURST);
	wg_jump(&wire, wg_second);
	assert_int_equal(wg_give(b, &proven), DEVICE_REPLAYED);
}

/* ---- configuration ---- */

static void
test_no_identity(void **state)
{
	struct session *s;
	struct err err = {0};

	(void)state;
	wg_say(a, to_b);
	struct wg_packet copy = *wire.packets[0];
	wg_say(b, to_a);
	assert_int_equal(b->staged, 1);
	assert_int_equal(device_set_private_key(b->device, NULL, &err), 0);
	/* What waited waits in vain. */
	assert_int_equal(b->staged, 0);
	assert_int_equal(wg_give(b, &copy), DEVICE_UNREACHABLE);
	assert_int_equal(device_wants_send(b->device, to_a, wg_world(&wire), &s),
			 DEVICE_UNREACHABLE);
	struct noise_identity identity;
	assert_false(device_identity(b->device, &identity));
	assert_int_equal(device_set_private_key(b->device, b->private_key, &err), 0);
	assert_int_equal(wg_give(b, &copy), DEVICE_OK);
	const uint8_t zeros[PRIMITIVE_KEY] = {0};
	assert_int_equal(device_set_private_key(b->device, zeros, &err), 0);
	assert_false(device_identity(b->device, &identity));
}

static void
test_new_private_key(void **state)
{
	uint8_t key[PRIMITIVE_KEY];
	struct noise_identity identity;
	struct err err = {0};

	(void)state;
	assert_true(says(a, to_b, b));
	struct session *old = to_b->awake->slots.current;
	/* The same one is no change. */
	assert_int_equal(device_set_private_key(a->device, a->private_key, &err), 0);
	assert_true(session_sends(old, wg_world(&wire)->mono_ns));
	world_random(wg_world(&wire), key, sizeof(key));
	assert_int_equal(device_set_private_key(a->device, key, &err), 0);
	/* What is on its way still comes, nothing more goes. */
	uint64_t late = wg_say(b, to_a);
	wg_deliver_all(&wire);
	assert_true(wg_got(a, late));
	assert_false(session_sends(old, wg_world(&wire)->mono_ns));
	/* A handshake begins at once, although one was a moment ago. b does not know it by that
	 * key; then it does. */
	wg_say(a, to_b);
	assert_int_equal(type_of(0), NOISE_TYPE_INITIATION);
	assert_int_equal(wg_deliver(&wire), DEVICE_UNKNOWN);
	assert_true(device_identity(a->device, &identity));
	struct device_peer *anew =
		change(b, (struct device_change){.endpoint = &a->addr}, identity.public_key);
	wg_pass(&wire, 6 * wg_second, false);
	assert_non_null(anew->awake->slots.current);
	assert_ptr_not_equal(to_b->awake->slots.current, old);
}

static void
test_handshake_ends_with_the_key(void **state)
{
	uint8_t key[PRIMITIVE_KEY] = {9};
	struct err err = {0};

	(void)state;
	wg_say(a, to_b);
	wg_deliver(&wire);
	assert_int_equal(device_set_private_key(a->device, key, &err), 0);
	assert_int_equal(wg_give(a, wire.packets[0]), DEVICE_FORGED);
	assert_int_equal(device_set_private_key(a->device, a->private_key, &err), 0);
	assert_int_equal(wg_deliver(&wire), DEVICE_UNKNOWN);
	assert_int_equal(map_count(&a->device->handshakes), 0);
}

static void
test_own_key(void **state)
{
	struct err err = {0};

	(void)state;
	assert_null(change(a, (struct device_change){0}, a->public_key));
	assert_int_equal(device_count(a->device), 1);
	assert_int_equal(device_set_private_key(a->device, b->private_key, &err), 0);
	assert_int_equal(device_count(a->device), 0);
	assert_int_equal(a->gone, 1);
}

static void
test_peers(void **state)
{
	const uint8_t first[PRIMITIVE_KEY] = {1}, second[PRIMITIVE_KEY] = {2};

	(void)state;
	assert_null(change(a, (struct device_change){.update_only = true}, first));
	assert_null(change(a, (struct device_change){.remove = true}, first));
	assert_int_equal(device_count(a->device), 1);
	struct device_peer *one = change(a, (struct device_change){0}, first);
	struct device_peer *two = change(a, (struct device_change){0}, second);
	assert_ptr_equal(change(a, (struct device_change){.update_only = true}, first), one);
	assert_int_equal(device_count(a->device), 3);
	assert_ptr_equal(device_next(a->device, NULL), to_b);
	assert_ptr_equal(device_next(a->device, to_b), one);
	assert_ptr_equal(device_next(a->device, two), NULL);
	device_peer_set_user(one, &wire);
	assert_ptr_equal(device_peer_user(one), &wire);
	assert_null(change(a, (struct device_change){.remove = true}, first));
	assert_null(device_find(a->device, first));
	assert_ptr_equal(device_next(a->device, to_b), two);
	/* With all that belongs to it. */
	assert_true(says(a, to_b, b));
	wg_jump(&wire, 200 * wg_second);
	wg_say(a, to_b);
	assert_null(change(a, (struct device_change){.remove = true}, b->public_key));
	assert_int_equal(map_count(&a->device->handshakes), 0);
	assert_int_equal(map_count(&a->device->sessions), 0);
	assert_int_equal(a->staged, 0);
	assert_int_equal(a->device->allowed.count, 0);
	wg_deliver_all(&wire);
	device_remove_all(a->device);
	assert_int_equal(device_count(a->device), 0);
	assert_true(device_deadline(a->device) == TIMERS_NEVER);
}

static void
test_prefixes(void **state)
{
	const uint8_t other[PRIMITIVE_KEY] = {1};
	struct device_prefix two[2];
	struct device_change c = {.prefixes = two, .prefixes_count = 2};

	(void)state;
	memset(two, 0, sizeof(two));
	wg_inner(8, &two[0].prefix);
	wg_inner(9, &two[1].prefix);
	change(a, c, b->public_key);
	assert_int_equal(device_prefixes(to_b), 3);
	two[0].remove = true;
	change(a, c, b->public_key);
	assert_int_equal(device_prefixes(to_b), 2);
	/* Another peer takes it. */
	two[0].remove = false;
	struct device_peer *o = change(a, c, other);
	assert_int_equal(device_prefixes(o), 2);
	assert_int_equal(device_prefixes(to_b), 1);
	/* Removing what is another's does nothing. */
	two[0].remove = two[1].remove = true;
	change(a, c, b->public_key);
	assert_int_equal(device_prefixes(o), 2);
	two[0].remove = false;
	c = (struct device_change){.prefixes = two, .prefixes_count = 1, .replace_prefixes = true};
	change(a, c, other);
	assert_int_equal(device_prefixes(o), 1);
	c.prefixes_count = 0;
	change(a, c, other);
	assert_int_equal(device_prefixes(o), 0);
}

static void
test_too_many_prefixes(void **state)
{
	struct device_prefix *many = mem_array(MEM_BASE, ALLOWED_PREFIXES_MAX, sizeof(*many));
	struct device_change c = {.prefixes = many, .prefixes_count = ALLOWED_PREFIXES_MAX};
	const uint8_t other[PRIMITIVE_KEY] = {1};
	struct device_peer *peer;
	struct err err = {0};

	(void)state;
	assert_non_null(many);
	for (unsigned i = 0; i < ALLOWED_PREFIXES_MAX; i++) {
		many[i].prefix.bits = 128;
		addr_from_v4_be(i, 0, &many[i].prefix.base);
	}
	memcpy(c.public_key, other, PRIMITIVE_KEY);
	assert_int_equal(device_change(a->device, &c, wg_world(&wire), &peer, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_null(device_find(a->device, other));
	assert_int_equal(device_prefixes(to_b), 1);
	/* What it gives back counts. */
	memcpy(c.public_key, b->public_key, PRIMITIVE_KEY);
	c.replace_prefixes = true;
	assert_int_equal(device_change(a->device, &c, wg_world(&wire), &peer, &err), 0);
	assert_int_equal(device_change(a->device, &c, wg_world(&wire), &peer, &err), 0);
	assert_int_equal(device_prefixes(to_b), ALLOWED_PREFIXES_MAX);
	mem_free(many);
}

/* Of what was reserved all changes may take. */
static void
test_reserved_prefixes(void **state)
{
	struct device_prefix one = {.prefix = {.bits = 128}};
	struct device_change c = {.prefixes = &one, .prefixes_count = 1};
	struct device_peer *peer;
	struct err err = {0};

	(void)state;
	memcpy(c.public_key, b->public_key, PRIMITIVE_KEY);
	assert_int_equal(device_reserve(a->device, ALLOWED_PREFIXES_MAX, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	mem_fail_after(1);
	assert_int_equal(device_reserve(a->device, 8, &err), -1);
	mem_fail_after(-1);
	assert_int_equal(err.kind, ERR_NO_MEMORY);
	assert_int_equal(device_reserve(a->device, 8, &err), 0);
	mem_fail_after(0);
	for (unsigned i = 0; i < 8; i++) {
		addr_from_v4_be(htonl(0x0a640000 + i), 0, &one.prefix.base);
		assert_int_equal(device_change(a->device, &c, wg_world(&wire), &peer, &err), 0);
	}
	assert_int_equal(mem_failures(), 0);
	mem_fail_after(-1);
	device_release(a->device);
	assert_int_equal(device_prefixes(to_b), 9);
	/* Without a reservation each takes what it needs. */
	addr_from_v4_be(htonl(0x0a650000), 0, &one.prefix.base);
	assert_int_equal(device_change(a->device, &c, wg_world(&wire), &peer, &err), 0);
	assert_int_equal(device_prefixes(to_b), 10);
}

static void
test_psk(void **state)
{
	const uint8_t psk[PRIMITIVE_KEY] = {5}, none[PRIMITIVE_KEY] = {0};
	struct device_peer_state s;

	(void)state;
	change(a, (struct device_change){.psk = psk}, b->public_key);
	device_peer_state(to_b, &s);
	assert_memory_equal(s.psk, psk, PRIMITIVE_KEY);
	assert_false(says(a, to_b, b));
	change(b, (struct device_change){.psk = psk}, a->public_key);
	/* Left alone by what does not speak of it. */
	change(b, (struct device_change){.endpoint = &a->addr}, a->public_key);
	wg_pass(&wire, 6 * wg_second, false);
	assert_non_null(to_a->awake->slots.current);
	change(b, (struct device_change){.psk = none}, a->public_key);
	wg_jump(&wire, 200 * wg_second);
	assert_false(says(a, to_b, b));
}

static void
test_bad_key(void **state)
{
	const uint8_t small[PRIMITIVE_KEY] = {1};
	struct session *s;

	(void)state;
	struct device_peer *peer = change(a, (struct device_change){.endpoint = &b->addr}, small);
	assert_int_equal(device_wants_send(a->device, peer, wg_world(&wire), &s),
			 DEVICE_UNREACHABLE);
	assert_int_equal(wire.count, 0);
}

/* ---- many ---- */

enum { PEERS = 1000 };

static void
add_many(struct wg_node *node, uint16_t keepalive_s)
{
	for (unsigned i = 0; i < PEERS; i++) {
		uint8_t key[PRIMITIVE_KEY] = {9};

		memcpy(key + 1, &i, sizeof(i));
		assert_non_null(change(node,
				       (struct device_change){.endpoint = &b->addr,
							      .has_keepalive = true,
							      .keepalive_s = keepalive_s},
				       key));
		wg_clear(&wire);
	}
}

static unsigned sent_retries;

static void
count_retry(struct wg_node *node, const struct wg_packet *packet)
{
	(void)node;
	assert_int_equal(packet->bytes, NOISE_INITIATION);
	sent_retries += packet->retry;
}

static void
test_thousand_peers(void **state)
{
	unsigned ticks = 0;

	(void)state;
	add_many(a, 25);
	assert_int_equal(device_count(a->device), PEERS + 1);
	assert_int_equal(map_count(&a->device->handshakes), PEERS);
	assert_true(device_deadline(a->device) >= wg_world(&wire)->mono_ns + 5 * wg_second);
	sent_retries = 0;
	wire.sent = count_retry;
	wg_jump(&wire, 5334 * wg_ms);
	/* Each tick does a part of it. */
	while (device_deadline(a->device) <= wg_world(&wire)->mono_ns) {
		unsigned before = sent_retries;

		device_tick(a->device, wg_world(&wire));
		assert_in_range(sent_retries - before, 1, DEVICE_TICK_PEERS);
		wg_clear(&wire);
		ticks++;
	}
	assert_int_equal(sent_retries, PEERS);
	assert_int_equal(ticks, (PEERS + DEVICE_TICK_PEERS - 1) / DEVICE_TICK_PEERS);
	wire.sent = NULL;
}

static void
test_bytes_of_a_peer(void **state)
{
	size_t before = mem_used_all();

	(void)state;
	add_many(a, 0);
	/* With three sessions each, in full. */
	assert_true((mem_used_all() - before) / PEERS + 3 * (sizeof(struct session) + 64) < 16384);
}

/* ---- no memory ---- */

static void
test_new_without_memory(void **state)
{
	(void)state;
	sweep_each(run)
	{
		struct device_calls calls = wg_calls(a);
		struct device *d = NULL;
		struct err err = {0};
		int r = device_new(&calls, wg_world(&wire), &d, &err);

		assert_int_equal(r < 0, sweep_failed());
		if (r == 0)
			device_free(d);
	}
}

static void
test_change_without_memory(void **state)
{
	struct device_prefix two[2];
	struct device_change c = {.prefixes = two, .prefixes_count = 2, .public_key = {1}};

	(void)state;
	memset(two, 0, sizeof(two));
	wg_inner(2, &two[0].prefix); /* b's */
	wg_inner(9, &two[1].prefix);
	sweep_each(run)
	{
		struct device_peer *peer;
		struct err err = {0};
		int r = device_change(a->device, &c, wg_world(&wire), &peer, &err);

		assert_int_equal(r < 0, sweep_failed());
		assert_int_equal(device_count(a->device), r < 0 ? 1 : 2);
		assert_int_equal(device_prefixes(to_b), r < 0 ? 1 : 0);
		if (r == 0) {
			device_remove(a->device, peer);
			mem_fail_after(-1);
			change(a, (struct device_change){.prefixes = two, .prefixes_count = 1},
			       b->public_key);
		}
	}
	assert_ptr_equal(device_whose4(a->device, two[0].prefix.base.ip + 12), to_b);
}

/* What two static keys have in common is computed when it is needed: by who begins, by who answers;
 * not for a peer that is made, nor when the key changes, of however many peers. */
static void
test_shared_later(void **state)
{
	static const uint8_t nothing[PRIMITIVE_KEY];
	uint8_t key[PRIMITIVE_KEY] = {9};
	struct err err = {0};

	(void)state;
	assert_int_equal(to_b->key.state, NOISE_SHARED_UNKNOWN);
	assert_int_equal(to_a->key.state, NOISE_SHARED_UNKNOWN);
	meet();
	assert_int_equal(to_b->key.state, NOISE_SHARED_KNOWN);
	assert_int_equal(to_a->key.state, NOISE_SHARED_KNOWN);
	assert_int_equal(device_set_private_key(a->device, key, &err), 0);
	assert_int_equal(to_b->key.state, NOISE_SHARED_UNKNOWN);
	assert_memory_equal(to_b->key.shared, nothing, PRIMITIVE_KEY);
}

/* Neither what it had nor what another one has. */
static void
test_prefixes_without_memory(void **state)
{
	const uint8_t other[PRIMITIVE_KEY] = {1};
	struct device_prefix had, two[2];
	struct device_change c = {.prefixes = two, .prefixes_count = 2, .replace_prefixes = true};
	struct device_change back = {
		.prefixes = &had, .prefixes_count = 1, .replace_prefixes = true};

	(void)state;
	memset(&had, 0, sizeof(had));
	memset(two, 0, sizeof(two));
	wg_inner(2, &had.prefix);
	wg_inner(8, &two[0].prefix);
	wg_inner(9, &two[1].prefix);
	struct device_peer *o =
		change(a, (struct device_change){.prefixes = two, .prefixes_count = 1}, other);
	memcpy(c.public_key, b->public_key, PRIMITIVE_KEY);
	sweep_each(run)
	{
		struct device_peer *peer;
		struct err err = {0};
		int r = device_change(a->device, &c, wg_world(&wire), &peer, &err);

		assert_int_equal(r < 0, sweep_failed());
		assert_ptr_equal(device_whose4(a->device, had.prefix.base.ip + 12),
				 r < 0 ? to_b : NULL);
		assert_ptr_equal(device_whose4(a->device, two[0].prefix.base.ip + 12),
				 r < 0 ? o : to_b);
		if (r == 0) {
			mem_fail_after(-1);
			change(a, back, b->public_key);
			change(a, (struct device_change){.prefixes = two, .prefixes_count = 1},
			       other);
		}
	}
}

/* Whatever fails, a later attempt comes through. */
static void
test_handshake_without_memory(void **state)
{
	bool failed = true;

	for (int64_t run = 0; failed; run++) {
		wg_wire_fini(&wire);
		assert_int_equal(wg_pair_setup(state), 0);
		mem_fail_after(run);
		uint64_t id = wg_say(a, to_b);
		wg_deliver_all(&wire);
		failed = mem_failures() > 0;
		mem_fail_after(-1);
		/* Without memory for it to be awake nothing waits for it. */
		if (!device_peer_awake(to_b))
			id = wg_say(a, to_b);
		wg_pass(&wire, 12 * wg_second, false);
		assert_true(wg_got(b, id));
		assert_true(says(b, to_a, a));
		assert_int_equal(map_count(&a->device->handshakes), 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WG_TEST(test_cookies),
		WG_TEST(test_cookie_of_another_address),
		WG_TEST(test_cookie_for_a_response),
		WG_TEST(test_load_begins_and_ends),
		WG_TEST(test_limit_of_an_address),
		WG_TEST(test_no_identity),
		WG_TEST(test_new_private_key),
		WG_TEST(test_handshake_ends_with_the_key),
		WG_TEST(test_own_key),
		WG_TEST(test_peers),
		WG_TEST(test_prefixes),
		WG_TEST(test_reserved_prefixes),
		WG_TEST(test_too_many_prefixes),
		WG_TEST(test_psk),
		WG_TEST(test_bad_key),
		WG_TEST(test_thousand_peers),
		WG_TEST(test_bytes_of_a_peer),
		WG_TEST(test_new_without_memory),
		WG_TEST(test_change_without_memory),
		WG_TEST(test_prefixes_without_memory),
		WG_TEST(test_shared_later),
		WG_TEST(test_handshake_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
