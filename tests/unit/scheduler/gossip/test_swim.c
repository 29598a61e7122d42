/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of membership, one at a time, with inputs made by hand. Node 1 is the core; 2 to 8 are
 * its roster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "scheduler/gossip/core.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/packet.h"
#include "scheduler/gossip/rumour.h"
#include "tests/support/gossip_core.h"

static struct core_test t;
static struct gossip scratch;
static struct packet packet;

static int
set_up(void **state)
{
	(void)state;
	core_test_start(&t);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	core_test_check(&t);
	core_test_fini(&t);
	return 0;
}

static void
deliver(uint32_t from)
{
	struct step_actions *out = malloc(sizeof(*out));

	step_actions_clear(out);
	scratch.out = out;
	packet_send(&scratch, &packet, 1);
	core_test_datagram(&t, from, out->data, out->bytes);
	free(out);
}

/* from says that node has that state. */
static void
say(uint32_t from, uint32_t node, uint32_t accuser, uint32_t incarnation, enum gossip_state state)
{
	packet_begin(&packet);
	packet_open(&scratch, &packet, GOSSIP_MEMBERS, 0);
	packet_member(&packet, node, accuser, core_status(incarnation, state));
	deliver(from);
}

static void
all_alive(void)
{
	for (uint32_t node = 2; node <= CORE_TEST_NODES; node++)
		say(node, node, node, 1, GOSSIP_ALIVE);
}

static struct gossip_member
member(uint32_t node)
{
	struct gossip_member m;

	assert_true(gossip_member(t.g, node, &m));
	return m;
}

/* The record about node in the last datagram that was sent; 0 when there is none. */
static uint32_t
said_of(uint32_t node)
{
	struct cursor c, body;
	unsigned kind;
	uint8_t flags;
	uint32_t n, accuser, status, found = 0;

	cursor_init(&c, t.last_data, t.last_sent.bytes);
	packet_head(&c);
	while (packet_section(&c, &kind, &flags, &body)) {
		while (kind == GOSSIP_MEMBERS + 1 && cursor_left(&body) > 0) {
			packet_get_member(&body, &n, &accuser, &status);
			if (n == node)
				found = status;
		}
	}
	return found;
}

/* The number of the ping in the last datagram, 0 when there is none; kind as in the message. */
static uint32_t
number_of(enum gossip_message wanted, uint32_t *node_out)
{
	struct cursor c, body;
	unsigned kind;
	uint8_t flags;

	cursor_init(&c, t.last_data, t.last_sent.bytes);
	packet_head(&c);
	while (packet_section(&c, &kind, &flags, &body)) {
		if (kind != wanted + 1)
			continue;
		uint32_t number = cursor_u32(&body);

		*node_out = cursor_u32(&body);
		return number;
	}
	return 0;
}

static void
test_precedence(void **state)
{
	const struct {
		uint32_t incarnation;
		enum gossip_state state;
		uint32_t then_incarnation;
		enum gossip_state then;
	} rows[] = {
		{1, GOSSIP_ALIVE, 1, GOSSIP_ALIVE},     {1, GOSSIP_SUSPECT, 1, GOSSIP_SUSPECT},
		{1, GOSSIP_ALIVE, 1, GOSSIP_SUSPECT},   {2, GOSSIP_ALIVE, 2, GOSSIP_ALIVE},
		{1, GOSSIP_DEAD, 2, GOSSIP_ALIVE},      {2, GOSSIP_DEAD, 2, GOSSIP_DEAD},
		{2, GOSSIP_SUSPECT, 2, GOSSIP_DEAD},    {2, GOSSIP_ALIVE, 2, GOSSIP_DEAD},
		{2, GOSSIP_LEFT, 2, GOSSIP_LEFT},       {2, GOSSIP_DEAD, 2, GOSSIP_LEFT},
		{3, GOSSIP_SUSPECT, 3, GOSSIP_SUSPECT}, {0xffffff, GOSSIP_ALIVE, 0xffffff, 1},
		{5, GOSSIP_LEFT, 0xffffff, 1},
	};

	(void)state;
	all_alive();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		say(2, 3, 4, rows[i].incarnation, rows[i].state);
		assert_int_equal(member(3).incarnation, rows[i].then_incarnation);
		assert_int_equal(member(3).state, rows[i].then);
	}
}

