/* SPDX-License-Identifier: Apache-2.0 */
/* What a process that has just begun waits for, and what it does when a node is there again. */
#include "scheduler/cluster_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/member_world.h"

/* ---- connections ---- */

static struct {
	char line; /* that there is one at all */
	uint32_t to;
	unsigned made, ended;
} way;

int __wrap_channel_connect(uv_loop_t *loop, struct channel_rules *rules, const struct addr *to,
			   uint32_t node, enum channel_kind kind, const struct channel_calls *calls,
			   void *arg, struct channel **out, struct err *err);
void __wrap_channel_abort(struct channel *c);

int
__wrap_channel_connect(uv_loop_t *loop, struct channel_rules *rules, const struct addr *to,
		       uint32_t node, enum channel_kind kind, const struct channel_calls *calls,
		       void *arg, struct channel **out, struct err *err)
{
	(void)loop, (void)rules, (void)to, (void)calls, (void)arg, (void)err;
	assert_int_equal(kind, CHANNEL_STORE);
	way.to = node;
	way.made++;
	*out = (struct channel *)&way.line;
	return 0;
}

void
__wrap_channel_abort(struct channel *c)
{
	if (!c)
		return;
	assert_ptr_equal(c, &way.line);
	way.ended++;
}

/* ---- what is heard ---- */

static void
says(uint32_t node, enum gossip_state state)
{
	const struct gossip_tell_member told = {.node = node, .incarnation = 1, .state = state};

	cluster_roster_tell(&member.c, GOSSIP_MEMBER, node, 0, &told, sizeof(told));
}

static struct cluster_node *
node(uint32_t id)
{
	struct cluster_node *n = cluster_roster_find(&member.c, id);

	assert_non_null(n);
	return n;
}

/* As a process that is so old. */
static void
listen_at(uint64_t age_ms)
{
	struct cluster *c = &member.c;

	c->heard = c->known = c->dirty = false;
	c->started_ns = world_mono_ns() - age_ms * UINT64_C(1000000);
	cluster_roster_listen(c);
}

static void
check_listens(bool heard, bool known)
{
	assert_int_equal(member.c.heard, heard);
	assert_int_equal(member.c.known, known);
	assert_int_equal(member.c.dirty, heard);
}

static void
hear_all(void)
{
	for (uint32_t id = 2; id <= 4; id++) {
		node(id)->state = GOSSIP_ALIVE;
		node(id)->has_facts = true;
	}
}

static void
test_all_are_heard(void **state)
{
	(void)state;
	listen_at(0);
	check_listens(false, false); /* they are there, and have not said what they have */
	hear_all();
	listen_at(0);
	check_listens(true, true);
	node(3)->state = GOSSIP_SUSPECT;
	listen_at(0);
	check_listens(true, true);
	node(3)->has_facts = false;
	listen_at(0);
	check_listens(false, false);
}

/* Nobody waits for ever: not for long with what is to run, longer with who may speak with whom. */
static void
test_nobody_is_waited_for_long(void **state)
{
	(void)state;
	hear_all();
	node(4)->state = GOSSIP_UNKNOWN;
	node(4)->has_facts = false;
	listen_at(2000);
	check_listens(false, false);
	listen_at(3000);
	check_listens(true, false);
	listen_at(14000);
	check_listens(true, false);
	listen_at(15000);
	check_listens(true, true);
}

/* Of a node that is dead all is heard that gossip has; its containers may live all the same. */
static void
test_dead_and_silent(void **state)
{
	(void)state;
	hear_all();
	node(2)->state = GOSSIP_DEAD;
	node(2)->has_facts = false;
	listen_at(0);
	check_listens(true, false);
	node(2)->has_facts = true;
	listen_at(0);
	check_listens(true, true);
	node(2)->has_facts = false;
	node(2)->row.removed = STORE_NODE_LEFT;
	listen_at(0);
	check_listens(true, true);
}

/* ---- the writer is there again ---- */

