/* SPDX-License-Identifier: Apache-2.0 */
/* Recoveries, on the node that writes: what is asked of it, what it hears, what it sets aside. */
#include "scheduler/cluster_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>
#include "tests/support/member_world.h"

static const struct station_request request;

static void
ask(uint32_t how, bool dry_run)
{
	const struct msg_recover asked = {.how = how, .dry_run = dry_run};

	cluster_recover_request(&member.c, &request, &asked, sizeof(asked), NULL, 0);
}

static struct msg_recovered
answered(void)
{
	struct msg_recovered out;

	memcpy(&out, member.answer, sizeof(out));
	return out;
}

static void
hear(uint32_t node, uint32_t term)
{
	struct tidings_value value;

	tidings_put_writer(term, &value);
	cluster_recover_heard(&member.c, node, value.data, value.bytes);
}

static void
put_cluster(uint32_t term, uint32_t moving)
{
	struct store_cluster row = member.c.row;

	row.term = term;
	row.moving = moving;
	member_put(STORE_CLUSTER, &row);
}

/* Its store was to become etcd's, and no member of that ever comes up. */
static void
test_sealed_writer(void **state)
{
	struct store_voter voter = member_voter(2, STORE_VOTER_VOTES);

	(void)state;
	member_put(STORE_VOTER, &voter);
	put_cluster(0, 1);
	assert_false(pipe_writable(member.model.store));
	/* A move takes a moment. */
	ask(MSG_RECOVER_SINGLE, true);
	assert_int_equal(member.refusals, 1);
	assert_non_null(strstr(member.refused.what, "is moving into etcd"));
	member.c.voters.hold_until_ns = 1;
	ask(MSG_RECOVER_SINGLE, true);
	assert_int_equal(member.answers, 1);
	assert_false(answered().done);
	assert_int_equal(answered().term, 1);
	assert_string_equal(answered().writer, "etcd");
	cluster_move_go(&member.c);
	ask(MSG_RECOVER_SINGLE, false);
	assert_int_equal(member.answers, 1); /* the next process answers */
	assert_true(cluster_over(&member.c));
	assert_null(member.c.voters.move);
	member_restart();
	ask(MSG_RECOVER_SINGLE, false);
	cluster_recover_tick(&member.c, world_mono_ns());
	member_settle();
	cluster_roster_read(&member.c);
	cluster_recover_tick(&member.c, world_mono_ns());
	assert_int_equal(member.answers, 2);
	assert_true(answered().done);
	assert_true(pipe_writable(member.model.store));
	assert_int_equal(member.c.row.moving, 0);
	assert_int_equal(member.c.row.term, 1);
	assert_int_equal(member.c.row.writer, 1);
	assert_int_equal(member.c.voters.rows_count, 0);
	/* It is so already. */
	ask(MSG_RECOVER_SINGLE, false);
	assert_int_equal(member.answers, 3);
	assert_true(answered().done);
}

/* Another node's copy is the store: what moves here goes nowhere. */
static void
test_fence_ends_a_move(void **state)
{
	(void)state;
	put_cluster(0, 1);
	cluster_move_go(&member.c);
	assert_non_null(member.c.voters.move);
	hear(2, 1);
	cluster_recover_tick(&member.c, world_mono_ns());
	assert_true(member.c.fenced);
	assert_null(member.c.voters.move);
	cluster_move_go(&member.c);
	assert_null(member.c.voters.move);
	/* Nor is it recovered here, where the other one is there. */
	member.c.voters.hold_until_ns = 1;
	ask(MSG_RECOVER_SINGLE, false);
	assert_non_null(strstr(member.refused.what, "edge-2 takes the changes of the store"));
}

/* A term that no recovery can have made is made up. */
static void
test_terms_of_a_liar(void **state)
{
	(void)state;
	hear(2, UINT32_MAX);
	hear(2, 1025);
	cluster_recover_tick(&member.c, world_mono_ns());
	assert_false(member.c.fenced);
	assert_int_equal(cluster_recover_term(&member.c), 0);
	put_cluster(7, 0);
	hear(3, 7 + 1024);
	assert_int_equal(cluster_recover_term(&member.c), 7 + 1024);
	/* Or it stands in the row. */
	put_cluster(UINT32_MAX, 1);
	member.c.voters.hold_until_ns = 1;
	ask(MSG_RECOVER_SINGLE, false);
	assert_int_equal(member.refusals, 1);
	assert_int_equal(member.refused.kind, ERR_LIMIT);
	assert_false(cluster_over(&member.c));
}

