/* SPDX-License-Identifier: Apache-2.0 */
/* The store's etcd, on the node that does the steps: what it writes, orders, asks and believes. */
#include "scheduler/cluster_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/mman.h>
#include "scheduler/etcd_rpc_inside.h"
#include "tests/support/member_world.h"

enum {
	ABLE = TIDINGS_VOTER_ABLE | TIDINGS_VOTER_CAN,
	VOTES = ABLE | TIDINGS_VOTER_UP | TIDINGS_VOTER_VOTES,
};

static void
look(void)
{
	struct cluster *c = &member.c;

	c->voters.look_at_ns = 0;
	cluster_voters_tick(c, world_mono_ns());
}

static size_t
count_rows(enum store_kind kind)
{
	struct err err = {0};
	struct buf rows;

	buf_init(&rows, MEM_BASE, 1 << 20);
	assert_int_equal(cluster_store_rows(member.model.store, kind, &rows, &err), 0);
	size_t count = rows.length / store_shape(kind)->row_bytes;
	buf_fini(&rows);
	return count;
}

/* ---- steps ---- */

static void
test_a_step_is_written(void **state)
{
	struct cluster *c = &member.c;

	(void)state;
	for (uint32_t node = 2; node <= 4; node++)
		member_says(node, ABLE, 0, 0);
	uint64_t version = c->row.version;
	look();
	member_settle();
	assert_int_equal(c->voters.rows_count, 1);
	assert_int_equal(c->voters.rows[0].phase, STORE_VOTER_BEGINS);
	/* What meets it at the store, though it is about another node, conflicts. */
	assert_true(c->row.version > version);
	/* The next one does not wait for the next second. */
	assert_true(c->voters.look_at_ns > 0);
}

/* Others have written a row, and this node has read it, between decision and transaction. */
static void
test_rows_of_the_decision(void **state)
{
	struct store_voter other = member_voter(4, STORE_VOTER_ADDED);

	(void)state;
	for (uint32_t node = 2; node <= 4; node++)
		member_says(node, ABLE, 0, 0);
	look();
	assert_false(list_empty(&member.c.changes));
	member_put(STORE_VOTER, &other);
	assert_int_equal(member.c.voters.rows_count, 1);
	member_settle();
	assert_int_equal(count_rows(STORE_VOTER), 1);
	assert_int_equal(member.c.voters.rows[0].node, 4);
}

/* Only what was done is told. */
static void
test_no_event_of_nothing(void **state)
{
	struct store_voter row = member_voter(2, STORE_VOTER_BEGINS);

	(void)state;
	member_put(STORE_VOTER, &row);
	look(); /* it is able no more: another one is to begin */
	assert_false(list_empty(&member.c.changes));
	row.since_wall_ns++;
	member_put(STORE_VOTER, &row);
	member_settle();
	assert_int_equal(count_rows(STORE_VOTER), 1);
	assert_int_equal(member_events("store.member_gone"), 0);
	look();
	member_settle();
	assert_int_equal(count_rows(STORE_VOTER), 0);
	assert_int_equal(member_events("store.member_gone"), 1);
}

/* ---- what node is to run ---- */

/* Only who begins begins a cluster: it would be an empty one. */
static void
test_who_begins_a_cluster(void **state)
{
	struct store_voter row = member_voter(1, STORE_VOTER_BEGINS);
	const struct msg_etcd_order *order = &member.c.order;

	(void)state;
	member_put(STORE_VOTER, &row);
	assert_int_equal(order->run, 1);
	assert_int_equal(order->existing, 0);
	row.phase = STORE_VOTER_VOTES;
	member_put(STORE_VOTER, &row);
	assert_int_equal(order->run, 1);
	assert_int_equal(order->life, row.life);
	assert_int_equal(order->existing, 1);
}

/* ---- who is believed ---- */

static bool
asks(uint32_t node)
{
	struct cluster_endpoints e;
	bool found = false;
	char url[64];

	snprintf(url, sizeof(url), "https://10.0.0.%u:9885", node);
	cluster_etcd_endpoints(&member.c, &e);
	for (size_t i = 0; i < e.count; i++)
		found |= text_equal(e.urls[i], url);
	return found;
}

/* What is left of a member, or of an etcd, that was given up is not asked. */
static void
test_members_that_are_asked(void **state)
{
	struct store_voter goes = member_voter(3, STORE_VOTER_GOES);
	struct store_cluster row;

	(void)state;
	member_put(STORE_VOTER, &goes);
	row = member.c.row;
	row.term = 2;
	member_put(STORE_CLUSTER, &row);
	member.c.etcd = true;
	member_says(2, VOTES, 5, 2);
	member_says(3, VOTES, goes.life, 2);
	member_says(4, VOTES, 5, 1);
	assert_true(asks(2));
	assert_true(asks(3));
	assert_false(asks(4));
	member_says(3, VOTES, goes.life + 1, 2);
	assert_false(asks(3));
	member_says(4, VOTES, 5, 2);
	assert_true(asks(4));
	member.c.etcd = false;
}

