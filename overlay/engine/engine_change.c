/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes. A change is prepared first: the key is computed before there is a lock, peers that are
 * new are made without anything (they can be taken away again), and memory for prefixes is
 * reserved. What is left to be done then cannot fail. Nothing is computed or sent while the table
 * is held: what is to be begun or said is left to the thread of handshakes.
 */
#include "overlay/engine/engine_inside.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include "base/mem.h"

enum { PREFIXES_AT_ONCE = 32 };

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for a change of the WireGuard engine");
}

/* ---- preparing ---- */

/* NULL without an error: it would be this device's own. */
static struct engine_peer *
make_peer(struct engine *e, const uint8_t key[SETUP_KEY], const struct world *w, struct err *err)
{
	struct engine_peer *p = engine_peer_new(key);
	struct device_change change = {0};
	struct device_peer *peer;

	if (!p) {
		no_memory(err);
		return NULL;
	}
	memcpy(change.public_key, key, SETUP_KEY);
	if (device_change(e->device, &change, w, &peer, err) < 0 || !peer) {
		engine_peer_unref(p);
		return NULL;
	}
	p->peer = peer;
	device_peer_set_user(peer, p);
	return p;
}

static int
prepare_peer(struct engine *e, const struct setup_peer *s, const struct world *w, struct err *err)
{
	struct engine_peer *p = engine_peer_of(device_find(e->device, s->public_key));

	if (s->remove) {
		if (p)
			p->goes = true;
	} else if (!p && !s->update_only) {
		p = make_peer(e, s->public_key, w, err);
		if (p)
			p->made = p->stays = true;
		else if (err->kind != ERR_NONE)
			return -1;
	} else if (p) {
		p->stays = true;
	}
	if (p && p->goes && p->stays)
		return err_set(err, ERR_INVALID,
			       "a WireGuard peer goes and comes in the same change");
	return 0;
}

/* The peer that a succession needs. */
static int
prepare_heir(struct engine *e, const struct engine_succession *s, const struct world *w,
	     struct err *err)
{
	struct engine_peer *p;

	if (!device_find(e->device, s->now) || device_find(e->device, s->next))
		return 0;
	p = make_peer(e, s->next, w, err);
	if (!p)
		return err->kind == ERR_NONE ? 0 : -1;
	p->made = p->heir = true;
	return 0;
}

static int
check_port(const struct engine *e, const struct setup *change, struct err *err)
{
	if (!change->has_port || change->port == 0)
		return 0;
	for (unsigned i = 0; i < 2; i++) {
		const struct udp *u = i == 0 ? &e->udp4 : &e->udp6;

		if (u->fd >= 0 && udp_port(u) != change->port)
			return err_set(err, ERR_UNSUPPORTED,
				       "the port of the WireGuard engine's sockets is %u, not %u",
				       udp_port(u), change->port);
	}
	return 0;
}

static int
prepare(struct engine *e, const struct setup *change, const struct world *w, struct err *err)
{
	struct map_iter it = {0};

	if (check_port(e, change, err) < 0 ||
	    device_reserve(e->device, change->prefixes_count, err) < 0)
		return -1;
	for (size_t i = 0; i < change->peers_count; i++)
		if (prepare_peer(e, &change->peers[i], w, err) < 0)
			return -1;
	while (map_next(&e->successions, &it))
		if (prepare_heir(e, it.value, w, err) < 0)
			return -1;
	return 0;
}

/* ---- the device itself ---- */

static int
mark_sockets(const struct engine *e, uint32_t fwmark)
{
	return (e->udp4.fd < 0 || udp_set_fwmark(&e->udp4, fwmark) == 0) &&
			       (e->udp6.fd < 0 || udp_set_fwmark(&e->udp6, fwmark) == 0)
		       ? 0
		       : -1;
}

struct key { /* that a change says */
	bool said, some;
	struct noise_identity identity; /* zeros unless there is some */
};

/* Without a lock. */
static int
make_key(const struct setup *change, struct key *out, struct err *err)
{
	*out = (struct key){.said = change->has_private_key};
	out->some = out->said && !setup_key_is_zero(change->private_key);
	if (out->some && !noise_identity_set(&out->identity, change->private_key))
		return no_memory(err);
	return 0;
}

