/* SPDX-License-Identifier: Apache-2.0 */
/* Two devices that speak with each other: handshakes, what is inside, and where they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/wg_pair.h"

/* ---- handshakes ---- */

static void
test_handshake(void **state)
{
	struct session *s;

	(void)state;
	uint64_t id = wg_say(a, to_b);
	assert_int_equal(a->staged, 1);
	assert_int_equal(wire.count, 1);
	assert_int_equal(type_of(0), NOISE_TYPE_INITIATION);
	assert_true(wire.packets[0]->handshake);
	assert_int_equal(wg_deliver(&wire), DEVICE_OK);
	/* Who answered has keys, and must not send before they were used. */
	assert_int_equal(type_of(0), NOISE_TYPE_RESPONSE);
	assert_non_null(to_a->awake->slots.next);
	assert_int_equal(device_wants_send(b->device, to_a, wg_world(&wire), &s), DEVICE_WAIT);
	assert_null(s);
	assert_int_equal(state_of(to_a).handshake_wall_ns, 0);
	assert_int_equal(wg_deliver(&wire), DEVICE_OK);
	/* What waited goes at once, instead of an empty packet. */
	assert_int_equal(a->staged, 0);
	assert_int_equal(a->ready, 1);
	assert_int_equal(wire.count, 1);
	assert_int_equal(type_of(0), NOISE_TYPE_DATA);
	assert_int_equal(wg_deliver(&wire), DEVICE_OK);
	assert_true(wg_got(b, id));
	assert_int_equal(device_wants_send(b->device, to_a, wg_world(&wire), &s), DEVICE_OK);
	assert_ptr_equal(s, to_a->awake->slots.current);
	assert_true(says(b, to_a, a));
	assert_int_equal(wire.count, 0);
}

static void
test_what_is_told(void **state)
{
	const size_t data = NOISE_OVERHEAD + 32;

	(void)state;
	meet();
	assert_int_equal(a->keys[DEVICE_KEYS_NEW], 1);
	assert_int_equal(a->keys[DEVICE_KEYS_CURRENT], 1);
	assert_int_equal(b->keys[DEVICE_KEYS_NEW], 1);
	assert_int_equal(b->keys[DEVICE_KEYS_CURRENT], 1);
	assert_int_equal(state_of(to_b).handshake_wall_ns, wg_world(&wire)->wall_ns);
	assert_int_equal(state_of(to_a).handshake_wall_ns, wg_world(&wire)->wall_ns);
	assert_int_equal(state_of(to_b).tx_bytes, NOISE_INITIATION + data);
	assert_int_equal(state_of(to_b).rx_bytes, NOISE_RESPONSE);
	assert_int_equal(state_of(to_a).rx_bytes, NOISE_INITIATION + data);
	assert_int_equal(state_of(to_a).tx_bytes, NOISE_RESPONSE);
	/* Nothing of the handshakes is left. */
	const struct noise empty = {0};
	assert_memory_equal(&to_b->awake->handshake, &empty, sizeof(empty));
	assert_int_equal(map_count(&a->device->handshakes), 0);
	assert_ptr_equal(device_session(a->device, to_b->awake->slots.current->keys.local),
			 to_b->awake->slots.current);
}

static void
test_nothing_staged(void **state)
{
	(void)state;
	wg_say(a, to_b);
	wg_drop_staged(a, to_b);
	wg_deliver(&wire);
	wg_deliver(&wire);
	/* An empty packet, so that the other end may send. */
	assert_int_equal(wire.count, 1);
	assert_int_equal(wire.packets[0]->bytes, NOISE_OVERHEAD);
	assert_false(wire.packets[0]->handshake);
	b->staged = 1;
	b->staged_for[0] = to_a;
	b->staged_ids[0] = 77;
	assert_int_equal(wg_deliver(&wire), DEVICE_KEEPALIVE);
	assert_int_equal(b->ready, 1);
	wg_deliver_all(&wire);
	assert_true(wg_got(a, 77));
}

static void
test_both_begin(void **state)
{
	(void)state;
	uint64_t from_a = wg_say(a, to_b), from_b = wg_say(b, to_a);

	assert_int_equal(wire.count, 2);
	wg_deliver_all(&wire);
	assert_true(wg_got(b, from_a));
	assert_true(wg_got(a, from_b));
	assert_true(says(a, to_b, b));
	assert_true(says(b, to_a, a));
	assert_int_equal(wire.count, 0);
	assert_true(to_b->awake->timers.at[TIMERS_RETRANSMIT] == TIMERS_NEVER);
}

