/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking, answering, and the middle of what was answered. An answer counts for the question that
 * it names, and only once; a question that is lost is asked again later. Nothing is kept of who
 * asks.
 */
#include "scheduler/clocks.h"

#include <stdlib.h>
#include "base/buf.h"
#include "base/le.h"
#include "base/mem.h"
#include "scheduler/shell.h"

#define MS_NS INT64_C(1000000)

/* Past the year 2090: times and their differences fit. */
#define WALL_MAX_NS INT64_C(4000000000000000000)

/* ---- the wire ---- */

void
clocks_encode(uint8_t kind, uint32_t number, int64_t wall_ns, uint8_t out[CLOCKS_BYTES])
{
	out[0] = CLOCKS_VERSION;
	out[1] = kind;
	le_put(out + 2, 0, 2);
	le_put(out + 4, number, 4);
	le_put(out + 8, (uint64_t)wall_ns, 8);
}

bool
clocks_decode(const void *data, size_t bytes, uint8_t *kind, uint32_t *number, int64_t *wall_ns)
{
	struct cursor c;

	cursor_init(&c, data, bytes);
	uint8_t version = cursor_u8(&c);
	*kind = cursor_u8(&c);
	bool zero = cursor_u16(&c) == 0;
	*number = cursor_u32(&c);
	*wall_ns = (int64_t)cursor_u64(&c);
	return cursor_ok(&c) && version != 0 && zero && *number != 0 &&
	       ((*kind == CLOCKS_ASK && *wall_ns == 0) ||
		(*kind == CLOCKS_SAY && *wall_ns > 0 && *wall_ns < WALL_MAX_NS));
}

/* ---- nodes ---- */

void
clocks_init(struct clocks *cl)
{
	*cl = (struct clocks){0};
	map_init_seeded(&cl->nodes, MEM_SCHEDULER, 1); /* ids of the roster */
}

void
clocks_fini(struct clocks *cl)
{
	struct map_iter it = {0};

	while (map_next(&cl->nodes, &it))
		mem_free(it.value);
	map_fini(&cl->nodes);
}

/* NULL: out of memory; it is tried again. */
static struct clocks_node *
find_or_add(struct clocks *cl, uint32_t node)
{
	struct clocks_node *n = map_get_u64(&cl->nodes, node);

	if (n)
		return n;
	n = mem_zalloc(MEM_SCHEDULER, sizeof(*n));
	if (n && map_put_u64(&cl->nodes, node, n) < 0) {
		mem_free(n);
		return NULL;
	}
	if (n)
		n->node = node;
	return n;
}

void
clocks_ask(struct clocks *cl, uint32_t node, uint64_t now_ns)
{
	struct clocks_node *n = find_or_add(cl, node);
	int64_t wait_ms = !n || n->known ? CLOCKS_AGAIN_MS : (int64_t)CLOCKS_SOON_MS << n->tries;

	if (!n || cl->asks_count == CLOCKS_ASKS_MAX ||
	    (n->asked_ns && now_ns - n->asked_ns < (uint64_t)(wait_ms * MS_NS)))
		return;
	n->asked_ns = now_ns ? now_ns : 1;
	n->number = 0;
	n->tries += n->tries < CLOCKS_TRIES;
	cl->asks[cl->asks_count++] = node;
	cl->put = true;
}

bool
clocks_awaits(const struct clocks *cl, uint32_t node)
{
	const struct clocks_node *n = map_get_u64(&cl->nodes, node);

	return !n || (!n->known && n->tries < CLOCKS_TRIES);
}

void
clocks_forget(struct clocks *cl, uint32_t node)
{
	mem_free(map_remove_u64(&cl->nodes, node));
}

/* ---- the step ---- */

static void
say(struct step_actions *out, uint32_t node, uint8_t kind, uint32_t number, int64_t wall_ns)
{
	uint8_t bytes[CLOCKS_BYTES];

	clocks_encode(kind, number, wall_ns, bytes);
	step_add(out, STEP_SEND, bytes, sizeof(bytes))->node = node;
}

/* Slow changes add up until they count. */
bool
clocks_was_set(const struct clocks *cl, uint64_t now_ns, int64_t wall_ns)
{
	int64_t epoch = wall_ns - (int64_t)now_ns;
	int64_t moved = epoch > cl->epoch_ns ? epoch - cl->epoch_ns : cl->epoch_ns - epoch;

	return !cl->has_epoch || moved >= CLOCKS_SET_MS * MS_NS;
}

