/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of single decisions; then a cluster whose nodes die, come back, drain and are sent away
 * while an imaginary etcd does what is decided, and never loses its majority by it. */
#include "scheduler/voting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "tests/support/prop.h"

#define MS UINT64_C(1000000)
#define NOW (UINT64_C(10000000) * MS)

enum { NODES = 12, STEPS = 4000 };

static struct voters_node nodes[NODES];
static struct voters_decision out;

/* One letter a node: v voter, V one that is dead for long, w dead for a short time, l learner, L
 * caught up, x dead learner, n able, N able and dead, - not able, d draining voter, r removed voter
 * that is dead, m voter with damaged data, M such a learner, f able and fails to start, F learner
 * that does. Each in a zone of its own but for what
 * `zones` says. */
static void
set(const char *text, const char *zones)
{
	memset(nodes, 0, sizeof(nodes));
	for (size_t i = 0; text[i]; i++) {
		struct voters_node *n = &nodes[i];

		n->node = (uint32_t)i + 1;
		n->able = text[i] != '-';
		n->live = !strchr("VwxNr", text[i]);
		n->since_ns = text[i] == 'w' ? NOW - 5000 * MS : NOW - VOTERS_REPLACE_MS * MS;
		n->standing_ns = NOW - 1000 * MS;
		n->zone = zones[0] ? (uint64_t)zones[i] : i;
		n->standing = strchr("vVwdrm", text[i])  ? VOTERS_VOTER
			      : strchr("lLxMF", text[i]) ? VOTERS_LEARNER
							 : VOTERS_NOT;
		n->caught_up = text[i] == 'L';
		n->fails = text[i] == 'f' || text[i] == 'F';
		n->ruined = text[i] == 'm' || text[i] == 'M';
		n->draining = text[i] == 'd';
		n->removed = text[i] == 'r';
	}
}

static void
expect(const char *text, const char *zones, enum voters_verb verb, uint32_t node,
       enum voters_why why)
{
	set(text, zones);
	voters_decide(nodes, strlen(text), 0, VOTERS_REPLACE_MS, NOW, &out);
	if (out.verb != verb || out.node != node || out.why != why)
		print_error("%s: verb %d node %u why %s\n", text, out.verb, out.node,
			    voters_why_text(out.why));
	assert_int_equal(out.verb, verb);
	assert_int_equal(out.node, node);
	assert_int_equal(out.why, why);
}

