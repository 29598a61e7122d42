/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drawing and printing plans. Each kind of fault that a seed has draws from a generator of its own,
 * so that leaving one kind out (by hand) leaves the others as they were.
 */
#include "tests/sim/plan.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

enum {
	DRAW_CLOSER = 99,
	DRAW_SHAPE,
	DRAW_KINDS,
	DRAW_ITEMS, /* and one for each kind */
	QUIET_OF = 8,
	KIND_OF = 3, /* one kind in so many is on */
	SOCKET_BYTES = 212992,
	TIMES_MAX = 40, /* of one kind */
};

struct kind {
	const char *name;
	uint64_t for_low_ns, for_high_ns; /* 0: it does not last */
	uint64_t low, high;               /* of the strength */
	bool of_node;
	bool of_disk;
};

static const struct kind kinds[PLAN_KINDS] = {
	[PLAN_ACT] = {"act", 0, 0, 1, UINT64_MAX / 4, true, false},
	[PLAN_LOSS] = {"loss", 500 * MS, 30 * S, 1000, 300000, false, false},
	[PLAN_NODE_LOSS] = {"node-loss", 500 * MS, 30 * S, 10000, 1000000, true, false},
	[PLAN_TWICE] = {"twice", 500 * MS, 30 * S, 1000, 500000, false, false},
	[PLAN_LATE] = {"late", 500 * MS, 30 * S, 1000, 500000, false, false},
	[PLAN_DELAY] = {"delay", 500 * MS, 20 * S, 1 * MS, 500 * MS, false, false},
	[PLAN_CUT] = {"cut", 100 * MS, 60 * S, 1, UINT64_MAX / 4, true, false},
	[PLAN_CUT_ONE_WAY] = {"cut-one-way", 100 * MS, 30 * S, 1, UINT64_MAX / 4, true, false},
	[PLAN_FLAP] = {"flap", 500 * MS, 30 * S, 1, UINT64_MAX / 4, true, false},
	[PLAN_PAUSE] = {"pause", 5 * MS, 20 * S, 0, 1, true, false},
	[PLAN_CRASH] = {"crash", 1 * MS, 20 * S, 0, 31, true, false},
	[PLAN_POWER] = {"power", 1 * S, 30 * S, 0, 31, true, false},
	[PLAN_JUMP] = {"jump", 0, 0, 1 * MS, 60 * S, true, false},
	[PLAN_WALL] = {"wall", 0, 0, 1, 86400 * 1000, true, false},
	[PLAN_DISK_SLOW] = {"disk-slow", 500 * MS, 30 * S, 2, 2000, true, true},
	[PLAN_DISK_FAIL] = {"disk-fail", 500 * MS, 30 * S, 10000, 1000000, true, true},
	[PLAN_DISK_FULL] = {"disk-full", 500 * MS, 20 * S, 1, 1, true, true},
	[PLAN_NARROW] = {"narrow", 500 * MS, 20 * S, 2000, 1000000, true, false},
};

const char *
sim_plan_kind_name(enum plan_kind kind)
{
	return kinds[kind].name;
}

static void
append(struct plan *p, struct plan_item item)
{
	if (p->item_count == p->item_room) {
		p->item_room = p->item_room ? p->item_room * 2 : 32;
		p->items = mem_resize(MEM_BASE, p->items, p->item_room, sizeof(p->items[0]));
		assert(p->items);
	}
	p->items[p->item_count++] = item;
}

/* Two that are equal in all of this are the same. */
static int
compare(const void *a, const void *b)
{
	const struct plan_item *x = a, *y = b;

	if (x->at_ns != y->at_ns)
		return x->at_ns < y->at_ns ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->node != y->node)
		return x->node < y->node ? -1 : 1;
	if (x->for_ns != y->for_ns)
		return x->for_ns < y->for_ns ? -1 : 1;
	return (x->strength > y->strength) - (x->strength < y->strength);
}

static void
sort(struct plan *p)
{
	if (p->item_count > 0)
		qsort(p->items, p->item_count, sizeof(p->items[0]), compare);
}

void
sim_plan_add(struct plan *p, struct plan_item item)
{
	append(p, item);
	sort(p);
}

