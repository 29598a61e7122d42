/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A namespace is a sorted array of entries and the version up to which it is complete: everything
 * that the owner had at that version is here, and nothing that it had dropped by then. A change is
 * applied only when it continues from there (its span reaches back to the version held), so what a
 * reader sees of one owner is always a state that the owner was in. Replays and reorderings end in
 * SPACE_OLD or SPACE_GAP.
 *
 * A life begins with a change whose span reaches back to 0: it replaces what another life wrote.
 * Every life but the very first says so at once, with an empty change, so that what a node wrote
 * before it restarted goes away even when it writes nothing now.
 */
#include "scheduler/gossip/space.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/mutant.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/tell.h"
#include "scheduler/gossip/trail.h"

struct space *
space_of(const struct gossip *g, size_t at)
{
	return g->space_at[at] ? &g->spaces[g->space_at[at] - 1] : NULL;
}

struct space *
space_find(const struct gossip *g, uint32_t node)
{
	long at = member_find(g, node);

	return at >= 0 ? space_of(g, (size_t)at) : NULL;
}

uint64_t
space_version(const struct gossip *g, size_t at)
{
	const struct space *s = space_of(g, at);

	return s ? s->version : 0;
}

struct space *
space_make(struct gossip *g, size_t at)
{
	struct space *s = space_of(g, at);

	if (s)
		return s;
	if (g->spaces_count == g->spaces_capacity) {
		size_t capacity = g->spaces_capacity + g->spaces_capacity / 2 + 1;
		struct space *bigger =
			mem_resize(MEM_SCHEDULER, g->spaces, capacity, sizeof(*bigger));

		if (!bigger) {
			g->counters.out_of_memory++;
			return NULL;
		}
		g->spaces = bigger;
		g->spaces_capacity = capacity;
	}
	s = &g->spaces[g->spaces_count++];
	*s = (struct space){.node = g->ids[at]};
	g->space_at[at] = (uint16_t)g->spaces_count;
	return s;
}

static void
empty(struct space *s)
{
	for (size_t i = 0; i < s->count; i++)
		mem_free(s->entries[i]);
	mem_free(s->entries);
	s->entries = NULL;
	s->count = 0;
	s->capacity = 0;
	s->bytes = 0;
}

void
space_remove(struct gossip *g, size_t at)
{
	struct space *s = space_of(g, at), *last;

	if (!s)
		return;
	space_set_version(g, at, 0);
	empty(s);
	last = &g->spaces[--g->spaces_count];
	if (last != s) {
		long moved = member_find(g, last->node);

		assert(moved >= 0);
		*s = *last;
		g->space_at[moved] = g->space_at[at];
	}
	g->space_at[at] = 0;
}

