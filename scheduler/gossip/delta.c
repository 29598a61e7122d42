/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why no tombstones are needed: the writer's entries up to a version are all that the owner had
 * then. Those younger than the reader's version are sent whole; of the others their sequences are
 * enough for the reader to see which of its own are gone, and even these are sent only when
 * something was dropped since. So a reader may have been away for any time.
 */
#include "scheduler/gossip/delta.h"

#include <string.h>
#include "base/mutant.h"
#include "scheduler/gossip/cast.h"
#include "scheduler/gossip/life.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/space.h"
#include "scheduler/gossip/trail.h"

enum { HEAD_BYTES = 40, ENTRY_BYTES = 24 };

static void
write_entry(struct buf *out, const struct entry *e)
{
	buf_u16(out, e->type);
	buf_u16(out, e->bytes);
	buf_u32(out, 0);
	buf_u64(out, e->id);
	buf_u64(out, e->sequence);
	buf_put(out, e->value, e->bytes);
}

/* By sequence; base 0 lists all as entries. */
static size_t
younger(const struct entry *const *list, size_t count, uint64_t base)
{
	size_t at = 0;

	while (at < count && list[at]->sequence <= base)
		at++;
	return at;
}

bool
delta_write(const struct space *s, uint64_t version, struct buf *out)
{
	bool same = gossip_version_birth(version) == gossip_version_birth(s->version);
	uint64_t base = same ? gossip_version_sequence(version) : 0;
	const struct entry **list;
	long count = space_since(s, 0, &list);

	if (count < 0)
		return false;
	size_t first = younger(list, (size_t)count, base);
	bool all_kept = base > 0 && MUTANT(7, true, s->dropped <= version);
	buf_u32(out, s->node);
	buf_u32(out, (uint32_t)((size_t)count - first));
	buf_u32(out, all_kept ? DELTA_ALL_KEPT : (uint32_t)first);
	buf_u32(out, 0);
	buf_u64(out, base ? version : 0);
	buf_u64(out, s->version);
	buf_u64(out, s->dropped);
	for (size_t i = 0; i < first && !all_kept; i++)
		buf_u64(out, list[i]->sequence);
	for (size_t i = first; i < (size_t)count; i++)
		write_entry(out, list[i]);
	mem_free(list);
	return buf_ok(out);
}

struct delta {
	uint32_t node;
	uint32_t entries;
	uint32_t kept;
	uint64_t base, version, dropped;
	struct cursor kept_at, entries_at;
	size_t bytes; /* as a namespace is charged */
};

static void
read_head(struct cursor *c, struct delta *d)
{
	d->node = cursor_u32(c);
	d->entries = cursor_u32(c);
	d->kept = cursor_u32(c);
	cursor_u32(c);
	d->base = cursor_u64(c);
	d->version = cursor_u64(c);
	d->dropped = cursor_u64(c);
	uint32_t kept = d->kept == DELTA_ALL_KEPT ? 0 : d->kept;

	if (d->node == 0 || d->entries > GOSSIP_ENTRIES_MAX ||
	    kept > GOSSIP_ENTRIES_MAX - d->entries || d->base > d->version ||
	    d->dropped > d->version || gossip_version_birth(d->version) == 0 ||
	    (d->base == 0 && d->kept != 0))
		c->failed = true;
	if (d->base > 0 && (gossip_version_birth(d->base) != gossip_version_birth(d->version) ||
			    gossip_version_sequence(d->base) == 0))
		c->failed = true;
}

static void
read_kept(struct cursor *c, struct delta *d)
{
	uint64_t before = 0;

	d->kept_at = *c;
	for (uint32_t i = 0; i < d->kept && d->kept != DELTA_ALL_KEPT && cursor_ok(c); i++) {
		uint64_t sequence = cursor_u64(c);

		if (sequence <= before || sequence > gossip_version_sequence(d->base))
			c->failed = true;
		before = sequence;
	}
}

static void
read_entry(struct cursor *c, const struct delta *d, struct change *out)
{
	out->node = d->node;
	out->op = CHANGE_PUT;
	out->type = cursor_u16(c);
	out->bytes = cursor_u16(c);
	cursor_u32(c);
	out->id = cursor_u64(c);
	uint64_t sequence = cursor_u64(c);
	out->value = cursor_take(c, out->bytes);
	out->version = gossip_version(gossip_version_birth(d->version), sequence);
	if (out->bytes > GOSSIP_VALUE_MAX || sequence > gossip_version_sequence(d->version))
		c->failed = true;
}

