/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaving: the row says so first (so that nobody takes it for a failure, and nothing is placed
 * here), then gossip's good-bye, then the identity goes and the process ends; the next one is a
 * node in no cluster. It takes no deployment with it: what is wanted belongs to the cluster. The
 * last one of a cluster is the exception: what it runs was its own all along.
 *
 * One that keeps a part of the store hands that over before: it says that it is about to leave
 * (tidings_voter), and waits until its row VOTER has gone, for without it there may be no majority.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/world.h"

enum { SAID_MS = 3000, HANDED_MS = 40000 };

struct cluster_leave {
	struct cluster *c;
	struct station_request request;
	bool force;
	uint64_t hand_until_ns; /* for its part of the store to be taken over; 0: that is done */
	uint64_t until_ns;      /* for the good-bye to be said; 0: the row comes first */
};

void
cluster_leave_end(struct cluster *c)
{
	mem_free(c->leave);
	c->leave = NULL;
}

static size_t
others(const struct cluster *c)
{
	const struct cluster_node *self = cluster_roster_find(c, c->keep.node);

	return cluster_roster_count(c) - (self && !self->row.removed);
}

static bool
sent_away(const struct cluster *c)
{
	return c->renewal_err.kind == ERR_DENIED;
}

static void
finish(struct cluster *c)
{
	struct cluster_leave *l = c->leave;
	struct err err = {0};

	if (cluster_keep_leave(c->folder,
			       others(c) > 0 ? CLUSTER_KEEP_LEFT_ALL : CLUSTER_KEEP_LEFT_OWN,
			       &err) < 0) {
		cluster_refuse(c, &l->request, &err);
		cluster_leave_end(c);
		return;
	}
	log_event(LOG_INFO, "this node has left its cluster", LOG_END);
	cluster_leave_end(c);
	cluster_renew_process(c); /* the next one answers */
}

void
cluster_leave_said(struct cluster *c)
{
	if (c->leave && c->leave->until_ns)
		c->leave->until_ns = 1; /* at the end of the turn: a step is under way */
}

static void
say_goodbye(struct cluster_leave *l)
{
	struct cluster *c = l->c;

	l->until_ns = world_mono_ns() + (uint64_t)SAID_MS * 1000000;
	if (!c->gossip) {
		l->until_ns = 1;
		return;
	}
	gossip_leave(c->gossip);
	c->put = true;
}

/* ---- the row ---- */

static int
work(void *arg, struct store *s, struct err *err)
{
	const struct cluster_leave *l = arg;
	const struct cluster_node *n = cluster_roster_find(l->c, l->c->keep.node);
	struct store_node row;

	if (!n || n->row.id == 0)
		return err_set(err, ERR_UNREACHABLE,
			       "this node does not have its own row of the store yet");
	if (store_get(s, STORE_NODE, n->row.id, &row, err) < 0)
		return -1;
	if (row.removed)
		return 1;
	row.removed = STORE_NODE_LEFT;
	return store_put(s, STORE_NODE, &row, err);
}

static void
kept(void *arg, const struct err *err)
{
	struct cluster_leave *l = arg;
	struct cluster *c = l->c;

	if (err && !l->force) {
		struct err told = *err;

		err_why(&told, "the cluster has to know that this node leaves");
		err_fix(&told, "try again later; or zlayer leave --force, and zlayer node rm on "
			       "another node");
		cluster_refuse(c, &l->request, &told);
		cluster_leave_end(c);
		return;
	}
	if (err)
		log_err(LOG_WARN, "this node leaves, and the cluster does not know", err);
	cluster_roster_read(c);
	say_goodbye(l);
}

/* ---- the request ---- */

static int
may_leave(struct cluster *c, bool force, struct err *err)
{
	uint32_t replicas = cluster_facts_own_replicas(c);

	if (c->leave || c->over)
		return err_set(err, ERR_CONFLICT, "this node is leaving already");
	if (others(c) == 0 || force || sent_away(c) || c->twin.found)
		return 0;
	if (cluster_writer(c) == c->keep.node) {
		err_set(err, ERR_CONFLICT, "this node takes the changes of the cluster's store");
		err_why(err, "without it the other %zu could not be told anything any more",
			others(c));
		return err_fix(err, "let the others leave first; --force leaves them as they are");
	}
	if (replicas > 0) {
		err_set(err, ERR_CONFLICT, "this node has %u replicas", replicas);
		return err_fix(err, "zlayer node drain %s first, or zlayer leave --force",
			       c->keep.name);
	}
	return 0;
}

static int
begin(struct cluster *c, const struct station_request *q, bool force, struct err *err)
{
	struct cluster_leave *l = mem_zalloc(MEM_SCHEDULER, sizeof(*l));

	if (!l)
		return err_set(err, ERR_NO_MEMORY, "no memory to leave the cluster");
	*l = (struct cluster_leave){.c = c, .request = *q, .force = force};
	c->leave = l;
	/* Nobody is there who would have to be told, or knows already; or another one is this node,
	 * and stays. */
	if (others(c) == 0 || sent_away(c) || c->twin.found) {
		say_goodbye(l);
		return 0;
	}
	if (cluster_voters_row(c, c->keep.node) && !force) {
		l->hand_until_ns = world_mono_ns() + (uint64_t)HANDED_MS * 1000000;
		cluster_voters_say(c);
		return 0;
	}
	if (cluster_store_change(c, work, kept, l, err) == 0)
		return 0;
	cluster_leave_end(c);
	return -1;
}

void
cluster_leave_request(struct cluster *c, const struct station_request *q, const void *body,
		      size_t bytes)
{
	struct msg_leave asked = {0};
	struct err err = {0};
	int rc;

	if (bytes == sizeof(asked))
		memcpy(&asked, body, sizeof(asked));
	if (bytes != sizeof(asked)) {
		rc = err_set(&err, ERR_INVALID, "the request is malformed");
	} else if (!c->member) {
		cluster_answer(c, q, NULL, 0, NULL, 0); /* it is as it is to be */
		return;
	} else {
		rc = may_leave(c, asked.force, &err);
		if (rc == 0)
			rc = begin(c, q, asked.force, &err);
	}
	if (rc < 0)
		cluster_refuse(c, q, &err);
}

/* ---- its part of the store ---- */

static void
not_handed_over(struct cluster *c)
{
	struct cluster_leave *l = c->leave;
	char note[MSG_NAME * 2];
	struct err err = {0};

	err_set(&err, ERR_CONFLICT, "this node keeps a part of the store that nobody takes over");
	cluster_voters_note(c, note, sizeof(note));
	if (note[0])
		err_why(&err, "%s", note);
	err_fix(&err, "zlayer cluster show; bring back the others, or zlayer leave --force");
	cluster_refuse(c, &l->request, &err);
	cluster_leave_end(c);
	cluster_voters_say(c);
}

void
cluster_leave_tick(struct cluster *c, uint64_t now_ns)
{
	struct cluster_leave *l = c->leave;
	struct err err = {0};

	if (!l)
		return;
	if (l->hand_until_ns && !cluster_voters_row(c, c->keep.node)) {
		l->hand_until_ns = 0;
		if (cluster_store_change(c, work, kept, l, &err) < 0) {
			cluster_refuse(c, &l->request, &err);
			cluster_leave_end(c);
		}
	} else if (l->hand_until_ns && now_ns >= l->hand_until_ns) {
		not_handed_over(c);
	} else if (l->until_ns && now_ns >= l->until_ns) {
		finish(c);
	}
}
