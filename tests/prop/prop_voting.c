/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes that look, decide and act (voting.h) on rows and on an etcd that is a model, while they
 * crash before and after each act, answers are lost, lists are old, what they hear of each other is
 * late, and nodes die, come back, drain, leave, and lose the data of their member; and now and then
 * somebody who does not keep to voting.h leaves a second row that is on its way in. Then all is
 * well for a while.
 *
 * Always: etcd keeps a majority alive if it had one; two nodes never act on the same rows against
 * each other; the data of a member is thrown away only when etcd does not know it as a voter; the
 * store takes changes in one place only. In the end: three voters, or five where so many nodes are
 * able, and the store is etcd's.
 */
#include "scheduler/voting.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "tests/support/prop.h"

#define MS UINT64_C(1000000)

enum { NODES = 9, MEMBERS = ETCD_MEMBERS_MAX, ROUNDS = 60, STEPS = 1500, CALM = 1500, WRITER = 1 };

#define must(what)                                                                 \
	do {                                                                       \
		if (!(what)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
			abort();                                                   \
		}                                                                  \
	} while (0)

struct node {
	bool able, fails, live, draining, removed;
	uint64_t since_ns;
	uint64_t data;   /* life of the data that it has; 0 none */
	uint64_t ruined; /* of data that is damaged */
	uint64_t came;   /* the life whose etcd was up: one that fails does not come up */
	bool up;
	bool level;
};

struct member {
	struct etcd_member is;
	uint32_t node;
	uint64_t life;
};

static struct {
	struct prop random;
	uint64_t now_ns, ids;
	struct node nodes[NODES + 1], heard[NODES + 1];
	/* the shared rows */
	struct store_voter rows[VOTING_ROWS_MAX];
	size_t count;
	bool moving, etcd, settled, moved;
	bool asked;             /* the writer has put everything into etcd */
	uint64_t first, second; /* ids of two rows that are on their way in at a time; 0 */
	/* etcd */
	bool begun;
	struct member members[MEMBERS];
	size_t members_count;
	struct etcd_members old; /* a list as it was */
	uint64_t old_ns, changed_ns;
	uint64_t list_since_ns[NODES + 1];
	struct etcd_members seen[NODES + 1];
	uint64_t row_ids;
} w;

static bool
one_in(unsigned n)
{
	return prop_below(&w.random, n) == 0;
}

/* ---- etcd ---- */

static unsigned
voters(bool live_only)
{
	unsigned n = 0;

	for (size_t i = 0; i < w.members_count; i++) {
		const struct node *at = &w.nodes[w.members[i].node];

		if (w.members[i].is.learner)
			continue;
		n += !live_only || (at->live && at->up && at->data == w.members[i].life);
	}
	return n;
}

static bool
quorum(void)
{
	return w.begun && voters(true) >= voters(false) / 2 + 1;
}

static void
list_now(struct etcd_members *out)
{
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < w.members_count; i++)
		out->items[out->count++] = w.members[i].is;
}

static void
will_change(void)
{
	list_now(&w.old);
	w.changed_ns = w.now_ns;
}

static struct member *
member_at(const char *url)
{
	for (size_t i = 0; i < w.members_count; i++) {
		if (strcmp(w.members[i].is.peer, url) == 0)
			return &w.members[i];
	}
	return NULL;
}

static bool
add(const struct store_voter *row)
{
	char url[ETCD_RPC_URL_BYTES];

	voting_url(row->peer, url);
	/* etcd adds nobody while a voter does not answer. */
	if (!quorum() || voters(true) < voters(false) || member_at(url) ||
	    w.members_count == MEMBERS)
		return false;
	for (size_t i = 0; i < w.members_count; i++) {
		if (w.members[i].is.learner)
			return false;
	}
	will_change();
	struct member *m = &w.members[w.members_count++];
	*m = (struct member){.node = row->node};
	m->is.id = ++w.ids;
	m->is.learner = true;
	text_copy(m->is.peer, sizeof(m->is.peer), url);
	return true;
}

static bool
promote(uint64_t id)
{
	for (size_t i = 0; i < w.members_count; i++) {
		struct member *m = &w.members[i];
		const struct node *n = &w.nodes[m->node];

		if (m->is.id != id)
			continue;
		if (!quorum() || !m->is.learner || !n->up || !n->live || n->data != m->life)
			return false;
		will_change();
		m->is.learner = false;
		return true;
	}
	return false;
}

