/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows are held against etcd's list first: what is under way is carried on, what has happened is
 * written down, what nobody knows is put in order. Only when both say the same is voters.h asked
 * for the next change. Rows and members are told to be the same by the address for other members,
 * which etcd takes once only.
 *
 * etcd (3.4) gives its list as the member that was asked has it, which may be late. So from what is
 * missing there nothing is concluded before it has been missing for a while, but for what was never
 * there, or was to go.
 */
#include "scheduler/voting.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/text.h"

#define MS UINT64_C(1000000)

bool
voting_runs(const struct store_voter *row)
{
	return row->phase == STORE_VOTER_BEGINS || row->phase == STORE_VOTER_LEARNS ||
	       row->phase == STORE_VOTER_VOTES || row->phase == STORE_VOTER_GOES;
}

void
voting_name(uint32_t node, char out[ETCD_MEMBER_NAME_BYTES])
{
	text_format(out, ETCD_MEMBER_NAME_BYTES, "node-%" PRIu32, node);
}

void
voting_url(const char *address, char out[ETCD_RPC_URL_BYTES])
{
	text_format(out, ETCD_RPC_URL_BYTES, "https://%s", address);
}

const char *
voting_phase_text(uint32_t phase)
{
	switch (phase) {
	case STORE_VOTER_BEGINS:
		return "begins";
	case STORE_VOTER_ADDED:
	case STORE_VOTER_LEARNS:
		return "learns";
	case STORE_VOTER_VOTES:
		return "votes";
	case STORE_VOTER_GOES:
		return "goes";
	default:
		return "unknown";
	}
}

/* ---- rows and members ---- */

static const struct etcd_member *
member_of(const struct etcd_members *list, const struct store_voter *row)
{
	char url[ETCD_RPC_URL_BYTES];

	voting_url(row->peer, url);
	for (size_t i = 0; i < list->count; i++) {
		if (text_equal(list->items[i].peer, url))
			return &list->items[i];
	}
	return NULL;
}

static const struct store_voter *
row_of(const struct voting_view *v, const struct etcd_member *m)
{
	char url[ETCD_RPC_URL_BYTES];

	for (size_t i = 0; i < v->rows_count; i++) {
		voting_url(v->rows[i].peer, url);
		if (text_equal(m->peer, url))
			return &v->rows[i];
	}
	return NULL;
}

static const struct store_voter *
row_at(const struct voting_view *v, uint32_t node)
{
	for (size_t i = 0; i < v->rows_count; i++) {
		if (v->rows[i].node == node)
			return &v->rows[i];
	}
	return NULL;
}

static const struct voters_node *
node_at(const struct voting_view *v, uint32_t node)
{
	for (size_t i = 0; i < v->nodes_count; i++) {
		if (v->nodes[i].node == node)
			return &v->nodes[i];
	}
	return NULL;
}

static const struct voting_place *
place_of(const struct voting_view *v, uint32_t node)
{
	const struct voters_node *n = node_at(v, node);

	return n ? &v->places[n - v->nodes] : NULL;
}

bool
voting_initial(const struct etcd_members *list, const struct store_voter *row,
	       char out[STORE_INITIAL_BYTES])
{
	char own[ETCD_MEMBER_NAME_BYTES], url[ETCD_RPC_URL_BYTES];
	size_t used = 0;

	voting_name(row->node, own);
	voting_url(row->peer, url);
	out[0] = '\0';
	for (size_t i = 0; list && i < list->count; i++) {
		const struct etcd_member *m = &list->items[i];
		char made[ETCD_MEMBER_NAME_BYTES];

		/* Who it is counts by its address; names only have to differ. */
		if (text_equal(m->peer, url))
			continue;
		text_format(made, sizeof(made), "other-%" PRIx64, m->id);
		if (!text_format(out + used, STORE_INITIAL_BYTES - used, "%s=%s,",
				 m->name[0] && !text_equal(m->name, own) ? m->name : made, m->peer))
			return false;
		used += strlen(out + used);
	}
	return text_format(out + used, STORE_INITIAL_BYTES - used, "%s=%s", own, url);
}

/* ---- steps ---- */

