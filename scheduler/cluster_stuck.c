/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes that live and cannot write the store: cut off from it alone, or with a disk of their own
 * that is full. What such a node conducts would stand still, so it says by gossip that it is stuck,
 * and while another node is not, that one conducts (placing.h). It is said when it has been so for
 * CLUSTER_STUCK_MS, since a majority that changes its leader is no reason to hand anything over,
 * and taken back as late, so that a store that comes and goes moves nothing to and fro.
 */
#include "scheduler/cluster_inside.h"

#include "base/log.h"
#include "base/world.h"

#define MS_NS INT64_C(1000000)

static void
turn(struct cluster *c, bool stuck, const struct err *why)
{
	struct cluster_voters *v = &c->voters;

	v->stuck = stuck;
	v->stuck_wall_ns = stuck ? world_wall_ns() - CLUSTER_STUCK_MS * MS_NS : 0;
	c->dirty = true;
	if (stuck)
		log_err(LOG_WARN, "this node conducts nothing while others can write the store",
			why);
	else
		log_event(LOG_INFO, "this node can write the store, and conducts again", LOG_END);
}

void
cluster_stuck_look(struct cluster *c, const struct store_status *status, uint64_t now_ns)
{
	struct cluster_voters *v = &c->voters;

	if (status->writable != v->writable || !v->writable_ns)
		v->writable_ns = now_ns;
	if (status->writable == v->stuck &&
	    now_ns - v->writable_ns >= (uint64_t)(CLUSTER_STUCK_MS * MS_NS))
		turn(c, !status->writable, &status->why);
}

void
cluster_stuck_heard(struct cluster_node *n)
{
	bool stuck = n->has_voter && n->voter.flags & TIDINGS_VOTER_STUCK;

	if (!stuck)
		n->stuck_wall_ns = 0;
	else if (!n->stuck_wall_ns)
		n->stuck_wall_ns = world_wall_ns();
}

int64_t
cluster_stuck_since(const struct cluster *c, const struct cluster_node *n)
{
	return n->row.node == c->keep.node ? c->voters.stuck_wall_ns : n->stuck_wall_ns;
}
