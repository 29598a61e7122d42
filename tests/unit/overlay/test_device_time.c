/* SPDX-License-Identifier: Apache-2.0 */
/* Two devices and time: what is done again, renewed, said for the sake of it, and forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/wg_pair.h"

static void
test_retransmit(void **state)
{
	uint64_t last = wg_world(&wire)->mono_ns;
	unsigned sent = 1;

	(void)state;
	wg_say(a, to_b);
	assert_false(wire.packets[0]->retry);
	while (a->given_up == 0) {
		wg_clear(&wire);
		uint64_t next = device_deadline(a->device);
		assert_true(next - last >= 5 * wg_second && next - last < 5334 * wg_ms);
		last = next;
		wg_jump(&wire, next - wg_world(&wire)->mono_ns);
		device_tick(a->device, wg_world(&wire));
		sent += wire.count == 1;
		assert_true(wire.count == 0 || wire.packets[0]->retry);
	}
	assert_int_equal(sent, 18);
	assert_int_equal(a->staged, 0);
	wg_pass(&wire, 100 * wg_second, true);
	assert_int_equal(wire.count, 0);
	/* Whoever sends begins again. */
	wg_say(a, to_b);
	assert_int_equal(wire.count, 1);
	wg_deliver_all(&wire);
	assert_int_equal(a->staged, 0);
}

static void
test_lost_confirmation(void **state)
{
	(void)state;
	wg_say(a, to_b);
	wg_deliver(&wire);
	wg_deliver(&wire);
	wg_clear(&wire);
	/* b has keys that it may not use, and has just said something: it asks a little later. */
	uint64_t id = wg_say(b, to_a);
	assert_int_equal(wire.count, 0);
	wg_pass(&wire, 6 * wg_second, false);
	assert_true(wg_got(a, id));
}

static void
test_rekey(void **state)
{
	(void)state;
	meet();
	struct session *first = to_b->awake->slots.current;
	wg_jump(&wire, 120 * wg_second - 1);
	assert_true(says(a, to_b, b));
	assert_true(says(b, to_a, a));
	wg_jump(&wire, 1);
	/* Who did not begin does not. */
	assert_true(says(b, to_a, a));
	assert_ptr_equal(to_b->awake->slots.current, first);
	assert_true(says(a, to_b, b));
	assert_ptr_not_equal(to_b->awake->slots.current, first);
	assert_ptr_equal(to_b->awake->slots.previous, first);
	assert_int_equal(to_b->awake->slots.current->keys.local,
			 to_a->awake->slots.current->keys.remote);
}

static void
test_rekey_by_receiving(void **state)
{
	(void)state;
	meet();
	struct session *first = to_b->awake->slots.current;
	wg_jump(&wire, 165 * wg_second - 1);
	wg_say(b, to_a);
	wg_deliver(&wire);
	assert_int_equal(wire.count, 0);
	wg_jump(&wire, 1);
	wg_say(b, to_a);
	wg_deliver(&wire);
	assert_int_equal(wire.count, 1);
	assert_int_equal(type_of(0), NOISE_TYPE_INITIATION);
	wg_clear(&wire);
	/* Once for these keys: the timer does the rest. */
	wg_jump(&wire, 5 * wg_second);
	wg_say(b, to_a);
	wg_deliver(&wire);
	assert_int_equal(wire.count, 0);
	wg_tick(&wire);
	wg_pass(&wire, wg_second, false);
	assert_ptr_not_equal(to_b->awake->slots.current, first);
}

static void
test_old_keys(void **state)
{
	struct session *s;

	(void)state;
	meet();
	uint64_t id = wg_say(a, to_b);
	struct wg_packet copy = *wire.packets[0];
	wg_clear(&wire);
	wg_jump(&wire, 180 * wg_second);
	assert_int_equal(wg_give(b, &copy), DEVICE_EXPIRED);
	assert_false(wg_got(b, id));
	assert_int_equal(device_wants_send(a->device, to_b, wg_world(&wire), &s), DEVICE_WAIT);
	assert_int_equal(type_of(0), NOISE_TYPE_INITIATION);
}

static void
test_many_messages(void **state)
{
	struct session *s;

	(void)state;
	meet();
	wg_jump(&wire, 6 * wg_second);
	to_a->awake->slots.current->next = SESSION_REKEY_AFTER_MESSAGES - 1;
	wg_say(b, to_a);
	assert_int_equal(wire.count, 2);
	assert_int_equal(type_of(0), NOISE_TYPE_INITIATION);
	wg_clear(&wire);
	to_a->awake->slots.current->next = SESSION_REJECT_AFTER_MESSAGES;
	assert_int_equal(device_wants_send(b->device, to_a, wg_world(&wire), &s), DEVICE_WAIT);
}