static bool
remove_member(uint64_t id)
{
	for (size_t i = 0; i < w.members_count; i++) {
		struct member *m = &w.members[i];

		if (m->is.id != id)
			continue;
		if (!quorum())
			return false;
		unsigned left = voters(false) - !m->is.learner;
		const struct node *n = &w.nodes[m->node];
		bool lived = n->live && n->up && n->data == m->life && !m->is.learner;
		if (voters(true) - lived < left / 2 + 1 || left == 0)
			return false; /* etcd itself refuses */
		will_change();
		memmove(m, m + 1, (--w.members_count - i) * sizeof(*m));
		return true;
	}
	return false;
}

/* ---- rows ---- */

static struct store_voter *
row_at(uint32_t node)
{
	for (size_t i = 0; i < w.count; i++) {
		if (w.rows[i].node == node)
			return &w.rows[i];
	}
	return NULL;
}

/* The store takes a change now, if `by` asks. */
static bool
can_write(uint32_t by)
{
	return w.etcd ? quorum() : !w.moving && w.nodes[WRITER].live && by == WRITER;
}

static bool
same_rows(const struct store_voter *rows, size_t count)
{
	if (count != w.count)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (rows[i].id != w.rows[i].id || rows[i].version != w.rows[i].version)
			return false;
	}
	return true;
}

static bool
has_both(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < w.count; i++)
		n += w.rows[i].id == w.first || w.rows[i].id == w.second;
	return n == 2;
}

static void
put_row(const struct store_voter *row)
{
	unsigned in = 0, out = 0;
	struct store_voter *at = row_at(row->node);

	must((at != NULL) == (row->id != 0));
	if (!at) {
		at = &w.rows[w.count++];
		*at = *row;
		at->id = ++w.row_ids;
	} else {
		uint64_t version = at->version;

		*at = *row;
		at->version = version;
	}
	at->version++;
	for (size_t i = 0; i < w.count; i++) {
		in += w.rows[i].phase < STORE_VOTER_VOTES;
		out += w.rows[i].phase == STORE_VOTER_GOES;
	}
	must((in <= 1 || (in == 2 && has_both())) && out <= 1);
}

static void
drop_row(uint64_t id)
{
	for (size_t i = 0; i < w.count; i++) {
		if (w.rows[i].id != id)
			continue;
		memmove(&w.rows[i], &w.rows[i + 1], (--w.count - i) * sizeof(w.rows[0]));
		return;
	}
	must(!"it is there");
}

/* ---- a node looks, and acts ---- */

static void
address(uint32_t node, uint16_t port, char out[ADDR_TEXT_BYTES])
{
	text_format(out, ADDR_TEXT_BYTES, "10.0.0.%u:%u", node, port);
}

static void
take_list(uint32_t self, const struct etcd_members *list)
{
	if (memcmp(list, &w.seen[self], sizeof(*list)) != 0)
		w.list_since_ns[self] = w.now_ns;
	w.seen[self] = *list;
}

static void
view_of(uint32_t self, struct voting_view *v, struct voters_node *nodes,
	struct voting_place *places, struct store_voter *rows, struct etcd_members *list)
{
	memset(nodes, 0, NODES * sizeof(*nodes));
	memset(places, 0, NODES * sizeof(*places));
	memcpy(rows, w.rows, sizeof(w.rows));
	for (uint32_t i = 1; i <= NODES; i++) {
		const struct node *n = i == self ? &w.nodes[i] : &w.heard[i];
		const struct store_voter *row = row_at(i);

		nodes[i - 1] = (struct voters_node){
			.node = i,
			.zone = i % 3 + 1,
			.able = n->able,
			.fails = n->fails,
			.live = n->live,
			.ruined = row && n->ruined == row->life,
			.draining = n->draining,
			.removed = n->removed,
			.since_ns = n->since_ns,
		};
		places[i - 1].member_up = row && n->up && n->data == row->life;
		places[i - 1].caught_up = n->level;
		address(i, 2379, places[i - 1].client);
		address(i, 2380, places[i - 1].peer);
	}
	/* A late member answers. */
	if (w.now_ns < w.changed_ns + 2000 * MS && one_in(4))
		*list = w.old;
	else
		list_now(list);
	take_list(self, list);
	*v = (struct voting_view){
		.self = self,
		.writer = w.etcd ? 0 : WRITER,
		.sealed = w.moving,
		.unsettled = w.etcd && !w.settled,
		.all_can = true,
		.nodes = nodes,
		.places = places,
		.nodes_count = NODES,
		.rows = rows,
		.rows_count = w.count,
		.list = w.begun && voters(true) > 0 ? list : NULL,
		.list_since_ns = w.list_since_ns[self],
		.replace_ms = VOTERS_REPLACE_MS,
		.now_ns = w.now_ns,
		.wall_ns = (int64_t)w.now_ns,
		.random = {prop_u64(&w.random), prop_u64(&w.random)},
	};
}

