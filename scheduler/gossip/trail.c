/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One ring for all neighbours, each of which has a place in it: so nothing is queued twice, and a
 * burst costs no more memory than the ring. It keeps keys, not values: these are where they belong,
 * in the namespace. The oldest give way; who had not got them yet learns of them by what is
 * announced later, or by anti-entropy.
 */
#include "scheduler/gossip/trail.h"

#include "scheduler/gossip/space.h"

enum { CAPACITY_MIN = 16 };

struct logged *
trail_at(const struct gossip *g, uint64_t index)
{
	return &g->log[index % g->log_capacity];
}

static bool
grow(struct gossip *g)
{
	size_t capacity = g->log_capacity ? g->log_capacity * 2 : CAPACITY_MIN;
	struct logged *bigger = mem_array(MEM_SCHEDULER, capacity, sizeof(*bigger));

	if (!bigger) {
		g->counters.out_of_memory++;
		return false;
	}
	for (uint64_t i = g->log_first; i < g->log_next; i++)
		bigger[i % capacity] = *trail_at(g, i);
	mem_free(g->log);
	g->log = bigger;
	g->log_capacity = capacity;
	return true;
}

void
trail_add(struct gossip *g, const struct change *c, uint32_t from)
{
	if (g->log_next - g->log_first == g->log_capacity) {
		/* An old one makes room when the log may not or cannot grow. */
		if (g->log_capacity < GOSSIP_LOG_MAX && grow(g))
			;
		else if (g->log_capacity > 0)
			g->log_first++;
		else
			return;
	}
	*trail_at(g, g->log_next++) = (struct logged){
		.node = c->node,
		.from = from,
		.version = c->version,
		.id = c->id,
		.at_ns = g->now_ns,
		.type = c->type,
		.span = c->span,
		.age = c->age,
		.op = c->op,
	};
}

void
trail_date(struct gossip *g)
{
	for (; g->log_dated < g->log_next; g->log_dated++)
		if (g->log_dated >= g->log_first)
			trail_at(g, g->log_dated)->at_ns = g->now_ns;
}

void
trail_note(struct gossip *g, size_t at, uint32_t from)
{
	struct change c = {
		.node = g->ids[at],
		.version = space_of(g, at)->version,
		.op = CHANGE_NOTE,
	};

	trail_add(g, &c, from);
}

uint16_t
trail_aged(uint16_t age, uint64_t by_ns)
{
	uint64_t sum = age + by_ns / TRAIL_AGE_NS;

	if (age == TRAIL_AGE_UNKNOWN)
		return TRAIL_AGE_UNKNOWN;
	return sum < TRAIL_AGE_UNKNOWN ? (uint16_t)sum : TRAIL_AGE_UNKNOWN - 1;
}

void
trail_change(const struct gossip *g, const struct logged *l, struct change *out)
{
	const struct space *s = space_find(g, l->node);
	const struct entry *e = s ? space_entry(s, l->type, l->id) : NULL;

	*out = (struct change){
		.node = l->node,
		.version = l->version,
		.type = l->type,
		.id = l->id,
		.span = l->span,
		.age = trail_aged(l->age, g->now_ns - l->at_ns),
		.op = l->op,
	};
	if (l->op != CHANGE_PUT)
		return;
	if (!e || gossip_version(gossip_version_birth(s->version), e->sequence) != l->version) {
		out->op = CHANGE_VOID;
		return;
	}
	out->bytes = e->bytes;
	out->value = e->value;
}

void
trail_fini(struct gossip *g)
{
	mem_free(g->log);
}
