/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one node has to do with the store's etcd: what node says of the program and its process,
 * what the member says of itself, both told to the others, and to people; and the order to node,
 * which follows from this node's row alone. While this node has no rows (it copies the store anew,
 * say) it orders nothing, and what was ordered stays: data is never deleted for want of knowledge.
 */
#include "scheduler/cluster_inside.h"

#include <inttypes.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"

enum { ASK_MS = 2000 /* of a member that votes; others each second, for they are waited for */ };

#define MS UINT64_C(1000000)

/* ---- where a member of this node is, or would be ---- */

static void
own_address(struct cluster *c, const struct msg_etcd *e, struct addr *out)
{
	const struct cluster_node *self = cluster_roster_find(c, c->keep.node);
	const struct store_voter *row = cluster_voters_row(c, c->keep.node);
	struct addr known = {0};

	memset(out, 0, sizeof(*out));
	if (row && addr_parse(row->client, out))
		return;
	if (!e->listen.port)
		return;
	if (!addr_is_zero(&e->listen)) {
		*out = e->listen;
		return;
	}
	cluster_link_own(c, &known);
	/* As the node that admitted this one saw it. */
	if (addr_is_zero(&known) && self && !addr_parse(self->row.address, &known))
		known = (struct addr){0};
	if (addr_is_zero(&known) && cluster_link_addresses(c, &known, 1) == 0)
		return;
	*out = known;
	out->port = e->listen.port;
}

bool
cluster_voters_can(struct cluster *c)
{
	struct cluster_tls tls;
	struct err err = {0};

	return cluster_tls(c, &tls, &err) == 0;
}

static bool
is_level(const struct cluster_voters *v)
{
	return v->has_status && v->status.leader && v->status.index &&
	       v->status.applied >= v->status.index;
}

static uint32_t
flags_of(struct cluster *c, const struct msg_etcd *e, const struct store_voter *row)
{
	const struct cluster_voters *v = &c->voters;
	bool up = e && row && e->life == row->life && e->state == MSG_ETCD_UP && v->has_status;
	uint32_t flags = 0;

	/* Others call it. */
	if (e && e->able && e->listen.port && !c->leave && !c->config->node.advertise_none)
		flags |= TIDINGS_VOTER_ABLE | (e->able == MSG_ETCD_FAILS ? TIDINGS_VOTER_FAILS : 0);
	if (e && row && e->life == row->life && e->state == MSG_ETCD_RUINED)
		flags |= TIDINGS_VOTER_RUINED;
	if (cluster_voters_can(c))
		flags |= TIDINGS_VOTER_CAN;
	if (up)
		flags |= TIDINGS_VOTER_UP;
	if (up && v->status.leader == v->status.member)
		flags |= TIDINGS_VOTER_LEADS;
	if (up && !v->status.learner)
		flags |= TIDINGS_VOTER_VOTES;
	if (up && is_level(v))
		flags |= TIDINGS_VOTER_LEVEL;
	if (c->etcd && c->row.id)
		flags |= TIDINGS_VOTER_ETCD;
	if (c->leave)
		flags |= TIDINGS_VOTER_LEAVING;
	if (cluster_outside_had(c))
		flags |= TIDINGS_VOTER_NAMES;
	if (c->etcd_outside)
		flags |= TIDINGS_VOTER_OUTSIDE;
	if (c->etcd && v->writable)
		flags |= TIDINGS_VOTER_WRITES;
	if (v->stuck)
		flags |= TIDINGS_VOTER_STUCK;
	return flags;
}

void
cluster_voters_of(struct cluster *c, struct tidings_voter *out)
{
	const struct msg_etcd *e = cluster_etcd_state(c);
	const struct store_voter *row = cluster_voters_row(c, c->keep.node);
	char what[sizeof(e->reason.what) + 1], rest[sizeof(e->reason.fix) + 1];
	const char *more;

	memset(out, 0, sizeof(*out));
	out->flags = flags_of(c, e, row);
	out->term = c->row.term;
	if (!e)
		return;
	out->life = e->life;
	own_address(c, e, &out->client);
	text_ncopy(out->version, sizeof(out->version), e->version,
		   strnlen(e->version, sizeof(e->version)));
	if (!e->reason.kind)
		return;
	text_ncopy(what, sizeof(what), e->reason.what,
		   strnlen(e->reason.what, sizeof(e->reason.what)));
	more = e->reason.fix[0] ? e->reason.fix : e->reason.why;
	text_ncopy(rest, sizeof(rest), more, strnlen(more, sizeof(e->reason.fix)));
	text_format(out->reason, sizeof(out->reason), "%s%s%s", what, rest[0] ? ": " : "", rest);
}

void
cluster_voters_say(struct cluster *c)
{
	struct tidings_voter said;
	struct tidings_value value;

	if (!c->gossip)
		return;
	cluster_voters_of(c, &said);
	tidings_put_voter(&said, &value);
	bool news = gossip_put(c->gossip, TIDINGS_VOTER, TIDINGS_ONE, value.data, value.bytes) ==
		    GOSSIP_OK;
	c->put |= news;
	c->dirty |= news;
}

/* ---- for people ---- */

/* So many live nodes have an etcd that starts; one of the others that says why it has not, this one
 * before others. */
