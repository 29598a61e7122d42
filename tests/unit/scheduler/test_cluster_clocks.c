/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node asks of the others' wall clocks, and what it says of them (cluster_clocks.c). The
 * shell is the test: it gives each question its answer. This node is 1, the others 2 to 4.
 */
#include "scheduler/cluster_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>
#include "ring/metrics.h"
#include "tests/support/member_world.h"

#define S INT64_C(1000000000)

enum { NODES = 4, EVERY_S = 10, ASKED_MAX = 64 };

/* ---- time ---- */

static uint64_t later_ns;
static int64_t set_ns; /* by so much this node's clock was set */

uint64_t __real_world_mono_ns(void);
uint64_t __wrap_world_mono_ns(void);
int64_t __real_world_wall_ns(void);
int64_t __wrap_world_wall_ns(void);

uint64_t
__wrap_world_mono_ns(void)
{
	return __real_world_mono_ns() + later_ns;
}

int64_t
__wrap_world_wall_ns(void)
{
	return __real_world_wall_ns() + (int64_t)later_ns + set_ns;
}

/* ---- the others ---- */

static int64_t ahead_ns[NODES + 1]; /* of the true time */
static bool silent[NODES + 1];
static uint32_t asked[ASKED_MAX];
static size_t asked_count;

void __wrap_shell_local(struct shell *s, uint8_t service, uint16_t what, uint64_t token,
			const void *data, size_t bytes);

static void
answer(uint32_t node, const uint8_t *question)
{
	static struct step_actions none;
	uint8_t kind, said[CLOCKS_BYTES];
	uint32_t number;
	int64_t wall_ns;

	assert_true(asked_count < ASKED_MAX);
	asked[asked_count++] = node;
	assert_true(clocks_decode(question, CLOCKS_BYTES, &kind, &number, &wall_ns));
	assert_int_equal(kind, CLOCKS_ASK);
	if (silent[node])
		return;
	clocks_encode(CLOCKS_SAY, number,
		      __real_world_wall_ns() + (int64_t)later_ns + ahead_ns[node], said);
	const struct step_input in = {.kind = STEP_DATAGRAM,
				      .node = node,
				      .data = said,
				      .bytes = sizeof(said),
				      .now_ns = world_mono_ns(),
				      .wall_ns = world_wall_ns()};
	step_actions_clear(&none);
	clocks_step(&member.c.clocks, &in, &none);
	assert_int_equal(none.count, 0);
}

void
__wrap_shell_local(struct shell *s, uint8_t service, uint16_t what, uint64_t token,
		   const void *data, size_t bytes)
{
	static struct step_actions out;
	const struct step_input in = {
		.kind = STEP_LOCAL, .now_ns = world_mono_ns(), .wall_ns = world_wall_ns()};

	(void)s, (void)what, (void)token, (void)data, (void)bytes;
	assert_int_equal(service, CLOCKS_SERVICE);
	step_actions_clear(&out);
	clocks_step(&member.c.clocks, &in, &out);
	for (size_t i = 0; i < out.count; i++) {
		uint8_t question[CLOCKS_BYTES];

		assert_int_equal(out.items[i].kind, STEP_SEND);
		memcpy(question, step_data(&out, &out.items[i]), CLOCKS_BYTES);
		answer(out.items[i].node, question);
	}
}

/* ---- the node ---- */

static struct ring_writer *writer;

/* As many questions as were asked in that time, a tick each 500 ms. */
static size_t
pass_s(unsigned seconds)
{
	asked_count = 0;
	for (unsigned i = 0; i < 2 * seconds; i++) {
		later_ns += (uint64_t)S / 2;
		cluster_clocks_tick(&member.c, world_mono_ns());
	}
	return asked_count;
}

static int64_t
metric(void)
{
	return (int64_t)metrics_get(member.model.metrics, METRICS_CLUSTER_CLOCK, NULL)->values[0];
}

static void
check_near(int64_t is_ns, int64_t want_ns)
{
	assert_in_range(is_ns - want_ns + S / 10, 0, S / 5);
}

static struct cluster_node *
node(uint32_t id)
{
	return cluster_roster_find(&member.c, id);
}

static int
set_up(void **state)
{
	const struct ring_layout layout = {
		.role = ROLE_SCHEDULER, .generation = 1, .metric_series = 16};
	static int line;
	struct err err = {0};

	member_set_up(state);
	assert_int_equal(ring_writer_new(&layout, &writer, &err), 0);
	member.model.metrics = ring_writer_metrics(writer);
	clocks_init(&member.c.clocks);
	member.c.shell = (struct shell *)&line; /* handed on, never looked into */
	memset(ahead_ns, 0, sizeof(ahead_ns));
	memset(silent, 0, sizeof(silent));
	later_ns = 0;
	set_ns = 0;
	for (uint32_t id = 2; id <= NODES; id++)
		node(id)->peer = true;
	return 0;
}

static int
tear_down(void **state)
{
	clocks_fini(&member.c.clocks);
	member.c.shell = NULL;
	ring_writer_free(writer);
	return member_tear_down(state);
}

