/* SPDX-License-Identifier: Apache-2.0 */
/* Two nodes behind NATs speak through a relay; then what a relay refuses. */
#include "overlay/relay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "overlay/relay_choice.h"
#include "tests/support/relay_world.h"
#include "tests/support/sweep.h"

static struct rw rw;

static struct seen {
	uint64_t rx, at_ns;
} seen[5][5]; /* what a node had of another one, and when that last grew */

static int
setup(void **state)
{
	(void)state;
	memset(seen, 0, sizeof(seen));
	rw_init(&rw, 3);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	rw_fini(&rw);
	return 0;
}

static void
meet(void)
{
	rw_use(&rw, 1, 2, 3);
	rw_use(&rw, 2, 1, 3);
	rw_pass(&rw, 6 * wg_second);
	assert_true(rw_says(&rw, 1, 2));
	assert_true(rw_says(&rw, 2, 1));
}

static void
clear(void)
{
	memset(rw.verdicts, 0, sizeof(rw.verdicts));
}

static void
test_through(void **state)
{
	(void)state;
	assert_int_equal(relay_nodes(rw.relay[3]), 2);
	meet();
	assert_true(rw.verdicts[RELAY_FORWARD] >= 4);
	assert_true(relay_flows(rw.relay[3]) >= 2);
	assert_int_equal(relay_flows(rw.relay[4]), 0);
	assert_int_equal(rw.node[3]->got_count, 0); /* it read nothing of it */
	clear();
	for (unsigned i = 0; i < 100; i++) {
		assert_true(rw_says(&rw, 1, 2));
		assert_true(rw_says(&rw, 2, 1));
	}
	assert_int_equal(rw.verdicts[RELAY_FORWARD], 200);
	/* And with the relay itself each of them speaks as ever. */
	assert_true(rw_says(&rw, 1, 3));
	assert_true(rw_says(&rw, 3, 2));
	assert_int_equal(rw.verdicts[RELAY_FORWARD], 200);
}

/* Nobody sends for long; then new keys every two minutes, and nothing is lost. */
static void
test_long(void **state)
{
	unsigned lost = 0;

	(void)state;
	meet();
	rw_pass(&rw, 1000 * wg_second);
	assert_true(rw_says(&rw, 1, 2));
	for (unsigned i = 0; i < 2000; i++) {
		rw_pass(&rw, wg_second / 2);
		lost += !rw_says(&rw, i % 2 ? 1 : 2, i % 2 ? 2 : 1);
		if (i % 100 == 0)
			relay_tick(rw.relay[3], rw_now(&rw));
	}
	assert_int_equal(lost, 0);
	/* Those of old keys are forgotten. */
	assert_true(relay_flows(rw.relay[3]) <= 8);
	rw.cut = true;
	rw_pass(&rw, RELAY_FLOW_MS * wg_ms);
	relay_tick(rw.relay[3], rw_now(&rw));
	assert_int_equal(relay_flows(rw.relay[3]), 0);
}

static void
test_another_address(void **state)
{
	(void)state;
	meet();
	rw_rebind(&rw, 1);
	rw_pass(&rw, (RW_KEEPALIVE_S + 1) * wg_second); /* until it says something to the relay */
	assert_true(rw_says(&rw, 2, 1));
	assert_true(rw_says(&rw, 1, 2));
	rw_rebind(&rw, 2);
	rw_pass(&rw, (RW_KEEPALIVE_S + 1) * wg_second);
	assert_true(rw_says(&rw, 1, 2));
	assert_true(rw_says(&rw, 2, 1));
}

/* All that it knew of others is gone. */
static void
test_relay_restarts(void **state)
{
	bool there = false;

	(void)state;
	meet();
	rw_stop_relay(&rw, 3);
	assert_false(rw_says(&rw, 1, 2));
	rw_start_relay(&rw, 3);
	for (unsigned i = 0; i < 60 && !there; i++) {
		rw_pass(&rw, wg_second);
		(void)rw_says(&rw, 1, 3);
		(void)rw_says(&rw, 2, 3);
		there = rw_says(&rw, 1, 2);
	}
	assert_true(there);
	assert_true(rw_says(&rw, 2, 1));
}

