/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters are compared with what they were at the last look: a process that was replaced meanwhile
 * begins at 0, and what its predecessor counted last is lost; one that is not there makes the
 * figures incomplete. A container's processor time is divided by the time between the two
 * measurements, which are runtime's, not by that between two looks. A request counts at the node
 * that it came to, wherever the replica is that serves it; a container at its own node.
 */
#include "scheduler/figures.h"

#include <string.h>
#include "scheduler/model.h"

#define MS_NS UINT64_C(1000000)

enum { MILLI = 1000, CLOSE_MS = 500 /* two measurements so close say nothing */ };

static uint64_t
plus(uint64_t a, uint64_t b)
{
	uint64_t out;

	return __builtin_add_overflow(a, b, &out) ? UINT64_MAX : out;
}

/* a * b / c, as far as it goes. */
static uint64_t
share(uint64_t a, uint64_t b, uint64_t c)
{
	__extension__ unsigned __int128 out = a;

	if (c == 0)
		return 0;
	out = out * b / c;
	return out > UINT64_MAX ? UINT64_MAX : (uint64_t)out;
}

void
figures_add(struct figures *to, const struct figures *from)
{
	to->whole &= from->whole;
	to->asked |= from->asked;
	to->ready += from->ready;
	to->waiting += from->waiting;
	to->in_flight += from->in_flight;
	for (int i = 0; i < AUTOSCALE_METRICS_; i++)
		to->sum[i] = plus(to->sum[i], from->sum[i]);
}

/* ---- what is asked ---- */

static const struct msg_demand *
demand_of(const struct ring_reader *r, const struct service *s)
{
	return r ? ring_table_get(r, MSG_TABLE_DEMAND, s->row.id) : NULL;
}

uint32_t
figures_waiting(const struct model *m, const struct service *s)
{
	uint32_t waiting = 0;

	for (size_t i = 0; i < ROLE_PROXIES_MAX; i++) {
		const struct msg_demand *d = demand_of(m->proxies[i], s);

		waiting += d && d->waiting < UINT32_MAX / ROLE_PROXIES_MAX ? d->waiting : 0;
	}
	return waiting;
}

/* Gives how many requests have come since; a reader that is not there has counted none. */
static uint64_t
look_at_counter(const struct ring_reader *r, const struct service *s, struct figures_counter *c,
		struct figures *out)
{
	const struct msg_demand *d = demand_of(r, s);
	struct figures_counter now = {.generation = r ? ring_reader_generation(r) : 0};
	uint64_t more;

	if (!r) {
		out->whole &= c->generation == 0;
		*c = (struct figures_counter){0};
		return 0;
	}
	if (d) {
		now.requests = d->requests;
		now.packets = d->packets;
		out->in_flight += d->in_flight < UINT32_MAX / 128 ? d->in_flight : 0;
		out->waiting += d->waiting < UINT32_MAX / 128 ? d->waiting : 0;
	}
	if (c->generation != now.generation)
		*c = (struct figures_counter){.generation = now.generation};
	more = now.requests > c->requests ? now.requests - c->requests : 0;
	out->asked |= more > 0 || now.packets > c->packets;
	*c = now;
	return more;
}

static void
look_at_demand(const struct model *m, const struct service *s, struct figures_base *base,
	       struct figures *out)
{
	bool first = base->taken_ns == 0, open = base->in_flight > 0;
	uint64_t since_ns = m->now_ns - base->taken_ns, more = 0;

	for (size_t i = 0; i < ROLE_PROXIES_MAX; i++)
		more = plus(more, look_at_counter(m->proxies[i], s, &base->proxies[i], out));
	more = plus(more, look_at_counter(m->dataplane, s, &base->dataplane, out));
	base->taken_ns = m->now_ns;
	base->in_flight = out->in_flight;
	if (first) {
		/* Counted since who knows when. */
		out->asked = false;
		out->whole = false;
		return;
	}
	/* What was open then ended since, nobody knows when. */
	out->asked |= open || out->in_flight > 0;
	out->sum[AUTOSCALE_RPS] = share(more, MILLI * MILLI * MS_NS, since_ns);
}

/* ---- what is used ---- */

void
figures_note(struct replica *p)
{
	struct figures_container *f = &p->figures;
	const struct msg_container *c = &p->container;

	if (!p->has_container || c->state != MSG_CONTAINER_RUNNING) {
		*f = (struct figures_container){0};
		return;
	}
	if (!c->measured_ns || (f->attempt == c->attempt && f->measured_ns))
		return;
	*f = (struct figures_container){
		.attempt = c->attempt,
		.measured_ns = c->measured_ns,
		.cpu_ns = c->cpu_ns,
	};
}

static void
measure_cpu(struct replica *p)
{
	struct figures_container *f = &p->figures;
	const struct msg_container *c = &p->container;

	if (!f->measured_ns || c->measured_ns < f->measured_ns + CLOSE_MS * MS_NS)
		return;
	f->cpu_milli = c->cpu_ns > f->cpu_ns ? share(c->cpu_ns - f->cpu_ns, MILLI,
						     c->measured_ns - f->measured_ns)
					     : 0;
	f->known = c->cpu_ns > 0;
	f->cpu_ns = c->cpu_ns;
	f->measured_ns = c->measured_ns;
}

static void
add_replica(const struct model *m, struct replica *p, const struct doc_service *spec,
	    const bool needed[AUTOSCALE_METRICS_], struct figures *out)
{
	const struct msg_container *c = &p->container;
	uint64_t cores = spec->resources.cpu_milli ? spec->resources.cpu_milli : m->node_cpu_milli;
	uint64_t bytes =
		spec->resources.memory_bytes ? spec->resources.memory_bytes : m->node_memory_bytes;
	bool old = !c->measured_ns || m->now_ns > c->measured_ns + FIGURES_OLD_MS * MS_NS;

	out->ready++;
	if ((needed[AUTOSCALE_CPU] && (old || !p->figures.known || !cores)) ||
	    (needed[AUTOSCALE_MEMORY] && (old || !c->memory_bytes || !bytes)))
		out->whole = false;
	out->sum[AUTOSCALE_CPU] =
		plus(out->sum[AUTOSCALE_CPU], share(p->figures.cpu_milli, MILLI, cores));
	out->sum[AUTOSCALE_MEMORY] =
		plus(out->sum[AUTOSCALE_MEMORY], share(c->memory_bytes, MILLI, bytes));
}

void
figures_take(struct model *m, struct service *s, const struct doc_service *spec,
	     const bool needed[AUTOSCALE_METRICS_], struct figures_base *base, struct figures *out)
{
	struct list *it, *next;

	*out = (struct figures){.whole = true};
	look_at_demand(m, s, base, out);
	list_each (it, next, &s->replicas) {
		struct replica *p = container_of(it, struct replica, link);

		if (p->remote)
			continue;
		measure_cpu(p);
		if (p->life.state == MSG_REPLICA_READY && p->has_container)
			add_replica(m, p, spec, needed, out);
	}
}