/* Where it is, or where it would stand. */
static size_t
place(const struct space *s, uint16_t type, uint64_t id)
{
	size_t from = 0, to = s->count;

	while (from < to) {
		size_t middle = (from + to) / 2;
		const struct entry *e = s->entries[middle];

		if (e->type < type || (e->type == type && e->id < id))
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static bool
stands(const struct space *s, size_t index, uint16_t type, uint64_t id)
{
	return index < s->count && s->entries[index]->type == type && s->entries[index]->id == id;
}

const struct entry *
space_entry(const struct space *s, uint16_t type, uint64_t id)
{
	size_t index = place(s, type, id);

	return stands(s, index, type, id) ? s->entries[index] : NULL;
}

void
space_set_version(struct gossip *g, size_t at, uint64_t version)
{
	uint64_t before = member_digest(g, at);

	g->spaces[g->space_at[at] - 1].version = version;
	member_digest_change(g, before, at);
}

void
space_reset(struct gossip *g, size_t at)
{
	struct space *s = space_of(g, at);

	if (s->count > 0 && at != g->self_at)
		tell_plain(g, GOSSIP_RESET, s->node);
	empty(s);
	s->dropped = 0;
}

void
space_erase(struct gossip *g, size_t at, size_t index)
{
	struct space *s = space_of(g, at);
	struct entry *e = s->entries[index];

	if (MUTANT(18, false, at != g->self_at))
		tell_entry(g, s->node, e->type, e->id);
	s->bytes -= SPACE_ENTRY_BYTES + e->bytes;
	s->count--;
	memmove(s->entries + index, s->entries + index + 1,
		(s->count - index) * sizeof(*s->entries));
	mem_free(e);
}

static struct entry *
entry_new(const struct change *c)
{
	struct entry *e = mem_alloc(MEM_SCHEDULER, sizeof(*e) + c->bytes);

	if (!e)
		return NULL;
	e->id = c->id;
	e->sequence = gossip_version_sequence(c->version);
	e->type = c->type;
	e->bytes = c->bytes;
	if (c->bytes > 0)
		memcpy(e->value, c->value, c->bytes);
	return e;
}

static bool
grow(struct space *s)
{
	size_t capacity = s->capacity + s->capacity / 2u + 1;

	if (s->count < s->capacity)
		return true;
	struct entry **bigger = mem_resize(MEM_SCHEDULER, s->entries, capacity, sizeof(*bigger));
	if (!bigger)
		return false;
	s->entries = bigger;
	s->capacity = (uint16_t)capacity;
	return true;
}

static bool
within(const struct space *s, const struct entry *old, size_t bytes)
{
	size_t more = old ? bytes : bytes + SPACE_ENTRY_BYTES;
	size_t less = old ? old->bytes : 0;

	return s->bytes + more - less <= GOSSIP_SPACE_BYTES_MAX &&
	       (old || s->count < GOSSIP_ENTRIES_MAX);
}

enum space_result
space_store(struct gossip *g, size_t at, const struct change *c)
{
	struct space *s = space_of(g, at);
	size_t index = place(s, c->type, c->id);
	struct entry *old = stands(s, index, c->type, c->id) ? s->entries[index] : NULL;

	if (old && old->sequence >= gossip_version_sequence(c->version))
		return SPACE_OLD;
	if (!within(s, old, c->bytes))
		return SPACE_REFUSED;
	struct entry *e = grow(s) ? entry_new(c) : NULL;
	if (!e) {
		g->counters.out_of_memory++;
		return SPACE_REFUSED;
	}
	if (old) {
		s->bytes = s->bytes + e->bytes - old->bytes;
		mem_free(old);
	} else {
		memmove(s->entries + index + 1, s->entries + index,
			(s->count - index) * sizeof(*s->entries));
		s->count++;
		s->bytes += SPACE_ENTRY_BYTES + e->bytes;
	}
	s->entries[index] = e;
	if (at != g->self_at)
		tell_entry(g, s->node, c->type, c->id);
	return SPACE_NEW;
}

static void
drop(struct gossip *g, size_t at, const struct change *c)
{
	struct space *s = space_of(g, at);
	size_t index = place(s, c->type, c->id);

	s->dropped = MUTANT(11, s->dropped, c->version);
	if (stands(s, index, c->type, c->id) &&
	    s->entries[index]->sequence < gossip_version_sequence(c->version))
		space_erase(g, at, index);
}

enum space_result
space_apply(struct gossip *g, size_t at, const struct change *c)
{
	struct space *s = space_make(g, at);
	uint64_t from = gossip_version_sequence(c->version) - c->span;

	if (!s)
		return SPACE_REFUSED;
	if (c->version <= s->version)
		return SPACE_OLD;
	if (gossip_version_birth(c->version) > gossip_version_birth(s->version)) {
		if (from > 0)
			return SPACE_GAP;
		MUTANT(9, (void)0, space_reset(g, at));
		space_set_version(g, at, gossip_version(gossip_version_birth(c->version), 0));
	}
	if (MUTANT(8, false, from > gossip_version_sequence(s->version)))
		return SPACE_GAP;
	if (c->op == CHANGE_PUT && space_store(g, at, c) == SPACE_REFUSED)
		return SPACE_REFUSED;
	if (c->op == CHANGE_DROP)
		drop(g, at, c);
	space_set_version(g, at, c->version);
	return SPACE_NEW;
}

static int
by_sequence(const void *a, const void *b)
{
	const struct entry *const *x = a, *const *y = b;

	return ((*x)->sequence > (*y)->sequence) - ((*x)->sequence < (*y)->sequence);
}

long
space_since(const struct space *s, uint64_t sequence, const struct entry ***list_out)
{
	const struct entry **list = mem_array(MEM_SCHEDULER, s->count + 1u, sizeof(*list));
	long count = 0;

	*list_out = list;
	if (!list)
		return -1;
	for (size_t i = 0; i < s->count; i++)
		if (s->entries[i]->sequence > sequence)
			list[count++] = s->entries[i];
	qsort(list, (size_t)count, sizeof(*list), by_sequence);
	return count;
}

/* ---- the own one ---- */

static struct space *
own(const struct gossip *g)
{
	return space_of(g, g->self_at);
}

/* Brings the own namespace to its next version and sends the change on its way. */
static void
say(struct gossip *g, struct change *c)
{
	if (c->op == CHANGE_DROP)
		own(g)->dropped = c->version;
	space_set_version(g, g->self_at, c->version);
	if (g->started)
		trail_add(g, c, g->config.self);
}

static struct change
next(const struct gossip *g, enum change_op op)
{
	return (struct change){
		.node = g->config.self,
		.version = own(g)->version + 1,
		.span = 1,
		.op = (uint8_t)op,
	};
}

void
space_birth(struct gossip *g, uint32_t incarnation, bool first)
{
	struct space *s = own(g);
	uint64_t sequence = 0;
	struct change c;

	s->dropped = 0;
	if (first && s->count == 0) {
		space_set_version(g, g->self_at, 0);
		return;
	}
	space_set_version(g, g->self_at, gossip_version(incarnation, 0));
	c = next(g, CHANGE_VOID);
	say(g, &c);
	sequence = 1;
	for (size_t i = 0; i < s->count; i++) {
		s->entries[i]->sequence = ++sequence;
		c = next(g, CHANGE_PUT);
		c.type = s->entries[i]->type;
		c.id = s->entries[i]->id;
		say(g, &c);
	}
}

enum gossip_result
space_put(struct gossip *g, uint16_t type, uint64_t id, const void *value, size_t bytes)
{
	struct space *s = own(g);
	const struct entry *old = space_entry(s, type, id);
	struct change c = next(g, CHANGE_PUT);

	if (bytes > GOSSIP_VALUE_MAX || g->life.leave)
		return GOSSIP_FULL;
	if (old && old->bytes == bytes && (bytes == 0 || memcmp(old->value, value, bytes) == 0))
		return GOSSIP_UNCHANGED;
	if (!within(s, old, bytes))
		return GOSSIP_FULL;
	if (g->started && s->version == 0)
		c.version = gossip_version(g->life.incarnation, 1);
	c.type = type;
	c.id = id;
	c.bytes = (uint16_t)bytes;
	c.value = value;
	if (space_store(g, g->self_at, &c) != SPACE_NEW)
		return GOSSIP_NO_MEMORY;
	say(g, &c);
	return GOSSIP_OK;
}

enum gossip_result
space_drop(struct gossip *g, uint16_t type, uint64_t id)
{
	struct space *s = own(g);
	size_t index = place(s, type, id);
	struct change c = next(g, CHANGE_DROP);

	if (g->life.leave)
		return GOSSIP_FULL;
	if (!stands(s, index, type, id))
		return GOSSIP_UNCHANGED;
	c.type = type;
	c.id = id;
	space_erase(g, g->self_at, index);
	say(g, &c);
	return GOSSIP_OK;
}

void
space_fini(struct gossip *g)
{
	for (size_t i = 0; i < g->spaces_count; i++)
		empty(&g->spaces[i]);
	mem_free(g->spaces);
}