static uint64_t
heard_ns(unsigned node, unsigned other)
{
	struct seen *s = &seen[node][other];
	struct device_peer_state p;

	if (!rw.peer[node][other])
		return 0;
	device_peer_state(rw.peer[node][other], &p);
	if (p.rx_bytes != s->rx)
		*s = (struct seen){p.rx_bytes, rw_now(&rw)};
	return s->at_ns;
}

static void
choose(unsigned node, struct relay_choice *c)
{
	struct relay_candidate list[RW_RELAYS];
	uint64_t before = c->relay;

	for (unsigned i = 0; i < RW_RELAYS; i++) {
		uint64_t heard = heard_ns(node, 3 + i);

		list[i].id = 3 + i;
		list[i].present = heard && rw_now(&rw) - heard < RELAY_CHOICE_SILENT_MS * wg_ms;
	}
	uint64_t relay = relay_choice_take(c, node, 3 - node, list, RW_RELAYS,
					   heard_ns(node, 3 - node), rw_now(&rw));
	if (relay && relay != before)
		rw_use(&rw, node, 3 - node, (unsigned)relay);
}

static void
live(struct relay_choice c[3], unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		choose(1, &c[1]);
		choose(2, &c[2]);
		rw_pass(&rw, wg_second);
	}
}

/* Each end chooses for itself; what one of them has dies, and then the other one. */
static void
test_fail_over(void **state)
{
	struct relay_choice c[3] = {{0}};

	(void)state;
	rw_pass(&rw, 6 * wg_second);
	live(c, 60);
	assert_true(rw_says(&rw, 1, 2));
	assert_true(rw_says(&rw, 2, 1));
	assert_int_equal(c[1].relay, c[2].relay);
	unsigned first = (unsigned)c[1].relay, second = 7 - first;
	rw_stop_relay(&rw, first);
	live(c, 120);
	assert_int_equal(c[1].relay, second);
	assert_int_equal(c[2].relay, second);
	assert_true(rw_says(&rw, 1, 2));
	assert_true(rw_says(&rw, 2, 1));
	rw_start_relay(&rw, first);
	live(c, 60);
	assert_int_equal(c[1].relay, second); /* no reason to go back */
	rw_stop_relay(&rw, second);
	live(c, 120);
	assert_int_equal(c[1].relay, first);
	assert_true(rw_says(&rw, 1, 2));
	assert_true(rw_says(&rw, 2, 1));
}

/* One of them does not reach the relay that the other one prefers. */
static void
test_they_see_different_relays(void **state)
{
	struct relay_choice c[3] = {{0}};
	struct err err = {0};

	(void)state;
	rw_pass(&rw, 6 * wg_second);
	choose(1, &c[1]);
	unsigned bad = (unsigned)c[1].relay;
	/* To node 2 it is not there, nor is node 2 to it. */
	device_remove(rw.node[2]->device, rw.peer[2][bad]);
	rw_know(&rw, 2, bad, NULL, 0);
	seen[2][bad] = (struct seen){0};
	assert_int_equal(relay_set_nodes(rw.relay[bad],
					 (const uint8_t(*)[PRIMITIVE_KEY])rw.node[1]->public_key, 1,
					 &err),
			 0);
	live(c, 120);
	assert_int_equal(c[2].relay, 7 - bad);
	assert_true(rw_says(&rw, 1, 2));
	assert_true(rw_says(&rw, 2, 1));
}

/* ---- who is not served ---- */

static struct wg_packet
initiation_of(unsigned from, unsigned to)
{
	struct wg_packet p;

	wg_clear(&rw.wire);
	wg_begin(rw.node[from], rw.peer[from][to]);
	assert_int_equal(rw.wire.count, 1);
	p = *rw.wire.packets[0];
	wg_clear(&rw.wire);
	return p;
}

