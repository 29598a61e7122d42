/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The search. A group is read in one go; what the packed array can say (open, room, label bits,
 * platform) is asked of every node, the rest only of those that would be among the best; where only
 * labels are left to ask, at the end, and once more from the start in the rare case that the bits
 * of another label stood for it. Two groups are drawn, so that a slot's candidates do not all share
 * one group's luck, more when too few fit, and at last all nodes are read.
 */
#include "scheduler/place/candidates.h"

#include <assert.h>
#include <string.h>

enum {
	DRAWS = 2,
	DRAWS_MAX = 6,
	PREFER_FACTOR = 4,
	SAME_MAX = 4095,
	LOAD_STEP = 64,
	ZONE_PARTS = 255,
	ZONE_SHIFT = 20
};

struct search {
	struct fleet *fleet;
	struct fleet_service *service;
	struct fit_ask ask;
	uint64_t key;
	size_t k;
	const uint32_t *except;
	size_t except_count;
	bool writers; /* no others */
	bool plain;   /* the packed array says all there is to know */
	bool late;    /* all but the labels, which are looked at in the end */
	uint32_t platform;
	struct candidates *out;
};

static uint64_t
times(uint64_t a, uint64_t b)
{
	uint64_t out;

	return __builtin_mul_overflow(a, b, &out) ? UINT64_MAX : out;
}

static uint64_t
square(uint32_t same)
{
	uint64_t n = 1 + (uint64_t)(same < SAME_MAX ? same : SAME_MAX);

	return n * n;
}

static uint64_t
score(const struct search *s, const struct fleet_hot *h)
{
	uint64_t score = rendezvous_score(s->key, h->seed, h->exponent);
	const struct fleet_words *prefer = &s->service->prefer;
	enum fleet_spread spread = s->service->spec.spread;

	if (spread == FLEET_SPREAD_NODE && h->mark == s->fleet->mark)
		score = times(score, square(h->same));
	if (spread == FLEET_SPREAD_ZONE) {
		/* The zone's part of all first, the node within it. */
		uint64_t part = 1 + (uint64_t)fleet_marked_in(s->fleet, h) * ZONE_PARTS /
					    (1 + (uint64_t)s->fleet->marked_count);

		score = times(score >> ZONE_SHIFT, part * part * part * part);
		score = times(score, 1 + (uint64_t)fleet_marked_on(s->fleet, h));
	}
	for (size_t i = 0; i < prefer->count; i++) {
		if (!fleet_words_have(&h->node->labels, prefer->items[i].hash))
			score = times(score, PREFER_FACTOR);
	}
	return score;
}

static bool
refused(const struct search *s, const struct fleet_hot *h)
{
	for (size_t i = 0; i < s->except_count; i++) {
		if (s->except[i] == h->node->id)
			return true;
	}
	for (size_t i = 0; i < s->out->count; i++) {
		if (s->out->items[i].node == h->node)
			return true;
	}
	if ((s->writers && h->node->stuck) || (s->service->spec.leased && h->node->barred))
		return true;
	return !((s->plain || s->late) && h->simple) && fit_reasons(&s->ask, h->node);
}

static void
insert(struct candidates *out, size_t k, struct fleet_node *n, uint64_t score)
{
	size_t at = out->count < k ? out->count++ : k - 1;

	while (at > 0 &&
	       (out->items[at - 1].score > score ||
		(out->items[at - 1].score == score && out->items[at - 1].node->id > n->id))) {
		out->items[at] = out->items[at - 1];
		at--;
	}
	out->items[at] = (struct candidate){.node = n, .score = score};
}

static void
search(struct search *s, size_t begin, size_t end)
{
	const struct fleet_spec *spec = &s->service->spec;
	uint64_t bits = s->service->label_bits;
	struct candidates *out = s->out;

	for (size_t i = begin; i < end; i++) {
		const struct fleet_hot *h = &s->fleet->hot[i];
		uint64_t far;

		if (!h->open || h->cpu_free_milli < spec->cpu_milli ||
		    h->memory_free_bytes < spec->memory_bytes || (h->label_bits & bits) != bits ||
		    (s->platform && h->platform != s->platform) ||
		    (!h->simple && !s->service->tolerate.count))
			continue;
		far = score(s, h);
		if (out->count == s->k && far >= out->items[out->count - 1].score)
			continue;
		if (!refused(s, h))
			insert(out, s->k, h->node, far);
	}
}