/* A follower whose writer is away, with the means to speak to etcd. */
static void
follow(struct pipe_link *l)
{
	struct cluster *c = &member.c;
	struct err err = {0};

	pipe_until_writable(&member.net, l->store);
	l->no_connect = true;
	pipe_cut(l);
	member.model.store = l->store;
	c->serve = NULL;
	c->follow = l->follow;
	c->keep.node = 2;
	cluster_roster_read(c);
	assert_int_equal(identity_authority_create(&c->keep.authority,
						   world_wall_ns() / CLUSTER_SECOND_NS, &err),
			 0);
	assert_int_equal(identity_keys_new(&c->keep.keys, &err), 0);
}

/* The members of an etcd that was given up come back and say that the store is theirs. */
static void
test_not_back_into_what_was_given_up(void **state)
{
	struct cluster *c = &member.c;
	struct store_cluster row = c->row;
	uint64_t now = world_mono_ns();

	(void)state;
	row.term = 3;
	member_put(STORE_CLUSTER, &row);
	follow(pipe_add(&member.net));
	member_says(3, VOTES | TIDINGS_VOTER_ETCD, 5, 2);
	cluster_move_hear(c, now);
	cluster_move_hear(c, now + 60 * (uint64_t)CLUSTER_SECOND_NS);
	assert_false(cluster_over(c));
	/* Of the same store it is so. */
	member_says(4, VOTES | TIDINGS_VOTER_ETCD, 5, 3);
	cluster_move_hear(c, now);
	assert_false(cluster_over(c));
	cluster_move_hear(c, now + 60 * (uint64_t)CLUSTER_SECOND_NS);
	assert_true(cluster_over(c));
}

/* A majority that is lost may only have no leader for a moment: changes wait, but not for long. */
static void
test_changes_wait_for_a_leader(void **state)
{
	struct pipe_link *l = pipe_add(&member.net);
	struct cluster *c = &member.c;

	(void)state;
	pipe_until_writable(&member.net, l->store);
	member.model.store = l->store;
	c->serve = NULL;
	c->etcd = true;
	for (int i = 0; i < 2; i++) {
		assert_false(cluster_holds(c));
		l->no_connect = true;
		pipe_cut(l);
		assert_true(cluster_holds(c));
		assert_true(c->voters.hold_until_ns > world_mono_ns());
		c->voters.hold_until_ns = world_mono_ns();
		assert_false(cluster_holds(c));
		l->no_connect = false;
		pipe_until_writable(&member.net, l->store);
	}
	c->etcd = false;
}

/* ---- nodes that cannot write the store ---- */

static bool
says_stuck(uint64_t now_ns)
{
	struct tidings_voter said;

	cluster_voters_tick(&member.c, now_ns);
	cluster_voters_of(&member.c, &said);
	assert_int_equal(said.flags >> 12 & 1, member.c.voters.stuck);
	return said.flags & TIDINGS_VOTER_STUCK;
}

/* Not for a moment's sake, and no longer than that lasts. */
static void
test_stuck_after_a_while(void **state)
{
	const uint64_t second = CLUSTER_SECOND_NS;
	struct pipe_link *l = pipe_add(&member.net);
	struct cluster *c = &member.c;
	uint64_t now = world_mono_ns();

	(void)state;
	pipe_until_writable(&member.net, l->store);
	member.model.store = l->store;
	c->serve = NULL;
	c->keep.node = 2;
	for (int i = 0; i < 2; i++) {
		assert_false(says_stuck(now += second));
		l->no_connect = true;
		pipe_cut(l);
		assert_false(says_stuck(now += second));
		assert_false(says_stuck(now += 4 * second));
		assert_true(says_stuck(now += second));
		assert_true(cluster_stuck_since(c, cluster_roster_find(c, 2)) > 0);
		l->no_connect = false;
		pipe_until_writable(&member.net, l->store);
		assert_true(says_stuck(now += second));
		assert_true(says_stuck(now += 4 * second));
		assert_false(says_stuck(now += second));
		assert_int_equal(cluster_stuck_since(c, cluster_roster_find(c, 2)), 0);
	}
}