static enum relay_verdict
take(struct wg_packet *p, const struct addr *from)
{
	p->from = *from;
	return rw_relay(&rw, 3, p);
}

static void
outside(unsigned node, struct addr *out)
{
	rw_outside(&rw, node, &rw.node[3]->addr, out);
}

static void
test_no_stranger(void **state)
{
	struct addr mine, stranger;
	struct wg_packet p;

	(void)state;
	meet();
	clear();
	outside(1, &mine);
	stranger = mine;
	stranger.port++;
	p = initiation_of(1, 2);
	assert_int_equal(take(&p, &stranger), RELAY_OWN);
	stranger = mine;
	stranger.ip[15] = 50; /* nobody */
	assert_int_equal(take(&p, &stranger), RELAY_OWN);
	assert_int_equal(rw.wire.count, 0);
	assert_int_equal(take(&p, &mine), RELAY_FORWARD);
	assert_int_equal(rw.wire.count, 1);
}

static void
test_not_there(void **state)
{
	struct addr mine;
	struct wg_packet p;

	(void)state;
	meet();
	outside(1, &mine);
	p = initiation_of(1, 2);
	wg_jump(&rw.wire, RELAY_PRESENT_MS * wg_ms);
	assert_int_equal(take(&p, &mine), RELAY_OWN); /* nor is who sends it */
	assert_true(relay_heard(rw.relay[3], rw.node[1]->public_key, &mine, NULL, rw_now(&rw)));
	assert_int_equal(take(&p, &mine), RELAY_ABSENT);
	struct addr theirs;
	outside(2, &theirs);
	assert_true(relay_heard(rw.relay[3], rw.node[2]->public_key, &theirs, NULL, rw_now(&rw)));
	assert_int_equal(take(&p, &mine), RELAY_FORWARD);
	assert_false(relay_heard(rw.relay[3], rw.node[4]->public_key, &theirs, NULL, rw_now(&rw)));
}

static void
test_not_for_anybody(void **state)
{
	struct addr mine;
	struct wg_packet p;

	(void)state;
	meet();
	outside(1, &mine);
	p = initiation_of(1, 4); /* somebody whom the relay was not told of */
	assert_int_equal(take(&p, &mine), RELAY_UNKNOWN);
	p = initiation_of(1, 2);
	p.data[NOISE_INITIATION - NOISE_MACS] ^= 1;
	assert_int_equal(take(&p, &mine), RELAY_UNKNOWN);
	p.data[NOISE_INITIATION - NOISE_MACS] ^= 1;
	p.data[0] = 9;
	assert_int_equal(take(&p, &mine), RELAY_OWN);
	noise_put_u32(p.data, NOISE_TYPE_DATA); /* of no handshake */
	assert_int_equal(take(&p, &mine), RELAY_UNKNOWN);
	p.bytes = NOISE_RESPONSE;
	noise_put_u32(p.data, NOISE_TYPE_RESPONSE);
	assert_int_equal(take(&p, &mine), RELAY_UNKNOWN);
	p.bytes = NOISE_COOKIE;
	noise_put_u32(p.data, NOISE_TYPE_COOKIE);
	assert_int_equal(take(&p, &mine), RELAY_UNKNOWN);
}

static void
test_removed(void **state)
{
	struct err err = {0};
	struct addr mine;
	struct wg_packet p;

	(void)state;
	meet();
	outside(1, &mine);
	assert_true(relay_flows(rw.relay[3]) > 0);
	assert_int_equal(relay_set_nodes(rw.relay[3],
					 (const uint8_t(*)[PRIMITIVE_KEY])rw.node[1]->public_key, 1,
					 &err),
			 0);
	assert_int_equal(relay_nodes(rw.relay[3]), 1);
	assert_int_equal(relay_flows(rw.relay[3]), 0);
	p = initiation_of(1, 2);
	assert_int_equal(take(&p, &mine), RELAY_UNKNOWN);
	assert_int_equal(relay_set_nodes(rw.relay[3], NULL, 0, &err), 0);
	assert_int_equal(take(&p, &mine), RELAY_OWN);
}