static void
put(const struct voting_view *v, const struct store_voter *row, enum store_voter_phase phase,
    struct voting_step *out)
{
	out->verb = VOTING_PUT;
	out->row = *row;
	out->row.phase = phase;
	out->row.since_wall_ns = v->wall_ns;
}

static void
drop(const struct store_voter *row, struct voting_step *out)
{
	out->verb = VOTING_DROP;
	out->row = *row;
}

/* False: where it would be is not known. */
static bool
put_new(const struct voting_view *v, uint32_t node, enum store_voter_phase phase,
	struct voting_step *out)
{
	const struct voting_place *p = place_of(v, node);
	struct store_voter row = {.node = node, .life = v->random[0] >> 2 | 1};

	if (!p || !p->client[0] || !p->peer[0] || v->rows_count >= VOTING_ROWS_MAX)
		return false;
	row.token = v->rows_count ? v->rows[0].token : v->random[1] >> 2 | 1;
	text_copy(row.client, sizeof(row.client), p->client);
	text_copy(row.peer, sizeof(row.peer), p->peer);
	if (phase == STORE_VOTER_BEGINS && !voting_initial(NULL, &row, row.initial))
		return false;
	put(v, &row, phase, out);
	return true;
}

/* ---- what is under way ---- */

static bool
is_lost(const struct voting_view *v, const struct store_voter *row)
{
	const struct voters_node *n = node_at(v, row->node);

	return !n || n->removed || !n->able || n->draining ||
	       (!n->live && v->now_ns >= n->since_ns + VOTERS_LEARNER_DEAD_MS * MS);
}

/* It does not come up where it is to begin, and another node could do so. */
static bool
is_outdone(const struct voting_view *v, const struct store_voter *row)
{
	const struct voters_node *n = node_at(v, row->node);

	if (!n || !n->fails || row->phase >= STORE_VOTER_VOTES)
		return false;
	for (size_t i = 0; i < v->nodes_count; i++) {
		n = &v->nodes[i];
		if (!row_at(v, n->node) && voters_fit(n, v->now_ns))
			return true;
	}
	return false;
}

static bool
is_settled(const struct voting_view *v)
{
	return v->now_ns >= v->list_since_ns + VOTING_SETTLE_MS * MS;
}

/* Another one is on its way in before this one: etcd takes one learner at a time. */
static bool
is_second(const struct voting_view *v, const struct store_voter *row)
{
	for (size_t i = 0; i < v->rows_count; i++) {
		const struct store_voter *o = &v->rows[i];

		if (o == row || o->phase >= STORE_VOTER_VOTES)
			continue;
		if (o->phase != STORE_VOTER_ADDED || member_of(v->list, o) || o->id < row->id)
			return true;
	}
	return false;
}

/* etcd adds nobody while a voter does not answer, and this one will not: it has to go first. */
static bool
is_blocked(const struct voting_view *v)
{
	for (size_t i = 0; i < v->rows_count; i++) {
		const struct voters_node *n = node_at(v, v->rows[i].node);

		if (v->rows[i].phase >= STORE_VOTER_VOTES && n &&
		    (n->ruined || (!n->live && v->now_ns >= n->since_ns + v->replace_ms * MS)))
			return true;
	}
	return false;
}

/* etcd would refuse it, and say so in its log. Clocks of others may be wrong. */
static bool
is_too_soon(const struct voting_view *v)
{
	for (size_t i = 0; i < v->rows_count; i++) {
		int64_t age_ns = v->wall_ns - v->rows[i].since_wall_ns;

		if (v->rows[i].phase == STORE_VOTER_VOTES && age_ns >= 0 &&
		    age_ns < VOTING_CONNECTED_MS * (int64_t)MS)
			return true;
	}
	return false;
}

/* A member that no row speaks of: what is left of something that was given up. */
static bool
remove_stray(const struct voting_view *v, struct voting_step *out)
{
	for (size_t i = 0; i < v->list->count && is_settled(v); i++) {
		if (row_of(v, &v->list->items[i]))
			continue;
		out->verb = VOTING_REMOVE;
		out->member = v->list->items[i].id;
		return true;
	}
	return false;
}