static void
test_stuck_is_heard(void **state)
{
	struct cluster_node *n = member_says(3, ABLE | TIDINGS_VOTER_STUCK, 0, 0);
	struct cluster *c = &member.c;
	int64_t since;

	(void)state;
	cluster_stuck_heard(n);
	since = cluster_stuck_since(c, n);
	assert_true(since > 0);
	cluster_stuck_heard(n);
	assert_int_equal(cluster_stuck_since(c, n), since);
	member_says(3, ABLE, 0, 0);
	cluster_stuck_heard(n);
	assert_int_equal(cluster_stuck_since(c, n), 0);
}

/* ---- an etcd that node.yaml names ---- */

/* Node answers with a password. */
static void
password_comes(const char *password)
{
	struct leash_message m;
	int fds[1] = {memfd_create("password", MFD_CLOEXEC)};

	assert_true(fds[0] >= 0);
	assert_int_equal(write(fds[0], password, strlen(password)), strlen(password));
	assert_int_equal(lseek(fds[0], 0, SEEK_SET), 0);
	leash_init(&m, LEASH_STORE);
	m.id = member.sent.id;
	m.a = 1 << 3;
	cluster_outside_files(&member.c, &m, fds, 1);
	fd_close(&fds[0]);
}

static void
name_outside(void)
{
	struct config_store_etcd *e = &member.config.store.etcd;

	text_copy(e->endpoints[0].text, sizeof(e->endpoints[0].text), "http://127.0.0.1:1");
	e->endpoints_count = 1;
	text_copy(e->user, sizeof(e->user), "egde");
	text_copy(e->password_file, sizeof(e->password_file), "/password");
	cluster_outside_open(&member.c);
	cluster_outside_tick(&member.c, world_mono_ns());
	assert_int_equal(member.sent.kind, LEASH_STORE);
}

static void
end_outside(void)
{
	etcd_rpc_close(member.c.voters.rpc);
	member.c.voters.rpc = NULL;
	cluster_outside_end(&member.c);
}

/* What is corrected in node.yaml or in a file counts without a new process. */
static void
test_corrected_outside(void **state)
{
	struct cluster *c = &member.c;
	struct config_store_etcd *e = &member.config.store.etcd;
	struct config_store_etcd nowhere = {0}, there;

	(void)state;
	name_outside();
	password_comes("open\n");
	assert_non_null(c->voters.rpc);
	assert_string_equal(c->voters.rpc->user, "egde");
	assert_string_equal(c->voters.rpc->password, "open");
	text_copy(e->user, sizeof(e->user), "edge");
	cluster_configured(c);
	assert_string_equal(c->voters.rpc->user, "edge");
	/* Named no more, and again: what was read for the other is not the same. */
	there = *e;
	*e = nowhere;
	cluster_configured(c);
	assert_false(cluster_outside_had(c));
	*e = there;
	cluster_configured(c);
	assert_false(cluster_outside_had(c));
	cluster_outside_tick(c, world_mono_ns());
	password_comes("shut\n");
	assert_string_equal(c->voters.rpc->password, "shut");
	end_outside();
}

/* A password that etcd does not take any more may be a new one in a moment. */
static void
test_asked_for_soon_when_denied(void **state)
{
	struct cluster *c = &member.c;
	uint64_t second = CLUSTER_SECOND_NS, now;

	(void)state;
	name_outside();
	password_comes("open\n");
	now = world_mono_ns();
	cluster_outside_tick(c, now + 5 * second);
	assert_int_equal(member.sends, 1);
	c->etcd = c->etcd_outside = true;
	c->voters.why.kind = ERR_DENIED;
	cluster_outside_tick(c, now + 5 * second);
	assert_int_equal(member.sends, 2);
	cluster_outside_tick(c, now + 6 * second);
	assert_int_equal(member.sends, 2);
	cluster_outside_tick(c, now + 7 * second);
	assert_int_equal(member.sends, 3);
	c->voters.writable = true;
	cluster_outside_tick(c, now + 20 * second);
	assert_int_equal(member.sends, 3);
	c->etcd = c->etcd_outside = false;
	end_outside();
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, member_set_up, member_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_a_step_is_written),
		TEST(test_rows_of_the_decision),
		TEST(test_no_event_of_nothing),
		TEST(test_who_begins_a_cluster),
		TEST(test_members_that_are_asked),
		TEST(test_not_back_into_what_was_given_up),
		TEST(test_changes_wait_for_a_leader),
		TEST(test_corrected_outside),
		TEST(test_asked_for_soon_when_denied),
		TEST(test_stuck_after_a_while),
		TEST(test_stuck_is_heard),
	};
	struct err err = {0};

	if (sqlite_load(&err) < 0 || etcd_rpc_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
