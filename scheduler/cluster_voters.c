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

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/event.h"
#include "scheduler/place/rendezvous.h"

enum {
	SOON_MS = 500,  /* between looks while something is under way */
	CALM_MS = 5000, /* while all is as it should be */
	RANK_MS = 6000, /* so long each of those before this one has for a step */
	REFUSED_MS = 1000,
	PROBE_MS = 2000, /* of an etcd that does not take the store yet */
};

#define MS UINT64_C(1000000)

/* ---- rows ---- */

const struct store_voter *
cluster_voters_row(const struct cluster *c, uint32_t node)
{
	const struct cluster_voters *v = &c->voters;

	for (size_t i = 0; i < v->rows_count; i++) {
		if (v->rows[i].node == node)
			return &v->rows[i];
	}
	return NULL;
}

static bool
row_holds(const struct store_voter *row)
{
	struct addr a;

	return row->node && row->phase >= STORE_VOTER_BEGINS && row->phase <= STORE_VOTER_GOES &&
	       row->life && addr_parse(row->client, &a) && addr_parse(row->peer, &a);
}

/* Any node may write any row: one that makes no sense is passed over. When they cannot be read
 * nothing of what is known changes. self_out: whether one of that node was passed over. */
static int
read_rows(struct store *s, uint32_t self, struct store_voter out[VOTING_ROWS_MAX],
	  size_t *count_out, bool *self_out, struct err *err)
{
	struct buf rows;
	size_t count = 0;

	buf_init(&rows, MEM_SCHEDULER, 1 << 20);
	if (cluster_store_rows(s, STORE_VOTER, &rows, err) < 0) {
		buf_fini(&rows);
		return -1;
	}
	const struct store_voter *row = (const void *)rows.data;
	*self_out = false;
	for (size_t i = 0; i < rows.length / sizeof(*row); i++) {
		if (row_holds(&row[i]) && count < VOTING_ROWS_MAX)
			out[count++] = row[i];
		else
			*self_out |= row[i].node == self;
	}
	*count_out = count;
	buf_fini(&rows);
	return 0;
}

void
cluster_voters_read(struct cluster *c)
{
	struct cluster_voters *v = &c->voters;
	struct err err = {0};
	bool passed_over = false;

	v->unread = read_rows(c->m->store, c->keep.node, v->rows, &v->rows_count, &passed_over,
			      &err) < 0;
	if (v->unread)
		log_err(LOG_ERROR, "who keeps the store cannot be read", &err);
	v->unread |= passed_over;
	v->look_at_ns = 0;
	cluster_etcd_renew(c);
	cluster_voters_order(c);
}

/* ---- the view ---- */

struct view {
	struct voting_view v;
	struct voters_node *nodes;
	struct voting_place *places;
};

static void
view_fini(struct view *w)
{
	mem_free(w->nodes);
	mem_free(w->places);
}

static uint64_t
since(const struct cluster *c, const struct cluster_node *n, uint64_t now_ns)
{
	int64_t for_ns = world_wall_ns() - n->since_wall_ns;

	if (n->row.node == c->keep.node)
		return c->started_ns;
	if (for_ns < 0)
		for_ns = 0;
	return (uint64_t)for_ns < now_ns ? now_ns - (uint64_t)for_ns : 0;
}

static void
put_node(struct cluster *c, const struct cluster_node *n, uint64_t now_ns, struct view *w)
{
	struct tidings_voter own, *said = &own;
	struct voters_node *node = &w->nodes[w->v.nodes_count];
	struct voting_place *place = &w->places[w->v.nodes_count++];
	const struct store_voter *row = cluster_voters_row(c, n->row.node);
	bool self = n->row.node == c->keep.node;
	const char *zone = self ? c->config->node.zone : n->facts.zone;

	own = n->voter;
	if (self)
		cluster_voters_of(c, &own);
	*node = (struct voters_node){
		.node = n->row.node,
		.zone = zone[0] ? rendezvous_text(zone) : 0,
		.able = said->flags & TIDINGS_VOTER_ABLE,
		.live = self || n->state == GOSSIP_ALIVE || n->state == GOSSIP_SUSPECT,
		.ruined = row && row->life == said->life && said->flags & TIDINGS_VOTER_RUINED,
		.draining = n->row.draining,
		.removed = n->row.removed || said->flags & TIDINGS_VOTER_LEAVING,
		.since_ns = since(c, n, now_ns),
	};
	*place = (struct voting_place){
		.caught_up = said->flags & TIDINGS_VOTER_LEVEL,
		.member_up = row && row->life == said->life && said->flags & TIDINGS_VOTER_UP,
	};
	if (said->client.port) {
		struct addr a = said->client;

		addr_put(&a, place->client, sizeof(place->client));
		a.port++;
		addr_put(&a, place->peer, sizeof(place->peer));
	}
	if (node->live && !node->removed &&
	    !(said->flags & (w->v.outside ? TIDINGS_VOTER_NAMES : TIDINGS_VOTER_CAN)))
		w->v.all_can = false;
}

static int
by_id(const void *a, const void *b)
{
	uint32_t x = ((const struct cluster_node *const *)a)[0]->row.node;
	uint32_t y = ((const struct cluster_node *const *)b)[0]->row.node;

	return x < y ? -1 : x > y;
}

