/* SPDX-License-Identifier: Apache-2.0 */
/*
 * States merge by taking the greatest (incarnation, state): alive < suspect < dead < left within
 * one incarnation. That is the whole conflict rule, so any order and any repetition of records
 * ends the same. Whatever was new is told to the node, passed on as a rumour, and seen to by those
 * who depend on it: suspicions, the broadcast's neighbours, probes, anti-entropy.
 *
 * Members are trusted not to lie about others: a record is taken from whoever brings it.
 */
#include "scheduler/gossip/hear.h"

#include "base/mutant.h"
#include "scheduler/gossip/doubt.h"
#include "scheduler/gossip/life.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/mesh.h"
#include "scheduler/gossip/prober.h"
#include "scheduler/gossip/rumour.h"
#include "scheduler/gossip/sync.h"
#include "scheduler/gossip/tell.h"

static void
count(struct gossip *g, enum gossip_state before, enum gossip_state after)
{
	if (after == GOSSIP_SUSPECT && before != GOSSIP_SUSPECT)
		g->counters.suspicions_raised++;
	if (before == GOSSIP_SUSPECT && after == GOSSIP_ALIVE)
		g->counters.suspicions_refuted++;
	if (before == GOSSIP_SUSPECT && after == GOSSIP_DEAD)
		g->counters.suspicions_confirmed++;
}

static void
accept(struct gossip *g, uint32_t from, size_t at, uint32_t accuser, uint32_t status)
{
	uint32_t node = g->ids[at], old = g->status[at];

	member_set_status(g, at, status);
	count(g, core_state(old), core_state(status));
	doubt_end(g, node);
	if (core_live(old) != core_live(status))
		mesh_change(g, node, core_live(status));
	tell_member(g, node, accuser);
	rumour_add(g, node, accuser, status);
	if (core_state(status) == GOSSIP_SUSPECT) {
		doubt_begin(g, node, accuser);
		if (accuser != g->config.self)
			prober_confirm(g, at);
	}
	if (core_live(old) && !core_live(status))
		prober_lost(g);
	/* It was away, or this node was: what either missed is more than rumours bring. */
	if (!core_live(old) && core_live(status) && (from == node || !g->joined))
		sync_soon(g, from);
}

bool
hear_record(struct gossip *g, uint32_t from, uint32_t node, uint32_t accuser, uint32_t status)
{
	long at = member_find(g, node);

	if (at < 0) {
		g->counters.strangers++;
		return false;
	}
	if ((size_t)at == g->self_at) {
		MUTANT(2, (void)0, life_heard(g, status));
		return status != g->status[at];
	}
	if (MUTANT(1, status != g->status[at], status > g->status[at])) {
		accept(g, from, (size_t)at, accuser, status);
		return false;
	}
	if (status == g->status[at]) {
		if (core_state(status) == GOSSIP_SUSPECT && doubt_confirm(g, node, accuser))
			rumour_add(g, node, accuser, status);
		return false;
	}
	/* Who has missed a good-bye accuses somebody who will never answer: it must hear of it. */
	return core_state(status) >= GOSSIP_SUSPECT &&
	       (core_incarnation(status) < core_incarnation(g->status[at]) ||
		core_state(g->status[at]) == GOSSIP_LEFT);
}

void
hear_self(struct gossip *g, uint32_t status)
{
	member_set_status(g, g->self_at, status);
	rumour_add(g, g->config.self, g->config.self, status);
	tell_member(g, g->config.self, 0);
}

void
hear_from(struct gossip *g, size_t at)
{
	if (core_state(g->status[at]) == GOSSIP_SUSPECT)
		doubt_heard(g, g->ids[at]);
}