void
sim_plan_fini(struct plan *p)
{
	mem_free(p->items);
	p->items = NULL;
	p->item_count = p->item_room = 0;
}

static void
draw_link(struct plan *p, struct draw *d)
{
	static const struct link_model models[] = {
		{.near_ns = 50 * US, .spread_ns = 200 * US, .jitter_ns = 50 * US, .zones = 1},
		{.near_ns = 100 * US,
		 .spread_ns = 2 * MS,
		 .zone_ns = 15 * MS,
		 .jitter_ns = 2 * MS,
		 .zones = 3},
		{.near_ns = 100 * US,
		 .spread_ns = 500 * US,
		 .jitter_ns = 100 * US,
		 .zones = 1,
		 .slow_ppm = 20000,
		 .slow_ns = 60 * MS},
	};

	p->link = models[draw_below(d, sizeof(models) / sizeof(models[0]))];
}

static void
draw_shape(struct plan *p, const struct plan_wish *wish, uint32_t nodes)
{
	static const uint32_t rates[] = {0, 100000, 10000000};
	struct draw d = draw_of(p->seed, DRAW_SHAPE), closer = draw_of(p->seed, DRAW_CLOSER);
	uint64_t size = draw_below(&d, 10);
	uint32_t most = wish->nodes_max;

	if (size < 6)
		most = most < 8 ? most : 8;
	else if (size < 9)
		most = most < 32 ? most : 32;
	p->nodes = (uint32_t)draw_scale(&d, 3, most);
	if (nodes > 0)
		p->nodes = nodes;
	p->spread_ns = draw_below(&d, 2) ? 0 : draw_scale(&d, 1 * MS, 5 * S);
	p->rate_max_ppb = rates[draw_below(&d, 3)];
	p->socket_bytes = draw_below(&d, 4) ? SOCKET_BYTES : SOCKET_BYTES / 16;
	p->sync_ns_max = draw_below(&d, 2) ? 0 : draw_scale(&d, 2 * MS, 1 * S);
	p->wire_low = wish->wire_low;
	p->wire_high = draw_below(&d, 4) ? wish->wire_low : wish->wire_high;
	p->quiet = draw_below(&d, QUIET_OF) == 0;
	p->closer_silent = draw_below(&closer, 2);
	draw_link(p, &d);
}

static struct plan_item
draw_item(const struct plan *p, enum plan_kind kind, struct draw *d)
{
	const struct kind *k = &kinds[kind];
	struct plan_item item = {.kind = kind, .node = 1};

	item.at_ns = draw_below(d, p->safety_ns);
	if (k->for_high_ns > 0)
		item.for_ns = draw_scale(d, k->for_low_ns, k->for_high_ns);
	item.strength = k->low == 0 ? draw_between(d, 0, k->high) : draw_scale(d, k->low, k->high);
	if (kind == PLAN_ACT || k->high > UINT32_MAX * 1000ull)
		item.strength = draw_u64(d) >> 2;
	if (kind == PLAN_DELAY || kind == PLAN_JUMP)
		item.strength = draw_scale(d, k->low, k->high);
	if (k->of_node)
		item.node = (uint32_t)draw_between(d, 1, p->nodes);
	if (kind == PLAN_CUT || kind == PLAN_CUT_ONE_WAY || kind == PLAN_FLAP)
		item.node = (uint32_t)draw_between(d, 1, p->nodes - 1);
	if (kind == PLAN_WALL && draw_below(d, 2))
		item.strength = (uint64_t) - (int64_t)item.strength;
	return item;
}

/* Some of those that crash stay away for good; more than half must not. */
static void
make_lasting(const struct plan *p, struct plan_item *item, struct draw *d)
{
	uint32_t gone = 0;

	for (size_t i = 0; i < p->item_count; i++)
		if (p->items[i].for_ns == PLAN_FOR_EVER)
			gone++;
	if (gone < (p->nodes - 1) / 2 && draw_below(d, 4) == 0)
		item->for_ns = PLAN_FOR_EVER;
}

