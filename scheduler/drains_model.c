/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is drained, by the tables of the processes that serve: a worker says which table of backends
 * it goes by, and how many requests it has under way to a replica that drains. A worker of an
 * earlier run that only serves out what it has is one of them; what it does not say it may hold.
 *
 * News of a replica that leaves and of the one that came for it take different ways and may come in
 * either order. So a node does not let go of the last one that it knows as long as others are
 * wanted, for a moment.
 */
#include "scheduler/drains.h"

#include "scheduler/model.h"
#include "scheduler/placing.h"
#include "scheduler/remote.h"

#define MS_NS UINT64_C(1000000)

/* ---- this node's processes ---- */

static bool
has_let_go(const struct model *m, const struct ring_reader *reader, uint64_t replica,
	   uint64_t version)
{
	const struct msg_applied *a = ring_table_get(reader, MSG_TABLE_APPLIED, 1);
	const struct msg_drain *d = ring_table_get(reader, MSG_TABLE_DRAIN, replica);

	return a && a->scheduler_generation == m->generation && a->backends_version >= version &&
	       !(d && d->in_flight > 0);
}

bool
drains_here(const struct model *m, uint64_t replica, uint64_t version)
{
	if (!version)
		return false;
	for (size_t i = 0; i < ROLE_PROXIES_MAX; i++) {
		if (m->proxies[i] && !has_let_go(m, m->proxies[i], replica, version))
			return false;
	}
	/* It has the row only while the kernel balances: connections that no proxy knows of. */
	return !m->dataplane || !ring_table_get(m->dataplane, MSG_TABLE_APPLIED, 1) ||
	       has_let_go(m, m->dataplane, replica, version);
}

/* ---- other nodes ---- */

struct asking {
	struct model *m;
	const struct replica *p;
	bool free;
};

static void
ask(void *arg, uint32_t node)
{
	struct asking *a = arg;
	struct model *m = a->m;

	/* What is not reached from here does not reach what is here. */
	if (!m->hooks.reaches || !m->hooks.reaches(m->hooks.arg, node))
		return;
	a->free &= drains_is_free(m->drains, a->p->row.id, a->p->since_wall_ns, node);
}

bool
drains_elsewhere(struct model *m, const struct replica *p)
{
	struct asking a = {m, p, true};

	if (m->drains && m->placing)
		placing_live_each(m->placing, ask, &a);
	return a.free;
}

bool
drains_parts(const struct model *m, const struct replica *p)
{
	const struct drains_asked *a =
		p->remote && m->drains ? drains_asked(m->drains, p->row.id) : NULL;

	/* In balancing again since: the question is an old one. */
	return a && a->node == p->node_id && a->since_wall_ns >= p->since_wall_ns;
}

/* ---- the last one ---- */

static bool
serves(const struct model *m, const struct replica *p)
{
	return lifecycle_balance(&p->life) == MSG_BACKEND_ACTIVE && !drains_parts(m, p) &&
	       (!p->remote || remote_is_reachable(m, p));
}

static bool
is_last(const struct model *m, const struct replica *p)
{
	struct list *it, *next;

	list_each (it, next, &p->service->replicas) {
		const struct replica *other = container_of(it, struct replica, link);

		if (other != p && !other->row.job && serves(m, other))
			return false;
	}
	return true;
}

/* Others are to serve when it is gone. */
static bool
is_followed(struct model *m, const struct replica *p)
{
	const struct deployment *d = p->service->deployment;
	const struct doc_service *spec = model_in_force(m, p->service);
	/* The other one waits for its end. */
	bool goes_first =
		spec && (spec->scale.unique || spec->update.order == DOC_ORDER_STOP_FIRST ||
			 (!spec->update.max_surge && spec->update.max_unavailable));

	return p->life.order != LIFECYCLE_STOP && p->service->row.wanted > 0 && !d->gone &&
	       !d->lost && !d->row.stopped &&
	       !(d->operation && d->operation->row.kind == MSG_OPERATION_REMOVE) && spec &&
	       !goes_first;
}

bool
drains_keeps(struct model *m, struct replica *p)
{
	uint64_t until_ns;

	if (!m->placing || !is_followed(m, p) || !is_last(m, p))
		return false;
	if (!p->kept_ns)
		p->kept_ns = m->now_ns;
	until_ns = p->kept_ns + DRAINS_LAST_MS * MS_NS;
	if (m->now_ns >= until_ns)
		return false;
	model_wake_at(m, until_ns);
	return true;
}

/* ---- answers ---- */

/* Nothing new is sent there from the backends as they are now. */
static bool
gives_out(struct model *m, const struct drains_asked *a)
{
	const struct replica *p = model_replica(m, a->replica);
	const struct msg_backend *row = ring_table_own(m->writer, MSG_TABLE_BACKEND, a->replica);

	return (p && p->remote && p->node_id == a->node && !drains_parts(m, p)) ||
	       (row && row->state != MSG_BACKEND_DRAINING);
}

static void
look_at(struct model *m, struct drains_asked *a)
{
	if (!m->settled || gives_out(m, a)) {
		a->version = 0;
		drains_answer(m->drains, a, false);
		return;
	}
	if (!a->version)
		a->version = ring_table_own_version(m->writer, MSG_TABLE_BACKEND);
	drains_answer(m->drains, a, drains_here(m, a->replica, a->version));
}

void
drains_look(struct model *m)
{
	struct map_iter it = {0};

	if (!m->drains || !m->writer)
		return;
	while (map_next(&m->drains->asked, &it))
		look_at(m, it.value);
	it = (struct map_iter){0};
	while (map_next(&m->drains->own, &it)) {
		uint64_t replica = ((const struct drains_own *)it.value)->replica;
		const struct replica *p = model_replica(m, replica);

		if (!p || p->life.state != MSG_REPLICA_DRAINING)
			drains_end(m->drains, replica);
	}
	drains_flush(m->drains);
}
