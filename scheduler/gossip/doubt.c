/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A suspect has suspicion_alone to refute; each independent accuser shortens that, on a logarithmic
 * scale, down to suspicion with CORE_CONFIRMATIONS of them (Lifeguard, Dadgar et al. 2017). In a
 * cell too small for so many accusers nobody can confirm; then one and a half times suspicion is
 * the least, for there the word of one is all there is.
 *
 * Two things keep a live member from being declared dead here: a datagram of its own since it
 * became suspect (the timer then runs anew from there), and a stall of this node (then nothing
 * fires until a round of datagrams was read).
 */
#include "scheduler/gossip/doubt.h"

#include "base/list.h"
#include "scheduler/gossip/hear.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/prober.h"

static struct doubt *
find(const struct gossip *g, uint32_t node)
{
	return map_get_u64(&g->doubts, node);
}

static uint64_t
timeout_ns(const struct gossip *g, uint32_t confirmations)
{
	/* log(c + 1) / log(3), in thousandths. */
	static const uint64_t share[CORE_CONFIRMATIONS + 1] = {0, 631, 1000};
	uint64_t least = g->config.suspicion_ms * CORE_MS;
	uint64_t most = g->config.suspicion_alone_ms * CORE_MS;
	/* Who could confirm: all live ones but the suspect and the first accuser. */
	size_t able = g->live > 2 ? g->live - 2 : 0;

	if (able < CORE_CONFIRMATIONS)
		least += least / 2;
	if (confirmations >= able || confirmations >= CORE_CONFIRMATIONS || most < least)
		return least;
	return most - (most - least) * share[confirmations] / 1000;
}

static uint64_t
deadline(const struct gossip *g, const struct doubt *d)
{
	uint64_t at = d->since_ns + timeout_ns(g, d->count - 1);
	uint64_t heard = d->heard_ns ? d->heard_ns + g->config.suspicion_ms * CORE_MS : 0;

	return at > heard ? at : heard;
}

void
doubt_begin(struct gossip *g, uint32_t node, uint32_t accuser)
{
	struct doubt *d = find(g, node);

	if (!d) {
		d = mem_zalloc(MEM_SCHEDULER, sizeof(*d));
		if (!d || map_put_u64(&g->doubts, node, d) < 0) {
			mem_free(d);
			g->counters.out_of_memory++;
			return; /* the next probe of it begins again */
		}
		heap_item_init(&d->due);
		d->node = node;
	}
	d->count = 1;
	d->accusers[0] = accuser;
	d->since_ns = g->now_ns;
	d->heard_ns = 0;
	if (heap_set(&g->doubts_due, &d->due, deadline(g, d)) < 0) {
		g->counters.out_of_memory++;
		doubt_end(g, node);
	}
}

bool
doubt_confirm(struct gossip *g, uint32_t node, uint32_t accuser)
{
	struct doubt *d = find(g, node);

	if (!d) {
		doubt_begin(g, node, accuser);
		return find(g, node) != NULL;
	}
	if (d->count > CORE_CONFIRMATIONS)
		return false;
	for (uint32_t i = 0; i < d->count; i++)
		if (d->accusers[i] == accuser)
			return false;
	d->accusers[d->count++] = accuser;
	/* It stands in the heap: moving it needs no memory. */
	return heap_set(&g->doubts_due, &d->due, deadline(g, d)) == 0;
}

void
doubt_end(struct gossip *g, uint32_t node)
{
	struct doubt *d = map_remove_u64(&g->doubts, node);

	if (!d)
		return;
	heap_remove(&g->doubts_due, &d->due);
	mem_free(d);
}

void
doubt_heard(struct gossip *g, uint32_t node)
{
	struct doubt *d = map_count(&g->doubts) ? find(g, node) : NULL;

	if (d)
		d->heard_ns = g->now_ns;
}

uint32_t
doubt_accuser(const struct gossip *g, uint32_t node)
{
	const struct doubt *d = find(g, node);

	return d ? d->accusers[0] : 0;
}

uint64_t
doubt_due(const struct gossip *g)
{
	const struct heap_item *first = heap_peek(&g->doubts_due);

	if (!first)
		return CORE_NEVER;
	return first->at > g->grace_ns ? first->at : g->grace_ns;
}

static void
expire(struct gossip *g, struct doubt *d)
{
	long at = member_find(g, d->node);
	uint64_t again = deadline(g, d);

	if (again > g->now_ns) {
		/* It lives, and does not know that it is suspect. */
		if (heap_set(&g->doubts_due, &d->due, again) == 0)
			prober_contact(g, (size_t)at);
		return;
	}
	/* Ends the suspicion, and frees it. */
	hear_record(g, g->config.self, d->node, g->config.self,
		    core_status(core_incarnation(g->status[at]), GOSSIP_DEAD));
}

void
doubt_timer(struct gossip *g)
{
	while (g->now_ns >= doubt_due(g))
		expire(g, container_of(heap_peek(&g->doubts_due), struct doubt, due));
}

void
doubt_fini(struct gossip *g)
{
	struct map_iter it = {0};

	while (map_next(&g->doubts, &it))
		mem_free(it.value);
	map_fini(&g->doubts);
	heap_fini(&g->doubts_due);
}
