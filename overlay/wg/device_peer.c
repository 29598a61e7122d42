/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers come, change and go. A change is looked at before anything is done, and what it needs is
 * reserved, so that it is refused as a whole or done.
 */
#include <assert.h>
#include <string.h>
#include "overlay/wg/device_core.h"

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for a WireGuard peer");
}

static struct device_peer *
new_peer(struct device *d, const uint8_t public_key[PRIMITIVE_KEY], struct err *err)
{
	struct device_peer *p;

	if (device_count(d) >= SETUP_PEERS_MAX) {
		err_set(err, ERR_LIMIT, "more than %d WireGuard peers", SETUP_PEERS_MAX);
		return NULL;
	}
	p = mem_zalloc(MEM_OVERLAY, sizeof(*p));
	if (!p) {
		no_memory(err);
		return NULL;
	}
	allowed_owner_init(&p->places);
	memcpy(p->key.public_key, public_key, PRIMITIVE_KEY);
	if (map_put(&d->peers, public_key, PRIMITIVE_KEY, p, NULL) < 0) {
		mem_free_zero(p);
		no_memory(err);
		return NULL;
	}
	list_push(&d->all, &p->all);
	return p;
}

void
device_remove(struct device *d, struct device_peer *peer)
{
	device_sleep(d, peer);
	allowed_remove_all(&d->allowed, &peer->places);
	map_remove(&d->peers, peer->key.public_key, PRIMITIVE_KEY);
	list_remove(&peer->all);
	d->calls.gone(d->calls.arg, peer);
	mem_free_zero(peer);
}

void
device_remove_all(struct device *d)
{
	struct list *it, *next;

	list_each (it, next, &d->all)
		device_remove(d, container_of(it, struct device_peer, all));
}

/* ---- a change ---- */

static size_t
added(const struct device_change *c)
{
	size_t more = 0;

	for (size_t i = 0; i < c->prefixes_count; i++)
		more += !c->prefixes[i].remove;
	return more;
}

static int
too_many_prefixes(struct err *err)
{
	return err_set(err, ERR_LIMIT, "more than %d prefixes of WireGuard peers",
		       ALLOWED_PREFIXES_MAX);
}

/* Those that it takes from other peers are counted twice: the limit is far away. */
static int
check_prefixes(const struct device *d, const struct device_peer *p, const struct device_change *c,
	       struct err *err)
{
	size_t fewer = p && c->replace_prefixes ? p->places.count : 0;

	if (d->allowed.count - fewer + added(c) <= ALLOWED_PREFIXES_MAX)
		return 0;
	return too_many_prefixes(err);
}

int
device_reserve(struct device *d, size_t prefixes, struct err *err)
{
	if (prefixes > ALLOWED_PREFIXES_MAX - d->allowed.count)
		return too_many_prefixes(err);
	if (allowed_reserve(&d->allowed, prefixes, err) < 0)
		return -1;
	d->reserved = true;
	return 0;
}

void
device_release(struct device *d)
{
	allowed_release(&d->allowed);
	d->reserved = false;
}

/* Checked and reserved. */
static void
set_prefixes(struct device *d, struct device_peer *p, const struct device_change *c)
{
	struct err err = {0};
	int r = 0;

	if (c->replace_prefixes)
		allowed_remove_all(&d->allowed, &p->places);
	for (size_t i = 0; i < c->prefixes_count; i++) {
		const struct device_prefix *prefix = &c->prefixes[i];

		if (prefix->remove)
			allowed_remove(&d->allowed, &prefix->prefix, &p->places);
		else
			r = allowed_set(&d->allowed, &prefix->prefix, &p->places, &err);
		assert(r == 0);
	}
	(void)r;
}

/* What begins to be kept alive is so at once. */
static void
apply(struct device *d, struct device_peer *p, const struct device_change *c, const struct world *w)
{
	bool was_kept = device_peer_kept(p);

	if (c->psk)
		memcpy(p->key.psk, c->psk, PRIMITIVE_KEY);
	if (c->endpoint) {
		p->endpoint = *c->endpoint;
		p->has_endpoint = true;
	}
	if (c->has_keepalive && c->keepalive_s != p->keepalive_s) {
		p->keepalive_s = c->keepalive_s;
		if (p->awake)
			timers_persist(&p->awake->timers, c->keepalive_s, w->mono_ns);
	}
	device_use(d, p);
	if (device_peer_kept(p) && !was_kept && !c->quiet)
		(void)device_speak(d, p, w);
	if (p->awake)
		device_arm(d, p);
}

int
device_change(struct device *d, const struct device_change *c, const struct world *w,
	      struct device_peer **out, struct err *err)
{
	struct device_peer *p = device_find(d, c->public_key);
	bool self = d->has_identity &&
		    memcmp(c->public_key, d->identity.public_key, PRIMITIVE_KEY) == 0;

	*out = NULL;
	if (c->remove) {
		if (p)
			device_remove(d, p);
		return 0;
	}
	if (!p && (c->update_only || self))
		return 0;
	bool reserved = d->reserved;
	if (check_prefixes(d, p, c, err) < 0)
		return -1;
	if (!reserved && allowed_reserve(&d->allowed, added(c), err) < 0)
		return -1;
	if (!p)
		p = new_peer(d, c->public_key, err);
	if (p)
		set_prefixes(d, p, c);
	if (!reserved)
		allowed_release(&d->allowed);
	if (!p)
		return -1;
	apply(d, p, c, w);
	*out = p;
	return 0;
}