static void
search_groups(struct search *s)
{
	const struct fleet *f = s->fleet;
	uint32_t seen[DRAWS_MAX];

	for (unsigned draw = 0; draw < DRAWS_MAX; draw++) {
		uint32_t leaf = rendezvous_descend(&f->tree, s->key, draw);
		bool again = false;

		if (draw >= DRAWS && s->out->count == s->k)
			return;
		for (unsigned i = 0; i < draw; i++)
			again |= seen[i] == leaf;
		seen[draw] = leaf;
		if (!again)
			search(s, f->leaf_begin[leaf], f->leaf_begin[leaf + 1]);
	}
	if (s->out->count < s->k)
		search(s, 0, f->nodes_count);
}

static uint32_t
part(uint64_t free, uint64_t all)
{
	uint64_t used = free < all ? all - free : 0;

	return all ? (uint32_t)(used * 1000 / all) : 0;
}

static void
weigh(const struct fleet *f, struct candidate *c)
{
	const struct fleet_hot *h = &f->hot[c->node->position];
	uint32_t cpu = part(h->cpu_free_milli, c->node->cpu_milli);
	uint32_t memory = part(h->memory_free_bytes >> 10, c->node->memory_bytes >> 10);

	c->load = cpu > memory ? cpu : memory;
}

static void
search_all(struct search *s)
{
	s->out->count = 0;
	if (s->fleet->tree.depth)
		search_groups(s);
	else
		search(s, 0, s->fleet->nodes_count);
}

static bool
all_fit(const struct search *s)
{
	for (size_t i = 0; i < s->out->count; i++) {
		if (fit_reasons(&s->ask, s->out->items[i].node))
			return false;
	}
	return true;
}

static void
search_rather(struct search *s)
{
	s->out->count = 0;
	for (size_t i = 0; i < s->service->rather_count; i++) {
		const struct fleet_node *n = fleet_node(s->fleet, s->service->rather[i]);
		const struct fleet_hot *h = n ? &s->fleet->hot[n->position] : NULL;

		if (h && !fleet_marked_on(s->fleet, h))
			search(s, n->position, n->position + 1);
	}
}

static void
find(struct search *s, uint32_t slot)
{
	const struct fleet_service *of = s->service;
	struct fleet *f = s->fleet;
	struct candidates *out = s->out;

	bool packed = !of->needs.count && !of->keeps.count && !of->takes.count && !f->exclusives &&
		      !of->failed && of->spec.mode == FLEET_SHARED;

	s->plain = packed && !of->labels.count;
	assert(!f->stale && s->k > 0 && s->k <= CANDIDATES_MAX);
	s->key = claim_key(of->id, slot);
	s->platform = (uint32_t)of->platform;
	fleet_mark(f, s->service);
	fit_ask(&s->ask, f, of, slot);
	search_rather(s);
	s->late = packed && of->labels.count;
	if (!out->count)
		search_all(s);
	if (s->late && !all_fit(s)) {
		s->late = false;
		search_all(s);
	}
	for (size_t i = 0; i < out->count; i++)
		weigh(f, &out->items[i]);
}

void
candidates_find(struct fleet *f, struct fleet_service *s, uint32_t slot, size_t k,
		const uint32_t *except, size_t except_count, struct candidates *out)
{
	struct search all = {
		.fleet = f,
		.service = s,
		.k = k,
		.except = except,
		.except_count = except_count,
		.out = out,
	};

	find(&all, slot);
}

void
candidates_find_writers(struct fleet *f, struct fleet_service *s, uint32_t slot, size_t k,
			struct candidates *out)
{
	struct search writers = {.fleet = f, .service = s, .k = k, .writers = true, .out = out};

	find(&writers, slot);
}

/* Steps of the load, so that small differences leave the order of rendezvous. */
static bool
rather(const struct candidate *a, const struct candidate *b)
{
	uint32_t x = a->load / LOAD_STEP, y = b->load / LOAD_STEP;

	return x != y ? x < y : a->score < b->score;
}

void
candidates_rank(struct candidates *c, size_t count)
{
	for (size_t i = 0; i < count && i < c->count; i++) {
		size_t best = i;

		for (size_t k = i + 1; k < c->count; k++) {
			if (rather(&c->items[k], &c->items[best]))
				best = k;
		}
		struct candidate first = c->items[best];
		c->items[best] = c->items[i];
		c->items[i] = first;
	}
}