static int
make_view(struct cluster *c, uint64_t now_ns, struct view *w)
{
	const struct cluster_voters *own = &c->voters;
	size_t count = map_count(&c->nodes), at = 0;
	const struct cluster_node **nodes =
		mem_zalloc(MEM_SCHEDULER, count * sizeof(struct cluster_node *));
	struct map_iter it = {0};
	struct world world;

	world_real(&world);
	memset(w, 0, sizeof(*w));
	w->nodes = mem_zalloc(MEM_SCHEDULER, count * sizeof(*w->nodes));
	w->places = mem_zalloc(MEM_SCHEDULER, count * sizeof(*w->places));
	if (!nodes || !w->nodes || !w->places) {
		mem_free(nodes);
		view_fini(w);
		return -1;
	}
	w->v = (struct voting_view){
		.self = c->keep.node,
		.writer = cluster_writer(c),
		.sealed = c->row.moving,
		.unsettled = c->etcd && c->row.id && (c->row.moving || c->row.writer),
		.all_can = true,
		.outside = cluster_outside_is(c),
		.empty = cluster_outside_is_empty(c),
		.nodes = w->nodes,
		.places = w->places,
		.rows = own->rows,
		.rows_count = own->rows_count,
		.list = own->has_list ? &own->list : NULL,
		.list_since_ns = own->list_since_ns,
		.replace_ms = c->config->cluster.replace_after_ms,
		.now_ns = now_ns,
		.wall_ns = cluster_now_s(c) * CLUSTER_SECOND_NS,
		.random = {world_random_u64(&world), world_random_u64(&world)},
	};
	while (map_next(&c->nodes, &it))
		nodes[at++] = it.value;
	qsort(nodes, at, sizeof(*nodes), by_id);
	for (size_t i = 0; i < at; i++)
		put_node(c, nodes[i], now_ns, w);
	mem_free(nodes);
	return 0;
}

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

/* As when the step was decided: what this node has read since may be others already. */
static bool
same_rows(struct cluster *c, struct store *s, int *rc, struct err *err)
{
	struct store_voter now[VOTING_ROWS_MAX];
	const struct cluster_voters *v = &c->voters;
	bool passed_over;
	size_t count;

	*rc = read_rows(s, c->keep.node, now, &count, &passed_over, err);
	if (*rc < 0 || count != v->made_of_count)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (now[i].id != v->made_of[i].id || now[i].version != v->made_of[i].version)
			return false;
	}
	return true;
}

static int
put_cluster(struct cluster *c, struct store *s, bool seal, struct err *err)
{
	struct store_cluster row;

	if (c->row.id == 0 || store_get(s, STORE_CLUSTER, c->row.id, &row, err) < 0)
		return c->row.id ? -1 : 1;
	if (seal ? row.moving : !row.moving && !row.writer)
		return 1;
	if (seal)
		row.outside = cluster_outside_is(c);
	row.moving = seal;
	if (!seal)
		row.writer = 0;
	return store_put(s, STORE_CLUSTER, &row, err);
}

/* Who is to have a member has the authority's key first, for its certificates. */
static int
make_keeper(struct cluster *c, struct store *s, uint32_t node, struct err *err)
{
	const struct cluster_node *n = cluster_roster_find(c, node);
	struct store_node row;

	if (!n || n->row.id == 0)
		return err_set(err, ERR_CONFLICT, "a node that is to keep the store has no row");
	if (store_get(s, STORE_NODE, n->row.id, &row, err) < 0)
		return -1;
	if (row.keeper)
		return 0;
	row.keeper = 1;
	return store_put(s, STORE_NODE, &row, err);
}

/* So that two changes of voters meet: one that was beaten is else done again upon rows that it was
 * not decided from, if they are other ones than its own. */
static int
touch_cluster(struct cluster *c, struct store *s, struct err *err)
{
	struct store_cluster row;

	if (c->row.id == 0)
		return err_set(err, ERR_CONFLICT, "this node has no row of the cluster yet");
	if (store_get(s, STORE_CLUSTER, c->row.id, &row, err) < 0)
		return -1;
	return store_put(s, STORE_CLUSTER, &row, err);
}

static int
put_step(struct cluster *c, struct store *s, struct err *err)
{
	const struct voting_step *step = &c->voters.step;
	struct store_voter row = step->row;

	if ((step->verb == VOTING_PUT || step->verb == VOTING_DROP) && touch_cluster(c, s, err) < 0)
		return -1;
	switch (step->verb) {
	case VOTING_PUT:
		if (row.id == 0 && make_keeper(c, s, row.node, err) < 0)
			return -1;
		return store_put(s, STORE_VOTER, &row, err);
	case VOTING_DROP:
		return store_drop(s, STORE_VOTER, row.id, row.version, err);
	case VOTING_SEAL:
	case VOTING_SETTLE:
		return put_cluster(c, s, step->verb == VOTING_SEAL, err);
	default:
		return 1;
	}
}

static int
change_rows(void *arg, struct store *s, struct err *err)
{
	struct cluster *c = arg;
	int rc;

	c->voters.taken = false;
	/* Decided from other rows than there are now: it is decided again. */
	if (!same_rows(c, s, &rc, err))
		return rc < 0 ? -1 : 1;
	rc = put_step(c, s, err);
	c->voters.taken = rc == 0;
	return rc;
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
		rc = cluster_store_change(c, change_rows, rows_changed, c, &err);
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
	struct view w;

	v->look_at_ns = now + CALM_MS * MS;
	if (before < 0 || make_view(c, now, &w) < 0)
		return;
	voting_decide(&w.v, &step);
	view_fini(&w);
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
