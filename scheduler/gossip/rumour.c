/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Membership spreads as rumours: on every packet that leaves anyway, and while there are any in
 * packets of their own, each gossip interval to a few random members. Nearly a hundred records fill
 * a packet, so that a rack that reboots is known as fast as one node. Each record is told 3 *
 * ceil(log10(n + 1)) times, and at least six, by whoever heard it; that is enough for 10 % loss,
 * and what is missed nevertheless is found by the digests on the pings.
 *
 * With nothing to tell no packet is sent and no timer runs.
 */
#include "scheduler/gossip/rumour.h"

#include <string.h>
#include "base/mutant.h"
#include "scheduler/gossip/member.h"

enum {
	MULTIPLIER = 3,
	DIGITS_MIN = 2, /* below ten nodes chance would leave out one of them too often */
	RUMOUR_TOLD_MAX = MULTIPLIER * 5, /* GOSSIP_MEMBERS_MAX has five digits */
	CAPACITY_MIN = 16,
	KEPT = 64,
	SHRINK = GOSSIP_RUMOURS_MAX / 16,
};

uint32_t
rumour_limit(const struct gossip *g)
{
	uint32_t digits = 0;

	for (size_t n = 1; n < g->live + 1; n *= 10)
		digits++;
	return MULTIPLIER * (digits > DIGITS_MIN ? digits : DIGITS_MIN);
}

static void
drop(struct gossip *g, size_t at)
{
	g->rumours_count--;
	memmove(g->rumours + at, g->rumours + at + 1,
		(g->rumours_count - at) * sizeof(*g->rumours));
}

static uint64_t *
bits_of(struct gossip *g, uint32_t node, uint64_t *bit)
{
	uint64_t hash = core_mix(node) % CORE_RUMOUR_BITS;

	*bit = UINT64_C(1) << hash % 64;
	return &g->rumours_bits[hash / 64];
}

static void
mark(struct gossip *g, uint32_t node)
{
	uint64_t bit, *bits = bits_of(g, node, &bit);

	*bits |= bit;
}

static void
mark_all(struct gossip *g)
{
	memset(g->rumours_bits, 0, sizeof(g->rumours_bits));
	for (size_t i = 0; i < g->rumours_count; i++)
		mark(g, g->rumours[i].node);
}

/* Says whether this very record is on its way already. */
static bool
replace(struct gossip *g, uint32_t node, uint32_t accuser, uint32_t status)
{
	uint64_t bit, *bits = bits_of(g, node, &bit);

	if (!(*bits & bit))
		return false;
	for (size_t i = 0; i < g->rumours_count;) {
		const struct rumour *r = &g->rumours[i];

		if (r->node == node && r->status == status && r->accuser == accuser)
			return true;
		if (r->node == node && r->status < status)
			drop(g, i);
		else
			i++;
	}
	return false;
}

/* Keeps those that were told less often than that. */
static void
keep_below(struct gossip *g, uint32_t told)
{
	size_t kept = 0, before = g->rumours_count;

	for (size_t i = 0; i < before; i++)
		if (g->rumours[i].told < told)
			g->rumours[kept++] = g->rumours[i];
	g->rumours_count = kept;
	if (kept < before)
		mark_all(g);
}

/* When the queue is full those go that were told most often, a good many at a time; when none was
 * told yet there is more news than rumours can carry, and anti-entropy has to. A whole cell that
 * joins is such news: it must not be looked for again with each record. */
static bool
shrink(struct gossip *g)
{
	size_t told[RUMOUR_TOLD_MAX + 1] = {0}, gone = 0;
	uint32_t least = RUMOUR_TOLD_MAX + 1;

	if (g->rumours_untold)
		return false;
	for (size_t i = 0; i < g->rumours_count; i++)
		told[g->rumours[i].told]++;
	while (least > 1 && gone < SHRINK)
		gone += told[--least];
	g->rumours_untold = gone == 0;
	if (gone > 0)
		keep_below(g, least);
	return gone > 0;
}