static void
carry_out(uint32_t self, const struct voting_step *step, const struct store_voter *rows,
	  size_t count)
{
	switch (step->verb) {
	case VOTING_REST:
		break;
	case VOTING_PUT:
		if (can_write(self) && same_rows(rows, count))
			put_row(&step->row);
		break;
	case VOTING_DROP:
		if (can_write(self) && same_rows(rows, count))
			drop_row(step->row.id);
		break;
	case VOTING_ADD:
		(void)add(&step->row);
		break;
	case VOTING_PROMOTE:
		(void)promote(step->member);
		break;
	case VOTING_REMOVE:
		(void)remove_member(step->member);
		break;
	case VOTING_PROBE:
		must(false); /* of an etcd of others only: test_voters.c */
		break;
	case VOTING_SEAL:
		must(self == WRITER);
		if (can_write(self) && same_rows(rows, count))
			w.moving = true;
		break;
	case VOTING_MOVE:
		must(self == WRITER && w.moving && !w.etcd);
		if (!quorum())
			break;
		w.moved = true;
		if (!one_in(3)) /* else it crashes before its file says so */
			w.etcd = true;
		break;
	case VOTING_SETTLE:
		if (can_write(self) && w.etcd) {
			w.settled = true;
			w.moving = false;
		}
		break;
	}
}

static void
look(uint32_t self, bool calm)
{
	struct voters_node nodes[NODES];
	struct voting_place places[NODES];
	struct store_voter rows[VOTING_ROWS_MAX];
	static struct etcd_members list;
	struct voting_view v;
	struct voting_step step;
	bool had = quorum();

	view_of(self, &v, nodes, places, rows, &list);
	voting_decide(&v, &step);
	/* Somebody else acts between its look and its act. */
	if (!calm && one_in(4)) {
		uint32_t other = 1 + (uint32_t)prop_below(&w.random, NODES);
		struct voters_node nodes2[NODES];
		struct voting_place places2[NODES];
		struct store_voter rows2[VOTING_ROWS_MAX];
		static struct etcd_members list2;
		struct voting_view v2;
		struct voting_step step2;

		view_of(other, &v2, nodes2, places2, rows2, &list2);
		if (other != self && w.nodes[other].live && (w.etcd || other == WRITER)) {
			voting_decide(&v2, &step2);
			carry_out(other, &step2, rows2, v2.rows_count);
		}
	}
	if (calm || !one_in(5)) /* else it dies over it */
		carry_out(self, &step, rows, v.rows_count);
	must(!had || quorum());
}

/* ---- members run as their rows say ---- */

static void
run_members(bool calm)
{
	/* An etcd that was begun and given up before it had a second member is no more. */
	if (w.begun && w.count == 0 && !w.etcd && !w.moving) {
		w.begun = false;
		w.members_count = 0;
	}
	for (uint32_t i = 1; i <= NODES; i++) {
		struct node *n = &w.nodes[i];
		const struct store_voter *row = row_at(i);
		uint64_t wanted = row && voting_runs(row) ? row->life : 0;
		char url[ETCD_RPC_URL_BYTES], text[ADDR_TEXT_BYTES];

		if (!n->live || (!calm && one_in(3)))
			continue;
		address(i, 2380, text);
		voting_url(text, url);
		if (n->data != wanted) {
			const struct member *m = member_at(url);

			/* What goes is of nobody's majority. */
			must(!n->data || !m || m->life != n->data || m->is.learner);
			n->data = wanted;
			n->up = n->level = false;
		}
		if (!wanted || (n->fails && n->came != wanted))
			continue;
		if (row->phase == STORE_VOTER_BEGINS && !w.begun) {
			will_change();
			w.begun = true;
			w.members_count = 1;
			w.members[0] = (struct member){.node = i, .life = wanted};
			w.members[0].is.id = ++w.ids;
			text_copy(w.members[0].is.peer, sizeof(w.members[0].is.peer), url);
		}
		struct member *m = member_at(url);
		/* Whose data it is shows when it is started. */
		if (m && !m->is.name[0]) {
			m->life = wanted;
			text_copy(m->is.name, sizeof(m->is.name), "x");
		}
		n->up = m && m->life == wanted && n->ruined != wanted;
		n->level = n->up;
		if (n->up)
			n->came = wanted;
	}
}