static void
test_table(void **state)
{
	(void)state;
	expect("n", "", VOTERS_REST, 0, VOTERS_WHY_FEW);
	expect("n-n-N", "", VOTERS_REST, 0, VOTERS_WHY_FEW);
	expect("-nnn", "", VOTERS_BEGIN, 2, VOTERS_WHY_GROW);
	expect("vnn", "", VOTERS_ADD, 2, VOTERS_WHY_GROW);
	expect("vln", "", VOTERS_REST, 2, VOTERS_WHY_LEARNS);
	expect("vLn", "", VOTERS_PROMOTE, 2, VOTERS_WHY_GROW);
	expect("vvn", "", VOTERS_ADD, 3, VOTERS_WHY_GROW);
	expect("vvv", "", VOTERS_REST, 0, VOTERS_WHY_ENOUGH);
	expect("vvvn", "", VOTERS_REST, 0, VOTERS_WHY_ENOUGH);
	/* Dead: nothing for a while, then it goes, then another one is added. */
	expect("vvwn", "", VOTERS_REST, 0, VOTERS_WHY_ENOUGH);
	expect("vvVn", "", VOTERS_REMOVE, 3, VOTERS_WHY_DEAD);
	expect("vv-n", "", VOTERS_ADD, 4, VOTERS_WHY_GROW);
	expect("vvVl", "", VOTERS_REST, 4, VOTERS_WHY_LEARNS);
	expect("vvVL", "", VOTERS_REMOVE, 3, VOTERS_WHY_DEAD);
	assert_int_equal(out.successor, 4);
	expect("vv-L", "", VOTERS_PROMOTE, 4, VOTERS_WHY_GROW);
	/* Without another node the dead one stays; without a majority everything stays. */
	expect("vvV", "", VOTERS_REST, 3, VOTERS_WHY_NO_NODE);
	expect("vVVnnn", "", VOTERS_REST, 0, VOTERS_WHY_NO_QUORUM);
	expect("vVwL", "", VOTERS_REST, 0, VOTERS_WHY_NO_QUORUM);
	/* Sent away: with a successor when there is one, else without. */
	expect("vvrn", "", VOTERS_REMOVE, 3, VOTERS_WHY_REMOVED);
	expect("vvr", "", VOTERS_REMOVE, 3, VOTERS_WHY_REMOVED);
	expect("vr", "", VOTERS_REST, 0, VOTERS_WHY_NO_QUORUM);
	/* Drained: only for a successor. */
	expect("vvd", "", VOTERS_REST, 3, VOTERS_WHY_NO_NODE);
	expect("vvdL", "", VOTERS_REMOVE, 3, VOTERS_WHY_DRAINS);
	/* A third that is dead already: the drained one may not go, too. */
	expect("vwdL", "", VOTERS_REST, 3, VOTERS_WHY_UNSAFE);
	/* Damaged: at once, with another node or without, while the others are a majority. */
	expect("vvm", "", VOTERS_REMOVE, 3, VOTERS_WHY_RUINED);
	expect("vvmn", "", VOTERS_REMOVE, 3, VOTERS_WHY_RUINED);
	expect("vvmL", "", VOTERS_REMOVE, 3, VOTERS_WHY_RUINED);
	expect("vdmn", "", VOTERS_REMOVE, 3, VOTERS_WHY_RUINED);
	expect("vrmvvn", "", VOTERS_REMOVE, 3, VOTERS_WHY_RUINED);
	expect("vwm", "", VOTERS_REST, 0, VOTERS_WHY_NO_QUORUM);
	expect("vm", "", VOTERS_REST, 0, VOTERS_WHY_NO_QUORUM);
	expect("m", "", VOTERS_REST, 0, VOTERS_WHY_NO_QUORUM);
	expect("vvvmm", "", VOTERS_REMOVE, 4, VOTERS_WHY_RUINED);
	expect("vvM", "", VOTERS_REMOVE, 3, VOTERS_WHY_RUINED);
	/* Learners that are of no use. */
	expect("vvvL", "", VOTERS_REMOVE, 4, VOTERS_WHY_ENOUGH);
	expect("vvx", "", VOTERS_REMOVE, 3, VOTERS_WHY_DEAD);
	/* Whose etcd does not start: the last to be chosen, and given up for another one only. */
	expect("fnn", "", VOTERS_BEGIN, 2, VOTERS_WHY_GROW);
	expect("fff", "", VOTERS_BEGIN, 1, VOTERS_WHY_GROW);
	expect("vfn", "", VOTERS_ADD, 3, VOTERS_WHY_GROW);
	expect("vfn", "aba", VOTERS_ADD, 3, VOTERS_WHY_GROW);
	expect("vf-", "", VOTERS_ADD, 2, VOTERS_WHY_GROW);
	expect("vFn", "", VOTERS_REMOVE, 2, VOTERS_WHY_FAILS);
	expect("vFf", "", VOTERS_REST, 2, VOTERS_WHY_LEARNS);
	expect("vvF", "", VOTERS_REST, 3, VOTERS_WHY_LEARNS);
	expect("vvVFn", "", VOTERS_REMOVE, 4, VOTERS_WHY_FAILS);
	expect("vvVf", "", VOTERS_REST, 3, VOTERS_WHY_NO_NODE);
	expect("vvVfn", "", VOTERS_REMOVE, 3, VOTERS_WHY_DEAD);
	expect("vv-fn", "", VOTERS_ADD, 5, VOTERS_WHY_GROW);
	expect("vvmf", "", VOTERS_REMOVE, 3, VOTERS_WHY_RUINED);
	expect("vvdf", "", VOTERS_REST, 3, VOTERS_WHY_NO_NODE);
	/* Five from five nodes on; who cannot, is dead or was sent away is none of them. */
	expect("vvvnn", "aaaaa", VOTERS_ADD, 4, VOTERS_WHY_GROW);
	expect("vvvn-", "", VOTERS_REST, 0, VOTERS_WHY_ENOUGH);
	expect("vvvnN", "", VOTERS_REST, 0, VOTERS_WHY_ENOUGH);
	expect("vvwnn", "", VOTERS_REST, 0, VOTERS_WHY_ENOUGH);
	expect("vvvLn", "", VOTERS_PROMOTE, 4, VOTERS_WHY_GROW);
	expect("vvvLN", "", VOTERS_REMOVE, 4, VOTERS_WHY_ENOUGH);
	expect("vvvvn", "", VOTERS_ADD, 5, VOTERS_WHY_GROW);
	expect("vvvvN", "", VOTERS_REST, 0, VOTERS_WHY_NO_NODE);
	expect("vvvvvnn", "abcabca", VOTERS_REST, 0, VOTERS_WHY_ENOUGH);
	expect("vvvvv", "abcab", VOTERS_REST, 0, VOTERS_WHY_ENOUGH);
	expect("vvvww", "", VOTERS_REST, 0, VOTERS_WHY_ENOUGH);
	expect("vvvVVn", "", VOTERS_REMOVE, 4, VOTERS_WHY_DEAD);
	/* The zone with the fewest. */
	expect("vvnn", "abab", VOTERS_ADD, 3, VOTERS_WHY_GROW);
	expect("vvnn", "aaab", VOTERS_ADD, 4, VOTERS_WHY_GROW);
	expect("vVvnn", "abcab", VOTERS_REMOVE, 2, VOTERS_WHY_DEAD);
	expect("v-vnn", "abcab", VOTERS_ADD, 5, VOTERS_WHY_GROW);
}