/* The own clock was set: what was measured by it is wrong now. */
static void
look_at_own(struct clocks *cl, const struct step_input *in)
{
	struct map_iter it = {0};

	if (!clocks_was_set(cl, in->now_ns, in->wall_ns))
		return;
	while (cl->has_epoch && map_next(&cl->nodes, &it)) {
		struct clocks_node *n = it.value;

		n->known = false;
		n->number = 0;
		n->asked_ns = 0;
		n->tries = 0;
	}
	cl->epoch_ns = in->wall_ns - (int64_t)in->now_ns;
	cl->has_epoch = true;
}

static void
hear(struct clocks *cl, const struct step_input *in, uint32_t number, int64_t wall_ns)
{
	struct clocks_node *n = map_get_u64(&cl->nodes, in->node);

	if (!n || n->number != number)
		return;
	n->number = 0;
	n->tries = 0;
	n->trip_ns = in->now_ns - n->asked_ns;
	if (n->trip_ns > (uint64_t)(CLOCKS_TRIP_MS * MS_NS))
		return;
	n->ahead_ns = wall_ns + (int64_t)n->trip_ns / 2 - in->wall_ns;
	n->known = true;
}

static void
take(struct clocks *cl, const struct step_input *in, struct step_actions *out)
{
	uint32_t number;
	int64_t wall_ns;
	uint8_t kind;

	if (!clocks_decode(in->data, in->bytes, &kind, &number, &wall_ns))
		cl->malformed++;
	else if (kind == CLOCKS_ASK)
		say(out, in->node, CLOCKS_SAY, number, in->wall_ns);
	else
		hear(cl, in, number, wall_ns);
}

void
clocks_step(void *core, const struct step_input *in, struct step_actions *out)
{
	struct clocks *cl = core;

	look_at_own(cl, in);
	if (in->kind == STEP_DATAGRAM)
		take(cl, in, out);
	for (size_t i = 0; i < cl->asks_count; i++) {
		struct clocks_node *n = map_get_u64(&cl->nodes, cl->asks[i]);

		if (!n)
			continue;
		n->number = ++cl->number ? cl->number : ++cl->number;
		n->asked_ns = in->now_ns;
		say(out, n->node, CLOCKS_ASK, n->number, 0);
	}
	cl->asks_count = 0;
	cl->put = false;
}

void
clocks_core(struct clocks *cl, struct shell_core *out)
{
	*out = (struct shell_core){.service = CLOCKS_SERVICE, .core = cl, .step = clocks_step};
}

/* ---- the middle ---- */

static int
by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Of at most so many nodes: which of them does not matter. */
static size_t
gather(const struct clocks *cl, int64_t out[CLOCKS_MIDDLE_MAX])
{
	struct map_iter it = {0};
	size_t count = 1;

	out[0] = 0; /* this one */
	while (count < CLOCKS_MIDDLE_MAX && map_next(&cl->nodes, &it)) {
		const struct clocks_node *n = it.value;

		if (n->known)
			out[count++] = n->ahead_ns;
	}
	return count;
}

void
clocks_look(struct clocks *cl)
{
	static int64_t all[CLOCKS_MIDDLE_MAX];
	size_t count = gather(cl, all);

	cl->count = count;
	cl->base_ns = 0;
	cl->other_ns = count == 2 ? all[1] : 0;
	if (count < 3)
		return;
	qsort(all, count, sizeof(all[0]), by_time);
	/* Of two in the middle the one that is nearer to this node's: when two halves say different
	 * things, that is no reason to go by the other one. */
	int64_t low = all[(count - 1) / 2], high = all[count / 2];
	cl->base_ns = low > 0 ? low : high < 0 ? high : 0;
}

int64_t
clocks_base(const struct clocks *cl)
{
	return cl->base_ns;
}

int64_t
clocks_other(const struct clocks *cl)
{
	return cl->other_ns;
}

int64_t
clocks_wrong(const struct clocks *cl, uint32_t node)
{
	const struct clocks_node *n = node ? map_get_u64(&cl->nodes, node) : NULL;
	int64_t doubt_ns = n ? (int64_t)n->trip_ns / 2 : 0;

	if (node && !(n && n->known))
		return 0;
	int64_t ahead_ns = (n ? n->ahead_ns : 0) - cl->base_ns;
	int64_t apart_ns = (ahead_ns < 0 ? -ahead_ns : ahead_ns) - doubt_ns;
	return apart_ns > CLOCKS_WRONG_MS * MS_NS ? ahead_ns : 0;
}
