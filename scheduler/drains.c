/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both sides of the question, level-triggered: the asker says in every pass what it waits for, and
 * asks again while that stands; who is asked keeps what it was asked and says what is so, again
 * with every question. An answer names the drain that it is about, so that one about an earlier
 * drain of the same replica is none.
 */
#include "scheduler/drains.h"

#include <string.h>
#include "base/buf.h"
#include "base/le.h"
#include "base/mem.h"
#include "scheduler/shell.h"

#define MS_NS UINT64_C(1000000)

/* ---- the wire ---- */

void
drains_encode(const struct drains_message *m, uint8_t out[DRAINS_BYTES])
{
	out[0] = DRAINS_VERSION;
	out[1] = (uint8_t)m->kind;
	le_put(out + 2, 0, 2);
	le_put(out + 4, m->replica, 8);
	le_put(out + 12, (uint64_t)m->since_wall_ns, 8);
}

bool
drains_decode(const void *data, size_t bytes, struct drains_message *out)
{
	struct cursor c;
	uint8_t version, kind;

	cursor_init(&c, data, bytes);
	version = cursor_u8(&c);
	kind = cursor_u8(&c);
	bool zero = cursor_u16(&c) == 0;
	out->replica = cursor_u64(&c);
	out->since_wall_ns = (int64_t)cursor_u64(&c);
	if (!cursor_done(&c) || version != DRAINS_VERSION || !zero || kind < DRAINS_ASK ||
	    kind > DRAINS_FREE || !out->replica)
		return false;
	out->kind = (enum drains_kind)kind;
	return true;
}

/* False: the list is full, and it is tried again. */
static bool
say(struct step_actions *out, uint32_t node, enum drains_kind kind, uint64_t replica,
    int64_t since_wall_ns)
{
	const struct drains_message m = {kind, replica, since_wall_ns};
	uint8_t bytes[DRAINS_BYTES];

	/* One more is for the timer. */
	if (!step_actions_room(out, 2, DRAINS_BYTES)) {
		out->more = true;
		return false;
	}
	drains_encode(&m, bytes);
	step_add(out, STEP_SEND, bytes, sizeof(bytes))->node = node;
	return true;
}

/* ---- life ---- */

void
drains_init(struct drains *d)
{
	memset(d, 0, sizeof(*d));
	map_init(&d->own, MEM_SCHEDULER);
	map_init(&d->asked, MEM_SCHEDULER);
}

static void
free_own(struct drains_own *o)
{
	mem_free(o->peers);
	mem_free(o);
}

void
drains_fini(struct drains *d)
{
	struct map_iter it = {0};

	while (map_next(&d->own, &it))
		free_own(it.value);
	map_fini(&d->own);
	it = (struct map_iter){0};
	while (map_next(&d->asked, &it))
		mem_free(it.value);
	map_fini(&d->asked);
}

void
drains_core(struct drains *d, struct shell_core *out)
{
	*out = (struct shell_core){.service = DRAINS_SERVICE, .core = d, .step = drains_step};
}

void
drains_flush(struct drains *d)
{
	if (d->put && d->flush)
		d->flush(d->arg);
	d->put = false;
}

static void
stir(const struct drains *d)
{
	if (d->stir)
		d->stir(d->arg);
}

/* ---- the asker ---- */

static struct drains_own *
own_of(struct drains *d, uint64_t replica, int64_t since_wall_ns)
{
	struct drains_own *o = map_get_u64(&d->own, replica);

	if (o && o->since_wall_ns != since_wall_ns) {
		drains_end(d, replica);
		o = NULL;
	}
	if (o)
		return o;
	o = mem_zalloc(MEM_SCHEDULER, sizeof(*o));
	if (!o)
		return NULL;
	o->replica = replica;
	o->since_wall_ns = since_wall_ns;
	if (map_put_u64(&d->own, replica, o) < 0) {
		mem_free(o);
		return NULL;
	}
	return o;
}

