/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps towards the voters that the store should have. The writing node of a small cluster does
 * them, then, when the store is etcd's, every node that votes: the one with the lowest id at once,
 * each other one when a step has been wanting for a while, so that none is needed. Who is wrong
 * about the others does no harm: each step is a compare and swap.
 *
 * One thing is under way at a time: a question to etcd, a change of it, or of the rows.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/event.h"

enum {
	SOON_MS = 500,  /* between looks while something is under way */
	CALM_MS = 5000, /* while all is as it should be */
	RANK_MS = 6000, /* so long each of those before this one has for a step */
	REFUSED_MS = 1000,
	PROBE_MS = 2000, /* of an etcd that does not take the store yet */
};

#define MS UINT64_C(1000000)

/* ---- carrying out ---- */

static void look(struct cluster *c);

static void
done(struct cluster *c, const struct err *err, uint64_t again_ms)
{
	struct cluster_voters *v = &c->voters;

	v->busy = false;
	v->look_at_ns = world_mono_ns() + again_ms * MS;
	if (!err) {
		err_clear(&v->step_err);
		v->look_at_ns = 0;
	} else {
		v->step_err = *err;
		log_event(LOG_DEBUG, "a step towards the store's voters was not possible",
			  log_s("why", err->what), LOG_END);
	}
	c->dirty = true;
}

static void
tell(struct cluster *c, const struct voting_step *step)
{
	char name[CLUSTER_RECOVER_NAME];

	cluster_recover_name(c, step->row.node, name);
	if (step->verb == VOTING_SEAL)
		event_node(c->m, "store.moving", LOG_INFO, NULL, "the store moves into etcd");
	else if (step->verb == VOTING_SETTLE)
		event_node(c->m, "store.moved", LOG_INFO, NULL, "the store is etcd's");
	else if (step->verb == VOTING_DROP)
		event_node(c->m, "store.member_gone", LOG_INFO, NULL, "%s keeps the store no more",
			   name);
	else if (step->verb == VOTING_PUT && step->row.phase == STORE_VOTER_VOTES)
		event_node(c->m, "store.member", LOG_INFO, NULL, "%s keeps the store", name);
	else if (step->verb == VOTING_PUT && step->row.phase == STORE_VOTER_GOES)
		event_node(c->m, "store.member_goes", LOG_INFO, NULL,
			   "%s is to keep the store no more: %s", name,
			   voters_why_text(step->why.why));
}

static void
rows_changed(void *arg, const struct err *err)
{
	struct cluster *c = arg;
	struct voting_step step = c->voters.step;

	if (!err && c->voters.taken) {
		tell(c, &step);
		if (step.verb == VOTING_SEAL)
			cluster_move_begin(c);
	}
	if (!err)
		cluster_roster_read(c);
	done(c, err, REFUSED_MS);
	if (!err && c->voters.taken)
		look(c);
}

static void
take_list(struct cluster *c, const struct etcd_members *list)
{
	struct cluster_voters *v = &c->voters;
	bool same = v->has_list && v->list.count == list->count;

	for (size_t i = 0; same && i < list->count; i++)
		same = v->list.items[i].id == list->items[i].id &&
		       v->list.items[i].learner == list->items[i].learner;
	if (!same)
		v->list_since_ns = world_mono_ns();
	v->list = *list;
	v->has_list = true;
	err_clear(&v->list_err);
}

static void
members_changed(void *arg, const struct etcd_members *list, const struct err *err)
{
	struct cluster *c = arg;

	if (list)
		take_list(c, list);
	done(c, err, REFUSED_MS);
	if (list)
		look(c);
}

/* ---- the leader is not taken away without a word ---- */

static void
passed_on(void *arg, const struct etcd_member_status *status, const struct err *err)
{
	(void)status;
	done(arg, err, REFUSED_MS);
}

/* True: the member leads, and is being asked to have another one do that. */
static bool
pass_on(struct cluster *c, uint64_t member)
{
	struct cluster_voters *v = &c->voters;
	struct cluster_endpoints e = {.count = 1};
	uint64_t to = 0;
	struct err err = {0};

	if (!v->has_status || v->status.leader != member)
		return false;
	for (size_t i = 0; i < v->list.count; i++) {
		const struct etcd_member *m = &v->list.items[i];

		if (m->id == member)
			text_copy(e.urls[0], sizeof(e.urls[0]), m->client);
		else if (!m->learner && m->name[0])
			to = m->id;
	}
	v->has_status = false; /* asked again before the next try */
	if (!to || !e.urls[0][0] || cluster_etcd_rpc(c, &v->chief, &e, &err) < 0)
		return false;
	return etcd_members_lead(v->chief, to, passed_on, c, &err) == 0;
}

static void
probed(struct cluster *c, const struct err *err)
{
	done(c, err, PROBE_MS);
}