/* Whose session is ended: what was heard of it is not used again. */
static void
test_gone(void **state)
{
	struct addr mine, theirs;
	struct relay_to to = {.user = NULL};
	struct wg_packet p;
	size_t flows;
	int other;

	(void)state;
	meet();
	outside(1, &mine);
	outside(2, &theirs);
	p = initiation_of(1, 2);
	assert_int_equal(relay_take(rw.relay[3], rw_now(&rw), &mine, p.data, p.bytes, &to),
			 RELAY_FORWARD);
	assert_ptr_equal(to.user, rw.peer[3][2]);
	flows = relay_flows(rw.relay[3]);
	relay_gone(rw.relay[3], rw.node[2]->public_key);
	relay_gone(rw.relay[3], rw.node[2]->public_key);
	relay_gone(rw.relay[3], rw.node[4]->public_key); /* nobody that it knows */
	assert_int_equal(relay_take(rw.relay[3], rw_now(&rw), &mine, p.data, p.bytes, &to),
			 RELAY_ABSENT);
	assert_int_equal(relay_take(rw.relay[3], rw_now(&rw), &theirs, p.data, p.bytes, &to),
			 RELAY_OWN);
	/* Of its next session; what went on goes on. */
	assert_int_equal(relay_flows(rw.relay[3]), flows);
	assert_true(relay_heard(rw.relay[3], rw.node[2]->public_key, &theirs, &other, rw_now(&rw)));
	assert_int_equal(relay_take(rw.relay[3], rw_now(&rw), &mine, p.data, p.bytes, &to),
			 RELAY_FORWARD);
	assert_ptr_equal(to.user, &other);
}

/* A number that somebody else has is not taken from him. */
static void
test_stolen_number(void **state)
{
	static const struct addr elsewhere = {
		.ip = {[10] = 0xff, [11] = 0xff, [12] = 203, [14] = 113, [15] = 9}, .port = 7};
	uint8_t keys[3][PRIMITIVE_KEY];
	struct err err = {0};
	struct addr mine, theirs;
	struct relay_to to;
	struct wg_packet p;

	(void)state;
	memcpy(keys[0], rw.node[1]->public_key, PRIMITIVE_KEY);
	memcpy(keys[1], rw.node[2]->public_key, PRIMITIVE_KEY);
	memcpy(keys[2], rw.node[4]->public_key, PRIMITIVE_KEY); /* hostile */
	assert_int_equal(
		relay_set_nodes(rw.relay[3], (const uint8_t(*)[PRIMITIVE_KEY])keys, 3, &err), 0);
	assert_true(relay_heard(rw.relay[3], keys[2], &elsewhere, NULL, rw_now(&rw)));
	meet();
	outside(1, &mine);
	p = initiation_of(1, 2);
	assert_int_equal(take(&p, &mine), RELAY_FORWARD);
	assert_int_equal(take(&p, &elsewhere), RELAY_UNKNOWN); /* the same number, as its own */
	/* The answer goes to whom it is for. */
	outside(2, &theirs);
	noise_put_u32(p.data + 8, noise_u32(p.data + 4));
	noise_put_u32(p.data, NOISE_TYPE_RESPONSE);
	noise_put_u32(p.data + 4, 77);
	assert_int_equal(relay_take(rw.relay[3], rw_now(&rw), &theirs, p.data, NOISE_RESPONSE, &to),
			 RELAY_FORWARD);
	assert_true(addr_equal(&to.at, &mine));
	assert_ptr_equal(to.user, rw.peer[3][1]);
	/* When its time is over it is anybody's. */
	wg_jump(&rw.wire, RELAY_FLOW_MS * wg_ms);
	assert_true(relay_heard(rw.relay[3], keys[2], &elsewhere, NULL, rw_now(&rw)));
	outside(2, &theirs);
	assert_true(relay_heard(rw.relay[3], keys[1], &theirs, NULL, rw_now(&rw)));
	p = initiation_of(1, 2);
	assert_int_equal(take(&p, &elsewhere), RELAY_FORWARD);
}