static void
read_entries(struct cursor *c, struct delta *d)
{
	uint64_t before = d->base ? gossip_version_sequence(d->base) : 0;
	struct change e;

	d->entries_at = *c;
	for (uint32_t i = 0; i < d->entries && cursor_ok(c); i++) {
		read_entry(c, d, &e);
		if (gossip_version_sequence(e.version) <= before)
			c->failed = true;
		before = gossip_version_sequence(e.version);
		d->bytes += SPACE_ENTRY_BYTES + e.bytes;
	}
}

static bool
among(const uint64_t *list, size_t count, uint64_t sequence)
{
	size_t from = 0, to = count;

	while (from < to) {
		size_t middle = (from + to) / 2;

		if (list[middle] < sequence)
			from = middle + 1;
		else
			to = middle;
	}
	return from < count && list[from] == sequence;
}

/* Removes what the owner no longer had. False: out of memory, and nothing was done. */
static bool
remove_gone(struct gossip *g, size_t at, const struct delta *d)
{
	size_t count = (size_t)d->kept + d->entries;
	struct cursor c = d->kept_at;
	struct change e;

	if (MUTANT(6, true, d->kept == DELTA_ALL_KEPT))
		return true;
	uint64_t *there = mem_array(MEM_SCHEDULER, count + 1, sizeof(*there));
	if (!there)
		return false;
	for (size_t i = 0; i < d->kept; i++)
		there[i] = cursor_u64(&c);
	c = d->entries_at;
	for (size_t i = d->kept; i < count; i++) {
		read_entry(&c, d, &e);
		there[i] = gossip_version_sequence(e.version);
	}
	for (size_t i = 0; i < space_of(g, at)->count;) {
		uint64_t sequence = space_of(g, at)->entries[i]->sequence;

		if (sequence <= gossip_version_sequence(d->version) &&
		    !among(there, count, sequence))
			space_erase(g, at, i);
		else
			i++;
	}
	mem_free(there);
	return true;
}

static enum delta_result
apply(struct gossip *g, uint32_t from, size_t at, const struct delta *d)
{
	uint32_t birth = gossip_version_birth(d->version);
	struct space *s = space_make(g, at);
	struct cursor c = d->entries_at;
	struct change e;

	if (!s)
		return DELTA_FAILED;
	if (birth > gossip_version_birth(s->version)) {
		space_reset(g, at);
		space_set_version(g, at, gossip_version(birth, 0));
	} else if (!remove_gone(g, at, d)) {
		return DELTA_FAILED;
	}
	for (uint32_t i = 0; i < d->entries; i++) {
		read_entry(&c, d, &e);
		if (space_store(g, at, &e) == SPACE_REFUSED)
			return DELTA_FAILED;
	}
	s = space_of(g, at);
	if (d->dropped > s->dropped && gossip_version_birth(d->dropped) == birth)
		s->dropped = d->dropped;
	space_set_version(g, at, d->version);
	trail_note(g, at, from);
	cast_drain(g, at);
	return DELTA_APPLIED;
}

enum delta_result
delta_read(struct gossip *g, uint32_t from, struct cursor *c)
{
	struct delta d = {.bytes = 0};

	read_head(c, &d);
	read_kept(c, &d);
	read_entries(c, &d);
	if (!cursor_done(c) || d.bytes > GOSSIP_SPACE_BYTES_MAX)
		return DELTA_MALFORMED;
	long at = member_find(g, d.node);
	if (at < 0) {
		g->counters.strangers++;
		return DELTA_IGNORED;
	}
	const struct space *s = space_of(g, (size_t)at);
	uint64_t version = s ? s->version : 0;
	if ((size_t)at == g->self_at) {
		if (d.version > version)
			life_outgrow(g, d.version);
		return DELTA_IGNORED;
	}
	if (d.version <= version || d.base > version ||
	    (d.base > 0 && gossip_version_birth(d.version) != gossip_version_birth(version)))
		return DELTA_IGNORED;
	return apply(g, from, (size_t)at, &d);
}
