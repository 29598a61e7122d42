/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, limits and the three slots. */
#include "overlay/wg/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "tests/support/sweep.h"

static const uint64_t second = 1000000000, born = 500 * UINT64_C(1000000000);

static struct noise_keys
keys(bool initiator)
{
	struct noise_keys k = {.local = 7, .remote = 0x01020304, .initiator = initiator};

	memset(k.send, 1, sizeof(k.send));
	memset(k.receive, 1, sizeof(k.receive));
	return k;
}

static struct session *
make(bool initiator)
{
	struct noise_keys k = keys(initiator);
	struct session *s = session_new(&k, NULL, born);

	assert_non_null(s);
	return s;
}

static void
let_go(struct session_gone *gone)
{
	for (unsigned i = 0; i < gone->count; i++)
		session_unref(gone->items[i]);
}

static void
test_counters(void **state)
{
	struct session *s = make(true);
	uint64_t first;

	(void)state;
	assert_true(session_reserve(s, 1, born, &first));
	assert_int_equal(first, 0);
	assert_true(session_reserve(s, SESSION_BLOCK_MAX, born, &first));
	assert_int_equal(first, 1);
	assert_true(session_reserve(s, 1, born, &first));
	assert_int_equal(first, 1 + SESSION_BLOCK_MAX);
	session_unref(s);
}

static void
test_last_messages(void **state)
{
	struct session *s = make(true);
	uint64_t first;

	(void)state;
	s->next = SESSION_REJECT_AFTER_MESSAGES - 10;
	assert_true(session_reserve(s, 10, born, &first));
	assert_int_equal(first, SESSION_REJECT_AFTER_MESSAGES - 10);
	assert_false(session_sends(s, born));
	assert_false(session_reserve(s, 1, born, &first));
	/* A block that goes beyond is refused as a whole, and so is all that follows. */
	s->next = SESSION_REJECT_AFTER_MESSAGES - 10;
	assert_false(session_reserve(s, 11, born, &first));
	assert_false(session_reserve(s, 1, born, &first));
	session_unref(s);
}

static void
test_sending_ends(void **state)
{
	struct session *s = make(true);
	uint64_t first;

	(void)state;
	assert_true(session_sends(s, born - second));
	assert_true(session_sends(s, born + SESSION_REJECT_AFTER_S * second - 1));
	assert_false(session_sends(s, born + SESSION_REJECT_AFTER_S * second));
	assert_false(session_reserve(s, 1, born + SESSION_REJECT_AFTER_S * second, &first));
	assert_true(session_receives(s, born + SESSION_REJECT_AFTER_S * second - 1));
	assert_false(session_receives(s, born + SESSION_REJECT_AFTER_S * second));
	session_stop(s);
	assert_false(session_sends(s, born));
	assert_true(session_receives(s, born));
	session_unref(s);
}

static void
test_enough(void **state)
{
	struct session *began = make(true), *answered = make(false);
	const uint64_t old = born + SESSION_REKEY_AFTER_S * second;
	const uint64_t late = born + SESSION_REKEY_LATE_S * second;

	(void)state;
	assert_false(session_sent_enough(began, old - 1));
	assert_true(session_sent_enough(began, old));
	assert_false(session_sent_enough(answered, late));
	began->next = answered->next = SESSION_REKEY_AFTER_MESSAGES - 1;
	assert_false(session_sent_enough(began, born));
	assert_false(session_sent_enough(answered, born));
	began->next = answered->next = SESSION_REKEY_AFTER_MESSAGES;
	assert_true(session_sent_enough(began, born));
	assert_true(session_sent_enough(answered, born));
	assert_false(session_received_enough(began, late - 1));
	assert_true(session_received_enough(began, late));
	assert_false(session_received_enough(answered, late));
	session_unref(began);
	session_unref(answered);
}