static void
test_same_place(void **state)
{
	struct addr one, two;
	struct relay_to to;
	struct wg_packet p;

	(void)state;
	meet();
	outside(1, &one);
	outside(2, &two);
	/* 2 is where 1 was: nobody is 1 there any more. */
	assert_true(relay_heard(rw.relay[3], rw.node[2]->public_key, &one, NULL, rw_now(&rw)));
	p = initiation_of(2, 1);
	assert_int_equal(relay_take(rw.relay[3], rw_now(&rw), &two, p.data, p.bytes, &to),
			 RELAY_OWN);
	assert_int_equal(relay_take(rw.relay[3], rw_now(&rw), &one, p.data, p.bytes, &to),
			 RELAY_ABSENT);
	assert_true(relay_heard(rw.relay[3], rw.node[1]->public_key, &two, &two, rw_now(&rw)));
	assert_int_equal(relay_take(rw.relay[3], rw_now(&rw), &one, p.data, p.bytes, &to),
			 RELAY_FORWARD);
	assert_true(addr_equal(&to.at, &two));
	assert_ptr_equal(to.user, &two);
}

/* ---- limits ---- */

/* An initiation of 1 with this number of its own, for whom it is as before. */
static void
number(struct wg_packet *p, unsigned to, uint32_t number)
{
	noise_put_u32(p->data + 4, number);
	wg_stamp(rw.node[1], rw.peer[1][to], p->data, NOISE_INITIATION);
}

static void
test_handshakes_limited(void **state)
{
	struct addr mine;
	struct wg_packet p;
	unsigned passed = 0;

	(void)state;
	meet();
	rw_pass(&rw, 10 * wg_second);
	wg_clear(&rw.wire);
	rw_look(&rw, 3);
	outside(1, &mine);
	p = initiation_of(1, 2);
	for (unsigned i = 0; i < 2 * RELAY_HANDSHAKES_BURST; i++) {
		number(&p, 2, i);
		passed += take(&p, &mine) != RELAY_LIMITED;
	}
	assert_int_equal(passed, RELAY_HANDSHAKES_BURST);
	wg_clear(&rw.wire);
	wg_jump(&rw.wire, wg_second);
	for (unsigned i = passed = 0; i < 2 * RELAY_HANDSHAKES; i++)
		passed += take(&p, &mine) != RELAY_LIMITED;
	assert_int_equal(passed, RELAY_HANDSHAKES);
}