static void
test_told(void **state)
{
	(void)state;
	say(2, 3, 3, 1, GOSSIP_ALIVE);
	assert_int_equal(t.tells, 1);
	say(2, 3, 3, 1, GOSSIP_ALIVE); /* nothing new */
	assert_int_equal(t.tells, 0);
	say(2, 99, 3, 1, GOSSIP_ALIVE); /* not admitted */
	assert_int_equal(t.tells, 0);
	say(99, 3, 3, 2, GOSSIP_ALIVE); /* who is not admitted has no say */
	assert_int_equal(t.tells, 0);
	assert_int_equal(gossip_counters(t.g)->strangers, 2);
}

static void
test_refutes(void **state)
{
	const enum gossip_state bad[] = {GOSSIP_SUSPECT, GOSSIP_DEAD, GOSSIP_LEFT};

	(void)state;
	all_alive();
	for (size_t i = 0; i < 3; i++) {
		uint32_t before = member(1).incarnation;

		say(2, 1, 5, before, bad[i]);
		assert_int_equal(member(1).incarnation, before + 1);
		assert_int_equal(member(1).state, GOSSIP_ALIVE);
		/* ... and says so to whom it has it from. */
		assert_int_equal(t.last_sent.node, 2);
		assert_int_equal(said_of(1), core_status(before + 1, GOSSIP_ALIVE));
	}
	/* What is older needs no answer of that kind. */
	uint32_t before = member(1).incarnation;
	say(2, 1, 5, before - 1, GOSSIP_DEAD);
	assert_int_equal(member(1).incarnation, before);
	assert_int_equal(gossip_counters(t.g)->refutations, 3);
}

/* A refutation far above what is durable waits for the disk; nothing says it before. */
static void
test_refutation_is_durable(void **state)
{
	(void)state;
	all_alive();
	struct step_input in = {.kind = STEP_DATAGRAM, .node = 2, .now_ns = t.now};
	struct step_actions *out = malloc(sizeof(*out));
	uint32_t far = member(1).incarnation + 5000;
	uint64_t token = 0;

	packet_begin(&packet);
	packet_open(&scratch, &packet, GOSSIP_MEMBERS, 0);
	packet_member(&packet, 1, 5, core_status(far, GOSSIP_DEAD));
	step_actions_clear(t.out);
	scratch.out = t.out;
	packet_send(&scratch, &packet, 1);
	in.data = t.out->data;
	in.bytes = t.out->bytes;
	step_actions_clear(out);
	gossip_step(t.g, &in, out);
	for (size_t i = 0; i < out->count; i++) {
		if (out->items[i].kind == STEP_REPLACE)
			token = out->items[i].token;
		if (out->items[i].kind == STEP_SEND)
			assert_true(out->items[i].after == token && token != 0);
	}
	assert_true(token != 0);
	in = (struct step_input){.kind = STEP_DISK_DONE, .token = token, .now_ns = t.now};
	core_test_step(&t, in);
	assert_int_equal(member(1).incarnation, far + 1);
	free(out);
}

/* From suspicion to death: 8 s on one word, less with a second, 2 s with a third. */
static void
test_confirmations(void **state)
{
	const struct {
		unsigned accusers;
		uint64_t least_ms, most_ms;
	} rows[] = {{1, 7900, 9000}, {2, 4100, 4400}, {3, 1990, 2200}, {6, 1990, 2200}};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		if (i > 0) {
			core_test_fini(&t);
			core_test_start(&t);
		}
		all_alive();
		uint64_t from = t.now;
		for (uint32_t a = 0; a < rows[i].accusers; a++)
			say(2, 8, 2 + a, 1, GOSSIP_SUSPECT);
		for (uint32_t a = 0; a < rows[i].accusers; a++) /* again: counts once */
			say(2, 8, 2 + a, 1, GOSSIP_SUSPECT);
		assert_int_equal(member(8).state, GOSSIP_SUSPECT);
		while (member(8).state == GOSSIP_SUSPECT && t.now - from < 20000 * CORE_TEST_MS) {
			core_test_pass(&t, 10);
			/* The others are well; the core itself does not accuse: acks for all. */
			for (size_t p = 0; p < CORE_PROBES_MAX; p++)
				t.g->probes[p].node = 0;
		}
		uint64_t took = (t.now - from) / CORE_TEST_MS;
		assert_true(took >= rows[i].least_ms && took <= rows[i].most_ms);
		assert_int_equal(member(8).state, GOSSIP_DEAD);
	}
}