static bool
make_room(struct gossip *g)
{
	if (g->rumours_count == GOSSIP_RUMOURS_MAX && !shrink(g))
		return false;
	if (g->rumours_count < g->rumours_capacity)
		return true;
	size_t capacity = g->rumours_capacity ? g->rumours_capacity * 2 : CAPACITY_MIN;
	struct rumour *bigger = mem_resize(MEM_SCHEDULER, g->rumours, capacity, sizeof(*bigger));

	if (!bigger) {
		g->counters.out_of_memory++;
		return false;
	}
	g->rumours = bigger;
	g->rumours_capacity = capacity;
	return true;
}

void
rumour_add(struct gossip *g, uint32_t node, uint32_t accuser, uint32_t status)
{
	if (replace(g, node, accuser, status) || !make_room(g))
		return;
	if (g->rumours_count == 0 && g->rumours_ns < g->now_ns)
		g->rumours_ns = g->now_ns;
	g->rumours[g->rumours_count++] = (struct rumour){
		.node = node,
		.accuser = accuser,
		.status = status,
	};
	mark(g, node);
}

void
rumour_forget(struct gossip *g, uint32_t node)
{
	for (size_t i = 0; i < g->rumours_count;) {
		if (g->rumours[i].node == node)
			drop(g, i);
		else
			i++;
	}
}

static void
sweep(struct gossip *g, uint32_t limit)
{
	keep_below(g, limit);
	if (g->rumours_count == 0 && g->rumours_capacity > KEPT) {
		mem_free(g->rumours);
		g->rumours = NULL;
		g->rumours_capacity = 0;
	}
}

/* Those that were told so often; one that is being told is above all of them. False: full. */
static bool
fill(struct gossip *g, struct packet *p, uint32_t to, uint32_t told, uint32_t above)
{
	for (size_t i = 0; i < g->rumours_count; i++) {
		struct rumour *r = &g->rumours[i];

		/* That it is alive it knows itself. */
		if (r->told != told || (r->node == to && core_state(r->status) == GOSSIP_ALIVE))
			continue;
		if (!packet_fits(p, PACKET_MEMBER_BYTES))
			return false;
		if (p->kind != GOSSIP_MEMBERS)
			packet_open(g, p, GOSSIP_MEMBERS, 0);
		packet_member(p, r->node, r->accuser, r->status);
		r->told += above;
	}
	return true;
}

void
rumour_fill(struct gossip *g, struct packet *p, uint32_t to)
{
	uint32_t limit = rumour_limit(g);
	bool there[RUMOUR_TOLD_MAX + 1] = {false};
	bool room = packet_fits(p, PACKET_MEMBER_BYTES);

	if (g->rumours_count == 0 || !room)
		return;
	for (size_t i = 0; i < g->rumours_count; i++)
		there[g->rumours[i].told] = true;
	g->rumours_untold = false;
	for (uint32_t told = 0; told < limit && room; told++)
		if (there[told])
			room = fill(g, p, to, told, MUTANT(12, limit, limit + 1));
	for (size_t i = 0; i < g->rumours_count; i++)
		if (g->rumours[i].told > limit)
			g->rumours[i].told -= limit;
	sweep(g, limit);
}

uint64_t
rumour_due(const struct gossip *g)
{
	return g->rumours_count ? g->rumours_ns : CORE_NEVER;
}

void
rumour_timer(struct gossip *g)
{
	uint32_t to[CORE_FAN_OUT];
	struct packet p;

	if (g->now_ns < rumour_due(g))
		return;
	g->rumours_ns = g->now_ns + g->config.gossip_ms * CORE_MS;
	for (size_t i = 0; i < CORE_FAN_OUT && g->rumours_count; i++) {
		long at = member_pick(g, true, to, i);

		if (at < 0)
			break;
		to[i] = g->ids[at];
		packet_begin(&p);
		rumour_fill(g, &p, to[i]);
		packet_send(g, &p, to[i]);
	}
	/* Alone there is nobody to tell. */
	if (g->live - core_live(g->status[g->self_at]) == 0)
		g->rumours_count = 0;
}