/* Whoever can forge a node's address cannot make its handshakes be dropped. */
static void
test_forgeries_limited(void **state)
{
	static const struct addr elsewhere = {
		.ip = {[10] = 0xff, [11] = 0xff, [12] = 203, [14] = 113, [15] = 9}, .port = 7};
	uint8_t keys[3][PRIMITIVE_KEY];
	struct err err = {0};
	struct addr mine;
	struct wg_packet p, forged, fresh;
	unsigned tried = 0;

	(void)state;
	memcpy(keys[0], rw.node[1]->public_key, PRIMITIVE_KEY);
	memcpy(keys[1], rw.node[2]->public_key, PRIMITIVE_KEY);
	memcpy(keys[2], rw.node[4]->public_key, PRIMITIVE_KEY);
	assert_int_equal(
		relay_set_nodes(rw.relay[3], (const uint8_t(*)[PRIMITIVE_KEY])keys, 3, &err), 0);
	meet();
	outside(1, &mine);
	assert_true(relay_heard(rw.relay[3], keys[2], &elsewhere, NULL, rw_now(&rw)));
	forged = p = initiation_of(1, 2);
	fresh = initiation_of(1, 4); /* with whom it did not speak yet */
	/* What is for somebody does not count as a forgery. */
	for (unsigned i = 0; i < 2 * RELAY_STRAYS_BURST; i++) {
		number(i % 2 ? &p : &fresh, i % 2 ? 2 : 4, i);
		assert_int_equal(take(i % 2 ? &p : &fresh, &mine), RELAY_FORWARD);
	}
	forged.data[NOISE_INITIATION - NOISE_MACS] ^= 1;
	for (unsigned i = 0; i < 2 * RELAY_HANDSHAKES_BURST; i++)
		tried += take(&forged, &mine) == RELAY_UNKNOWN;
	assert_int_equal(tried, RELAY_STRAYS_BURST);
	assert_int_equal(take(&p, &mine), RELAY_FORWARD);
	/* None of them was a handshake of the node. */
	for (unsigned i = 2 * RELAY_STRAYS_BURST + 1; i < RELAY_HANDSHAKES_BURST; i++)
		assert_int_equal(take(&p, &mine), RELAY_FORWARD);
	assert_int_equal(take(&p, &mine), RELAY_LIMITED);
	wg_clear(&rw.wire);
	wg_jump(&rw.wire, wg_second);
	for (unsigned i = tried = 0; i < 2 * RELAY_STRAYS; i++)
		tried += take(&forged, &mine) == RELAY_UNKNOWN;
	assert_int_equal(tried, RELAY_STRAYS);
}

/* Data of a flow, as much as it takes. */
static void
test_bytes_limited(void **state)
{
	enum { BYTES = 65507 };
	static uint8_t big[BYTES];
	struct addr mine;
	struct relay_to to;
	uint64_t passed = 0;
	struct wg_packet p;

	(void)state;
	meet();
	outside(1, &mine);
	rw_says(&rw, 1, 2);
	wg_say(rw.node[1], rw.peer[1][2]);
	p = *rw.wire.packets[0];
	wg_clear(&rw.wire);
	memcpy(big, p.data, NOISE_HEADER);
	wg_jump(&rw.wire, wg_second);
	while (relay_take(rw.relay[3], rw_now(&rw), &mine, big, BYTES, &to) == RELAY_FORWARD)
		passed += BYTES;
	assert_true(passed <= RELAY_BYTES_BURST && passed + BYTES > RELAY_BYTES_BURST);
	assert_int_equal(relay_take(rw.relay[3], rw_now(&rw), &mine, big, BYTES, &to),
			 RELAY_LIMITED);
	/* Its neighbour does not notice. */
	assert_true(rw_says(&rw, 2, 1));
	wg_jump(&rw.wire, 10 * wg_ms);
	for (passed = 0;
	     relay_take(rw.relay[3], rw_now(&rw), &mine, big, BYTES, &to) == RELAY_FORWARD;)
		passed += BYTES;
	assert_true(passed + 2 * BYTES > RELAY_BYTES / 100 && passed < RELAY_BYTES / 100 + BYTES);
}

/* The oldest ones of the node itself make room. */
static void
test_flows_limited(void **state)
{
	struct addr mine, theirs;
	struct wg_packet p;

	(void)state;
	meet();
	outside(1, &mine);
	outside(2, &theirs);
	p = initiation_of(1, 2);
	for (uint32_t i = 1; i <= RELAY_NODE_FLOWS_MAX + 100; i++) {
		if (i % RELAY_HANDSHAKES == 0) {
			wg_jump(&rw.wire, wg_second);
			assert_true(relay_heard(rw.relay[3], rw.node[1]->public_key, &mine, NULL,
						rw_now(&rw)));
			assert_true(relay_heard(rw.relay[3], rw.node[2]->public_key, &theirs, NULL,
						rw_now(&rw)));
		}
		number(&p, 2, i);
		assert_int_equal(take(&p, &mine), RELAY_FORWARD);
		wg_clear(&rw.wire);
	}
	assert_true(relay_flows(rw.relay[3]) <= RELAY_NODE_FLOWS_MAX + 8);
	assert_true(relay_flows(rw.relay[3]) >= RELAY_NODE_FLOWS_MAX);
}

