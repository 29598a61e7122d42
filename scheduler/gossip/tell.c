/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of what changed. It keeps keys, not values: what is told is what is so when it goes out,
 * so it is never older than what a reader sees. It is empty at the end of every chain of steps,
 * and so it is as long as the changes of one input; when even that cannot be kept, one tell says
 * that all must be read again.
 */
#include "scheduler/gossip/tell.h"

#include <string.h>
#include "base/mutant.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/space.h"

enum { KEPT = 256 }; /* larger queues are given back */

static void
push(struct gossip *g, const struct tell *t)
{
	if (g->tells_lost)
		return;
	if (g->tells_count == g->tells_capacity) {
		size_t capacity = g->tells_capacity ? g->tells_capacity * 2 : 16;
		struct tell *bigger = NULL;

		if (capacity <= CORE_TELLS_MAX)
			bigger = mem_resize(MEM_SCHEDULER, g->tells, capacity, sizeof(*bigger));
		if (!bigger) {
			g->counters.out_of_memory++;
			g->tells_lost = true;
			return;
		}
		g->tells = bigger;
		g->tells_capacity = capacity;
	}
	g->tells[g->tells_count++] = *t;
}

void
tell_member(struct gossip *g, uint32_t node, uint32_t accuser)
{
	push(g, &(struct tell){.kind = GOSSIP_MEMBER, .node = node, .accuser = accuser});
}

void
tell_entry(struct gossip *g, uint32_t node, uint16_t type, uint64_t id)
{
	push(g, &(struct tell){.kind = GOSSIP_ENTRY, .node = node, .type = type, .id = id});
}

void
tell_plain(struct gossip *g, enum gossip_tell_kind kind, uint32_t node)
{
	push(g, &(struct tell){.kind = (uint16_t)kind, .node = node});
}

static void
give(struct gossip *g, const struct tell *t, const void *data, size_t bytes)
{
	struct step_action *a = step_add(g->out, STEP_TELL, data, bytes);

	a->what = t->kind;
	a->node = t->node;
}

static void
give_member(struct gossip *g, const struct tell *t)
{
	struct gossip_tell_member m = {.node = t->node, .accuser = t->accuser};
	long at = member_find(g, t->node);

	if (at >= 0) {
		m.incarnation = core_incarnation(g->status[at]);
		m.state = core_state(g->status[at]);
	}
	give(g, t, &m, sizeof(m));
}

static void
give_entry(struct gossip *g, const struct tell *t)
{
	struct {
		struct gossip_tell_entry head;
		uint8_t value[GOSSIP_VALUE_MAX];
	} told;
	const struct space *s = space_find(g, t->node);
	const struct entry *e = s ? space_entry(s, t->type, t->id) : NULL;

	told.head = (struct gossip_tell_entry){
		.node = t->node,
		.type = t->type,
		.id = t->id,
		.version = s ? s->version : 0,
		.dropped = e == NULL,
	};
	if (e) {
		told.head.bytes = e->bytes;
		told.head.version =
			MUTANT(17, s->version,
			       gossip_version(gossip_version_birth(s->version), e->sequence));
		memcpy(told.value, e->value, e->bytes);
	}
	give(g, t, &told, sizeof(told.head) + told.head.bytes);
}

static void
give_one(struct gossip *g, const struct tell *t)
{
	if (t->kind == GOSSIP_MEMBER)
		give_member(g, t);
	else if (t->kind == GOSSIP_ENTRY)
		give_entry(g, t);
	else
		give(g, t, NULL, 0);
}

static bool
room(const struct gossip *g)
{
	/* One is kept for the timer. */
	return step_actions_room(g->out, 2, sizeof(struct gossip_tell_entry) + GOSSIP_VALUE_MAX);
}

void
tell_flush(struct gossip *g)
{
	while (g->tells_first < g->tells_count && room(g))
		give_one(g, &g->tells[g->tells_first++]);
	if (g->tells_first < g->tells_count) {
		g->out->more = true;
		return;
	}
	g->tells_first = 0;
	g->tells_count = 0;
	if (g->tells_capacity > KEPT) {
		mem_free(g->tells);
		g->tells = NULL;
		g->tells_capacity = 0;
	}
	if (g->tells_lost && room(g)) {
		give(g, &(struct tell){.kind = GOSSIP_LOST}, NULL, 0);
		g->tells_lost = false;
	}
}