static void
carry_out(struct cluster *c)
{
	struct cluster_voters *v = &c->voters;
	const struct voting_step *step = &v->step;
	char url[ETCD_RPC_URL_BYTES];
	struct err err = {0};
	int rc = 0;

	v->busy = true;
	switch (step->verb) {
	case VOTING_REST:
	case VOTING_MOVE:
		v->busy = false;
		return;
	case VOTING_PUT:
	case VOTING_DROP:
	case VOTING_SEAL:
	case VOTING_SETTLE:
		rc = cluster_store_change(c, cluster_voters_change, rows_changed, c, &err);
		break;
	case VOTING_PROBE:
		rc = cluster_outside_probe(c, probed, &err);
		break;
	case VOTING_ADD:
		voting_url(step->row.peer, url);
		rc = etcd_members_add_learner(v->rpc, url, members_changed, c, &err);
		break;
	case VOTING_PROMOTE:
		rc = etcd_members_promote(v->rpc, step->member, members_changed, c, &err);
		break;
	case VOTING_REMOVE:
		if (!pass_on(c, step->member))
			rc = etcd_members_remove(v->rpc, step->member, members_changed, c, &err);
		break;
	}
	if (rc < 0)
		done(c, &err, REFUSED_MS);
}

/* ---- whose turn it is ---- */

/* How many others come before this node; -1: it is not this node's. */
static int
rank(const struct cluster *c)
{
	const struct cluster_voters *v = &c->voters;
	bool votes = false;
	int before = 0;

	if (cluster_recover_writer(c))
		return -1; /* rows are about to be other ones */
	if (!c->etcd)
		return cluster_writer(c) == c->keep.node && !c->fenced ? 0 : -1;
	if (cluster_outside_is(c))
		return cluster_outside_rank(c);
	for (size_t i = 0; i < v->rows_count; i++) {
		const struct cluster_node *n = cluster_roster_find(c, v->rows[i].node);
		bool live = n && (n->state == GOSSIP_ALIVE || n->state == GOSSIP_SUSPECT);

		if (v->rows[i].node == c->keep.node)
			votes = v->rows[i].phase != STORE_VOTER_ADDED;
		else if (live && v->rows[i].node < c->keep.node &&
			 v->rows[i].phase == STORE_VOTER_VOTES)
			before++;
	}
	return votes ? before : -1;
}

static bool
same_step(const struct voting_step *a, const struct voting_step *b)
{
	return a->verb == b->verb && a->member == b->member && a->row.node == b->row.node &&
	       a->row.phase == b->row.phase;
}

static void
remember_rows(struct cluster_voters *v)
{
	for (size_t i = 0; i < v->rows_count; i++)
		v->made_of[i] = (struct voters_row){v->rows[i].id, v->rows[i].version};
	v->made_of_count = v->rows_count;
}

static void
decide(struct cluster *c)
{
	struct cluster_voters *v = &c->voters;
	uint64_t now = world_mono_ns();
	struct voting_step step;
	int before = rank(c);
	struct cluster_voters_view w;

	v->look_at_ns = now + CALM_MS * MS;
	if (before < 0 || cluster_voters_view(c, now, &w) < 0)
		return;
	voting_decide(&w.v, &step);
	cluster_voters_view_fini(&w);
	if (!same_step(&step, &v->step) || !v->step_since_ns)
		v->step_since_ns = now;
	v->step = step;
	remember_rows(v);
	if (step.verb != VOTING_REST || step.why.why != VOTERS_WHY_ENOUGH ||
	    (cluster_outside_is(c) && !c->etcd))
		v->look_at_ns = now + SOON_MS * MS;
	if (step.verb == VOTING_MOVE)
		cluster_move_go(c);
	else if (now >= v->step_since_ns + (uint64_t)before * RANK_MS * MS)
		carry_out(c);
}

static void
listed(void *arg, const struct etcd_members *list, const struct err *err)
{
	struct cluster *c = arg;
	struct cluster_voters *v = &c->voters;

	v->busy = false;
	if (list) {
		take_list(c, list);
	} else {
		v->has_list = false;
		v->list_err = *err;
	}
	decide(c);
}

/* At what is to be done next: each second, and after each step that was done. */
static void
look(struct cluster *c)
{
	struct cluster_voters *v = &c->voters;
	struct err err = {0};

	if (v->busy || c->over || c->freed || rank(c) < 0)
		return;
	if (v->rows_count == 0 || !v->rpc || (c->row.moving && !c->etcd) || cluster_outside_is(c)) {
		v->has_list = false;
		decide(c);
		return;
	}
	v->busy = true;
	if (etcd_members_list(v->rpc, listed, c, &err) < 0)
		done(c, &err, REFUSED_MS);
}

void
cluster_voters_tick(struct cluster *c, uint64_t now_ns)
{
	struct cluster_voters *v = &c->voters;
	struct store_status status;

	store_status(c->m->store, &status);
	c->dirty |=
		status.writable != v->writable || memcmp(&status.why, &v->why, sizeof(v->why)) != 0;
	cluster_stuck_look(c, &status, now_ns);
	v->writable = status.writable;
	v->why = status.why;
	(void)cluster_holds(c); /* from when it is lost, not from when a change comes */
	cluster_etcd_renew(c);
	cluster_voters_ask(c, now_ns);
	cluster_voters_say(c);
	cluster_voters_order(c);
	cluster_move_hear(c, now_ns);
	if (now_ns >= v->look_at_ns)
		look(c);
}

void
cluster_voters_end(struct cluster *c)
{
	cluster_move_end(c);
	etcd_rpc_close(c->voters.rpc);
	etcd_rpc_close(c->voters.own);
	etcd_rpc_close(c->voters.chief);
	c->voters.rpc = c->voters.own = c->voters.chief = NULL;
}