static void
test_times(void **state)
{
	(void)state;
	set("vvwn", "");
	voters_decide(nodes, 4, 0, VOTERS_REPLACE_MS, NOW, &out);
	assert_int_equal(out.due_ns, nodes[2].since_ns + VOTERS_REPLACE_MS * MS);
	set("vvl", "");
	voters_decide(nodes, 3, 0, VOTERS_REPLACE_MS, NOW, &out);
	assert_int_equal(out.due_ns, nodes[2].standing_ns + VOTERS_LEARN_MS * MS);
	voters_decide(nodes, 3, 0, VOTERS_REPLACE_MS, out.due_ns, &out);
	assert_int_equal(out.verb, VOTERS_REMOVE);
	assert_int_equal(out.why, VOTERS_WHY_SLOW);
	/* Who has just come is not chosen yet. */
	set("vvn", "");
	nodes[2].since_ns = NOW - 1;
	voters_decide(nodes, 3, 0, VOTERS_REPLACE_MS, NOW, &out);
	assert_int_equal(out.why, VOTERS_WHY_NO_NODE);
	assert_int_equal(out.due_ns, nodes[2].since_ns + VOTERS_SETTLE_MS * MS);
	/* The one that has the store begins. */
	set("nnn", "");
	voters_decide(nodes, 3, 3, VOTERS_REPLACE_MS, NOW, &out);
	assert_int_equal(out.verb, VOTERS_BEGIN);
	assert_int_equal(out.node, 3);
	set("nnf", "");
	voters_decide(nodes, 3, 3, VOTERS_REPLACE_MS, NOW, &out);
	assert_int_equal(out.verb, VOTERS_BEGIN);
	assert_int_equal(out.node, 1);
}

static void
test_fit(void **state)
{
	(void)state;
	set("nf-Ndv", "");
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(voters_fit(&nodes[i], NOW), i == 0 || i == 5);
	nodes[0].since_ns = NOW - 1;
	assert_false(voters_fit(&nodes[0], NOW));
}

/* ---- a cluster ---- */

static struct prop random_;
static uint64_t now_ns;

static unsigned
live_voters(unsigned *voters_out)
{
	unsigned live = 0;

	*voters_out = 0;
	for (size_t i = 0; i < NODES; i++) {
		*voters_out += nodes[i].standing == VOTERS_VOTER;
		live += nodes[i].standing == VOTERS_VOTER && nodes[i].live;
	}
	return live;
}

static void
carry_out(void)
{
	struct voters_node *n = &nodes[out.node - 1];
	unsigned voters;

	switch (out.verb) {
	case VOTERS_BEGIN:
		live_voters(&voters);
		assert_int_equal(voters, 0);
		n->standing = VOTERS_VOTER;
		break;
	case VOTERS_ADD:
		for (size_t i = 0; i < NODES; i++)
			assert_int_not_equal(nodes[i].standing, VOTERS_LEARNER);
		n->standing = VOTERS_LEARNER;
		n->standing_ns = now_ns;
		n->caught_up = false;
		break;
	case VOTERS_PROMOTE:
		assert_true(n->standing == VOTERS_LEARNER && n->caught_up && n->live);
		n->standing = VOTERS_VOTER;
		break;
	case VOTERS_REMOVE:
		n->standing = VOTERS_NOT;
		break;
	case VOTERS_REST:
		return;
	}
	unsigned live = live_voters(&voters);
	assert_true(live >= voters / 2 + 1); /* no change loses the majority */
	assert_true(voters <= VOTERS_MANY);
}