static void
test_padding(void **state)
{
	(void)state;
	assert_int_equal(session_padded(0, 1420), 0);
	assert_int_equal(session_padded(1, 1420), 16);
	assert_int_equal(session_padded(16, 1420), 16);
	assert_int_equal(session_padded(1409, 1420), 1420);
	assert_int_equal(session_padded(1420, 1420), 1420);
	assert_int_equal(session_padded(1500, 1420), 1500);
	assert_int_equal(session_padded(1408, 1420), 1408);
}

static void
test_datagram(void **state)
{
	struct session *s = make(true);
	uint8_t out[64 + NOISE_OVERHEAD], zeros[16] = {0};
	struct primitive p;
	struct err err = {0};

	(void)state;
	assert_int_equal(primitive_init(&p, &err), 0);
	assert_true(session_seal(&p, s, 0x1122334455667788, "seventeen letters", 17, 32, out));
	assert_int_equal(noise_type(out, 32 + NOISE_OVERHEAD), NOISE_TYPE_DATA);
	assert_memory_equal(out, "\4\0\0\0\4\3\2\1\x88\x77\x66\x55\x44\x33\x22\x11", 16);
	assert_memory_not_equal(out + NOISE_HEADER, "seventeen letters", 17);
	assert_true(session_open(&p, s, out, 32 + NOISE_OVERHEAD));
	assert_memory_equal(out + NOISE_HEADER, "seventeen letters", 17);
	assert_memory_equal(out + NOISE_HEADER + 17, zeros, 15);
	/* Where it stands already. */
	memcpy(out + NOISE_HEADER, "in place", 8);
	assert_true(session_seal(&p, s, 5, out + NOISE_HEADER, 8, 16, out));
	out[8] ^= 1; /* another counter */
	assert_false(session_open(&p, s, out, 16 + NOISE_OVERHEAD));
	primitive_fini(&p);
	session_unref(s);
}

static void
test_taken_once(void **state)
{
	struct session *s = make(true);

	(void)state;
	assert_true(session_take(s, 5));
	assert_false(session_take(s, 5));
	assert_true(session_take(s, 4));
	assert_true(session_take(s, REPLAY_WINDOW + 5));
	assert_false(session_take(s, 3));
	assert_false(session_take(s, SESSION_REJECT_AFTER_MESSAGES));
	session_unref(s);
}

static void
test_references(void **state)
{
	const size_t before = mem_used_all();
	struct session *s = make(true);

	(void)state;
	assert_ptr_equal(session_ref(s), s);
	session_unref(s);
	assert_int_equal(s->keys.send[0], 1);
	session_unref(s);
	assert_int_equal(mem_used_all(), before);
	session_unref(NULL);
}

static void
test_began(void **state)
{
	struct session *a = make(true), *b = make(true), *c = make(true);
	struct session_slots slots = {0};
	struct session_gone gone;

	(void)state;
	session_slots_add(&slots, a, &gone);
	assert_ptr_equal(slots.current, a);
	assert_int_equal(gone.count, 0);
	session_slots_add(&slots, b, &gone);
	assert_ptr_equal(slots.current, b);
	assert_ptr_equal(slots.previous, a);
	assert_int_equal(gone.count, 0);
	session_slots_add(&slots, c, &gone);
	assert_ptr_equal(slots.previous, b);
	assert_int_equal(gone.count, 1);
	assert_ptr_equal(gone.items[0], a);
	assert_false(session_sends(a, born));
	let_go(&gone);
	session_slots_clear(&slots, &gone);
	assert_int_equal(gone.count, 2);
	assert_null(slots.current);
	let_go(&gone);
}