static unsigned
count_able(struct cluster *c, struct tidings_voter *none, const char **name)
{
	struct tidings_voter said;
	struct map_iter it = {0};
	unsigned able = 0;

	*none = (struct tidings_voter){0};
	*name = "";

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;
		bool self = n->row.node == c->keep.node;

		said = n->voter;
		if (self)
			cluster_voters_of(c, &said);
		if (n->row.removed || (!self && n->state != GOSSIP_ALIVE))
			continue;
		bool is_able = (said.flags & (TIDINGS_VOTER_ABLE | TIDINGS_VOTER_FAILS)) ==
			       TIDINGS_VOTER_ABLE;
		able += is_able;
		if (is_able || !said.reason[0] || (none->reason[0] && !self))
			continue;
		*none = said;
		*name = n->row.name;
	}
	return able;
}

/* What is wanting, as every node knows it; and why, of one that has none. */
static void
note_of_few(struct cluster *c, char *out, size_t cap)
{
	struct tidings_voter none;
	const char *name;

	if (count_able(c, &none, &name) < VOTERS_FEW)
		text_format(
			out, cap, "with etcd on %d nodes any of them could take changes%s%s%s%s",
			VOTERS_FEW, name[0] ? "; " : "", name, name[0] ? ": " : "", none.reason);
}

static void
note_of_setup(struct cluster *c, char *out, size_t cap)
{
	struct tidings_voter none;
	const char *name;
	bool few = count_able(c, &none, &name) < VOTERS_FEW;

	text_format(out, cap, "etcd is being set up: %zu of %d members%s%s%s%s",
		    c->voters.rows_count, VOTERS_FEW, few && name[0] ? "; " : "", few ? name : "",
		    few && name[0] ? ": " : "", few ? none.reason : "");
}

static void
note_of_writer(struct cluster *c, char *out, size_t cap)
{
	const struct cluster_voters *v = &c->voters;

	if (c->row.moving)
		text_copy(out, cap, "it is moving into etcd");
	else if (v->rows_count)
		note_of_setup(c, out, cap);
	else
		note_of_few(c, out, cap);
}

void
cluster_voters_note(struct cluster *c, char *out, size_t cap)
{
	const struct cluster_voters *v = &c->voters;
	char name[CLUSTER_RECOVER_NAME];

	out[0] = '\0';
	if (!c->etcd) {
		cluster_outside_note(c, out, cap);
		if (out[0] && !c->row.moving)
			return;
		note_of_writer(c, out, cap);
		return;
	}
	if (v->step.asked && v->step.why.why != VOTERS_WHY_ENOUGH)
		text_copy(out, cap, voters_why_text(v->step.why.why));
	for (size_t i = 0; i < v->rows_count && !out[0]; i++) {
		if (v->rows[i].phase == STORE_VOTER_VOTES)
			continue;
		text_format(out, cap, "%s %s", cluster_recover_name(c, v->rows[i].node, name),
			    v->rows[i].phase == STORE_VOTER_GOES ? "is to keep it no more"
								 : "is to keep it, too");
	}
}

/* ---- this node's member ---- */

static void
told(void *arg, const struct etcd_member_status *status, const struct err *err)
{
	struct cluster *c = arg;
	struct cluster_voters *v = &c->voters;

	(void)err;
	v->asking = false;
	v->has_status = status != NULL;
	if (status)
		v->status = *status;
	cluster_voters_say(c);
}

void
cluster_voters_ask(struct cluster *c, uint64_t now_ns)
{
	const struct msg_etcd *e = cluster_etcd_state(c);
	const struct store_voter *row = cluster_voters_row(c, c->keep.node);
	struct cluster_voters *v = &c->voters;
	struct cluster_endpoints one = {.count = 1};
	struct err err = {0};

	if (!row || !voting_runs(row) || !e || !e->pid || e->life != row->life) {
		v->has_status = false;
		return;
	}
	bool calm = v->has_status && row->phase == STORE_VOTER_VOTES;

	if (v->asking || (calm && now_ns < v->ask_at_ns))
		return;
	v->ask_at_ns = now_ns + ASK_MS * MS;
	voting_url(row->client, one.urls[0]);
	if (!v->own || !text_equal(v->own_url, one.urls[0]) || v->own_tls != c->voters.tls) {
		if (cluster_etcd_rpc(c, &v->own, &one, &err) < 0)
			return;
		text_copy(v->own_url, sizeof(v->own_url), one.urls[0]);
		v->own_tls = c->voters.tls;
	}
	v->asking = etcd_members_status(v->own, told, c, &err) == 0;
}

/* ---- the order ---- */

static bool
make_order(const struct store_voter *row, struct msg_etcd_order *out)
{
	char name[ETCD_MEMBER_NAME_BYTES];

	*out = (struct msg_etcd_order){0};
	if (!row || !voting_runs(row))
		return true;
	voting_name(row->node, name);
	out->life = row->life;
	out->run = 1;
	/* Whoever was a member and has lost its data must not begin a cluster that is empty: only
	 * the first one begins one, once. etcd that has data does not look at this. */
	out->existing = row->phase != STORE_VOTER_BEGINS;
	text_copy(out->name, sizeof(out->name), name);
	text_format(out->token, sizeof(out->token), "zlayer-%016" PRIx64, row->token);
	return text_copy(out->cluster, sizeof(out->cluster), row->initial) &&
	       addr_parse(row->client, &out->client) && addr_parse(row->peer, &out->peer);
}

void
cluster_voters_order(struct cluster *c)
{
	struct msg_etcd_order order;

	/* Data is never given up for want of knowledge: without an order the last one holds. */
	if (!c->member || c->row.id == 0 || c->voters.unread)
		return;
	if (make_order(cluster_voters_row(c, c->keep.node), &order))
		cluster_etcd_order(c, &order);
	else
		log_event(LOG_ERROR, "the order of a member of etcd does not fit", LOG_END);
}