/* ---- asking ---- */

static void
test_two_at_a_time(void **state)
{
	unsigned seen[NODES + 1] = {0};

	(void)state;
	later_ns += (uint64_t)S;
	cluster_clocks_tick(&member.c, world_mono_ns());
	assert_int_equal(asked_count, 2);
	assert_int_not_equal(asked[0], asked[1]);
	/* Who was not asked is next. */
	assert_true(pass_s(1) >= 1);
	assert_true(asked[0] != 1 && clocks_awaits(&member.c.clocks, 1));
	pass_s(5);
	for (uint32_t id = 2; id <= NODES; id++)
		assert_false(clocks_awaits(&member.c.clocks, id));
	/* Known ones: two each ten seconds, each as often as the others. */
	assert_true(pass_s(12 * EVERY_S) <= 26);
	for (size_t i = 0; i < asked_count; i++)
		seen[asked[i]]++;
	for (uint32_t id = 2; id <= NODES; id++)
		assert_in_range(seen[id], 4, 9);
	assert_int_equal(member_events("node.clock"), 0);
	assert_int_equal(member.c.clock_err.kind, 0);
}

static void
test_who_is_asked(void **state)
{
	(void)state;
	node(2)->state = GOSSIP_DEAD;
	node(3)->peer = false;
	node(4)->row.removed = 1;
	assert_int_equal(pass_s(30), 0);
	node(2)->state = GOSSIP_SUSPECT;
	assert_true(pass_s(30) >= 1);
	for (size_t i = 0; i < asked_count; i++)
		assert_int_equal(asked[i], 2);
	/* Who has gone counts no longer. */
	assert_int_equal(member.c.clocks.count, 2);
	node(2)->state = GOSSIP_DEAD;
	pass_s(30);
	assert_int_equal(member.c.clocks.count, 1);
	assert_int_equal(map_count(&member.c.clocks.nodes), 0);
}

/* A process that has just begun hears of the others a moment later: its clock is not wrong for ten
 * seconds more without a word. */
static void
test_others_come_later(void **state)
{
	(void)state;
	for (uint32_t id = 2; id <= NODES; id++) {
		node(id)->state = GOSSIP_UNKNOWN;
		ahead_ns[id] = 300 * S;
	}
	assert_int_equal(pass_s(5), 0);
	for (uint32_t id = 2; id <= NODES; id++)
		node(id)->state = GOSSIP_ALIVE;
	assert_true(pass_s(3) >= NODES - 1);
	assert_int_equal(member_events("node.clock"), 1);
}

static void
test_without_a_shell(void **state)
{
	struct shell *shell = member.c.shell;

	(void)state;
	member.c.shell = NULL;
	assert_int_equal(pass_s(20), 0);
	member.c.shell = shell;
	assert_true(pass_s(20) > 0);
}

/* ---- what is said ---- */

static void
test_its_own(void **state)
{
	(void)state;
	for (uint32_t id = 2; id <= NODES; id++)
		ahead_ns[id] = 300 * S;
	pass_s(60);
	assert_int_equal(member_events("node.clock"), 1);
	assert_non_null(strstr(member.c.clock_err.what,
			       "the clock of this machine is 5 minutes behind the others'"));
	assert_non_null(strstr(member.c.clock_err.fix, "timedatectl"));
	assert_true(member.c.dirty);
	check_near(metric(), -300 * S);
	check_near(member.model.base_wall_ns, 300 * S);
	check_near(cluster_base_ns(&member.c), 300 * S);
	assert_in_range(cluster_now_s(&member.c) - world_wall_ns() / S, 299, 301);
	check_near(cluster_clocks_ahead_ms(&member.c, 1) * 1000000, -300 * S);
	assert_int_equal(cluster_clocks_ahead_ms(&member.c, 2), 0);
	/* Nothing is published again for what is known. */
	member.c.dirty = false;
	pass_s(60);
	assert_false(member.c.dirty);
	/* It is set right: that is noticed at the next tick, not ten seconds later. */
	set_ns = 300 * S;
	pass_s(3);
	assert_int_equal(member_events("node.clock_right"), 1);
	assert_int_equal(member_events("node.clock"), 1);
	assert_int_equal(member.c.clock_err.kind, 0);
	assert_int_equal(member.model.base_wall_ns, 0);
	assert_true(member.c.dirty);
}

