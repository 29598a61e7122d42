/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the roll-outs of this node's deployments want placed, and what of it comes: asks that nobody
 * has taken yet, and claims whose replica has not been heard of. Both are in the core's view, so
 * nothing is wanted twice.
 *
 * Who conducts is the first by rendezvous of the live nodes over the deployment's id, of those that
 * can write the store where there are some. A node that becomes it waits a round after the last
 * change of members, so that what the others have is heard of; a node that has just begun waits for
 * all whom it has not heard yet, but not for ever.
 */
#include "scheduler/placing_inside.h"

#include <string.h>
#include "scheduler/event.h"
#include "scheduler/place/candidates.h"
#include "scheduler/place/whynot.h"
#include "scheduler/reconcile.h"

/* ---- who conducts ---- */

static bool
hears_all(struct placing *p)
{
	uint64_t until = p->start_ns + PLACING_HEAR_MS * PLACING_MS_NS;
	struct map_iter it = {0};

	if (p->m->now_ns >= until)
		return true;
	while (map_next(&p->peers, &it)) {
		if (((const struct placing_peer *)it.value)->state == PLACING_NEW) {
			model_wake_at(p->m, until);
			return false;
		}
	}
	return true;
}

bool
placing_conducts(struct placing *p, const struct deployment *d)
{
	uint64_t settled = p->changed_ns + PLACING_ROUND_MS * PLACING_MS_NS;

	if (fleet_refresh(&p->fleet) < 0)
		return false;
	if (fleet_coordinator(&p->fleet, d->row.id) != p->self) {
		map_remove_u64(&p->conducted, d->row.id);
		return false;
	}
	if (map_get_u64(&p->conducted, d->row.id))
		return true;
	if (p->changed)
		return false; /* the next pass says from when on */
	if (p->m->now_ns < settled) {
		model_wake_at(p->m, settled);
		return false;
	}
	return hears_all(p) && map_put_u64(&p->conducted, d->row.id, p) == 0;
}

/* Another one conducts, or it is no more; or another revision is asked for by now: who asks for
 * that counts what is there first. */
void
placing_ask_before(struct placing *p)
{
	struct list *it, *next;

	list_each (it, next, &p->core.coordinator.works) {
		struct coordinator_work *w = container_of(it, struct coordinator_work, link);
		struct service *s = model_service_by_id(p->m, w->service->id);
		uint32_t revision = s && placing_conducts(p, s->deployment)
					    ? placing_asked_revision(s->deployment)
					    : 0;

		for (size_t i = w->asks_count; i-- > 0;) {
			if (w->asks[i].revision == revision)
				continue;
			coordinator_unask(&p->core.coordinator, w->service->id, w->asks[i].slot,
					  w->asks[i].revision);
			p->stirred = true;
		}
	}
}

/* ---- what comes ---- */

static const struct coordinator_work *
work_of(const struct placing *p, const struct service *s)
{
	return coordinator_of(&p->core.coordinator, s->row.id);
}

/* The replica of a claim, wherever it is. */
static struct replica *
replica_of(const struct placing *p, const struct claim *c)
{
	struct replica *r = model_replica(p->m, (uint64_t)c->node << 32 | c->number);

	if (c->node == p->self)
		return placing_own_replica(p, c->number);
	if (!r)
		r = model_replica(p->m, c->number);
	return r && r->remote && r->node_id == c->node && r->claim == c->number ? r : NULL;
}

static bool
comes(const struct placing *p, const struct fleet_claim *c)
{
	return fleet_claim_lives(c) && c->claim.state != CLAIM_FAILED && !replica_of(p, &c->claim);
}

size_t
placing_coming_count(const struct placing *p, const struct service *s)
{
	const struct coordinator_work *w = work_of(p, s);
	const struct fleet_service *f = fleet_service(&p->fleet, s->row.id);
	size_t count = w ? w->asks_count : 0;

	for (struct list *it = f ? f->claims.next : NULL; f && it != &f->claims; it = it->next)
		count += comes(p, container_of(it, struct fleet_claim, of_service));
	return count;
}

static void
ask_coming(const struct coordinator_slot *a, struct placing_coming *out)
{
	out->index = a->slot + 1;
	out->revision = a->revision;
	out->operation = placing_asked_epoch(out->service->deployment);
	out->since_ns = a->since_ns;
}

/* What its node answered is known before gossip tells of it. */
static void
claim_coming(const struct placing *p, struct fleet_claim *c, struct placing_coming *out)
{
	if (!c->seen_ns)
		c->seen_ns = p->m->now_ns;

	out->index = c->claim.slot + 1;
	out->revision = c->claim.revision;
	out->node = c->claim.node;
	out->number = c->claim.number;
	out->operation = c->claim.epoch;
	out->since_ns = c->seen_ns;
	out->leaving = c->claim.state == CLAIM_LEAVING;
}