/* True: that is the step. */
static bool
carry_on(const struct voting_view *v, const struct store_voter *row, struct voting_step *out)
{
	const struct etcd_member *m = member_of(v->list, row);

	switch ((enum store_voter_phase)row->phase) {
	case STORE_VOTER_BEGINS:
		if (m)
			put(v, row, STORE_VOTER_VOTES, out);
		return m != NULL;
	case STORE_VOTER_ADDED:
		if (!m &&
		    (is_lost(v, row) || is_outdone(v, row) || is_second(v, row) || is_blocked(v))) {
			drop(row, out);
			return true;
		}
		/* etcd takes one learner at a time, also beside one that nobody knows. */
		if (!m && remove_stray(v, out))
			return true;
		out->verb = VOTING_ADD;
		out->row = *row;
		if (m && m->name[0]) {
			/* It has been somebody with other data. */
			out->verb = VOTING_REMOVE;
			out->member = m->id;
		} else if (m) {
			put(v, row, STORE_VOTER_LEARNS, out);
			return voting_initial(v->list, row, out->row.initial);
		} else if (is_too_soon(v)) {
			*out = (struct voting_step){.why.why = VOTERS_WHY_LEARNS};
		}
		return true;
	case STORE_VOTER_LEARNS:
		if (m && !m->learner)
			put(v, row, STORE_VOTER_VOTES, out);
		break;
	case STORE_VOTER_VOTES:
		if (m && m->learner && is_settled(v)) /* an old list may say so */
			put(v, row, STORE_VOTER_LEARNS, out);
		break;
	case STORE_VOTER_GOES:
		if (!m)
			drop(row, out);
		return !m;
	}
	if (!m && is_settled(v))
		drop(row, out);
	return out->verb != VOTING_REST;
}

/* ---- the next change ---- */

static void
set_standings(struct voting_view *v)
{
	for (size_t i = 0; i < v->nodes_count; i++) {
		struct voters_node *n = &v->nodes[i];
		const struct store_voter *row = row_at(v, n->node);
		const struct etcd_member *m = row ? member_of(v->list, row) : NULL;
		int64_t for_ns = row ? v->wall_ns - row->since_wall_ns : 0;

		/* Clocks of others may be wrong, and may be set. */
		if (for_ns < 0)
			for_ns = 0;
		n->standing = !m ? VOTERS_NOT : m->learner ? VOTERS_LEARNER : VOTERS_VOTER;
		/* Who has a name has been up: that is waited for. */
		n->fails = n->fails && !(m && m->name[0]);
		n->caught_up = m && m->name[0] && v->places[i].member_up && v->places[i].caught_up;
		n->standing_ns = (uint64_t)for_ns < v->now_ns ? v->now_ns - (uint64_t)for_ns : 0;
	}
}

static void
ask(struct voting_view *v, struct voting_step *out)
{
	out->asked = true;
	out->why = (struct voters_decision){.why = VOTERS_WHY_NO_QUORUM, .due_ns = UINT64_MAX};
	if (!v->list)
		return;
	set_standings(v);
	voters_decide(v->nodes, v->nodes_count, v->writer, v->replace_ms, v->now_ns, &out->why);
}

static const struct store_voter *
going(const struct voting_view *v)
{
	for (size_t i = 0; i < v->rows_count; i++) {
		if (v->rows[i].phase == STORE_VOTER_GOES)
			return &v->rows[i];
	}
	return NULL;
}

static bool
any_comes(const struct voting_view *v)
{
	for (size_t i = 0; i < v->rows_count; i++) {
		if (v->rows[i].phase < STORE_VOTER_VOTES)
			return true;
	}
	return false;
}

/* It was to go, and there is no reason any more. Who is not seen may have one. */
static bool
is_to_stay(const struct voting_view *v, const struct store_voter *row,
	   const struct voters_decision *why)
{
	const struct voters_node *n = node_at(v, row->node);

	return n && n->live && n->able && !n->ruined && !n->draining && !n->removed &&
	       why->why != VOTERS_WHY_NO_QUORUM;
}