static void
test_answered(void **state)
{
	struct session *a = make(false), *b = make(false), *c = make(true);
	struct session_slots slots = {0};
	struct session_gone gone;

	(void)state;
	session_slots_add(&slots, a, &gone);
	assert_null(slots.current);
	assert_ptr_equal(slots.next, a);
	/* A second one before the first was used. */
	session_slots_add(&slots, b, &gone);
	assert_int_equal(gone.count, 1);
	assert_ptr_equal(gone.items[0], a);
	assert_ptr_equal(slots.next, b);
	assert_false(session_slots_confirm(&slots, a, &gone));
	let_go(&(struct session_gone){.items = {a}, .count = 1});
	assert_true(session_slots_confirm(&slots, b, &gone));
	assert_ptr_equal(slots.current, b);
	assert_null(slots.next);
	assert_false(session_slots_confirm(&slots, b, &gone));
	assert_false(session_slots_confirm(&slots, NULL, &gone));
	/* What this end began meets one that the other end did not use: both may be received with.
	 */
	a = make(false);
	session_slots_add(&slots, a, &gone);
	session_slots_add(&slots, c, &gone);
	assert_ptr_equal(slots.current, c);
	assert_ptr_equal(slots.previous, a);
	assert_null(slots.next);
	assert_int_equal(gone.count, 1);
	assert_ptr_equal(gone.items[0], b);
	let_go(&gone);
	session_slots_stop(&slots);
	assert_false(session_sends(c, born));
	session_slots_clear(&slots, &gone);
	let_go(&gone);
}

static void
test_confirmed_over_another(void **state)
{
	struct session *a = make(true), *b = make(false), *c = make(false);
	struct session_slots slots = {0};
	struct session_gone gone;

	(void)state;
	session_slots_add(&slots, a, &gone);
	session_slots_add(&slots, b, &gone);
	assert_true(session_slots_confirm(&slots, b, &gone));
	assert_ptr_equal(slots.previous, a);
	/* Asking for the next one ends the previous one. */
	session_slots_add(&slots, c, &gone);
	assert_null(slots.previous);
	assert_ptr_equal(slots.current, b);
	assert_int_equal(gone.count, 1);
	assert_ptr_equal(gone.items[0], a);
	let_go(&gone);
	session_slots_clear(&slots, &gone);
	assert_int_equal(gone.count, 2);
	let_go(&gone);
}

static void
test_crossed(void **state)
{
	struct session *a = make(false), *b = make(true), *c = make(false);
	struct session_slots slots = {0};
	struct session_gone gone;

	(void)state;
	session_slots_add(&slots, a, &gone);
	assert_false(session_slots_follow(&slots, a));
	session_slots_add(&slots, b, &gone);
	assert_false(session_slots_follow(&slots, b));
	assert_false(session_slots_follow(&slots, NULL));
	assert_true(session_slots_follow(&slots, a));
	assert_ptr_equal(slots.current, a);
	assert_ptr_equal(slots.previous, b);
	assert_true(session_sends(a, born));
	/* That was late: the other end says something else now. */
	assert_true(session_slots_follow(&slots, b));
	assert_ptr_equal(slots.current, b);
	/* Over with the next one. */
	session_slots_add(&slots, c, &gone);
	let_go(&gone);
	assert_true(session_slots_confirm(&slots, c, &gone));
	assert_false(session_slots_follow(&slots, b));
	session_slots_clear(&slots, &gone);
	let_go(&gone);
	/* Nor is one that simply came before. */
	slots.current = make(true);
	b = slots.current;
	session_slots_add(&slots, make(true), &gone);
	assert_ptr_equal(slots.previous, b);
	assert_false(session_slots_follow(&slots, b));
	session_slots_clear(&slots, &gone);
	let_go(&gone);
}

static void
test_memory(void **state)
{
	(void)state;
	sweep_each(run)
	{
		struct noise_keys k = keys(true);
		struct session *s = session_new(&k, NULL, born);

		assert_int_equal(s == NULL, sweep_failed());
		session_unref(s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_last_messages),
		cmocka_unit_test(test_sending_ends),
		cmocka_unit_test(test_enough),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_datagram),
		cmocka_unit_test(test_taken_once),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_began),
		cmocka_unit_test(test_answered),
		cmocka_unit_test(test_confirmed_over_another),
		cmocka_unit_test(test_crossed),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
