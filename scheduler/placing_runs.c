/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of jobs and crons, which have no claim: a cron's conductor chooses a node for a time and
 * writes it into the firing, and that node makes the run. So there is no promise; whether there is
 * room is looked at again by the node itself, and what its runs reserve is kept from its promises.
 */
#include "scheduler/placing_inside.h"

#include <string.h>
#include "base/text.h"
#include "scheduler/place/candidates.h"
#include "scheduler/place/whynot.h"

enum { BEST = 2 };

static struct fleet_service *
service_of(struct placing *p, const struct service *s)
{
	struct fleet_service *f = fleet_service(&p->fleet, s->row.id);

	if (!f || !f->known || fleet_refresh(&p->fleet) < 0)
		return NULL;
	fleet_node_load(&p->fleet, p->self, ledger_cpu_free_milli(&p->core.ledger),
			ledger_memory_free_bytes(&p->core.ledger));
	return f;
}

static int
not_known(const struct service *s, struct err *err)
{
	err_set(err, ERR_CONFLICT, "%s is not ready to be placed", s->row.name);
	return err_fix(err, "try again in a moment");
}

/* ---- a node for a run ---- */

/* One that did not answer just now: it may be there, and who conducts looks after it. */
static uint32_t
suspect(const struct placing *p, const struct fleet_service *f, uint32_t run)
{
	struct fit fit;

	for (size_t i = 0; i < p->fleet.nodes_count; i++) {
		fit_node(&p->fleet, f, run, p->fleet.nodes[i], &fit);
		if (fit.reasons == FIT_SUSPECT)
			return p->fleet.nodes[i]->id;
	}
	return 0;
}

uint32_t
placing_pick(struct placing *p, const struct service *s, uint32_t run, struct err *err)
{
	struct fleet_service *f = service_of(p, s);
	struct candidates pool;

	if (!f) {
		not_known(s, err);
		return 0;
	}
	/* One that cannot ask the store does not hear of it, or may not begin it. */
	candidates_find_writers(&p->fleet, f, run, BEST, &pool);
	if (!pool.count)
		candidates_find(&p->fleet, f, run, BEST, NULL, 0, &pool);
	if (pool.count) {
		candidates_rank(&pool, BEST);
		return pool.items[0].node->id;
	}
	uint32_t node = suspect(p, f, run);
	if (!node) {
		err_set(err, ERR_LIMIT, "no node takes a run of %s", s->row.name);
		placing_why_say_nodes(p, f, err);
	}
	return node;
}

int
placing_check_here(struct placing *p, const struct service *s, struct err *err)
{
	struct fleet_service *f = service_of(p, s);
	const struct fleet_node *n = f ? fleet_node(&p->fleet, p->self) : NULL;
	struct whynot_row row = {.node = n};
	char one[WHYNOT_TEXT_BYTES];

	if (!n)
		return not_known(s, err);
	fit_node(&p->fleet, f, 0, n, &row.fit);
	/* Whether it is alive a node knows best itself. */
	row.fit.reasons &= ~(uint32_t)(FIT_DEAD | FIT_SUSPECT);
	if (!row.fit.reasons)
		return 0;
	whynot_sentence(&p->fleet, f, &row, one, sizeof(one));
	err_set(err, ERR_LIMIT, "a run of %s has no place on %s", s->row.name, n->name);
	err_why(err, "%s", one);
	return -1;
}

bool
placing_is_gone(const struct placing *p, uint32_t node)
{
	const struct placing_peer *n = placing_peer(p, node);

	if (!node || node == p->self)
		return false;
	/* Who conducts has waited for all that it might hear of. */
	return !n || n->state == PLACING_DEAD || n->state == PLACING_NEW;
}

/* After the store was away for all they can ask it again one after the other. */
bool
placing_is_stuck(struct placing *p, uint32_t node)
{
	const struct fleet_node *n = fleet_node(&p->fleet, node);
	const struct fleet_node *self = fleet_node(&p->fleet, p->self);
	uint64_t settled = p->changed_ns + PLACING_STUCK_MS * PLACING_MS_NS;

	if (!n || !n->stuck || !self || self->stuck || p->changed)
		return false;
	if (p->m->now_ns >= settled)
		return true;
	model_wake_at(p->m, settled);
	return false;
}

const char *
placing_node_name(const struct placing *p, uint32_t node)
{
	const struct fleet_node *n = fleet_node(&p->fleet, node);

	return n && n->name[0] ? n->name : NULL;
}

/* ---- what they reserve ---- */

static bool
reserves(const struct replica *r)
{
	return !r->remote && r->row.job && !r->life.gone && r->life.state != MSG_REPLICA_STOPPED &&
	       r->life.state != MSG_REPLICA_FAILED;
}

void
placing_runs_after(struct placing *p)
{
	struct map_iter it = {0};
	uint64_t cpu = 0, memory = 0;

	while (map_next(&p->m->replicas, &it)) {
		struct replica *r = it.value;
		const struct doc_service *spec = reserves(r) ? model_spec(p->m, r) : NULL;

		if (!spec)
			continue;
		cpu += spec->resources.cpu_milli;
		memory += spec->resources.memory_bytes;
	}
	if (cpu == p->runs_cpu_milli && memory == p->runs_memory_bytes)
		return;
	p->runs_cpu_milli = cpu;
	p->runs_memory_bytes = memory;
	p->link.local(p->link.arg, PLACEMENT_RUNS, cpu, &memory, sizeof(memory));
}