/* The others that have good data stay a majority: more nobody can make up for. */
static void
ruin(uint32_t i)
{
	struct node *n = &w.nodes[i];
	unsigned good = 0;
	bool votes = false;

	for (size_t k = 0; k < w.members_count; k++) {
		const struct member *m = &w.members[k];

		if (m->is.learner)
			continue;
		votes |= m->node == i && m->life == n->data;
		good += m->node != i && w.nodes[m->node].data == m->life &&
			w.nodes[m->node].ruined != m->life;
	}
	if (!votes || good < voters(false) / 2 + 1)
		return;
	n->ruined = n->data;
	n->up = n->level = false;
}

static void
fate(uint32_t i)
{
	struct node *n = &w.nodes[i];

	switch (prop_below(&w.random, 6)) {
	case 0:
	case 1:
		n->live = !n->live;
		n->since_ns = w.now_ns;
		if (!n->live)
			n->up = false;
		break;
	case 2:
		if (one_in(2))
			n->able = !n->able;
		else
			n->fails = !n->fails;
		break;
	case 3:
		n->draining = !n->draining;
		break;
	case 4:
		ruin(i);
		break;
	default:
		if (one_in(20) && i != WRITER)
			n->removed = true;
	}
}

static void
leave_second(void)
{
	uint32_t node = 1 + (uint32_t)prop_below(&w.random, NODES);
	const struct store_voter *first = NULL;
	struct store_voter *at = &w.rows[w.count];

	for (size_t i = 0; i < w.count; i++)
		if (w.rows[i].phase == STORE_VOTER_ADDED)
			first = &w.rows[i];
	if (!first || has_both() || row_at(node) || w.count == VOTING_ROWS_MAX)
		return;
	*at = *first;
	at->id = ++w.row_ids;
	at->node = node;
	at->life = prop_u64(&w.random) >> 2 | 1;
	address(node, 2379, at->client);
	address(node, 2380, at->peer);
	w.first = first->id;
	w.second = at->id;
	w.count++;
}

static void
turn(bool calm)
{
	w.now_ns += prop_below(&w.random, calm ? 10000 : 20000) * MS;
	if (!calm && one_in(6))
		fate(1 + (uint32_t)prop_below(&w.random, NODES));
	if (!calm && w.etcd && one_in(3))
		leave_second();
	for (uint32_t i = 1; i <= NODES; i++) {
		if (calm || one_in(2))
			w.heard[i] = w.nodes[i];
	}
	run_members(calm);
	uint32_t self = 1 + (uint32_t)prop_below(&w.random, NODES);
	const struct store_voter *row = row_at(self);
	if (w.nodes[self].live &&
	    (w.etcd ? row && row->phase != STORE_VOTER_ADDED : self == WRITER))
		look(self, calm);
}

static void
begin(void)
{
	struct prop random = w.random;

	memset(&w, 0, sizeof(w));
	w.random = random;
	w.now_ns = 10000000 * MS;
	for (uint32_t i = 1; i <= NODES; i++)
		w.nodes[i] = w.heard[i] = (struct node){
			.able = !one_in(4), .fails = one_in(6), .live = true, .since_ns = w.now_ns};
}

static void
end_well(void)
{
	unsigned able = 0, fails = 0;

	for (uint32_t i = 1; i <= NODES; i++)
		able += !w.nodes[i].removed;
	for (uint32_t i = 1; i <= NODES; i++) {
		struct node *n = &w.nodes[i];

		n->live = n->able = true;
		/* One that never comes up is in nobody's way where there are enough others. */
		n->fails = n->fails && able > VOTERS_MANY && fails++ == 0;
		n->draining = false;
		n->since_ns = w.now_ns;
	}
	if (able < VOTERS_FEW)
		return;
	for (int i = 0; i < CALM * NODES; i++)
		turn(true);
	must(w.etcd && w.settled && !w.moving && w.moved);
	must(w.count == w.members_count && quorum());
	must(able >= VOTERS_MANY ? voters(false) == VOTERS_MANY
				 : voters(false) == VOTERS_FEW || voters(false) == 4);
	must(voters(true) == voters(false));
	for (size_t i = 0; i < w.count; i++)
		must(w.rows[i].phase == STORE_VOTER_VOTES && !w.nodes[w.rows[i].node].removed);
}

int
main(int argc, char **argv)
{
	prop_init(&w.random, argc, argv);
	for (int round = 0; round < ROUNDS; round++) {
		int steps = 1 + (int)prop_below(&w.random, STEPS);

		begin();
		for (int i = 0; i < steps; i++)
			turn(false);
		end_well();
	}
	return 0;
}