/* Both begin; later the one that speaks goes on while new keys are made. Gives how many handshake
 * messages that took. */
static unsigned
cross_and_rekey(struct wg_node *from, struct device_peer *peer, struct wg_node *to)
{
	unsigned messages = 0;

	wg_say(a, to_b);
	wg_say(b, to_a);
	wg_deliver_all(&wire);
	assert_true(says(a, to_b, b));
	assert_true(says(b, to_a, a));
	/* Both send with the same one, and only one has begun it. */
	assert_int_equal(to_b->awake->slots.current->keys.local,
			 to_a->awake->slots.current->keys.remote);
	assert_int_equal(to_b->awake->slots.current->keys.remote,
			 to_a->awake->slots.current->keys.local);
	assert_int_equal(to_b->awake->slots.current->keys.initiator +
				 to_a->awake->slots.current->keys.initiator,
			 1);
	wg_jump(&wire, SESSION_REKEY_AFTER_S * wg_second);
	uint64_t first = wg_say(from, peer);
	for (size_t n = wire.count; n > 0; n--) {
		messages += wire.packets[0]->handshake;
		wg_deliver(&wire);
	}
	uint64_t second = wg_say(from, peer);
	struct wg_packet *late = wg_pick(&wire, wire.count - 1);
	assert_int_equal(wg_give(to, late), DEVICE_OK);
	free(late);
	assert_true(wg_got(to, first));
	assert_true(wg_got(to, second));
	wg_deliver_all(&wire);
	assert_true(says(a, to_b, b));
	assert_true(says(b, to_a, a));
	return messages;
}

static void
test_crossed_then_new_keys(void **state)
{
	(void)state;
	unsigned messages = cross_and_rekey(a, to_b, b);
	wg_pair_teardown(state);
	wg_pair_setup(state);
	/* It is one of the two that begins. */
	assert_int_equal(messages + cross_and_rekey(b, to_a, a), 1);
}

/* The other end's handshake serves as well. */
static void
test_own_handshake_ends(void **state)
{
	(void)state;
	uint64_t id = wg_say(b, to_a);
	wg_clear(&wire);
	assert_int_equal(map_count(&b->device->handshakes), 1);
	wg_say(a, to_b);
	wg_deliver_all(&wire);
	assert_true(wg_got(a, id));
	assert_int_equal(map_count(&b->device->handshakes), 0);
	assert_int_equal(to_a->awake->handshake.state, NOISE_IDLE);
}

static void
test_replayed_initiation(void **state)
{
	(void)state;
	wg_say(a, to_b);
	struct wg_packet copy = *wire.packets[0];
	wg_deliver_all(&wire);
	struct session *current = to_a->awake->slots.current;
	assert_int_equal(wg_give(b, &copy), DEVICE_REPLAYED);
	wg_jump(&wire, 100 * wg_second);
	struct addr before = state_of(to_a).endpoint;
	assert_true(addr_parse("203.0.113.9:1", &copy.from));
	assert_int_equal(wg_give(b, &copy), DEVICE_REPLAYED);
	assert_int_equal(wire.count, 0);
	assert_ptr_equal(to_a->awake->slots.current, current);
	assert_true(addr_equal(&before, &to_a->endpoint));
}

static void
test_initiations_too_fast(void **state)
{
	(void)state;
	wg_say(a, to_b);
	wg_deliver(&wire);
	wg_clear(&wire);
	/* As if a had forgotten that it began. */
	timers_identity_changed(&to_b->awake->timers);
	wg_jump(&wire, DEVICE_INITIATIONS_MS * wg_ms - 1);
	wg_say(a, to_b);
	assert_int_equal(wg_deliver(&wire), DEVICE_TOO_SOON);
	timers_identity_changed(&to_b->awake->timers);
	wg_jump(&wire, 1);
	wg_say(a, to_b);
	assert_int_equal(wg_deliver(&wire), DEVICE_OK);
}

static void
test_clock_put_back(void **state)
{
	(void)state;
	meet();
	wg_world(&wire)->wall_ns -= 3600 * (int64_t)wg_second;
	wg_world(&wire)->mono_ns += 200 * wg_second;
	meet();
}

