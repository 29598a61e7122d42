/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Successions: the owner of a key changes to another one. Until it has, both are peers, the next
 * one without a prefix. With the first session of the next one the prefixes move, and with them the
 * packets that waited; what is still on its way with the old key is taken as its owner's own.
 */
#include "overlay/engine/engine_inside.h"

#include <string.h>
#include "base/mem.h"

struct prefixes {
	struct device_prefix *list;
	size_t count;
};

static void
copy_prefix(void *arg, const struct addr_prefix *prefix)
{
	struct prefixes *p = arg;

	p->list[p->count++] = (struct device_prefix){.prefix = *prefix};
}

static bool
prefixes_of(const struct device_peer *peer, struct prefixes *out)
{
	*out = (struct prefixes){0};
	if (device_prefixes(peer) == 0)
		return true;
	out->list = mem_array(MEM_OVERLAY, device_prefixes(peer), sizeof(*out->list));
	if (!out->list)
		return false;
	device_each_prefix(peer, copy_prefix, out);
	return true;
}

/* False: no memory, nothing has changed. */
static bool
move(struct engine *e, struct device_peer *now, struct device_peer *next, const struct world *w)
{
	struct device_change taken = {.update_only = true, .quiet = true, .has_keepalive = true},
			     left = taken;
	struct device_peer_state state;
	struct device_peer *peer;
	struct prefixes prefixes;
	struct err err = {0};

	if (!prefixes_of(now, &prefixes))
		return false;
	device_peer_state(now, &state);
	memcpy(left.public_key, state.public_key, SETUP_KEY);
	taken.psk = state.psk;
	taken.keepalive_s = state.keepalive_s;
	taken.prefixes = prefixes.list;
	taken.prefixes_count = prefixes.count;
	memcpy(taken.public_key, engine_peer_of(next)->key, SETUP_KEY);
	bool ok = device_change(e->device, &taken, w, &peer, &err) == 0;
	if (ok && device_change(e->device, &left, w, &peer, &err) < 0)
		ok = false;
	mem_wipe(&state, sizeof(state));
	mem_free(prefixes.list);
	return ok;
}

/* With the table held. What the former one had taken over is two keys old: nothing of it is on its
 * way any more. */
static void
take_over(struct engine_peer *now, struct engine_peer *next)
{
	struct engine_peer *older = now->before, *before = next->before;

	now->before = NULL;
	next->before = engine_peer_ref(now);
	next->mtu = now->mtu;
	next->heir = false;
	engine_peer_unref(older);
	engine_peer_unref(before);
}

/* True: that is done with. */
static bool
succeed(struct engine *e, const struct engine_succession *s)
{
	struct engine_peer *now = engine_peer_of(device_find(e->device, s->now));
	struct engine_peer *next = engine_peer_of(device_find(e->device, s->next));
	struct world w;

	if (!now || !next)
		return false;
	if (!next->heir)
		return true; /* it has become a peer of its own: it takes nobody's place */
	engine_world(e, &w);
	engine_table_begin(e);
	bool moved = move(e, now->peer, next->peer, &w);
	if (moved)
		take_over(now, next);
	engine_table_end(e);
	if (!moved)
		return false;
	engine_staged_move(now, next);
	engine_staged_send(e, next);
	if (device_peer_kept(next->peer)) {
		engine_peer_begin(e, next);
		engine_wake(e);
	}
	return true;
}

static void
drop(struct engine *e, struct engine_succession *s)
{
	map_remove(&e->successions, s->now, SETUP_KEY);
	mem_free(s);
}

/* An heir that nobody else knows of goes. */
static void
forget(struct engine *e, struct engine_succession *s)
{
	struct device_peer *next = device_find(e->device, s->next);

	if (next && engine_peer_of(next)->heir)
		device_remove(e->device, next);
	drop(e, s);
}

/* It was there, and is gone. */
static bool
is_over(const struct engine *e, struct engine_succession *s)
{
	s->over = s->over && !device_find(e->device, s->now);
	return s->over;
}

void
engine_succeed(struct engine *e)
{
	struct map_iter it = {0};

	e->succession_due = false;
	while (map_next(&e->successions, &it)) {
		struct engine_succession *s = it.value;

		if (is_over(e, s))
			forget(e, s);
		else if (s->due && succeed(e, s))
			drop(e, s);
		else
			e->succession_due |= s->due;
	}
}

void
engine_follow_nobody(struct engine *e)
{
	struct map_iter it = {0};

	while (map_next(&e->successions, &it))
		mem_free(it.value);
	map_fini(&e->successions);
}

/* ---- asking for it ---- */

/* ERR_LIMIT, ERR_NO_MEMORY. */
static int
add(struct engine *e, const struct engine_heir *h, size_t fresh, struct err *err)
{
	struct engine_succession *s;

	if (map_count(&e->successions) >= ENGINE_SUCCESSIONS_MAX ||
	    device_count(e->device) + fresh >= SETUP_PEERS_MAX)
		return err_set(err, ERR_LIMIT, "more keys than can be followed");
	s = mem_zalloc(MEM_OVERLAY, sizeof(*s));
	if (s && map_put(&e->successions, h->now, SETUP_KEY, s, NULL) < 0) {
		mem_free(s);
		s = NULL;
	}
	if (!s)
		return err_set(err, ERR_NO_MEMORY, "no memory to follow another key");
	memcpy(s->now, h->now, SETUP_KEY);
	memcpy(s->next, h->next, SETUP_KEY);
	s->fresh = true;
	return 0;
}

/* Instead of another one. *fresh: how many there are that were not there before. */
static int
set(struct engine *e, struct engine_heir *h, size_t *fresh, struct err *err)
{
	struct engine_succession *s = map_get(&e->successions, h->now, SETUP_KEY);

	h->followed = true;
	if (s && h->next && memcmp(s->next, h->next, SETUP_KEY) == 0)
		return 0;
	if (s)
		forget(e, s);
	if (!h->next)
		return 0;
	int rc = add(e, h, *fresh, err);
	h->followed = rc == 0;
	*fresh += rc == 0;
	if (rc == 0 || err->kind != ERR_LIMIT)
		return rc;
	err_clear(err);
	return 0;
}

static int
set_all(struct engine *e, struct engine_heir *list, size_t count, size_t *fresh, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = set(e, &list[i], fresh, err);
	return rc;
}

static void
settle(struct engine *e, bool failed)
{
	struct map_iter it = {0};

	while (map_next(&e->successions, &it)) {
		struct engine_succession *s = it.value;

		if (failed && s->fresh)
			forget(e, s);
		else
			s->fresh = false;
	}
}

int
engine_follow(struct engine *e, struct engine_heir *list, size_t count, struct err *err)
{
	static const struct setup nothing;
	size_t fresh = 0;

	engine_lock(e);
	int rc = set_all(e, list, count, &fresh, err);
	engine_unlock(e);
	/* Any change sees to it that the heirs are there. */
	if (rc == 0 && fresh > 0)
		rc = engine_change(e, &nothing, err);
	if (fresh > 0) {
		engine_lock(e);
		settle(e, rc < 0);
		engine_unlock(e);
	}
	for (size_t i = 0; i < count && rc < 0; i++)
		list[i].followed = false;
	return rc;
}