/* Whether all that come are spoken to. */
static bool
greets(const struct engine *e)
{
	static const uint64_t second = 1000000000;

	return !atomic_load(&e->lazy) || (device_count(e->device) <= ENGINE_GREETS_MAX &&
					  engine_now(e) - e->began_ns < ENGINE_GREETS_S * second);
}

/* Those that sleep are met with it when they wake. Without a key nobody could be awake, so that
 * those that are to be always begin here. */
static void
begin_all(struct engine *e)
{
	bool all = greets(e);

	for (struct device_peer *it = NULL; (it = device_next(e->device, it));)
		if (device_peer_endpoint(it) &&
		    (all || device_peer_awake(it) || device_peer_kept(it)))
			engine_peer_begin(e, engine_peer_of(it));
}

/* key: of the change, computed. */
static int
set_key(struct engine *e, const struct key *key, struct err *err)
{
	const struct noise_identity *next = key->some ? &key->identity : NULL;
	struct noise_identity before;

	if (!key->said)
		return 0;
	bool had = device_identity(e->device, &before);
	bool same = had == key->some &&
		    primitive_equal(before.private_key, key->identity.private_key, SETUP_KEY);
	/* A peer that has this very key goes, and with it its prefixes. */
	bool self = next && device_find(e->device, next->public_key);
	mem_wipe(&before, sizeof(before));
	if (self)
		engine_table_begin(e);
	int rc = device_set_identity(e->device, next, err);
	if (self)
		engine_table_end(e);
	if (rc == 0 && next && !same)
		begin_all(e);
	return rc;
}

/* The last that may fail; nothing has changed then. */
static int
set_device(struct engine *e, const struct setup *change, const struct key *key, struct err *err)
{
	bool mark = change->has_fwmark && change->fwmark != e->fwmark;

	if (mark && mark_sockets(e, change->fwmark) < 0) {
		err_sys(err, errno, "cannot mark the WireGuard engine's packets with %u",
			change->fwmark);
		(void)mark_sockets(e, e->fwmark);
		return -1;
	}
	if (set_key(e, key, err) < 0) {
		if (mark)
			(void)mark_sockets(e, e->fwmark);
		return -1;
	}
	if (mark)
		e->fwmark = change->fwmark;
	return 0;
}

/* ---- peers ---- */

/* Prepared: cannot fail. */
static void
change_device(struct engine *e, const struct device_change *c, const struct world *w)
{
	struct err err = {0};
	struct device_peer *peer;
	int rc = device_change(e->device, c, w, &peer, &err);

	assert(rc == 0);
	(void)rc;
}

static void
change_prefixes(struct engine *e, const struct setup_peer *s, const struct world *w)
{
	struct device_prefix list[PREFIXES_AT_ONCE];
	struct device_change c = {.prefixes = list, .update_only = true, .quiet = true};

	memcpy(c.public_key, s->public_key, SETUP_KEY);
	for (size_t i = 0; i < s->prefixes_count; i += c.prefixes_count) {
		c.prefixes_count = s->prefixes_count - i;
		if (c.prefixes_count > PREFIXES_AT_ONCE)
			c.prefixes_count = PREFIXES_AT_ONCE;
		for (size_t j = 0; j < c.prefixes_count; j++)
			list[j] = (struct device_prefix){.prefix = s->prefixes[i + j].at,
							 .remove = s->prefixes[i + j].remove};
		change_device(e, &c, w);
	}
}

/* all: what is not said is as of a new peer. */
static void
change_peer(struct engine *e, const struct setup_peer *s, bool all, const struct world *w)
{
	static const uint8_t no_psk[SETUP_KEY];
	struct engine_peer *p = engine_peer_of(device_find(e->device, s->public_key));
	struct device_change c = {
		.remove = s->remove,
		.update_only = true, /* those that are to be made are */
		.quiet = true,
		.replace_prefixes = s->replace_prefixes || all,
		.psk = s->has_psk ? s->psk
		       : all      ? no_psk
				  : NULL,
		.endpoint = s->has_endpoint ? &s->endpoint : NULL,
		.has_keepalive = s->has_keepalive || all,
		.keepalive_s = s->has_keepalive ? s->keepalive_s : 0,
	};

	if (!p)
		return;
	bool known = device_peer_endpoint(p->peer), kept = device_peer_kept(p->peer);
	memcpy(c.public_key, s->public_key, SETUP_KEY);
	change_device(e, &c, w);
	if (s->remove)
		return;
	change_prefixes(e, s, w);
	p->heir = false;
	engine_peer_sync(e, p);
	bool eager = !known && s->has_endpoint && greets(e);
	if (eager || (!kept && device_peer_kept(p->peer)))
		engine_peer_begin(e, p);
}