static void
test_strangers(void **state)
{
	struct wg_node *c = wg_add(&wire, 3);
	struct device_peer *peer = wg_know(c, b);
	uint8_t short_one[NOISE_INITIATION - 1] = {1};

	(void)state;
	wg_say(c, peer);
	assert_int_equal(wg_deliver(&wire), DEVICE_UNKNOWN);
	assert_int_equal(wire.count, 0);
	/* With a key of b's that is not b's. */
	memcpy(b->device->identity.private_key, c->private_key, PRIMITIVE_KEY);
	wg_say(a, to_b);
	assert_int_equal(wg_deliver(&wire), DEVICE_FORGED);
	assert_int_equal(device_receive(b->device, wg_world(&wire), &a->addr, short_one,
					sizeof(short_one), 0),
			 DEVICE_MALFORMED);
	assert_int_equal(device_receive(b->device, wg_world(&wire), &a->addr, NULL, 0, 0),
			 DEVICE_MALFORMED);
}

static void
test_response_to_nobody(void **state)
{
	(void)state;
	wg_say(a, to_b);
	wg_deliver(&wire);
	struct wg_packet copy = *wire.packets[0];
	copy.data[60] ^= 1; /* mac1 covers it */
	assert_int_equal(wg_give(a, &copy), DEVICE_FORGED);
	copy = *wire.packets[0];
	wg_deliver_all(&wire);
	assert_int_equal(wg_give(a, &copy), DEVICE_UNKNOWN);
}

/* ---- where and whose ---- */

static void
test_roaming(void **state)
{
	struct addr elsewhere;

	(void)state;
	meet();
	assert_true(addr_parse("[2001:db8::7]:4000", &elsewhere));
	wg_say(a, to_b);
	struct wg_packet forged = *wire.packets[0];
	wire.packets[0]->from = elsewhere;
	wg_deliver_all(&wire);
	assert_true(addr_equal(&to_a->endpoint, &elsewhere));
	wg_say(b, to_a);
	assert_true(addr_equal(&wire.packets[0]->to, &elsewhere));
	wg_clear(&wire);
	/* Neither what is forged nor what was here before moves it. */
	assert_int_equal(wg_give(b, &forged), DEVICE_REPLAYED);
	forged.data[30] ^= 1;
	assert_int_equal(wg_give(b, &forged), DEVICE_FORGED);
	assert_true(addr_equal(&to_a->endpoint, &elsewhere));
	/* A response does, too. */
	wg_jump(&wire, 200 * wg_second);
	wg_say(a, to_b);
	wg_deliver(&wire);
	wire.packets[0]->from = elsewhere;
	wg_deliver(&wire);
	assert_true(addr_equal(&to_b->endpoint, &elsewhere));
}

static void
test_learns_where(void **state)
{
	struct wg_node *c = wg_add(&wire, 3);
	struct device_change change = {.prefixes_count = 1};
	struct device_prefix inner = {0};
	struct device_peer *peer;
	struct session *s;
	struct err err = {0};

	(void)state;
	wg_inner(1, &inner.prefix);
	change.prefixes = &inner;
	memcpy(change.public_key, a->public_key, PRIMITIVE_KEY);
	assert_int_equal(device_change(c->device, &change, wg_world(&wire), &peer, &err), 0);
	assert_false(state_of(peer).has_endpoint);
	assert_int_equal(device_wants_send(c->device, peer, wg_world(&wire), &s),
			 DEVICE_UNREACHABLE);
	assert_int_equal(wire.count, 0);
	assert_true(says(a, wg_know(a, c), c));
	assert_true(addr_equal(&peer->endpoint, &a->addr));
	assert_true(says(c, peer, a));
}

static void
put_text(uint8_t *text, unsigned from)
{
	wg_text(from, 1, 9, text);
}

static enum device_result
open_text(const uint8_t *text, size_t bytes, struct device_opened *out)
{
	static uint8_t datagram[WG_PACKET_MAX];
	size_t length;

	assert_int_equal(device_seal(b->device, to_a, wg_world(&wire), text, bytes, datagram,
				     sizeof(datagram), &length),
			 DEVICE_OK);
	return device_open(a->device, wg_world(&wire), &b->addr, datagram, length, out);
}

