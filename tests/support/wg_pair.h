/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_WG_PAIR_H
#define TESTS_SUPPORT_WG_PAIR_H

/* Two WireGuard devices that know each other, for tests of cmocka, whose headers come before. */

#include "tests/support/wg_wire.h"

static struct wg_wire wire;
static struct wg_node *a, *b;
static struct device_peer *to_b, *to_a;

static int
wg_pair_setup(void **state)
{
	(void)state;
	wg_wire_init(&wire, 11);
	a = wg_add(&wire, 1);
	b = wg_add(&wire, 2);
	to_b = wg_know(a, b);
	to_a = wg_know(b, a);
	return 0;
}

static int
wg_pair_teardown(void **state)
{
	(void)state;
	wg_wire_fini(&wire);
	return 0;
}

/* Whether what one says comes to the other at once. */
static inline bool
says(struct wg_node *from, struct device_peer *peer, struct wg_node *to)
{
	uint64_t id = wg_say(from, peer);

	wg_deliver_all(&wire);
	return wg_got(to, id);
}

/* a begins. */
static inline void
meet(void)
{
	assert_true(says(a, to_b, b));
	assert_non_null(to_a->awake->slots.current);
}

static inline unsigned
type_of(size_t at)
{
	assert_true(at < wire.count);
	return noise_type(wire.packets[at]->data, wire.packets[at]->bytes);
}

static inline struct device_peer_state
state_of(const struct device_peer *peer)
{
	struct device_peer_state s;

	device_peer_state(peer, &s);
	return s;
}

static inline struct device_peer *
change(struct wg_node *node, struct device_change c, const uint8_t *public_key)
{
	struct device_peer *peer;
	struct err err = {0};

	memcpy(c.public_key, public_key, PRIMITIVE_KEY);
	assert_int_equal(device_change(node->device, &c, wg_world(&wire), &peer, &err), 0);
	return peer;
}

#define WG_TEST(name) cmocka_unit_test_setup_teardown(name, wg_pair_setup, wg_pair_teardown)

#endif