static void
remove_others(struct engine *e)
{
	struct device_peer *next = device_next(e->device, NULL);

	while (next) {
		struct device_peer *peer = next;
		const struct engine_peer *p = engine_peer_of(peer);

		next = device_next(e->device, peer);
		if (!p->stays && !p->heir)
			device_remove(e->device, peer);
	}
}

/* An heir has the preshared key, as it is now. */
static void
tell_heir(struct engine *e, struct engine_succession *s, const struct world *w)
{
	struct device_peer *now = device_find(e->device, s->now);
	struct engine_peer *next = engine_peer_of(device_find(e->device, s->next));
	struct device_peer_state state;
	struct device_change c = {.psk = state.psk, .update_only = true, .quiet = true};

	if (!now || !next)
		return;
	if (!next->heir)
		return; /* a peer of its own: it takes nobody's place */
	device_peer_state(now, &state);
	memcpy(c.public_key, s->next, SETUP_KEY);
	change_device(e, &c, w);
	mem_wipe(&state, sizeof(state));
	for (unsigned i = 0; i < ENGINE_KEYS; i++)
		if (next->keys[i].completed)
			s->due = e->succession_due = true;
}

/* Of nodes, not of keys: while one changes its own, both are peers. */
static size_t
count_owners(const struct engine *e)
{
	struct device_peer *peer = NULL;
	size_t count = 0;

	while ((peer = device_next(e->device, peer)) != NULL) {
		const struct engine_peer *p = engine_peer_of(peer);

		count += !p->heir;
		count -= p->before && p->before->peer;
	}
	return count;
}

static void
judge_size(struct engine *e)
{
	atomic_store(&e->lazy, count_owners(e) > ENGINE_EAGER_MAX);
}

static void
apply(struct engine *e, const struct setup *change, const struct world *w)
{
	struct map_iter it = {0};

	engine_table_begin(e);
	if (change->replace_peers)
		remove_others(e);
	judge_size(e);
	for (size_t i = 0; i < change->peers_count; i++)
		change_peer(e, &change->peers[i], change->replace_peers, w);
	while (map_next(&e->successions, &it))
		tell_heir(e, it.value, w);
	engine_table_end(e);
}

/* Marks go; when it failed, those that were made go, too. */
static void
finish(struct engine *e, bool failed)
{
	struct device_peer *next = device_next(e->device, NULL);

	while (next) {
		struct device_peer *peer = next;
		struct engine_peer *p = engine_peer_of(peer);
		bool made = p->made;

		next = device_next(e->device, peer);
		p->made = p->stays = p->goes = false;
		if (failed && made)
			device_remove(e->device, peer);
	}
	device_release(e->device);
	judge_size(e);
}

int
engine_change(struct engine *e, const struct setup *change, struct err *err)
{
	struct key key;
	struct world w;
	int rc;

	err_clear(err);
	if (make_key(change, &key, err) < 0)
		return -1;
	engine_lock(e);
	engine_world(e, &w);
	rc = prepare(e, change, &w, err);
	if (rc == 0)
		rc = set_device(e, change, &key, err);
	if (rc == 0)
		apply(e, change, &w);
	finish(e, rc < 0);
	engine_relay_resolve(e);
	engine_unlock(e);
	engine_wake(e);
	mem_wipe(&key, sizeof(key));
	return rc;
}

int
engine_set_peer_mtu(struct engine *e, const uint8_t key[SETUP_KEY], uint32_t mtu, struct err *err)
{
	struct engine_peer *p;

	if (mtu != 0 && mtu < TUN_MTU_MIN)
		return err_set(err, ERR_INVALID, "%u is no MTU of a tunnel: at least %d", mtu,
			       TUN_MTU_MIN);
	engine_lock(e);
	p = engine_peer_of(device_find(e->device, key));
	if (p && p->mtu != mtu) {
		engine_table_begin(e);
		p->mtu = mtu;
		engine_table_end(e);
	}
	engine_unlock(e);
	return p ? 0 : err_set(err, ERR_NOT_FOUND, "there is no such WireGuard peer");
}