static void
draw_kind(struct plan *p, enum plan_kind kind)
{
	struct draw d = draw_of(p->seed, DRAW_ITEMS + (uint64_t)kind);
	uint64_t most = 2 + p->safety_ns / (5 * S);
	uint64_t times = draw_scale(&d, 1, most < TIMES_MAX ? most : TIMES_MAX);

	while (times-- > 0) {
		struct plan_item item = draw_item(p, kind, &d);

		if (kind == PLAN_CRASH || kind == PLAN_POWER)
			make_lasting(p, &item, &d);
		append(p, item);
	}
}

static void
draw_acts(struct plan *p, uint32_t per_minute)
{
	struct draw d = draw_of(p->seed, DRAW_ITEMS);
	uint64_t count = per_minute * (p->safety_ns / MS) / 60000;

	if (count == 0)
		return;
	for (count = draw_below(&d, 2 * count + 1); count > 0; count--)
		append(p, draw_item(p, PLAN_ACT, &d));
}

void
sim_plan_draw(struct plan *p, const struct plan_wish *wish, uint64_t seed, uint32_t nodes,
	      uint64_t safety_ns, uint32_t wanted)
{
	struct draw d = draw_of(seed, DRAW_KINDS);

	*p = (struct plan){.seed = seed, .safety_ns = safety_ns, .bound_ns = wish->bound_ns};
	draw_shape(p, wish, nodes);
	draw_acts(p, wish->acts_per_minute);
	for (enum plan_kind kind = PLAN_ACT + 1; kind < PLAN_KINDS; kind++) {
		bool on = draw_below(&d, KIND_OF) == 0;

		if (on && !p->quiet && (wanted >> kind & 1) && (wish->disk || !kinds[kind].of_disk))
			draw_kind(p, kind);
	}
	sort(p);
}

void
sim_plan_side(const struct plan *p, const struct plan_item *item, uint8_t *bits, size_t bytes)
{
	struct draw d = draw_of(item->strength, DRAW_ITEMS);
	uint32_t left = item->node;

	memset(bits, 0, bytes);
	for (uint32_t n = 0; n < p->nodes && left > 0; n++)
		if (draw_below(&d, p->nodes - n) < left) {
			bits[n / 8] |= (uint8_t)(1u << n % 8);
			left--;
		}
}

static void
print_side(const struct plan *p, const struct plan_item *item, FILE *to)
{
	uint8_t bits[2048];
	uint32_t shown = 0;

	assert(p->nodes / 8 < sizeof(bits));
	sim_plan_side(p, item, bits, sizeof(bits));
	fprintf(to, " {");
	for (uint32_t n = 0; n < p->nodes && shown < 12; n++)
		if (bits[n / 8] >> n % 8 & 1)
			fprintf(to, "%s%u", shown++ ? " " : "", n + 1);
	fprintf(to, "%s}%s", item->node > shown ? " ..." : "",
		item->kind == PLAN_CUT_ONE_WAY ? " to the others" : " | the others");
}

static void
print_for(const struct plan_item *item, FILE *to)
{
	if (item->for_ns == PLAN_FOR_EVER)
		fprintf(to, ", for ever");
	else if (item->for_ns > 0)
		fprintf(to, ", for %" PRIu64 ".%03" PRIu64 " s", item->for_ns / S,
			item->for_ns % S / MS);
}

void
sim_plan_print(const struct plan *p, size_t index, FILE *to)
{
	const struct plan_item *item = &p->items[index];

	fprintf(to, "%5" PRIu64 ".%06" PRIu64 " ", item->at_ns / S, item->at_ns % S / US);
	if (item->kind == PLAN_CUT || item->kind == PLAN_CUT_ONE_WAY || item->kind == PLAN_FLAP) {
		fprintf(to, "     * %s", kinds[item->kind].name);
		print_side(p, item, to);
	} else if (kinds[item->kind].of_node) {
		fprintf(to, "%4u * %s", item->node, kinds[item->kind].name);
	} else {
		fprintf(to, " all * %s", kinds[item->kind].name);
	}
	if (kinds[item->kind].high <= UINT32_MAX * 1000ull && item->kind != PLAN_DISK_FULL)
		fprintf(to, " %" PRId64, (int64_t)item->strength);
	print_for(item, to);
	fprintf(to, "  (item %zu)\n", index);
}