/* Whoever is heard lives, whatever others say. */
static void
test_heard(void **state)
{
	(void)state;
	all_alive();
	for (uint32_t a = 2; a < 5; a++)
		say(2, 8, a, 1, GOSSIP_SUSPECT);
	for (unsigned i = 0; i < 10; i++) {
		core_test_pass(&t, 1000);
		packet_begin(&packet);
		packet_ask(&scratch, &packet, GOSSIP_NACK, 12345, 2);
		deliver(8);
	}
	assert_int_equal(member(8).state, GOSSIP_SUSPECT);
	core_test_pass(&t, 2500);
	assert_int_equal(member(8).state, GOSSIP_DEAD);
}

/* After a stall nobody dies before there was time to hear. */
static void
test_stall(void **state)
{
	(void)state;
	all_alive();
	for (uint32_t a = 2; a < 5; a++)
		say(2, 8, a, 1, GOSSIP_SUSPECT);
	uint64_t health = gossip_health(t.g);
	t.now += 10000 * CORE_TEST_MS;
	core_test_step(&t, (struct step_input){.kind = STEP_TIMER});
	assert_int_equal(member(8).state, GOSSIP_SUSPECT);
	assert_int_equal(gossip_counters(t.g)->stalls, 1);
	assert_true(gossip_health(t.g) > health);
	assert_int_equal(gossip_counters(t.g)->probes_failed, 0);
	say(8, 8, 8, 2, GOSSIP_ALIVE);
	core_test_pass(&t, 300);
	assert_int_equal(member(8).state, GOSSIP_ALIVE);
}

/* Each member is probed within a round, and one that does not answer is suspected, after it was
 * tried by others and by a stream. */
static void
test_probe(void **state)
{
	uint32_t probed = 0, asked = 0, node, number = 0;

	(void)state;
	for (uint32_t n = 2; n <= 4; n++)
		say(n, n, n, 1, GOSSIP_ALIVE);
	while (t.g->probes[0].node == 0)
		core_test_pass(&t, 1);
	probed = t.g->probes[0].node;
	number = t.g->probes[0].number;
	t.opened = 0;
	core_test_pass(&t, 199);
	assert_int_equal(member(probed).state, GOSSIP_ALIVE);
	while (t.g->probes[0].asked == 0)
		core_test_pass(&t, 1);
	assert_int_equal(t.g->probes[0].asked, 2); /* there are no more */
	assert_true(t.opened != 0);
	asked = number_of(GOSSIP_PING_REQ, &node);
	assert_int_equal(asked, number);
	assert_int_equal(node, probed);
	core_test_pass(&t, 310);
	assert_int_equal(member(probed).state, GOSSIP_SUSPECT);
	/* Nobody said nack, so it may be us. */
	assert_true(gossip_health(t.g) >= 2);
}

static void
test_probe_answered(void **state)
{
	uint32_t probed;

	(void)state;
	for (uint32_t n = 2; n <= 4; n++)
		say(n, n, n, 1, GOSSIP_ALIVE);
	for (unsigned i = 0; i < 3; i++) {
		while (t.g->probes[0].node == 0)
			core_test_pass(&t, 1);
		probed = t.g->probes[0].node;
		/* By itself at once, by another later, by another with the wrong number. */
		packet_begin(&packet);
		packet_ping(&scratch, &packet, GOSSIP_ACK, t.g->probes[0].number + (i == 2),
			    probed);
		deliver(i == 0 ? probed : 2 + (probed - 1) % 3);
		assert_int_equal(t.g->probes[0].node, i == 2 ? probed : 0);
	}
}