static off_t
bytes_of(const char *name)
{
	struct stat st;

	return fstatat(member.folder, name, &st, 0) == 0 ? st.st_size : 0;
}

/* What was set aside stays, whatever is set aside after it. */
static void
test_set_aside_twice(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct err err = {0};

	(void)state;
	hear(2, 1);
	assert_int_equal(cluster_recover_begin_anew(&member.c, &err), 0);
	off_t first = bytes_of("set-aside-1.zlayer");
	assert_true(first > 0);
	assert_int_equal(bytes_of("set-aside-1-2.zlayer"), 0);
	member_put(STORE_DEPLOYMENT, &d);
	assert_int_equal(cluster_recover_begin_anew(&member.c, &err), 0);
	assert_int_equal(bytes_of("set-aside-1.zlayer"), first);
	assert_true(bytes_of("set-aside-1-2.zlayer") > first);
	assert_int_equal(member_events("node.recovered"), 2);
	assert_int_equal(bytes_of("set-aside.part"), 0);
}

static void
hear_voter(uint32_t node, uint32_t flags)
{
	const struct tidings_voter said = {.flags = flags};
	struct tidings_value value;
	struct gossip_tell_entry told = {.node = node, .type = TIDINGS_VOTER, .id = TIDINGS_ONE};
	uint8_t bytes[sizeof(told) + sizeof(value.data)];

	tidings_put_voter(&said, &value);
	told.bytes = (uint16_t)value.bytes;
	memcpy(bytes, &told, sizeof(told));
	memcpy(bytes + sizeof(told), value.data, value.bytes);
	cluster_roster_tell(&member.c, GOSSIP_ENTRY, node, 0, bytes, sizeof(told) + value.bytes);
}

static void
ask_refused(const char *words)
{
	unsigned before = member.refusals;

	ask(MSG_RECOVER_SINGLE, false);
	assert_int_equal(member.refusals, before + 1);
	assert_non_null(strstr(member.refused.what, words));
	assert_false(cluster_over(&member.c));
}

/* An etcd that another node reaches, or reached a moment ago, is not lost. */
static void
test_etcd_that_was_slow(void **state)
{
	(void)state;
	const uint32_t there = TIDINGS_VOTER_ETCD | TIDINGS_VOTER_OUTSIDE;

	member.c.serve = NULL;
	member.c.etcd = member.c.etcd_outside = true;
	hear_voter(2, there | TIDINGS_VOTER_WRITES);
	ask_refused("edge-2 reaches the etcd");
	hear_voter(2, there);
	ask_refused("edge-2 reached the etcd that keeps the store until a moment ago");
	hear_voter(3, there | TIDINGS_VOTER_WRITES);
	ask_refused("edge-3 reaches the etcd");
	hear_voter(3, there);
	cluster_roster_find(&member.c, 3)->wrote_ns = 0;
	ask_refused("until a moment ago");
	/* One that is dead says nothing. */
	cluster_roster_find(&member.c, 2)->state = GOSSIP_DEAD;
	ask_refused("the store takes changes"); /* the next that is looked at */
	cluster_roster_find(&member.c, 2)->state = GOSSIP_ALIVE;
	ask_refused("until a moment ago");
	cluster_roster_find(&member.c, 2)->wrote_ns -= 10 * (uint64_t)CLUSTER_SECOND_NS;
	ask_refused("the store takes changes");
	/* Nor is a node lost that was not heard for some seconds, with what it reached. */
	struct cluster_node *n = cluster_roster_find(&member.c, 3);
	hear_voter(3, there | TIDINGS_VOTER_WRITES);
	n->state = GOSSIP_DEAD;
	n->since_ns = world_mono_ns();
	ask_refused("edge-3 reached the etcd that keeps the store until a moment ago");
	n->since_ns -= 10 * (uint64_t)CLUSTER_SECOND_NS;
	ask_refused("the store takes changes");
	n->since_ns = world_mono_ns();
	n->state = GOSSIP_LEFT;
	ask_refused("the store takes changes");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, member_set_up, member_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_sealed_writer),      TEST(test_fence_ends_a_move),
		TEST(test_terms_of_a_liar),    TEST(test_set_aside_twice),
		TEST(test_etcd_that_was_slow),
	};
	struct err err = {0};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
