/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is kept of a replica somewhere else is what the readers of the model look at: state, order
 * and attempt of its life, and a container's row as far as it is known. Times are those of hearing,
 * not of the other node's clock: what is judged by them is at most judged later.
 */
#include "scheduler/remote.h"

#include <string.h>
#include "base/text.h"

/* ---- told ---- */

static uint32_t
flags_of(const struct replica *p)
{
	const struct lifecycle *l = &p->life;
	bool runs = p->has_container && !p->container.hold &&
		    p->container.state == MSG_CONTAINER_RUNNING &&
		    p->container.attempt == l->attempt;
	bool passed = runs && l->ready_attempt && l->ready_attempt == l->attempt &&
		      l->ready_started_wall_ns == p->container.started_wall_ns;

	return (l->order == LIFECYCLE_REMOVE ? TIDINGS_LEAVING : 0) |
	       (l->order == LIFECYCLE_STOP ? TIDINGS_STOPPED : 0) | (runs ? TIDINGS_STARTED : 0) |
	       (passed ? TIDINGS_PASSED : 0) | (lifecycle_in_trouble(l) ? TIDINGS_TROUBLE : 0) |
	       (p->row.job ? TIDINGS_JOB : 0);
}

/* Its container is this node's alone: the others see no more of it than that. */
static uint32_t
exit_of(const struct replica *p)
{
	const struct msg_container *c = &p->ended;

	if (!p->row.job || !p->has_ended || c->state != MSG_CONTAINER_EXITED || !c->started_wall_ns)
		return 0;
	return MSG_EXIT_KNOWN | (c->exit_signal & MSG_EXIT_BYTE) << MSG_EXIT_SIGNAL_SHIFT |
	       ((uint32_t)c->exit_status & MSG_EXIT_BYTE);
}

void
remote_tell(const struct model *m, const struct replica *p, struct tidings_replica *out)
{
	const struct msg_container *c = &p->container;
	bool current = p->has_container && c->attempt == p->life.attempt;
	static const struct addr none;

	(void)m;
	*out = (struct tidings_replica){
		.service = p->row.service,
		.operation = p->row.operation,
		.claim = p->claim,
		.index = p->row.index,
		.revision = p->row.revision,
		.attempt = p->life.attempt,
		.ready_attempt = p->life.ready_attempt,
		.restarts = p->life.restarts,
		.conditions = current ? c->conditions : 0,
		.state = p->waits.kind ? MSG_REPLICA_PENDING : p->life.state,
		.flags = flags_of(p),
		.created_wall_ns = p->row.created_wall_ns,
		.since_wall_ns = p->since_wall_ns,
		.reason = p->waits.kind ? p->waits : p->reason,
		.lease_epoch = p->lease_epoch,
		.exit = exit_of(p),
		.memory_bytes = p->told_memory_bytes,
		/* They outlive attempts, and the others must know whose they are between two. */
		.addr4 = p->has_container ? c->addr4 : none,
		.addr6 = p->has_container ? c->addr6 : none,
	};
	memcpy(out->make, p->row.make, sizeof(out->make));
}

/* ---- heard ---- */

static void
take_row(struct replica *p, const struct tidings_replica *t)
{
	p->row.service = t->service;
	p->row.operation = t->operation;
	p->row.index = t->index;
	p->row.revision = t->revision;
	p->row.attempt = t->attempt;
	p->row.created_wall_ns = t->created_wall_ns;
	p->row.job = t->flags & TIDINGS_JOB ? 1 : 0;
	memcpy(p->row.make, t->make, sizeof(p->row.make));
}

static void
take_life(struct model *m, struct replica *p, const struct tidings_replica *t)
{
	struct lifecycle *l = &p->life;
	bool was_ready = l->state == MSG_REPLICA_READY;

	l->order = t->flags & TIDINGS_LEAVING   ? LIFECYCLE_REMOVE
		   : t->flags & TIDINGS_STOPPED ? LIFECYCLE_STOP
						: LIFECYCLE_RUN;
	l->state = (enum msg_replica_state)t->state;
	l->attempt = t->attempt;
	l->ready_attempt = t->ready_attempt;
	l->restarts = t->restarts;
	l->ready_started_wall_ns = t->flags & TIDINGS_PASSED ? 1 : 0;
	/* lifecycle_in_trouble: */
	l->init_failing = !(t->flags & TIDINGS_TROUBLE);
	l->hold = t->flags & TIDINGS_TROUBLE;
	if (l->state == MSG_REPLICA_READY && !was_ready)
		p->ready_ns = m->now_ns;
	/* The time that a pull takes is not the replica's. */
	if (l->state == MSG_REPLICA_CREATING && !(t->conditions & MSG_IMAGE_READY))
		p->created_ns = m->now_ns;
}

static void
take_container(struct replica *p, uint64_t id, const struct tidings_replica *t)
{
	p->has_container = t->flags & TIDINGS_STARTED;
	p->container = (struct msg_container){
		.replica = id,
		.attempt = t->attempt,
		.state = p->has_container ? MSG_CONTAINER_RUNNING : 0,
		.conditions = t->conditions,
		.started_wall_ns = 1, /* compared with itself alone: take_life */
		.addr4 = t->addr4,
		.addr6 = t->addr6,
		.memory_bytes = t->memory_bytes,
	};
}

bool
remote_take(struct model *m, uint32_t node, const char *name, uint64_t id,
	    const struct tidings_replica *t)
{
	struct service *s = model_service_by_id(m, t->service);
	struct replica *p = model_replica(m, id);
	struct store_replica row = {.id = id};

	if (p && (!p->remote || p->node_id != node))
		return false;
	if (p && p->service != s) {
		model_drop_replica(m, p);
		p = NULL;
	}
	if (!s || (!p && !(p = model_add_replica(m, s, &row))))
		return false;
	p->remote = true;
	p->node_id = node;
	text_copy(p->node, sizeof(p->node), name);
	p->claim = t->claim;
	p->lease_epoch = t->lease_epoch;
	p->exit = t->exit;
	take_row(p, t);
	take_life(m, p, t);
	take_container(p, id, t);
	p->since_wall_ns = t->since_wall_ns;
	p->reason = t->reason;
	return true;
}

void
remote_drop(struct model *m, uint32_t node, uint64_t id)
{
	struct replica *p = model_replica(m, id);

	if (p && p->remote && p->node_id == node)
		model_drop_replica(m, p);
}

struct of_node {
	struct model *m;
	uint32_t node;
};

static void
drop_of_node(void *arg, struct service *v, struct replica *p)
{
	const struct of_node *of = arg;

	(void)v;
	if (p->remote && p->node_id == of->node)
		model_drop_replica(of->m, p);
}

void
remote_drop_node(struct model *m, uint32_t node)
{
	struct of_node of = {m, node};
	struct list *it, *next;

	list_each (it, next, &m->deployments)
		model_each_replica(container_of(it, struct deployment, link), drop_of_node, &of);
}

bool
remote_is_reachable(const struct model *m, const struct replica *p)
{
	return m->hooks.reaches && m->hooks.reaches(m->hooks.arg, p->node_id);
}

bool
remote_is_doubted(const struct model *m, const struct replica *p)
{
	return m->hooks.doubts && m->hooks.doubts(m->hooks.arg, p->node_id);
}