static void
test_anothers(void **state)
{
	static const struct {
		int64_t ahead_s;
		const char *text;
	} all[] = {
		{3, "the clock of edge-3 is 3 seconds ahead of the others'"},
		{-90, "the clock of edge-3 is 90 seconds behind the others'"},
		{7199, "the clock of edge-3 is 119 minutes ahead of the others'"},
		{-86400, "the clock of edge-3 is 24 hours behind the others'"},
		{400 * 86400, "the clock of edge-3 is 400 days ahead of the others'"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		ahead_ns[3] = all[i].ahead_s * S;
		member.c.dirty = false;
		pass_s(60);
		assert_string_equal(member.c.clock_err.what, all[i].text);
		assert_non_null(strstr(member.c.clock_err.fix, "set it right on edge-3"));
		assert_true(member.c.dirty);
		check_near(cluster_clocks_ahead_ms(&member.c, 3) * 1000000, ahead_ns[3]);
	}
	/* That node says it itself. */
	assert_int_equal(member_events("node.clock"), 0);
	assert_int_equal(member.model.base_wall_ns, 0);
	check_near(metric(), 0);
	/* The one that is furthest away is named. */
	ahead_ns[3] = 5 * S;
	ahead_ns[2] = -30 * S;
	pass_s(60);
	assert_non_null(strstr(member.c.clock_err.what, "edge-2 is 30 seconds behind"));
	ahead_ns[2] = ahead_ns[3] = S; /* that is no matter */
	pass_s(60);
	assert_int_equal(member.c.clock_err.kind, 0);
}

/* Nobody knows which of two is wrong: both say how far they are apart. */
static void
test_two_alone(void **state)
{
	(void)state;
	node(3)->state = node(4)->state = GOSSIP_DEAD;
	ahead_ns[2] = -3 * 3600 * S;
	pass_s(30);
	assert_string_equal(member.c.clock_err.what,
			    "the clock of edge-2 is 3 hours behind this one's");
	assert_int_equal(member_events("node.clock"), 1);
	assert_int_equal(member.model.base_wall_ns, 0);
	check_near(metric(), 3 * 3600 * S);
	/* With a third one it is clear, and then it is that node's to say. */
	node(3)->state = GOSSIP_ALIVE;
	pass_s(30);
	assert_string_equal(member.c.clock_err.what,
			    "the clock of edge-2 is 3 hours behind the others'");
	assert_int_equal(member_events("node.clock_right"), 1);
}

/* Who does not answer says nothing, and does not keep this node asking each second. */
static void
test_silent(void **state)
{
	(void)state;
	silent[2] = silent[3] = silent[4] = true;
	ahead_ns[2] = 300 * S;
	assert_true(pass_s(120) <= 40);
	assert_int_equal(member.c.clocks.count, 1);
	assert_int_equal(member.c.clock_err.kind, 0);
	assert_int_equal(metric(), 0);
}

/* ---- what goes by it ---- */

static void
test_certificates(void **state)
{
	struct identity who = {.node = 2, .name = "edge-2"}, got;
	struct identity_keys keys;
	struct err err = {0};
	struct buf chain;
	struct cursor c;
	size_t bytes;

	(void)state;
	assert_int_equal(identity_keys_new(&keys, &err), 0);
	memcpy(who.sign_public, keys.sign_public, IDENTITY_KEY);
	memcpy(who.gossip_public, keys.gossip_public, IDENTITY_KEY);
	/* Made by a node whose clock is as the others' are: 3 days ahead of this one. */
	int64_t made_s = world_wall_ns() / S + 3 * 86400;
	assert_int_equal(identity_authority_create(&member.c.keep.authority, made_s, &err), 0);
	buf_init(&chain, MEM_SCHEDULER, 65536);
	assert_int_equal(identity_issue(&member.c.keep.authority, &who, made_s, &chain, &err), 0);
	cursor_init(&c, chain.data, chain.length);
	const void *der = cursor_blob(&c, IDENTITY_CERTIFICATE_MAX, &bytes);
	assert_int_equal(cluster_judge(&member.c, der, bytes, &got), IDENTITY_OUT_OF_TIME);
	for (uint32_t id = 2; id <= NODES; id++)
		ahead_ns[id] = 3 * 86400 * S + 60 * S;
	pass_s(30);
	assert_int_equal(cluster_judge(&member.c, der, bytes, &got), IDENTITY_GOOD);
	assert_int_equal(got.node, 2);
	chain.data[20] ^= 1;
	assert_int_not_equal(cluster_judge(&member.c, der, bytes, &got), IDENTITY_GOOD);
	buf_fini(&chain);
}

/* A renewal that failed by the wrong time is tried again by the right one; one that was refused
 * stays so. */
static void
test_renewal(void **state)
{
	(void)state;
	pass_s(30);
	for (unsigned denied = 0; denied < 2; denied++) {
		err_clear(&member.c.renewal_err);
		err_set(&member.c.renewal_err, denied ? ERR_DENIED : ERR_TIMEOUT, "not renewed");
		member.c.renew_at_ns = member.c.renew_wait_ns = 77;
		pass_s(30);
		assert_int_equal(member.c.renew_at_ns, 77);
		for (uint32_t id = 2; id <= NODES; id++)
			ahead_ns[id] += 60 * S;
		pass_s(60);
		assert_int_equal(member.c.renew_at_ns, 0);
		assert_int_equal(member.c.renew_wait_ns, 0);
		assert_int_equal(member.c.renewal_err.kind, denied ? ERR_DENIED : 0);
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_two_at_a_time),   TEST(test_who_is_asked), TEST(test_others_come_later),
		TEST(test_without_a_shell), TEST(test_its_own),      TEST(test_anothers),
		TEST(test_two_alone),       TEST(test_silent),       TEST(test_certificates),
		TEST(test_renewal),
	};
	struct err err = {0};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