static void
test_inner_packets(void **state)
{
	uint8_t text[64] = {0};
	struct device_opened opened;

	(void)state;
	meet();
	put_text(text, 2);
	assert_int_equal(open_text(text, WG_TEXT, &opened), DEVICE_OK);
	assert_ptr_equal(opened.peer, to_b);
	assert_int_equal(opened.bytes, WG_TEXT); /* without the padding */
	assert_memory_equal(opened.text, text, WG_TEXT);
	assert_ptr_equal(device_route(b->device, text, WG_TEXT), to_a);
	put_text(text, 3);
	assert_int_equal(open_text(text, WG_TEXT, &opened), DEVICE_NOT_ALLOWED);
	put_text(text, 2);
	text[3] = 33; /* longer than what came, with its padding */
	assert_int_equal(open_text(text, WG_TEXT, &opened), DEVICE_MALFORMED);
	text[3] = 19;
	assert_int_equal(open_text(text, WG_TEXT, &opened), DEVICE_MALFORMED);
	text[0] = 0x55;
	assert_int_equal(open_text(text, WG_TEXT, &opened), DEVICE_MALFORMED);
	assert_null(device_route(b->device, text, WG_TEXT));
	/* IPv6: its length is without the header. */
	memset(text, 0, sizeof(text));
	text[0] = 0x60;
	text[5] = 8;
	text[8] = 0xfd;
	text[24] = 0xfd;
	assert_int_equal(open_text(text, 48, &opened), DEVICE_NOT_ALLOWED);
	struct device_prefix ours = {.prefix = {.base = {.ip = {0xfd}}, .bits = 8}};
	struct device_change change = {.prefixes = &ours, .prefixes_count = 1};
	struct device_peer *peer;
	struct err err = {0};
	memcpy(change.public_key, b->public_key, PRIMITIVE_KEY);
	assert_int_equal(device_change(a->device, &change, wg_world(&wire), &peer, &err), 0);
	assert_int_equal(open_text(text, 48, &opened), DEVICE_OK);
	assert_int_equal(opened.bytes, 48);
	assert_int_equal(device_inner(a->device, to_b, text, 48), 48);
	assert_int_equal(device_inner(a->device, to_b, text, 47), 0);
	assert_ptr_equal(device_route(a->device, text, 48), to_b);
}

static void
test_sizes(void **state)
{
	uint8_t text[64] = {0}, out[128];
	size_t bytes;

	(void)state;
	meet();
	assert_int_equal(device_seal(a->device, to_b, wg_world(&wire), text, 33, out,
				     48 + NOISE_OVERHEAD - 1, &bytes),
			 DEVICE_TOO_LONG);
	assert_int_equal(device_seal(a->device, to_b, wg_world(&wire), text, 33, out,
				     48 + NOISE_OVERHEAD, &bytes),
			 DEVICE_OK);
	assert_int_equal(bytes, 48 + NOISE_OVERHEAD);
	device_set_mtu(a->device, 40);
	assert_int_equal(
		device_seal(a->device, to_b, wg_world(&wire), text, 33, out, sizeof(out), &bytes),
		DEVICE_OK);
	assert_int_equal(bytes, 40 + NOISE_OVERHEAD);
	assert_int_equal(device_seal(a->device, to_b, wg_world(&wire), text, 1, out,
				     NOISE_OVERHEAD - 1, &bytes),
			 DEVICE_TOO_LONG);
}

static void
test_data_of_nobody(void **state)
{
	uint8_t data[NOISE_OVERHEAD] = {NOISE_TYPE_DATA};
	struct device_opened opened;

	(void)state;
	meet();
	assert_int_equal(
		device_open(a->device, wg_world(&wire), &b->addr, data, sizeof(data), &opened),
		DEVICE_UNKNOWN);
	assert_int_equal(
		device_open(a->device, wg_world(&wire), &b->addr, data, sizeof(data) - 1, &opened),
		DEVICE_MALFORMED);
	assert_int_equal(
		device_receive(a->device, wg_world(&wire), &b->addr, data, sizeof(data), 0),
		DEVICE_MALFORMED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WG_TEST(test_handshake),
		WG_TEST(test_what_is_told),
		WG_TEST(test_nothing_staged),
		WG_TEST(test_both_begin),
		WG_TEST(test_crossed_then_new_keys),
		WG_TEST(test_own_handshake_ends),
		WG_TEST(test_replayed_initiation),
		WG_TEST(test_initiations_too_fast),
		WG_TEST(test_clock_put_back),
		WG_TEST(test_strangers),
		WG_TEST(test_response_to_nobody),
		WG_TEST(test_roaming),
		WG_TEST(test_learns_where),
		WG_TEST(test_inner_packets),
		WG_TEST(test_sizes),
		WG_TEST(test_data_of_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
