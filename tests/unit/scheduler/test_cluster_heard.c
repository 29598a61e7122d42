/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that live, and of which overlay hears nothing: what is said of it, and until when. */
#include "scheduler/cluster_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>
#include "ring/metrics.h"
#include "tests/support/member_world.h"

/* ---- overlay ---- */

static struct ring_writer *writer;
static struct ring_reader *reader; /* NULL: it is away */

struct ring_reader *__wrap_station_reader(struct station *st, uint16_t role, uint16_t index);

struct ring_reader *
__wrap_station_reader(struct station *st, uint16_t role, uint16_t index)
{
	(void)st, (void)index;
	return role == ROLE_OVERLAY ? reader : NULL;
}

static void
dies(void)
{
	ring_reader_free(reader);
	ring_writer_free(writer);
	reader = NULL;
	writer = NULL;
}

/* A process of it, which has said nothing yet. */
static void
begins(void)
{
	static uint32_t generation;
	const struct ring_layout layout = {
		.role = ROLE_OVERLAY,
		.generation = ++generation,
		.tables = {{MSG_TABLE_HEARD, 1, sizeof(struct msg_heard), 16}},
		.tables_count = 1,
		.metric_series = 16};
	struct err err = {0};

	assert_int_equal(ring_writer_new(&layout, &writer, &err), 0);
	assert_int_equal(ring_reader_new(dup(ring_writer_fd(writer)), &reader, &err), 0);
	member.model.metrics = ring_writer_metrics(writer);
}

static void
look(void)
{
	if (reader)
		ring_table_sync(reader, MSG_TABLE_HEARD, sizeof(struct msg_heard), NULL, NULL);
	cluster_heard_look(&member.c);
}

static void
says(uint32_t node, int64_t silent_wall_ns, bool unsure)
{
	const struct msg_heard row = {
		.node = node, .silent_wall_ns = silent_wall_ns, .unsure = unsure};

	assert_int_equal(ring_table_set(writer, MSG_TABLE_HEARD, node, &row, NULL), RING_OK);
	look();
}

static void
says_nothing(uint32_t node)
{
	ring_table_remove(writer, MSG_TABLE_HEARD, node);
	look();
}

/* ---- what comes of it ---- */

static struct cluster_node *
node(uint32_t id)
{
	return cluster_roster_find(&member.c, id);
}

static void
check_told(unsigned unreached, unsigned reached)
{
	assert_int_equal(member_events("node.unreached"), unreached);
	assert_int_equal(member_events("node.reached"), reached);
}

static int
set_up(void **state)
{
	member_set_up(state);
	for (uint32_t id = 2; id <= 4; id++)
		node(id)->since_ns = world_mono_ns() - UINT64_C(61) * CLUSTER_SECOND_NS;
	begins();
	return 0;
}

static int
tear_down(void **state)
{
	dies();
	return member_tear_down(state);
}

static void
test_silent_and_heard(void **state)
{
	(void)state;
	look();
	check_told(0, 0);
	says(2, 7, false);
	check_told(1, 0);
	assert_int_equal(node(2)->unreached_wall_ns, 7);
	assert_non_null(strstr(member.c.unreached_err.what, "edge-2 answers, but no sealed"));
	says(2, 9, false);
	check_told(1, 0); /* once */
	assert_int_equal(node(2)->unreached_wall_ns, 7);
	says(3, 8, false);
	assert_non_null(strstr(member.c.unreached_err.what, "edge-2 and 1 other node answers"));
	says_nothing(2);
	check_told(2, 1);
	assert_int_equal(node(2)->unreached_wall_ns, 0);
	says_nothing(3);
	check_told(2, 2);
	assert_int_equal(member.c.unreached_err.kind, 0);
}

/* Who has just come to life has time, and nobody says of the dead that they are not reached. */
static void
test_who_lives(void **state)
{
	(void)state;
	node(2)->since_ns = world_mono_ns();
	says(2, 7, false);
	node(3)->state = GOSSIP_DEAD;
	says(3, 7, false);
	check_told(0, 0);
	node(2)->since_ns = world_mono_ns() - UINT64_C(61) * CLUSTER_SECOND_NS;
	look();
	check_told(1, 0);
	node(2)->state = GOSSIP_DEAD;
	look();
	check_told(1, 0);
	assert_int_equal(node(2)->unreached_wall_ns, 0);
}

/* Neither its death nor a successor that has heard of nobody yet is news of a node. */
static void
test_overlay_begins_anew(void **state)
{
	(void)state;
	says(2, 7, false);
	check_told(1, 0);
	dies();
	look();
	begins();
	look();
	check_told(1, 0);
	says(2, 0, true);
	says(3, 0, true);
	check_told(1, 0);
	assert_int_equal(node(2)->unreached_wall_ns, 7);
	assert_int_equal(node(3)->unreached_wall_ns, 0);
	says(2, 70, false);
	assert_int_equal(node(2)->unreached_wall_ns, 7);
	says_nothing(3);
	check_told(1, 0);
	says_nothing(2);
	check_told(1, 1);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_silent_and_heard),
		TEST(test_who_lives),
		TEST(test_overlay_begins_anew),
	};
	struct err err = {0};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
