/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/place/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "tests/support/sweep.h"

#define S_NS UINT64_C(1000000000)

enum { WEB = 7, NODES = 8, NOW = 1000 };

/* A story is told as "slot:node:revision:state" (S starting, R ready, U unready, F failed, L
 * leaving), what is decided as "place 1, retire 0@2 update by 3, room 1@4". */
struct rig {
	struct fleet fleet;
	struct fleet_spec spec;
	struct slots slots;
	uint64_t numbers;
	char text[512];
};

static void
nodes(struct rig *r, uint32_t drained)
{
	for (uint32_t i = 1; i <= NODES; i++)
		assert_int_equal(
			fleet_node_set(&r->fleet, &(struct fleet_facts){.node = i,
									.name = "edge",
									.zone = "",
									.platform = "",
									.draining = i == drained}),
			0);
}

static void
tell(struct rig *r, const char *claims)
{
	static const char letters[] = " SRUFL";

	for (const char *at = claims; *at; at += strcspn(at, " "), at += *at == ' ') {
		unsigned slot, node, revision;
		char state;

		assert_int_equal(sscanf(at, "%u:%u:%u:%c", &slot, &node, &revision, &state), 4);
		assert_int_equal(
			fleet_claim_set(&r->fleet,
					&(struct claim){.service = WEB,
							.slot = slot,
							.node = node,
							.revision = revision,
							.state = (uint8_t)(strchr(letters, state) -
									   letters),
							.number = ++r->numbers}),
			0);
	}
}

static const char *
decided(struct rig *r, uint64_t now_ns)
{
	static const char *const verbs[] = {"", "place", "retire", "room"};

	assert_int_equal(slots_decide(&r->slots, fleet_service(&r->fleet, WEB), NULL, 0, now_ns),
			 0);
	r->text[0] = '\0';
	for (size_t i = 0; i < r->slots.count; i++) {
		const struct slots_item *item = &r->slots.items[i];
		size_t used = strlen(r->text);

		text_format(r->text + used, sizeof(r->text) - used, "%s%s %u", i ? ", " : "",
			    verbs[item->verb], item->slot);
		used = strlen(r->text);
		if (item->claim)
			text_format(r->text + used, sizeof(r->text) - used, "@%u %s",
				    item->claim->claim.node, claim_retire_name(item->why));
		used = strlen(r->text);
		if (item->winner)
			text_format(r->text + used, sizeof(r->text) - used, " by %u", item->winner);
	}
	return r->text;
}

static struct rig *
rig(uint32_t replicas, const char *claims)
{
	static struct rig r;

	memset(&r, 0, sizeof(r));
	fleet_init(&r.fleet);
	slots_init(&r.slots);
	nodes(&r, 0);
	r.spec = (struct fleet_spec){.id = WEB,
				     .name = "shop/web",
				     .revision = 2,
				     .replicas = replicas,
				     .platform = "",
				     .surge = 1};
	assert_int_equal(fleet_service_set(&r.fleet, &r.spec), 0);
	tell(&r, claims);
	return &r;
}

static void
change(struct rig *r)
{
	assert_int_equal(fleet_service_set(&r->fleet, &r->spec), 0);
}

static void
fini(struct rig *r)
{
	slots_fini(&r->slots);
	fleet_fini(&r->fleet);
}

static const struct {
	const char *claims;
	uint32_t replicas, surge, unavailable;
	bool stop_first, paused;
	const char *decided;
} cases[] = {
	{"", 3, 1, 0, 0, 0, "place 0, place 1, place 2"},
	{"0:1:2:R 1:2:2:R", 2, 1, 0, 0, 0, ""},
	{"0:1:2:R 1:2:2:L", 2, 1, 0, 0, 0, "place 1"},
	{"0:1:2:R 1:2:2:F", 2, 1, 0, 0, 0, "place 1"},
	{"0:1:2:R 1:2:2:F 1:3:2:S", 2, 1, 0, 0, 0, "retire 1@2 failed by 3"},
	{"0:1:2:U", 1, 1, 0, 0, 0, ""},
	/* updates: one beyond, then the old one goes */
	{"0:1:1:R 1:2:1:R", 2, 1, 0, 0, 0, "place 0"},
	{"0:1:1:R 1:2:1:R", 2, 2, 0, 0, 0, "place 0, place 1"},
	{"0:1:1:R 1:2:1:R 0:3:2:S", 2, 1, 0, 0, 0, ""},
	{"0:1:1:R 1:2:1:R 0:3:2:R", 2, 1, 0, 0, 0, "retire 0@1 update by 3"},
	{"0:1:1:L 1:2:1:R 0:3:2:R", 2, 1, 0, 0, 0, ""},
	{"1:2:1:R 0:3:2:R", 2, 1, 0, 0, 0, "place 1"},
	{"0:1:1:R 1:2:1:R", 2, 1, 0, 0, 1, ""},
	/* without surge, or the old one first: within the budget */
	{"0:1:1:R 1:2:1:R", 2, 0, 1, 0, 0, "room 0@1 update"},
	{"0:1:1:R 1:2:1:U", 2, 0, 1, 0, 0, "room 1@2 update"},
	{"0:1:1:R 1:2:1:R", 2, 1, 0, 1, 0, "room 0@1 update"},
	{"0:1:1:R 1:2:1:R 2:3:1:R", 3, 0, 2, 0, 0, "room 0@1 update, room 1@2 update"},
	{"0:1:1:L 1:2:1:R", 2, 0, 1, 0, 0, "place 0"},
	/* a revision that this node has not heard of yet is left alone */
	{"0:1:3:S 0:2:2:R", 1, 1, 0, 0, 0, ""},
	/* smaller: what is not ready first, then the highest, and never below what is wanted */
	{"0:1:2:R 1:2:2:R 2:3:2:R 3:4:2:S", 2, 1, 0, 0, 0, "retire 3@4 scale, retire 2@3 scale"},
	{"0:1:2:R 2:3:2:R 3:4:2:R", 2, 1, 0, 0, 0, "retire 3@4 scale, place 1"},
	{"2:3:2:R 3:4:2:R", 2, 1, 0, 0, 0, "place 0, place 1"},
	{"0:1:2:R 1:2:2:R", 0, 1, 0, 0, 0, "retire 1@2 scale, retire 0@1 scale"},
};