static void
test_nodes_limited(void **state)
{
	static uint8_t keys[RELAY_NODES_MAX + 1][PRIMITIVE_KEY];
	struct err err = {0};

	(void)state;
	for (size_t i = 0; i <= RELAY_NODES_MAX; i++)
		noise_put_u32(keys[i], (uint32_t)i + 1);
	assert_int_equal(relay_set_nodes(rw.relay[3], (const uint8_t(*)[PRIMITIVE_KEY])keys,
					 RELAY_NODES_MAX + 1, &err),
			 -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_int_equal(relay_nodes(rw.relay[3]), 2);
	err_clear(&err);
	assert_int_equal(relay_set_nodes(rw.relay[3], (const uint8_t(*)[PRIMITIVE_KEY])keys,
					 RELAY_NODES_MAX, &err),
			 0);
	assert_int_equal(relay_nodes(rw.relay[3]), RELAY_NODES_MAX);
}

static void
test_memory(void **state)
{
	static const uint64_t seeds[3] = {1, 2, 3};
	struct addr at[2];
	struct relay_to to;
	uint8_t keys[2][PRIMITIVE_KEY];
	struct wg_packet p;

	(void)state;
	meet();
	outside(1, &at[0]);
	outside(2, &at[1]);
	memcpy(keys[0], rw.node[1]->public_key, PRIMITIVE_KEY);
	memcpy(keys[1], rw.node[2]->public_key, PRIMITIVE_KEY);
	p = initiation_of(1, 2);
	sweep_each(s)
	{
		struct relay *r = relay_new(seeds);
		struct err err = {0};
		bool ok = false;

		if (r) {
			int rc = relay_set_nodes(r, (const uint8_t(*)[PRIMITIVE_KEY])keys, 2, &err);
			assert_int_equal(relay_nodes(r), rc == 0 ? 2 : 0);
			ok = rc == 0 && relay_heard(r, keys[0], &at[0], NULL, 5) &&
			     relay_heard(r, keys[1], &at[1], NULL, 5);
			if (ok && relay_take(r, 5, &at[0], p.data, p.bytes, &to) != RELAY_FORWARD)
				ok = false;
			if (rc == 0 && !ok)
				assert_int_equal(relay_flows(r), 0);
		}
		assert_true(ok || sweep_failed());
		relay_free(r);
	}
}

static void
test_names(void **state)
{
	(void)state;
	for (unsigned v = 0; v < RELAY_VERDICTS; v++)
		for (unsigned other = 0; other < v; other++)
			assert_string_not_equal(relay_verdict_name(v), relay_verdict_name(other));
}

#define RELAY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RELAY_TEST(test_through),
		RELAY_TEST(test_long),
		RELAY_TEST(test_another_address),
		RELAY_TEST(test_relay_restarts),
		RELAY_TEST(test_fail_over),
		RELAY_TEST(test_they_see_different_relays),
		RELAY_TEST(test_no_stranger),
		RELAY_TEST(test_not_there),
		RELAY_TEST(test_not_for_anybody),
		RELAY_TEST(test_removed),
		RELAY_TEST(test_gone),
		RELAY_TEST(test_stolen_number),
		RELAY_TEST(test_same_place),
		RELAY_TEST(test_handshakes_limited),
		RELAY_TEST(test_forgeries_limited),
		RELAY_TEST(test_bytes_limited),
		RELAY_TEST(test_flows_limited),
		RELAY_TEST(test_nodes_limited),
		RELAY_TEST(test_memory),
		RELAY_TEST(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