static void
test_keepalive(void **state)
{
	(void)state;
	meet();
	wg_pass(&wire, 10 * wg_second - 1, true);
	assert_int_equal(wire.count, 0);
	wg_pass(&wire, 2, true);
	assert_int_equal(wire.count, 1);
	assert_true(addr_equal(&wire.packets[0]->from, &b->addr));
	assert_int_equal(wire.packets[0]->bytes, NOISE_OVERHEAD);
	assert_int_equal(wg_deliver(&wire), DEVICE_KEEPALIVE);
	/* It is no data: nobody answers it, nothing else happens. */
	wg_pass(&wire, 100 * wg_second, true);
	assert_int_equal(wire.count, 0);
}

/* A handshake says as much as an empty packet. */
static void
test_handshake_instead(void **state)
{
	(void)state;
	meet();
	wg_pass(&wire, 6 * wg_second, true);
	device_begin(b->device, to_a, wg_world(&wire), false);
	assert_int_equal(type_of(0), NOISE_TYPE_INITIATION);
	wg_clear(&wire);
	assert_true(to_a->awake->timers.at[TIMERS_KEEPALIVE] == TIMERS_NEVER);
}

static void
test_no_answer(void **state)
{
	(void)state;
	meet();
	wg_pass(&wire, 11 * wg_second, false);
	wg_say(a, to_b);
	wg_clear(&wire);
	wg_pass(&wire, 15 * wg_second - 1, true);
	assert_int_equal(wire.count, 0);
	wg_pass(&wire, TIMERS_JITTER_MS * wg_ms + 1, true);
	assert_int_equal(wire.count, 1);
	assert_int_equal(type_of(0), NOISE_TYPE_INITIATION);
	assert_true(addr_equal(&wire.packets[0]->from, &a->addr));
}

static void
test_forgotten(void **state)
{
	(void)state;
	meet();
	struct session *s = session_ref(to_b->awake->slots.current);
	const uint64_t made = wg_world(&wire)->mono_ns;
	wg_pass(&wire, 540 * wg_second - 1, false);
	assert_int_equal(wg_world(&wire)->mono_ns, made + 540 * wg_second - 1);
	assert_non_null(to_b->awake->slots.current);
	wg_pass(&wire, 2, false);
	for (unsigned i = 0; i < 2; i++) {
		const struct device_peer *p = i ? to_a : to_b;
		assert_null(p->awake);
		assert_int_equal(p->key.state, NOISE_SHARED_UNKNOWN);
	}
	assert_int_equal(a->keys[DEVICE_KEYS_GONE], 1);
	assert_int_equal(map_count(&a->device->sessions), 0);
	assert_int_equal(map_count(&b->device->sessions), 0);
	/* A thread that still has it may read it, and can do nothing. */
	assert_null(device_received(a->device, s, wg_world(&wire), &b->addr, 32, false));
	assert_false(session_sends(s, made));
	session_unref(s);
}

static void
test_persistent(void **state)
{
	const struct device_change change = {.has_keepalive = true, .keepalive_s = 25};
	struct device_change to = change;
	struct device_peer *peer;
	struct err err = {0};

	(void)state;
	memcpy(to.public_key, b->public_key, PRIMITIVE_KEY);
	assert_int_equal(device_change(a->device, &to, wg_world(&wire), &peer, &err), 0);
	assert_ptr_equal(peer, to_b);
	assert_int_equal(state_of(to_b).keepalive_s, 25);
	/* At once, and from then on for ever: an hour of nothing else. */
	assert_int_equal(wire.count, 1);
	wg_deliver_all(&wire);
	for (unsigned i = 0; i < 144; i++) {
		uint64_t rx = state_of(to_a).rx_bytes;
		wg_pass(&wire, 25 * wg_second + 1, false);
		assert_true(state_of(to_a).rx_bytes > rx);
		assert_true(session_receives(to_a->awake->slots.current, wg_world(&wire)->mono_ns));
	}
	/* Another change of it says nothing. */
	assert_int_equal(device_change(a->device, &to, wg_world(&wire), &peer, &err), 0);
	assert_int_equal(wire.count, 0);
	/* Sooner than was said before. */
	to.keepalive_s = 5;
	assert_int_equal(device_change(a->device, &to, wg_world(&wire), &peer, &err), 0);
	wg_pass(&wire, 5 * wg_second, true);
	assert_int_equal(wire.count, 1);
	wg_deliver_all(&wire);
	to.keepalive_s = 0;
	assert_int_equal(device_change(a->device, &to, wg_world(&wire), &peer, &err), 0);
	wg_pass(&wire, 600 * wg_second, false);
	assert_null(to_b->awake);
	assert_true(device_deadline(a->device) == TIMERS_NEVER);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WG_TEST(test_retransmit), WG_TEST(test_lost_confirmation),
		WG_TEST(test_rekey),      WG_TEST(test_rekey_by_receiving),
		WG_TEST(test_old_keys),   WG_TEST(test_many_messages),
		WG_TEST(test_keepalive),  WG_TEST(test_handshake_instead),
		WG_TEST(test_no_answer),  WG_TEST(test_forgotten),
		WG_TEST(test_persistent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