static void
test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rig *r = rig(cases[i].replicas, cases[i].claims);

		r->spec.surge = cases[i].surge;
		r->spec.unavailable = cases[i].unavailable;
		r->spec.stop_first = cases[i].stop_first;
		r->spec.paused = cases[i].paused;
		change(r);
		assert_string_equal(decided(r, NOW * S_NS), cases[i].decided);
		fini(r);
	}
}

/* Of two claims one goes before, whoever looks; and there are no circles. */
static void
test_order_is_total(void **state)
{
	struct claim all[24];
	size_t before = 0;

	(void)state;
	for (uint32_t i = 0; i < 24; i++)
		all[i] = (struct claim){.service = WEB,
					.slot = 1,
					.revision = 2,
					.epoch = i % 2,
					.node = 1 + i / 8,
					.state = i % 4 < 2 ? CLAIM_READY : CLAIM_STARTING,
					.number = 1 + i};
	for (size_t a = 0; a < 24; a++) {
		assert_false(claim_before(&all[a], &all[a]));
		for (size_t b = 0; b < 24; b++) {
			assert_true(a == b || claim_before(&all[a], &all[b]) !=
						      claim_before(&all[b], &all[a]));
			before += claim_before(&all[a], &all[b]);
			for (size_t c = 0; c < 24; c++)
				assert_true(!claim_before(&all[a], &all[b]) ||
					    !claim_before(&all[b], &all[c]) ||
					    claim_before(&all[a], &all[c]));
		}
	}
	assert_int_equal(before, 24 * 23 / 2);
	/* Epoch first, then ready. */
	assert_true(claim_before(&(struct claim){.epoch = 2, .node = 9, .state = CLAIM_STARTING},
				 &(struct claim){.epoch = 1, .node = 1, .state = CLAIM_READY}));
	assert_true(claim_before(&(struct claim){.node = 9, .state = CLAIM_READY},
				 &(struct claim){.node = 1, .state = CLAIM_UNREADY}));
}

static void
test_claims_as_bytes(void **state)
{
	struct claim c = {.service = UINT64_C(0x0102030405060708),
			  .slot = 9,
			  .revision = 10,
			  .epoch = 11,
			  .node = 12,
			  .state = CLAIM_LEAVING,
			  .reason = CLAIM_RETIRE_MOVED,
			  .number = UINT64_MAX};
	uint8_t bytes[CLAIM_BYTES];
	struct claim again;

	(void)state;
	claim_encode(&c, bytes);
	assert_int_equal(bytes[0], 8);
	assert_int_equal(bytes[8], 9);
	assert_int_equal(bytes[24], 12);
	assert_int_equal(bytes[28], CLAIM_LEAVING);
	assert_int_equal(bytes[39], 0xff);
	assert_true(claim_decode(bytes, &again));
	assert_memory_equal(&again, &c, sizeof(c));
	bytes[28] = 0;
	assert_false(claim_decode(bytes, &again));
	bytes[28] = CLAIM_READY;
	bytes[29] = 1;
	assert_false(claim_decode(bytes, &again));
}

/* What goes first does not depend on the order in which claims were heard of. */
static void
test_duplicates(void **state)
{
	static const char *const orders[] = {"0:1:2:R 0:2:2:R", "0:2:2:R 0:1:2:R"};
	char first[64] = "";

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct rig *r = rig(1, orders[i]);

		assert_string_equal(decided(r, NOW * S_NS), "");
		assert_true(r->slots.due_ns == NOW * S_NS + SLOTS_GRACE_MS * UINT64_C(1000000));
		decided(r, (NOW + 6) * S_NS);
		assert_non_null(strstr(r->text, "duplicate"));
		if (i == 0)
			text_copy(first, sizeof(first), r->text);
		assert_string_equal(first, r->text);
		fini(r);
	}
}