void
placing_coming(const struct placing *p, struct service *s, size_t n, struct placing_coming *out)
{
	const struct coordinator_work *w = work_of(p, s);
	const struct fleet_service *f = fleet_service(&p->fleet, s->row.id);
	size_t asks = w ? w->asks_count : 0;

	*out = (struct placing_coming){.service = s};
	if (n < asks) {
		ask_coming(&w->asks[n], out);
		return;
	}
	n -= asks;
	for (struct list *it = f ? f->claims.next : NULL; f && it != &f->claims; it = it->next) {
		struct fleet_claim *c = container_of(it, struct fleet_claim, of_service);

		if (comes(p, c) && n-- == 0) {
			claim_coming(p, c, out);
			return;
		}
	}
}

/* ---- what is to move ---- */

static struct claim
claim_of(const struct placing *p, const struct replica *r)
{
	return (struct claim){
		.service = r->row.service,
		.slot = r->row.index - 1,
		.epoch = r->lease_epoch, /* what has the newer lease is the one that lives */
		.node = r->remote ? r->node_id : p->self,
		.state = r->life.state == MSG_REPLICA_READY ? CLAIM_READY : CLAIM_UNREADY,
		.number = r->claim,
	};
}

static bool
stays(const struct replica *r)
{
	return !r->life.gone && !r->row.job && !r->retiring && r->life.order != LIFECYCLE_REMOVE;
}

static bool
loses(const struct placing *p, const struct replica *r)
{
	struct claim mine = claim_of(p, r);
	struct list *it, *next;

	list_each (it, next, &r->service->replicas) {
		const struct replica *other = container_of(it, struct replica, link);

		/* One that has to go itself takes nobody's place. */
		if (other == r || other->row.index != r->row.index || !stays(other) ||
		    other->misfit || memcmp(other->row.make, r->row.make, sizeof(r->row.make)) != 0)
			continue;
		struct claim theirs = claim_of(p, other);
		if (claim_before(&theirs, &mine))
			return true;
	}
	return false;
}

/* Does not fit its node any more. */
static bool
has_to_go(const struct placing *p, const struct fleet_service *f, const struct replica *r)
{
	const struct fleet_node *n = fleet_node(&p->fleet, r->remote ? r->node_id : p->self);

	return stays(r) && f && f->known && n && fit_moves(f, n);
}

bool
placing_judge(struct placing *p, struct service *s)
{
	const struct fleet_service *f = fleet_service(&p->fleet, s->row.id);
	struct list *it, *next;
	bool any = false;

	list_each (it, next, &s->replicas) {
		struct replica *r = container_of(it, struct replica, link);

		r->misfit = has_to_go(p, f, r);
		r->loser = false;
	}
	/* Against all of the others, those too that lose themselves: the order is total. */
	list_each (it, next, &s->replicas) {
		struct replica *r = container_of(it, struct replica, link);

		r->loser = !r->misfit && stays(r) && loses(p, r);
	}
	list_each (it, next, &s->replicas) {
		struct replica *r = container_of(it, struct replica, link);

		r->misfit |= r->loser;
		any |= r->misfit;
	}
	return any;
}

void
placing_is_old(struct placing *p, const struct replica *r, bool old)
{
	struct fleet_claim *c =
		r->claim ? fleet_claim(&p->fleet, r->remote ? r->node_id : p->self, r->claim)
			 : NULL;

	if (c)
		c->old = old;
}

bool
placing_has_room(struct placing *p, const struct service *s)
{
	struct fleet_service *f = fleet_service(&p->fleet, s->row.id);
	struct candidates pool;

	if (!f || !f->known || fleet_refresh(&p->fleet) < 0)
		return false;
	candidates_find(&p->fleet, f, 0, 1, NULL, 0, &pool);
	return pool.count > 0;
}

/* ---- what the core asks for ---- */

static void
stir(struct placing *p)
{
	p->stirred = true;
	p->link.stir(p->link.arg);
}

int
placing_ask(struct placing *p, struct service *s, uint32_t index, bool of_target, struct err *err)
{
	const struct store_deployment *d = &s->deployment->row;

	if (!fleet_service(&p->fleet, s->row.id))
		return err_set(err, ERR_INTERNAL, "%s is not ready to be placed", s->row.name);
	if (coordinator_ask(&p->core.coordinator, s->row.id, index - 1,
			    of_target ? d->target : d->revision, p->m->now_ns) < 0)
		return err_set(err, ERR_NO_MEMORY, "no memory to look for a node");
	stir(p);
	return 0;
}

static void
retire(struct placing *p, uint32_t node, uint64_t number, enum claim_retire why)
{
	/* Without memory the next pass asks for it again. */
	if (coordinator_retire(&p->core.coordinator, node, number, why, 0) < 0)
		model_wake_at(p->m, p->m->now_ns + 1000 * PLACING_MS_NS);
	stir(p);
}