static void
carry_out(struct voting_view *v, struct voting_step *out)
{
	const struct voters_decision *why = &out->why;
	const struct store_voter *row = row_at(v, why->node), *leaver = going(v);
	const struct etcd_member *m = row ? member_of(v->list, row) : NULL;

	/* Another one is to go first, or there is no reason any more: it is decided about again. */
	if (leaver && (why->verb != VOTERS_REMOVE || leaver != row) &&
	    (why->verb == VOTERS_REMOVE || is_to_stay(v, leaver, why))) {
		m = member_of(v->list, leaver);
		put(v, leaver, m && m->learner ? STORE_VOTER_LEARNS : STORE_VOTER_VOTES, out);
		return;
	}
	switch (why->verb) {
	case VOTERS_REST:
	case VOTERS_BEGIN:
		break;
	case VOTERS_ADD:
		/* One that etcd does not name may only be missing in an old list. */
		if (!row && !any_comes(v))
			(void)put_new(v, why->node, STORE_VOTER_ADDED, out);
		break;
	case VOTERS_PROMOTE:
		out->verb = VOTING_PROMOTE;
		out->member = m ? m->id : 0;
		break;
	case VOTERS_REMOVE:
		if (row && row->phase != STORE_VOTER_GOES) {
			put(v, row, STORE_VOTER_GOES, out);
		} else {
			out->verb = VOTING_REMOVE;
			out->member = m ? m->id : 0;
		}
		break;
	}
	if ((out->verb == VOTING_PROMOTE || out->verb == VOTING_REMOVE) && !out->member)
		out->verb = VOTING_REST;
}

static bool
all_vote(const struct voting_view *v)
{
	for (size_t i = 0; i < v->rows_count; i++) {
		const struct voters_node *n = node_at(v, v->rows[i].node);

		if (v->rows[i].phase != STORE_VOTER_VOTES || !n || !n->live ||
		    !v->places[n - v->nodes].member_up)
			return false;
	}
	return v->rows_count >= VOTERS_FEW && v->list->count == v->rows_count;
}

static void
begin(struct voting_view *v, struct voting_step *out)
{
	const struct etcd_members none = {0};

	v->list = &none;
	ask(v, out);
	if (out->why.verb == VOTERS_BEGIN)
		(void)put_new(v, out->why.node, STORE_VOTER_BEGINS, out);
}

/* Its member has been down for long, as far as this node knows. */
static bool
is_down(const struct voting_view *v, const struct store_voter *row)
{
	const struct voting_place *p = place_of(v, row->node);

	return p && !p->member_up &&
	       v->wall_ns - row->since_wall_ns > VOTERS_LEARN_MS * (int64_t)MS;
}

/* The first one does not come up, or has lost its data: another one may. Nothing is in it yet. */
static bool
give_up_beginning(const struct voting_view *v, struct voting_step *out)
{
	if (!v->writer || v->rows_count != 1 || v->rows[0].phase > STORE_VOTER_VOTES ||
	    !(is_lost(v, v->rows) || is_outdone(v, v->rows) || is_down(v, v->rows)))
		return false;
	drop(v->rows, out);
	return true;
}

static void
look(struct voting_view *v, struct voting_step *out)
{
	for (size_t i = 0; i < v->rows_count; i++) {
		if (carry_on(v, &v->rows[i], out))
			return;
	}
	if (remove_stray(v, out))
		return;
	ask(v, out);
	carry_out(v, out);
	if (out->verb == VOTING_REST && out->why.verb == VOTERS_REST && v->writer && v->all_can &&
	    all_vote(v))
		out->verb = VOTING_SEAL;
}

/* What was begun of an etcd of these nodes' own holds nothing yet. */
static void
go_outside(const struct voting_view *v, struct voting_step *out)
{
	if (!v->writer)
		return;
	if (v->rows_count)
		drop(&v->rows[0], out);
	else if (v->all_can)
		out->verb = v->empty ? VOTING_SEAL : VOTING_PROBE;
}

void
voting_decide(struct voting_view *v, struct voting_step *out)
{
	assert(v->rows_count <= VOTING_ROWS_MAX);
	memset(out, 0, sizeof(*out));
	out->why.due_ns = UINT64_MAX;
	if (v->writer && v->writer != v->self)
		return;
	if (v->writer == 0 && v->unsettled)
		out->verb = VOTING_SETTLE;
	else if (v->sealed)
		out->verb = v->writer ? VOTING_MOVE : VOTING_REST;
	else if (v->outside)
		go_outside(v, out);
	else if (v->rows_count == 0 && v->writer)
		begin(v, out);
	else if (v->list)
		look(v, out);
	else if (!give_up_beginning(v, out))
		ask(v, out);
}