/* We are asked to ask: the ack goes on, with the asker's number; without one, a nack. */
static void
test_relay(void **state)
{
	uint32_t node = 0;

	(void)state;
	all_alive();
	packet_begin(&packet);
	packet_ask(&scratch, &packet, GOSSIP_PING_REQ, 777, 5);
	deliver(3);
	assert_int_equal(t.last_sent.node, 5);
	uint32_t number = number_of(GOSSIP_PING, &node);
	assert_true(number != 0 && node == 5);
	packet_begin(&packet);
	packet_ping(&scratch, &packet, GOSSIP_ACK, number, 5);
	deliver(5);
	assert_int_equal(t.last_sent.node, 3);
	assert_int_equal(number_of(GOSSIP_ACK, &node), 777);
	packet_begin(&packet);
	packet_ask(&scratch, &packet, GOSSIP_PING_REQ, 778, 5);
	deliver(3);
	uint64_t before = gossip_counters(t.g)->sent[GOSSIP_NACK];
	core_test_pass(&t, 200);
	assert_int_equal(gossip_counters(t.g)->sent[GOSSIP_NACK], before + 1);
}

/* The suspect is told with the next ping (buddy), and a lost one what is believed of it. */
static void
test_buddy(void **state)
{
	uint32_t node;

	(void)state;
	all_alive();
	say(2, 8, 3, 1, GOSSIP_SUSPECT);
	packet_begin(&packet);
	packet_ping(&scratch, &packet, GOSSIP_PING, 5, 1);
	deliver(8);
	assert_int_equal(number_of(GOSSIP_ACK, &node), 5);
	assert_int_equal(said_of(8), core_status(1, GOSSIP_SUSPECT));
	say(2, 8, 3, 1, GOSSIP_DEAD);
	packet_begin(&packet);
	packet_ping(&scratch, &packet, GOSSIP_PING, 6, 1);
	deliver(8);
	assert_int_equal(said_of(8), core_status(1, GOSSIP_DEAD));
}

/* Who repeats what was refuted is told so. */
static void
test_correction(void **state)
{
	(void)state;
	all_alive();
	say(8, 8, 8, 4, GOSSIP_ALIVE);
	say(2, 8, 3, 3, GOSSIP_DEAD);
	assert_int_equal(t.last_sent.node, 2);
	assert_int_equal(said_of(8), core_status(4, GOSSIP_ALIVE));
}

static void
test_contacts(void **state)
{
	uint64_t before;

	(void)state;
	/* Nobody is known: all are looked for, less often after a while: in a small cell once a
	 * second. */
	before = gossip_counters(t.g)->datagrams_sent;
	core_test_pass(&t, 5000);
	uint64_t first = gossip_counters(t.g)->datagrams_sent - before;
	assert_true(first >= 9 && first <= 30);
	core_test_pass(&t, 60000);
	before = gossip_counters(t.g)->datagrams_sent;
	core_test_pass(&t, 60000);
	uint64_t later = gossip_counters(t.g)->datagrams_sent - before;
	assert_true(later >= 140 && later <= 240);
}

static void
test_rumour_limit(void **state)
{
	const struct {
		size_t live;
		uint32_t limit;
	} rows[] = {{1, 6}, {9, 6}, {10, 6}, {99, 6}, {100, 9}, {9999, 12}, {10000, 15}};
	struct gossip g = {.live = 0};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		g.live = rows[i].live;
		assert_int_equal(rumour_limit(&g), rows[i].limit);
	}
}

static bool
is_told(const struct gossip *g, uint32_t node)
{
	for (size_t i = 0; i < g->rumours_count; i++)
		if (g->rumours[i].node == node)
			return true;
	return false;
}

/* A whole cell that joins: what finds no room is left to anti-entropy, until some was told. */
static void
test_more_news_than_rumours(void **state)
{
	struct gossip g = {.live = 9999};
	uint32_t node = 1;

	(void)state;
	for (; node <= 2 * GOSSIP_RUMOURS_MAX; node++)
		rumour_add(&g, node, node, core_status(1, GOSSIP_ALIVE));
	assert_int_equal(g.rumours_count, GOSSIP_RUMOURS_MAX);
	assert_false(is_told(&g, node - 1));
	packet_begin(&packet);
	rumour_fill(&g, &packet, node);
	node++;
	rumour_add(&g, node, node, core_status(1, GOSSIP_ALIVE));
	assert_true(is_told(&g, node));
	/* Those that were told made room, and no others. */
	assert_true(g.rumours_count > GOSSIP_RUMOURS_MAX - 200);
	assert_true(is_told(&g, GOSSIP_RUMOURS_MAX));
	mem_free(g.rumours);
}