/* The place of a node, or where it would be. */
static size_t
place_of(const struct drains_own *o, uint32_t node)
{
	size_t low = 0, high = o->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (o->peers[middle].node < node)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct drains_peer *
peer_of(struct drains_own *o, uint32_t node)
{
	size_t at = place_of(o, node);

	if (at < o->count && o->peers[at].node == node)
		return &o->peers[at];
	if (o->count == o->room) {
		size_t room = o->room ? 2 * o->room : 8;
		void *more = mem_resize(MEM_SCHEDULER, o->peers, room, sizeof(*o->peers));

		if (!more)
			return NULL;
		o->peers = more;
		o->room = room;
	}
	memmove(&o->peers[at + 1], &o->peers[at], (o->count - at) * sizeof(*o->peers));
	o->count++;
	o->peers[at] = (struct drains_peer){.node = node, .wait_ms = DRAINS_AGAIN_MS};
	return &o->peers[at];
}

bool
drains_is_free(struct drains *d, uint64_t replica, int64_t since_wall_ns, uint32_t node)
{
	struct drains_own *o = own_of(d, replica, since_wall_ns);
	struct drains_peer *p = o ? peer_of(o, node) : NULL;

	if (!p)
		return false;
	d->put |= !p->free && !p->next_ns;
	return p->free;
}

void
drains_end(struct drains *d, uint64_t replica)
{
	struct drains_own *o = map_remove_u64(&d->own, replica);

	if (o)
		free_own(o);
}

static void
hear_answer(struct drains *d, uint32_t node, const struct drains_message *m)
{
	struct drains_own *o = map_get_u64(&d->own, m->replica);
	size_t at = o ? place_of(o, node) : 0;

	if (!o || at >= o->count || o->peers[at].node != node ||
	    o->since_wall_ns != m->since_wall_ns || m->kind != DRAINS_FREE)
		return;
	o->peers[at].free = true;
	stir(d);
}

/* Asks those whose time has come. False: there was no room for all. */
static bool
ask(struct drains_own *o, uint64_t now_ns, uint64_t *due_ns, struct step_actions *out)
{
	for (size_t i = 0; i < o->count; i++) {
		struct drains_peer *p = &o->peers[i];

		if (p->free)
			continue;
		if (p->next_ns <= now_ns) {
			if (!say(out, p->node, DRAINS_ASK, o->replica, o->since_wall_ns))
				return false;
			p->next_ns = now_ns + p->wait_ms * MS_NS;
			p->wait_ms = p->wait_ms * 2 < DRAINS_AGAIN_MAX_MS ? p->wait_ms * 2
									  : DRAINS_AGAIN_MAX_MS;
		}
		*due_ns = p->next_ns < *due_ns ? p->next_ns : *due_ns;
	}
	return true;
}

/* ---- who is asked ---- */

struct drains_asked *
drains_asked(const struct drains *d, uint64_t replica)
{
	return map_get_u64(&d->asked, replica);
}

void
drains_answer(struct drains *d, struct drains_asked *a, bool free)
{
	if (a->free == free)
		return;
	a->free = free;
	a->owed = true;
	d->put = true;
}

/* A node's replicas have its number before theirs, but for what it had before it was in a
 * cluster. */
static void
hear_question(struct drains *d, uint32_t node, const struct drains_message *m, uint64_t now_ns)
{
	struct drains_asked *a = drains_asked(d, m->replica);

	if ((m->replica >> 32 != node && m->replica >> 32 != 0) || (a && a->node != node))
		return;
	if (!a) {
		a = map_count(&d->asked) < DRAINS_ASKED_MAX ? mem_zalloc(MEM_SCHEDULER, sizeof(*a))
							    : NULL;
		if (!a || map_put_u64(&d->asked, m->replica, a) < 0) {
			mem_free(a);
			return; /* it is asked again */
		}
		a->replica = m->replica;
		a->node = node;
	}
	if (a->since_wall_ns != m->since_wall_ns) {
		a->since_wall_ns = m->since_wall_ns;
		a->version = 0;
		a->free = false;
	}
	a->heard_ns = now_ns;
	a->owed = true;
	stir(d);
}

static void
forget_old(struct drains *d, uint64_t now_ns)
{
	struct map_iter it = {0};

	while (map_next(&d->asked, &it)) {
		struct drains_asked *a = it.value;

		if (now_ns - a->heard_ns < DRAINS_KEPT_MS * MS_NS)
			continue;
		map_remove_u64(&d->asked, a->replica);
		mem_free(a);
	}
}

/* ---- the step ---- */

static void
work(struct drains *d, uint64_t now_ns, struct step_actions *out)
{
	uint64_t due_ns = map_count(&d->asked) ? now_ns + DRAINS_KEPT_MS * MS_NS : UINT64_MAX;
	struct map_iter it = {0};
	bool room = true;

	forget_old(d, now_ns);
	while (room && map_next(&d->asked, &it)) {
		struct drains_asked *a = it.value;

		if (!a->owed)
			continue;
		room = say(out, a->node, a->free ? DRAINS_FREE : DRAINS_HOLDS, a->replica,
			   a->since_wall_ns);
		a->owed = !room;
	}
	it = (struct map_iter){0};
	while (room && map_next(&d->own, &it))
		room = ask(it.value, now_ns, &due_ns, out);
	step_add(out, STEP_SET_TIMER, NULL, 0)->at_ns = due_ns;
}

void
drains_step(void *core, const struct step_input *in, struct step_actions *out)
{
	struct drains *d = core;
	struct drains_message m;

	if (in->kind == STEP_DATAGRAM && drains_decode(in->data, in->bytes, &m)) {
		if (m.kind == DRAINS_ASK)
			hear_question(d, in->node, &m, in->now_ns);
		else
			hear_answer(d, in->node, &m);
	}
	work(d, in->now_ns, out);
}