/* The one that is ready wins, and while none is, none leaves. */
static void
test_duplicates_not_ready(void **state)
{
	struct rig *r = rig(1, "0:1:2:S 0:2:2:S");

	(void)state;
	decided(r, NOW * S_NS);
	assert_string_equal(decided(r, (NOW + 60) * S_NS), "");
	tell(r, "0:3:2:R");
	decided(r, (NOW + 61) * S_NS);
	assert_string_equal(decided(r, (NOW + 70) * S_NS),
			    "retire 0@1 duplicate by 3, retire 0@2 duplicate by 3");
	fini(r);
}

static void
test_monitor_window(void **state)
{
	struct rig *r = rig(1, "0:1:1:R 0:2:2:R");

	(void)state;
	r->spec.monitor_ns = 10 * S_NS;
	change(r);
	assert_string_equal(decided(r, NOW * S_NS), "");
	assert_true(r->slots.due_ns == NOW * S_NS + 10 * S_NS);
	assert_string_equal(decided(r, (NOW + 11) * S_NS), "retire 0@1 update by 2");
	fini(r);
}

/* The node's drain moves its claims, within the same budget; nothing else moves. */
static void
test_drain(void **state)
{
	struct rig *r = rig(3, "0:1:2:R 1:2:2:R 2:2:2:R");

	(void)state;
	nodes(r, 2);
	assert_string_equal(decided(r, NOW * S_NS), "place 1");
	tell(r, "1:3:2:R");
	assert_string_equal(decided(r, NOW * S_NS), "retire 1@2 moved by 3");
	nodes(r, 0);
	assert_string_equal(decided(r, NOW * S_NS), "");
	fini(r);
}

static void
test_dead_node(void **state)
{
	struct rig *r = rig(2, "0:1:2:R 1:2:2:R");

	(void)state;
	fleet_node_status(&r->fleet, 2, FLEET_SUSPECT);
	assert_string_equal(decided(r, NOW * S_NS), "");
	fleet_node_status(&r->fleet, 2, FLEET_DEAD);
	assert_string_equal(decided(r, NOW * S_NS), "place 1");
	fini(r);
}

static void
test_asked_counts_as_leaving(void **state)
{
	struct rig *r = rig(2, "0:1:1:R 1:2:1:R");

	(void)state;
	r->spec.surge = 0;
	r->spec.unavailable = 1;
	change(r);
	assert_string_equal(decided(r, NOW * S_NS), "room 0@1 update");
	r->slots.items[0].claim->asked_ns = NOW * S_NS;
	assert_string_equal(decided(r, NOW * S_NS + 1), "place 0");
	assert_true(r->slots.due_ns == (NOW + 1) * S_NS);
	/* Not heard of for a second: asked again. */
	assert_string_equal(decided(r, (NOW + 1) * S_NS), "room 0@1 update");
	fini(r);
}

static void
test_same_content(void **state)
{
	struct rig *r = rig(2, "0:1:1:R 1:2:2:R");

	(void)state;
	r->spec.revision = 3;
	r->spec.same = 1;
	change(r);
	assert_string_equal(decided(r, NOW * S_NS), "place 1");
	fini(r);
}

static void
test_removed_and_unknown(void **state)
{
	struct rig *r = rig(2, "0:1:2:R 1:2:2:S");

	(void)state;
	fleet_service_remove(&r->fleet, WEB);
	assert_string_equal(decided(r, NOW * S_NS), "retire 1@2 removed, retire 0@1 removed");
	fini(r);
	/* Of a service that is not known nothing is decided. */
	r = rig(0, "");
	assert_int_equal(fleet_claim_set(&r->fleet, &(struct claim){.service = 99,
								    .node = 1,
								    .revision = 1,
								    .state = CLAIM_READY,
								    .number = 1}),
			 0);
	assert_int_equal(slots_decide(&r->slots, fleet_service(&r->fleet, 99), NULL, 0, S_NS), 0);
	assert_int_equal(r->slots.count, 0);
	fini(r);
}

static void
test_allocation_failures(void **state)
{
	struct rig *r = rig(3, "0:1:1:R 1:2:1:R");

	(void)state;
	sweep_each(s)
	{
		struct slots slots;

		slots_init(&slots);
		int done = slots_decide(&slots, fleet_service(&r->fleet, WEB), NULL, 0, S_NS);
		assert_int_equal(done < 0, sweep_failed());
		assert_int_equal(slots.count > 0, done == 0);
		slots_fini(&slots);
	}
	fini(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_order_is_total),
		cmocka_unit_test(test_claims_as_bytes),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_duplicates_not_ready),
		cmocka_unit_test(test_monitor_window),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_dead_node),
		cmocka_unit_test(test_asked_counts_as_leaving),
		cmocka_unit_test(test_same_content),
		cmocka_unit_test(test_removed_and_unknown),
		cmocka_unit_test(test_allocation_failures),
	};

	return cmocka_run_group_tests_name("scheduler_place_slots", tests, NULL, NULL);
}