static struct store *
follow(void)
{
	struct cluster *c = &member.c;
	struct store *rows = pipe_rows(&member.net, "f.db"), *out;
	struct err err = {0};
	bool over = false;

	c->folder = member.net.folder.fd; /* `engine` is kept in it */
	assert_int_equal(store_begin(rows, &err), 0);
	assert_int_equal(store_role_put(rows, STORE_ROLE_FOLLOW, &err), 0);
	store_submit(rows, member_kept, &over);
	assert_true(over);
	assert_int_equal(cluster_feed_open(c, rows, &out, &err), 0);
	c->row.writer = 2;
	text_copy(node(2)->row.address, sizeof(node(2)->row.address), "10.0.0.2:9881");
	member.model.store = out;
	memset(&way, 0, sizeof(way));
	return out;
}

static void
unfollow(struct store *s)
{
	cluster_feed_end(&member.c);
	store_free(s);
	member.model.store = member.net.writer;
	folder_remove_store(&member.net.folder, "f.db");
	assert_int_equal(unlinkat(member.net.folder.fd, "engine", 0), 0);
	unlinkat(member.net.folder.fd, "nodes", 0);
	member.c.folder = -1;
}

static void
check_ways(unsigned made, unsigned ended)
{
	cluster_feed_turn(&member.c, world_mono_ns());
	assert_int_equal(way.made, made);
	assert_int_equal(way.ended, ended);
}

static void
test_writer_is_back(void **state)
{
	struct store *s = follow();

	(void)state;
	node(2)->state = GOSSIP_UNKNOWN;
	check_ways(1, 0);
	assert_int_equal(way.to, 2);
	says(2, GOSSIP_ALIVE);
	check_ways(1, 0);
	says(2, GOSSIP_SUSPECT);
	says(2, GOSSIP_ALIVE);
	check_ways(1, 0);
	/* What was sent meanwhile comes when it likes: it is begun anew. */
	says(2, GOSSIP_DEAD);
	check_ways(1, 0);
	says(2, GOSSIP_ALIVE);
	check_ways(2, 1);
	assert_true(cluster_feed_comes(&member.c, false, world_mono_ns()));
	/* Another one is no reason. */
	says(3, GOSSIP_DEAD);
	says(3, GOSSIP_ALIVE);
	check_ways(2, 1);
	unfollow(s);
	assert_int_equal(way.ended, 2);
}

/* ---- who has joined ---- */

/* Nothing but its files is there of the process before. */
static void
begin_again(void)
{
	struct cluster *c = &member.c;

	for (uint32_t id = 2; id <= 5; id++)
		mem_free(map_remove_u64(&c->nodes, id));
	c->list_sum = 0;
	c->started_ns = world_mono_ns();
	cluster_list_begin(c);
}

static void
admitted(uint32_t id)
{
	struct store_node row = {.node = id, .admitted_wall_ns = world_wall_ns()};

	snprintf(row.name, sizeof(row.name), "new-%u", id);
	row.sign_public[0] = row.gossip_public[0] = (uint8_t)id;
	member_put(STORE_NODE, &row);
}

/* A node is told of once, by the process that hears of it first. */
static void
test_joined_once(void **state)
{
	struct cluster *c = &member.c;
	unsigned told;

	(void)state;
	c->folder = member.folder;
	c->keep.since_s = 1;
	cluster_roster_read(c);
	told = member_events("node.joined");
	admitted(5);
	assert_int_equal(member_events("node.joined"), told + 1);
	begin_again();
	assert_non_null(cluster_roster_find(c, 5));
	assert_int_equal(member_events("node.joined"), told + 1);
	/* What the process before had heard of, and had not come to. */
	member_unlink("nodes");
	begin_again();
	assert_int_equal(member_events("node.joined"), told + 2);
	member_unlink("nodes");
	c->folder = -1;
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, member_set_up, member_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_all_are_heard),   TEST(test_nobody_is_waited_for_long),
		TEST(test_dead_and_silent), TEST(test_writer_is_back),
		TEST(test_joined_once),
	};
	struct err err = {0};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