/* A rumour ends; then there is nothing to send but probes. */
static void
test_rumour_ends(void **state)
{
	(void)state;
	say(2, 2, 2, 1, GOSSIP_ALIVE);
	say(3, 3, 3, 1, GOSSIP_ALIVE);
	assert_true(t.g->rumours_count > 0);
	core_test_pass(&t, 400);
	assert_int_equal(t.g->rumours_count, 0);
}

static void
test_malformed(void **state)
{
	const struct {
		uint8_t bytes[24];
		size_t count;
		uint64_t malformed, unknown;
	} rows[] = {
		{{1}, 1, 1, 0},
		{{1, 1, 0, 0, 1, 0, 15, 0, 1}, 9, 1, 0},          /* cut */
		{{1, 1, 0, 0, 77, 0, 0, 0}, 8, 0, 1},             /* of a later version */
		{{1, 1, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0}, 12, 1, 0}, /* twice */
		{{1, 1, 0, 0, 5, 0, 3, 0, 1, 2, 3}, 11, 1, 0},    /* a part of a record */
		{{3, 3, 0, 0}, 4, 1, 0},
		{{1, 1, 0, 0}, 4, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t malformed = gossip_counters(t.g)->malformed;
		uint64_t unknown = gossip_counters(t.g)->unknown;

		core_test_datagram(&t, 2, rows[i].bytes, rows[i].count);
		assert_int_equal(gossip_counters(t.g)->malformed - malformed, rows[i].malformed);
		assert_int_equal(gossip_counters(t.g)->unknown - unknown, rows[i].unknown);
	}
}

/* In one round each comes once, also when members were added meanwhile. */
static void
test_order(void **state)
{
	unsigned seen[CORE_TEST_NODES + 1] = {0};

	(void)state;
	all_alive();
	while (t.g->order_at != CORE_TEST_NODES - 1)
		member_next(t.g);
	for (uint32_t i = 2; i <= CORE_TEST_NODES; i++)
		seen[t.g->ids[member_next(t.g)]]++;
	for (uint32_t node = 2; node <= CORE_TEST_NODES; node++)
		assert_int_equal(seen[node], 1);
}

static void
test_roster(void **state)
{
	uint64_t digest;
	struct gossip_member m;

	(void)state;
	all_alive();
	digest = gossip_digest(t.g);
	assert_int_equal(gossip_roster_add(t.g, 5), GOSSIP_UNCHANGED);
	assert_int_equal(gossip_roster_add(t.g, 500), GOSSIP_OK);
	assert_int_equal(gossip_members(t.g), 9);
	assert_true(digest == gossip_digest(t.g)); /* nothing is known of it */
	say(500, 500, 500, 1, GOSSIP_ALIVE);
	assert_false(digest == gossip_digest(t.g));
	assert_int_equal(gossip_roster_remove(t.g, 500), GOSSIP_OK);
	core_test_step(&t, (struct step_input){.kind = STEP_LOCAL});
	assert_int_equal(t.tells, 1);
	assert_true(digest == gossip_digest(t.g));
	assert_int_equal(gossip_roster_remove(t.g, 500), GOSSIP_UNCHANGED);
	assert_int_equal(gossip_roster_remove(t.g, 1), GOSSIP_UNCHANGED);
	assert_false(gossip_member(t.g, 500, &m));
	for (uint32_t node = 2; node <= CORE_TEST_NODES; node += 2)
		assert_int_equal(gossip_roster_remove(t.g, node), GOSSIP_OK);
	assert_int_equal(gossip_members(t.g), 4);
	assert_int_equal(gossip_members_live(t.g), 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_precedence),
		TEST(test_told),
		TEST(test_refutes),
		TEST(test_refutation_is_durable),
		TEST(test_confirmations),
		TEST(test_heard),
		TEST(test_stall),
		TEST(test_probe),
		TEST(test_probe_answered),
		TEST(test_relay),
		TEST(test_buddy),
		TEST(test_correction),
		TEST(test_contacts),
		TEST(test_rumour_limit),
		TEST(test_rumour_ends),
		TEST(test_malformed),
		TEST(test_more_news_than_rumours),
		TEST(test_order),
		TEST(test_roster),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
