/* SPDX-License-Identifier: Apache-2.0 */
/* Single looks at rows and members that do not fit each other (tests/prop/prop_voting.c has whole
 * courses, in which such rows do not come about). */
#include "scheduler/voting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/text.h"

#define MS UINT64_C(1000000)
#define NOW (UINT64_C(10000000) * MS)

enum { NODES = 5 };

static struct voters_node nodes[NODES];
static struct voting_place places[NODES];
static struct store_voter rows[NODES];
static struct etcd_members list;
static struct voting_view view;
static struct voting_step step;

static void
begin(uint32_t writer)
{
	memset(nodes, 0, sizeof(nodes));
	memset(places, 0, sizeof(places));
	memset(rows, 0, sizeof(rows));
	memset(&list, 0, sizeof(list));
	for (uint32_t i = 0; i < NODES; i++) {
		nodes[i] = (struct voters_node){
			.node = i + 1, .zone = i + 1, .able = true, .live = true};
		text_format(places[i].client, sizeof(places[i].client), "10.0.0.%u:9885", i + 1);
		text_format(places[i].peer, sizeof(places[i].peer), "10.0.0.%u:9886", i + 1);
	}
	view = (struct voting_view){.self = 1,
				    .writer = writer,
				    .all_can = true,
				    .nodes = nodes,
				    .places = places,
				    .nodes_count = NODES,
				    .rows = rows,
				    .list = &list,
				    .replace_ms = VOTERS_REPLACE_MS,
				    .now_ns = NOW,
				    .wall_ns = (int64_t)NOW};
}

static void
add_row(uint32_t node, enum store_voter_phase phase)
{
	struct store_voter *row = &rows[view.rows_count++];

	*row = (struct store_voter){.id = node, .version = 1, .node = node, .phase = phase};
	row->life = node;
	row->since_wall_ns = view.wall_ns;
	text_copy(row->peer, sizeof(row->peer), places[node - 1].peer);
	text_copy(row->client, sizeof(row->client), places[node - 1].client);
}

static void
add_member(uint32_t node, bool learner)
{
	struct etcd_member *m = &list.items[list.count++];

	*m = (struct etcd_member){.id = node, .learner = learner};
	text_format(m->name, sizeof(m->name), "node-%u", node);
	voting_url(places[node - 1].peer, m->peer);
	places[node - 1].member_up = places[node - 1].caught_up = true;
}

static void
expect(enum voting_verb verb, uint32_t node)
{
	voting_decide(&view, &step);
	assert_int_equal(step.verb, verb);
	assert_int_equal(step.row.node, node);
}

/* etcd takes one learner at a time: one of two that are on their way in is taken back. */
static void
test_two_on_their_way(void **state)
{
	(void)state;
	begin(1);
	for (uint32_t i = 1; i <= 2; i++) {
		add_row(i, STORE_VOTER_VOTES);
		add_member(i, false);
	}
	add_row(4, STORE_VOTER_ADDED);
	add_row(3, STORE_VOTER_LEARNS);
	add_member(3, true);
	expect(VOTING_DROP, 4);
	/* The first one goes on. */
	view.rows_count = 2;
	add_row(3, STORE_VOTER_LEARNS);
	expect(VOTING_PROMOTE, 0);
	assert_int_equal(step.member, 3);
	/* Neither is with etcd yet. */
	view.rows_count = list.count = 2;
	add_row(4, STORE_VOTER_ADDED);
	add_row(3, STORE_VOTER_ADDED);
	expect(VOTING_DROP, 4);
	view.rows_count = 2;
	add_row(3, STORE_VOTER_ADDED);
	add_row(4, STORE_VOTER_ADDED);
	expect(VOTING_REST, 0); /* the voters know each other for too short a time */
	view.wall_ns += (int64_t)(VOTING_CONNECTED_MS * MS);
	expect(VOTING_ADD, 3);
}

/* Of two, one is not in etcd's list, which may be old: nobody else is added beside it. */
static void
test_one_is_not_named(void **state)
{
	(void)state;
	begin(1);
	for (uint32_t i = 1; i <= 2; i++) {
		add_row(i, STORE_VOTER_VOTES);
		add_member(i, false);
	}
	add_row(3, STORE_VOTER_LEARNS);
	view.list_since_ns = NOW;
	expect(VOTING_REST, 0);
	view.list_since_ns = 0;
	expect(VOTING_DROP, 3);
	/* A voter that an old list calls a learner is none. */
	view.rows_count = 2;
	list.items[1].learner = true;
	view.list_since_ns = NOW;
	voting_decide(&view, &step);
	assert_int_not_equal(step.row.phase, STORE_VOTER_LEARNS);
}

