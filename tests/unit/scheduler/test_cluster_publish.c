/* SPDX-License-Identifier: Apache-2.0 */
/* What a node publishes of itself stays what it is. */
#include "scheduler/cluster_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/support/member_world.h"

void __wrap_station_kick(struct station *st);

void
__wrap_station_kick(struct station *st)
{
	(void)st;
}

/* ---- node ---- */

static struct ring_writer *node;

static void
node_begins(void)
{
	const struct ring_layout own = {
		.role = ROLE_SCHEDULER,
		.generation = 1,
		.tables = {{MSG_TABLE_MEMBER, 1, sizeof(struct msg_member), 16},
			   {MSG_TABLE_CLUSTER, 1, sizeof(struct msg_cluster), 1},
			   {MSG_TABLE_ETCD_ORDER, 1, sizeof(struct msg_etcd_order), 1}},
		.tables_count = 3};
	const struct ring_layout layout = {
		.role = ROLE_NODE,
		.generation = 1,
		.tables = {{MSG_TABLE_ETCD, 1, sizeof(struct msg_etcd), 1}},
		.tables_count = 1};
	struct model *m = &member.model;
	struct err err = {0};

	assert_int_equal(ring_writer_new(&own, &m->writer, &err), 0);
	assert_int_equal(ring_writer_new(&layout, &node, &err), 0);
	assert_int_equal(ring_reader_new(dup(ring_writer_fd(node)), &m->supervisor, &err), 0);
	for (size_t i = 0; i < sizeof(m->published) / sizeof(m->published[0]); i++)
		map_init(&m->published[i], MEM_SCHEDULER);
	map_init(&m->replicas, MEM_SCHEDULER);
	list_init(&m->deployments);
}

static void
node_ends(void)
{
	struct model *m = &member.model;

	for (size_t i = 0; i < sizeof(m->published) / sizeof(m->published[0]); i++)
		map_fini(&m->published[i]);
	ring_reader_free(m->supervisor);
	ring_writer_free(node);
	ring_writer_free(m->writer);
	m->writer = NULL;
	m->supervisor = NULL;
}

static void
etcd_is(enum msg_etcd_state state, uint32_t pid)
{
	const struct msg_etcd row = {.life = 101, .state = state, .pid = pid, .able = 1};

	assert_int_equal(ring_table_set(node, MSG_TABLE_ETCD, 1, &row, NULL), RING_OK);
	ring_table_sync(member.model.supervisor, MSG_TABLE_ETCD, sizeof(row), NULL, NULL);
}

static const struct msg_cluster *
shown(void)
{
	const struct msg_cluster *row = ring_table_own(member.model.writer, MSG_TABLE_CLUSTER, 1);

	assert_non_null(row);
	return row;
}

/* As each second, and after it. */
static void
look(void)
{
	if (cluster_publish_is_old(&member.c))
		cluster_publish(&member.c);
}

/* ---- tests ---- */

/* Its etcd ends, and the next one serves before the second is over: nothing of what the others are
 * told has changed, but what was shown in between had. */
static void
test_etcd_gone_for_a_moment(void **state)
{
	struct store_voter row = member_voter(1, STORE_VOTER_VOTES);
	struct cluster *c = &member.c;
	struct tidings_voter before, after;

	(void)state;
	node_begins();
	member_put(STORE_VOTER, &row);
	c->voters.has_status = true;
	c->voters.status = (struct etcd_member_status){.member = 5, .leader = 5, .index = 1};
	etcd_is(MSG_ETCD_UP, 10);
	cluster_voters_of(c, &before);
	assert_true(cluster_publish_is_old(c)); /* it is not published at all */
	look();
	assert_int_equal(shown()->voters_up, 1);
	assert_false(cluster_publish_is_old(c));

	etcd_is(MSG_ETCD_STARTING, 11);
	cluster_publish(c); /* whatever it was done for */
	assert_int_equal(shown()->voters_up, 0);
	etcd_is(MSG_ETCD_UP, 11);
	cluster_voters_of(c, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	look();
	assert_int_equal(shown()->voters_up, 1);
	assert_false(cluster_publish_is_old(c));
	node_ends();
}

/* What is not told to others at all. */
static void
test_what_only_this_node_knows(void **state)
{
	struct store_voter row = member_voter(1, STORE_VOTER_VOTES);
	struct cluster *c = &member.c;

	(void)state;
	node_begins();
	member_put(STORE_VOTER, &row);
	c->voters.has_status = true;
	etcd_is(MSG_ETCD_UP, 10);
	look();
	assert_int_equal(shown()->member_bytes, 0);
	c->voters.status.data_bytes = 4096;
	look();
	assert_int_equal(shown()->member_bytes, 4096);
	node_ends();
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, member_set_up, member_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_etcd_gone_for_a_moment),
		TEST(test_what_only_this_node_knows),
	};
	struct err err = {0};

	if (sqlite_load(&err) < 0 || etcd_rpc_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
