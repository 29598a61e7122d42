/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One slot at a time:
 *
 *   steady, same owner             nothing
 *   steady, other owner            former owner alive: the slot changes; else steady with the new
 *   changing, former owner alive   stays the former one, whoever owns the slot now: flows without a
 *                                  pin are its, those of owners in between have pins
 *   changing, former owner gone    the owner that was replaced now, if alive, else the new one; the
 *                                  slot keeps changing, since pins of others must hold
 *
 * A table only ever grows (from small to big): the slot of a flow in the small one is its slot in
 * the big one modulo the small one's size.
 */
#include "dataplane/plan.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"

/* Which backends are members: a bit each. */
struct alive {
	uint64_t bits[EDGE_BACKENDS_MAX / 64];
};

_Static_assert(EDGE_BACKENDS_MAX <= 0x8000, "a backend and a flag fit half a slot");

static bool
is_alive(const struct alive *a, uint32_t index)
{
	return index == 0 || (index < EDGE_BACKENDS_MAX && a->bits[index / 64] >> index % 64 & 1);
}

int
plan_init(struct plan *p)
{
	*p = (struct plan){.slots_count = EDGE_SLOTS_SMALL};
	p->slots = mem_array(MEM_DATAPLANE, p->slots_count, sizeof(p->slots[0]));
	return p->slots ? 0 : -1;
}

void
plan_fini(struct plan *p)
{
	mem_free(p->slots);
	*p = (struct plan){0};
}

static bool
any_changing(const struct plan *p)
{
	for (size_t i = 0; i < p->slots_count; i++)
		if (p->slots[i] & EDGE_CHANGES)
			return true;
	return false;
}

/* Or its former owner has gone: nobody knows which. */
static bool
any_opened(const struct plan *p)
{
	for (size_t i = 0; i < p->slots_count; i++)
		if (p->slots[i] & EDGE_CHANGES && EDGE_CUR(p->slots[i]) == EDGE_PREV(p->slots[i]))
			return true;
	return false;
}

int
plan_adopt(struct plan *p, const uint32_t *slots, size_t slots_count, uint32_t epoch,
	   uint64_t now_ms)
{
	assert(slots_count == EDGE_SLOTS_SMALL || slots_count == EDGE_SLOTS_BIG);
	*p = (struct plan){.slots_count = slots_count, .epoch = epoch, .since_ms = now_ms};
	p->slots = mem_dup(MEM_DATAPLANE, slots, slots_count * sizeof(slots[0]));
	if (!p->slots)
		return -1;
	p->changing = any_changing(p);
	p->opened = any_opened(p);
	return 0;
}

static uint32_t
next(uint32_t slot, uint32_t owner, const struct alive *alive)
{
	uint32_t cur = EDGE_CUR(slot), prev = EDGE_PREV(slot);

	if (!(slot & EDGE_CHANGES)) {
		if (cur == owner || !is_alive(alive, cur))
			return EDGE_STEADY(owner);
		return EDGE_CHANGING(owner, cur);
	}
	if (is_alive(alive, prev))
		return EDGE_CHANGING(owner, prev);
	return EDGE_CHANGING(owner, cur != owner && is_alive(alive, cur) ? cur : owner);
}

static bool
grow(struct plan *p)
{
	uint32_t *big = mem_resize(MEM_DATAPLANE, p->slots, EDGE_SLOTS_BIG, sizeof(big[0]));

	if (!big)
		return false;
	for (size_t i = EDGE_SLOTS_SMALL; i < EDGE_SLOTS_BIG; i++)
		big[i] = big[i % EDGE_SLOTS_SMALL];
	p->slots = big;
	p->slots_count = EDGE_SLOTS_BIG;
	return true;
}

/* The owners of all slots by the active members, as backends. */
static void
own(const struct plan *p, const struct plan_member *members, size_t count, uint16_t *owners)
{
	uint64_t ids[PLAN_MEMBERS_MAX];
	uint16_t indices[PLAN_MEMBERS_MAX];
	size_t active = 0;

	for (size_t i = 0; i < count; i++) {
		if (members[i].draining || members[i].parked)
			continue;
		ids[active] = members[i].id;
		indices[active++] = members[i].index;
	}
	if (!active) {
		memset(owners, 0, p->slots_count * sizeof(owners[0]));
		return;
	}
	maglev_build(ids, active, owners, p->slots_count);
	for (size_t i = 0; i < p->slots_count; i++)
		owners[i] = indices[owners[i]];
}

static bool
apply(struct plan *p, const uint16_t *owners, const struct alive *alive, uint64_t now_ms)
{
	bool changed = false, was_changing = p->changing;

	for (size_t i = 0; i < p->slots_count; i++) {
		uint32_t slot = next(p->slots[i], owners[i], alive);

		changed |= slot != p->slots[i];
		p->slots[i] = slot;
	}
	p->changing = any_changing(p);
	if (p->changing && !was_changing)
		p->epoch++;
	if (changed)
		p->since_ms = now_ms;
	return changed;
}

bool
plan_update(struct plan *p, const struct plan_member *members, size_t count, uint64_t now_ms,
	    bool *failed_out)
{
	struct alive alive = {{0}};
	bool grown = false;

	assert(count <= PLAN_MEMBERS_MAX);
	*failed_out = true;
	if (count > PLAN_SMALL_MEMBERS && p->slots_count == EDGE_SLOTS_SMALL) {
		if (!grow(p))
			return false;
		grown = true;
	}
	uint16_t *owners = mem_array(MEM_DATAPLANE, p->slots_count, sizeof(owners[0]));
	if (!owners)
		return grown;
	p->draining = false;
	for (size_t i = 0; i < count; i++) {
		assert(members[i].index > 0 && members[i].index < EDGE_BACKENDS_MAX);
		alive.bits[members[i].index / 64] |= UINT64_C(1) << members[i].index % 64;
		p->draining |= members[i].draining;
	}
	own(p, members, count, owners);
	bool changed = apply(p, owners, &alive, now_ms);
	mem_free(owners);
	*failed_out = false;
	return changed || grown;
}

bool
plan_tick(struct plan *p, uint64_t kept, uint64_t now_ms)
{
	uint64_t lasts_ms = !p->connections ? PLAN_SETTLE_MS
			    : p->opened     ? PLAN_OPENED_MS
					    : PLAN_IDLE_MS;

	if (!p->changing)
		return false;
	if (kept != p->kept) {
		p->kept = kept;
		p->since_ms = now_ms;
	}
	if (p->draining || now_ms < p->since_ms + lasts_ms)
		return false;
	for (size_t i = 0; i < p->slots_count; i++)
		p->slots[i] = EDGE_STEADY(EDGE_CUR(p->slots[i]));
	p->changing = p->opened = false;
	p->epoch++; /* of a slot that programs open, flows that began meanwhile have no pins */
	return true;
}

void
plan_opened(struct plan *p, const uint32_t *live, size_t live_count, uint64_t now_ms)
{
	for (size_t i = 0; i < p->slots_count; i++) {
		uint32_t owner = EDGE_CUR(p->slots[i]);

		if (!(live[i % live_count] & EDGE_CHANGES) || p->slots[i] & EDGE_CHANGES)
			continue;
		p->slots[i] = EDGE_CHANGING(owner, owner);
		p->changing = true;
		p->since_ms = now_ms;
	}
	p->opened = p->changing; /* or a slot that had been changing before */
}

void
plan_wait(struct plan *p, uint64_t now_ms)
{
	p->since_ms = now_ms;
}