/* The first one of all has lost what it had: nothing was in it, and another one may begin. */
static void
test_the_first_one_is_lost(void **state)
{
	(void)state;
	begin(1);
	add_row(2, STORE_VOTER_VOTES);
	view.list = NULL;
	expect(VOTING_REST, 0);
	view.wall_ns += (int64_t)((VOTERS_LEARN_MS + 1) * MS);
	places[1].member_up = true;
	expect(VOTING_REST, 0);
	places[1].member_up = false;
	expect(VOTING_DROP, 2);
	/* With the store in it, it is waited for. */
	view.writer = 0;
	expect(VOTING_REST, 0);
}

/* Its etcd does not come up: another one may, where there is one. */
static void
test_the_first_one_does_not_start(void **state)
{
	(void)state;
	begin(1);
	add_row(1, STORE_VOTER_BEGINS);
	view.list = NULL;
	expect(VOTING_REST, 0);
	nodes[0].fails = true;
	expect(VOTING_DROP, 1);
	for (size_t i = 1; i < NODES; i++)
		nodes[i].fails = true;
	expect(VOTING_REST, 0);
	nodes[3].fails = false;
	rows[0].phase = STORE_VOTER_VOTES; /* it was up */
	expect(VOTING_REST, 0);
	view.rows_count = 0;
	expect(VOTING_PUT, 4);
	assert_int_equal(step.row.phase, STORE_VOTER_BEGINS);
}

static void
learn(void)
{
	begin(1);
	for (uint32_t i = 1; i <= 2; i++) {
		add_row(i, STORE_VOTER_VOTES);
		add_member(i, false);
	}
	add_row(3, STORE_VOTER_LEARNS);
	add_member(3, true);
	list.items[2].name[0] = '\0';
	places[2].member_up = places[2].caught_up = false;
	nodes[2].fails = true;
}

static void
test_a_learner_does_not_start(void **state)
{
	(void)state;
	learn();
	expect(VOTING_PUT, 3);
	assert_int_equal(step.row.phase, STORE_VOTER_GOES);
	rows[2].phase = STORE_VOTER_GOES;
	voting_decide(&view, &step);
	assert_int_equal(step.verb, VOTING_REMOVE);
	assert_int_equal(step.member, 3);
	/* No other one is there any more: it stays. */
	nodes[3].live = nodes[4].live = false;
	expect(VOTING_PUT, 3);
	assert_int_equal(step.row.phase, STORE_VOTER_LEARNS);
	rows[2].phase = STORE_VOTER_LEARNS;
	expect(VOTING_REST, 0);
	assert_int_equal(step.why.why, VOTERS_WHY_LEARNS);
	/* One that was up is waited for; what waits to be added is not. */
	learn();
	text_copy(list.items[2].name, sizeof(list.items[2].name), "node-3");
	expect(VOTING_REST, 0);
	learn();
	list.count = 2;
	rows[2].phase = STORE_VOTER_ADDED;
	expect(VOTING_DROP, 3);
	/* Who votes is no other one. */
	nodes[3].fails = nodes[4].fails = true;
	view.wall_ns += (int64_t)(VOTING_CONNECTED_MS * MS);
	expect(VOTING_ADD, 3);
}

/* What was added as its row was given up, which a late list did not show, is in the way of the
 * next. */
static void
test_a_stray_learner(void **state)
{
	(void)state;
	begin(1);
	for (uint32_t i = 1; i <= 2; i++) {
		add_row(i, STORE_VOTER_VOTES);
		add_member(i, false);
	}
	add_member(5, true);
	add_row(4, STORE_VOTER_ADDED);
	view.wall_ns += (int64_t)(VOTING_CONNECTED_MS * MS);
	voting_decide(&view, &step);
	assert_int_equal(step.verb, VOTING_REMOVE);
	assert_int_equal(step.member, 5);
	view.list_since_ns = NOW; /* its row may only be newer than this node knows */
	expect(VOTING_ADD, 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_on_their_way),
		cmocka_unit_test(test_one_is_not_named),
		cmocka_unit_test(test_a_stray_learner),
		cmocka_unit_test(test_the_first_one_is_lost),
		cmocka_unit_test(test_the_first_one_does_not_start),
		cmocka_unit_test(test_a_learner_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