static enum claim_retire
why_of(const struct replica *r)
{
	const struct deployment *d = r->service->deployment;

	if (d->operation && d->operation->row.kind == MSG_OPERATION_REMOVE)
		return CLAIM_RETIRE_REMOVED;
	if (r->misfit)
		return CLAIM_RETIRE_MOVED;
	return d->rollout.phase == ROLLOUT_IDLE ? CLAIM_RETIRE_SCALE : CLAIM_RETIRE_UPDATE;
}

/* Why it is not to stay on its node. */
static void
tell_move(struct placing *p, const struct replica *r)
{
	const struct service *s = r->service;
	const struct fleet_service *f = fleet_service(&p->fleet, s->row.id);
	struct whynot_row row = {.node = fleet_node(&p->fleet, r->remote ? r->node_id : p->self)};
	char why[WHYNOT_TEXT_BYTES] = "";
	struct msg_reason reason;
	struct err err = {0};

	if (!f || !row.node)
		return;
	fit_node(&p->fleet, f, s->row.wanted, row.node, &row.fit);
	row.fit.reasons &= FIT_MOVES;
	whynot_sentence(&p->fleet, f, &row, why, sizeof(why));
	err_set(&err, ERR_CONFLICT, "%s.%u leaves %s", s->row.name, r->row.index, row.node->name);
	if (r->loser)
		err_why(&err, "another node has it, too");
	else if (why[0])
		err_why(&err, "%s", why);
	msg_reason_from(&err, &reason);
	event_deployment(p->m, s->deployment, s, "placement.moved", LOG_INFO, &reason, "%s%s%s",
			 err.what, err.whys ? ": " : "", err.whys ? err.why[0] : "");
}

void
placing_lost(struct placing *p, uint32_t node)
{
	const struct fleet_node *n = fleet_node(&p->fleet, node);
	struct map_iter it = {0};

	if (!n || fleet_refresh(&p->fleet) < 0)
		return;
	while (map_next(&p->m->replicas, &it)) {
		const struct replica *r = it.value;
		const struct service *s = r->service;
		struct msg_reason reason;
		struct err err = {0};

		/* One node says it: that which will conduct it. */
		if (!r->remote || r->node_id != node || !stays(r) ||
		    fleet_coordinator(&p->fleet, s->deployment->row.id) != p->self)
			continue;
		err_set(&err, ERR_UNREACHABLE, "%s.%u is placed anew", s->row.name, r->row.index);
		err_why(&err, "%s, where it was, is not reachable", n->name);
		err_fix(&err, "zlayer explain %s", n->name);
		msg_reason_from(&err, &reason);
		event_deployment(p->m, s->deployment, s, "placement.lost", LOG_WARN, &reason,
				 "%s: %s", err.what, err.why[0]);
	}
}

void
placing_remove(struct placing *p, struct replica *r)
{
	if (r->claim) {
		if (r->misfit && !r->retiring)
			tell_move(p, r);
		r->retiring = true;
		retire(p, r->remote ? r->node_id : p->self, r->claim, why_of(r));
	} else {
		reconcile_order(p->m, r, LIFECYCLE_REMOVE);
	}
}

void
placing_give_up(struct placing *p, const struct placing_coming *c)
{
	if (c->node)
		retire(p, c->node, c->number, CLAIM_RETIRE_SCALE);
	else
		coordinator_unask(&p->core.coordinator, c->service->row.id, c->index - 1,
				  c->revision);
	stir(p);
}

/* What nodes gave up is kept as long as it says whom not to ask. */
static void
retire_failed(struct placing *p, struct service *s)
{
	const struct fleet_service *f = fleet_service(&p->fleet, s->row.id);
	const struct coordinator_work *w = work_of(p, s);

	if (!f || !f->failed || w || !placing_conducts(p, s->deployment))
		return;
	for (struct list *it = f->claims.next; it != &f->claims; it = it->next) {
		const struct fleet_claim *c = container_of(it, struct fleet_claim, of_service);

		if (fleet_claim_lives(c) && c->claim.state == CLAIM_FAILED)
			retire(p, c->claim.node, c->claim.number, CLAIM_RETIRE_FAILED);
	}
}

/* How many replicas of the asked revision neither are there nor have a node. */
static uint32_t
missing_of(struct placing *p, struct service *s)
{
	const struct coordinator_work *w = work_of(p, s);
	struct list *it, *next;
	uint32_t there = 0;

	if (w)
		return w->waits ? (uint32_t)w->asks_count : 0;
	if (placing_conducts(p, s->deployment))
		return 0;
	/* Another one asks: as far as can be seen from here. */
	list_each (it, next, &s->replicas)
		there += stays(container_of(it, struct replica, link));
	there += (uint32_t)placing_coming_count(p, s);
	return there < s->row.wanted && !placing_has_room(p, s) ? s->row.wanted - there : 0;
}

void
placing_ask_after(struct placing *p)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &p->m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->services) {
			struct service *s = container_of(at, struct service, link);

			const struct fleet_service *f = fleet_service(&p->fleet, s->row.id);

			retire_failed(p, s);
			placing_explain(p, s, f && f->known ? missing_of(p, s) : 0);
		}
	}
}