static void
fate(struct voters_node *n)
{
	switch (prop_below(&random_, 5)) {
	case 0:
	case 1:
		n->live = !n->live;
		n->since_ns = now_ns;
		break;
	case 2:
		n->draining = !n->draining;
		break;
	case 3:
		n->able = prop_below(&random_, 4) > 0;
		break;
	default:
		if (n->standing != VOTERS_VOTER || prop_below(&random_, 3) == 0)
			n->removed = prop_below(&random_, 2) == 0;
	}
}

static void
turn(bool calm)
{
	now_ns += prop_below(&random_, 60000) * MS;
	if (!calm && prop_below(&random_, 3) == 0)
		fate(&nodes[prop_below(&random_, NODES)]);
	for (size_t i = 0; i < NODES; i++)
		nodes[i].caught_up |= nodes[i].standing == VOTERS_LEARNER && nodes[i].live &&
				      prop_below(&random_, 3) == 0;
	voters_decide(nodes, NODES, 1, VOTERS_REPLACE_MS, now_ns, &out);
	if (out.verb != VOTERS_REST)
		carry_out();
}

static void
test_any_course(void **state)
{
	(void)state;
	set("nnnnnnnnnnnn", "abcdabcdabcd");
	now_ns = NOW;
	for (int i = 0; i < STEPS; i++)
		turn(false);
	/* All is well again, also where a majority was lost. */
	for (size_t i = 0; i < NODES; i++) {
		nodes[i].live = nodes[i].able = true;
		nodes[i].draining = nodes[i].removed = false;
		nodes[i].since_ns = now_ns;
	}
	for (int i = 0; i < 200; i++)
		turn(true);
	unsigned voters;
	assert_int_equal(live_voters(&voters), VOTERS_MANY);
	assert_int_equal(voters, VOTERS_MANY);
	assert_int_equal(out.why, VOTERS_WHY_ENOUGH);
}

/* Into an etcd that is none of the nodes' own: nobody becomes a member of it, what was begun of one
 * is given up, and nothing is sealed before that one is known to take it. */
static void
test_outside(void **state)
{
	struct voting_place places[3] = {0};
	struct store_voter rows[2] = {{.id = 4, .node = 1, .phase = STORE_VOTER_BEGINS},
				      {.id = 5, .node = 2, .phase = STORE_VOTER_LEARNS}};
	struct voting_step step;

	(void)state;
	set("nnn", "");
	for (unsigned i = 0; i < 32; i++) {
		struct voting_view v = {
			.self = 1,
			.writer = i & 1 ? 1 : 0,
			.rows = rows,
			.rows_count = i & 2 ? 2 : 0,
			.all_can = i & 4,
			.empty = i & 8,
			.sealed = i & 16,
			.outside = true,
			.nodes = nodes,
			.places = places,
			.nodes_count = 3,
			.now_ns = NOW,
		};
		enum voting_verb want = VOTING_REST;

		if (v.writer && v.sealed)
			want = VOTING_MOVE;
		else if (v.writer && v.rows_count)
			want = VOTING_DROP;
		else if (v.writer && v.all_can)
			want = v.empty ? VOTING_SEAL : VOTING_PROBE;
		voting_decide(&v, &step);
		assert_int_equal(step.verb, want);
		if (want == VOTING_DROP)
			assert_int_equal(step.row.id, 4);
		if (v.writer) { /* another node's */
			v.self = 2;
			voting_decide(&v, &step);
			assert_int_equal(step.verb, VOTING_REST);
		}
		v.writer = 0;
		v.unsettled = true;
		voting_decide(&v, &step);
		assert_int_equal(step.verb, VOTING_SETTLE);
	}
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),   cmocka_unit_test(test_times),
		cmocka_unit_test(test_fit),     cmocka_unit_test(test_any_course),
		cmocka_unit_test(test_outside),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	prop_init(&random_, argc, argv);
	return cmocka_run_group_tests_name("voters", tests, NULL, NULL);
}
