/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device itself: its making and end, its private key, its clock, and what is read from it.
 *
 * The clock is sparse. Packets move a peer's timers back and forth all the time, mostly further
 * away; its place in the heap is only moved when something becomes due earlier than that, and is
 * put right when it comes up.
 */
#include "overlay/wg/device.h"

#include <assert.h>
#include <string.h>
#include "overlay/wg/device_core.h"

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for a WireGuard device");
}

int
device_new(const struct device_calls *calls, const struct world *w, struct device **out,
	   struct err *err)
{
	struct device *d = mem_zalloc(MEM_OVERLAY, sizeof(*d));

	assert(calls->send && calls->staged && calls->ready && calls->give_up && calls->keys &&
	       calls->gone);
	if (!d)
		return no_memory(err);
	d->limiter = limiter_new(world_random_u64(w));
	if (!d->limiter) {
		mem_free(d);
		return no_memory(err);
	}
	if (primitive_init(&d->primitive, err) < 0) {
		limiter_free(d->limiter);
		mem_free(d);
		return -1;
	}
	d->calls = *calls;
	d->mtu = DEVICE_MTU_DEFAULT;
	allowed_init(&d->allowed);
	map_init_seeded(&d->peers, MEM_OVERLAY, world_random_u64(w));
	map_init_seeded(&d->handshakes, MEM_OVERLAY, world_random_u64(w));
	map_init_seeded(&d->sessions, MEM_OVERLAY, world_random_u64(w));
	list_init(&d->all);
	list_init(&d->used);
	d->awake_max = DEVICE_AWAKE_MAX;
	heap_init(&d->deadlines, MEM_OVERLAY);
	*out = d;
	return 0;
}

void
device_free(struct device *d)
{
	if (!d)
		return;
	device_remove_all(d);
	map_fini(&d->peers);
	map_fini(&d->handshakes);
	map_fini(&d->sessions);
	heap_fini(&d->deadlines);
	allowed_fini(&d->allowed);
	limiter_free(d->limiter);
	primitive_fini(&d->primitive);
	mem_free_zero(d);
}

/* ---- identity ---- */

static void
drop_identity(struct device *d)
{
	mem_wipe(&d->identity, sizeof(d->identity));
	mem_wipe(&d->checker, sizeof(d->checker));
	d->has_identity = false;
}

/* What was made with the old key is of no use any more. What the new one has in common with a
 * peer's is computed when there is a handshake with it: peers may be thousands. */
static void
rekey_peers(struct device *d)
{
	struct list *it, *next;

	list_each (it, next, &d->all) {
		struct device_peer *p = container_of(it, struct device_peer, all);

		noise_peer_forget(&p->key);
		if (p->awake) {
			device_drop_handshake(d, p);
			session_slots_stop(&p->awake->slots);
			timers_identity_changed(&p->awake->timers);
		}
		if (!d->has_identity)
			d->calls.give_up(d->calls.arg, p);
	}
}

int
device_set_identity(struct device *d, const struct noise_identity *identity, struct err *err)
{
	static const struct noise_identity none;
	const struct noise_identity *next = identity ? identity : &none;
	struct cookie_checker checker = {0};

	if ((identity != NULL) == d->has_identity &&
	    primitive_equal(next->private_key, d->identity.private_key, PRIMITIVE_KEY))
		return 0;
	if (identity && !cookie_checker_set(&d->primitive, &checker, identity->public_key))
		return no_memory(err);
	drop_identity(d);
	if (identity) {
		d->identity = *identity;
		d->checker = checker;
		d->has_identity = true;
		struct device_peer *self = device_find(d, identity->public_key);
		if (self)
			device_remove(d, self);
	}
	rekey_peers(d);
	return 0;
}

int
device_set_private_key(struct device *d, const uint8_t *private_key, struct err *err)
{
	struct noise_identity identity;
	bool has = private_key && !setup_key_is_zero(private_key);

	if (has && !noise_identity_set(&identity, private_key)) {
		mem_wipe(&identity, sizeof(identity));
		return no_memory(err);
	}
	int rc = device_set_identity(d, has ? &identity : NULL, err);
	mem_wipe(&identity, sizeof(identity));
	return rc;
}

/* ---- the clock ---- */

void
device_arm(struct device *d, struct device_peer *p)
{
	uint64_t next = timers_next(&p->awake->timers);
	int r = 0;

	if (next < p->awake->deadline.at)
		r = heap_set(&d->deadlines, &p->awake->deadline, next);
	assert(r == 0);
	(void)r;
}

static void
expire(struct device *d, struct device_peer *p, const struct world *w)
{
	unsigned work = timers_expire(&p->awake->timers, w);

	if (work & TIMERS_DO_FORGET) {
		device_drop_handshake(d, p);
		device_drop_sessions(d, p);
	}
	if (work & TIMERS_DO_GIVE_UP)
		d->calls.give_up(d->calls.arg, p);
	if (work & TIMERS_DO_RETRY)
		device_begin(d, p, w, true);
	if (work & TIMERS_DO_HANDSHAKE)
		device_begin(d, p, w, false);
	if (work & TIMERS_DO_KEEPALIVE)
		(void)device_speak(d, p, w);
}

void
device_tick(struct device *d, const struct world *w)
{
	for (unsigned i = 0; i < DEVICE_TICK_PEERS; i++) {
		struct heap_item *first = heap_peek(&d->deadlines);

		if (!first || first->at > w->mono_ns)
			return;
		struct device_peer *p = container_of(first, struct device_awake, deadline)->peer;
		expire(d, p, w);
		device_doze(d, p);
		if (!p->awake)
			continue;
		int r = heap_set(&d->deadlines, &p->awake->deadline,
				 timers_next(&p->awake->timers));
		assert(r == 0);
		(void)r;
	}
}

uint64_t
device_deadline(const struct device *d)
{
	const struct heap_item *first = heap_peek(&d->deadlines);

	return first ? first->at : TIMERS_NEVER;
}

/* ---- reading ---- */

struct device_peer *
device_find(const struct device *d, const uint8_t public_key[PRIMITIVE_KEY])
{
	return map_get(&d->peers, public_key, PRIMITIVE_KEY);
}

struct device_peer *
device_next(const struct device *d, const struct device_peer *peer)
{
	struct list *it = peer ? peer->all.next : d->all.next;

	return it == &d->all ? NULL : container_of(it, struct device_peer, all);
}

size_t
device_count(const struct device *d)
{
	return map_count(&d->peers);
}

void
device_peer_state(const struct device_peer *peer, struct device_peer_state *out)
{
	*out = (struct device_peer_state){
		.endpoint = peer->endpoint,
		.has_endpoint = peer->has_endpoint,
		.keepalive_s = peer->keepalive_s,
		.handshake_wall_ns = peer->handshake_wall_ns,
		.rx_bytes = peer->rx_bytes,
		.tx_bytes = peer->tx_bytes,
	};
	memcpy(out->public_key, peer->key.public_key, PRIMITIVE_KEY);
	memcpy(out->psk, peer->key.psk, PRIMITIVE_KEY);
}

const struct addr *
device_peer_endpoint(const struct device_peer *peer)
{
	return peer->has_endpoint ? &peer->endpoint : NULL;
}

bool
device_peer_kept(const struct device_peer *peer)
{
	return peer->has_endpoint && peer->keepalive_s > 0;
}

bool
device_peer_awake(const struct device_peer *peer)
{
	return peer->awake != NULL;
}

void
device_each_prefix(const struct device_peer *peer,
		   void (*visit)(void *arg, const struct addr_prefix *prefix), void *arg)
{
	allowed_each(&peer->places, visit, arg);
}

size_t
device_prefixes(const struct device_peer *peer)
{
	return peer->places.count;
}

bool
device_identity(const struct device *d, struct noise_identity *out)
{
	*out = d->identity;
	return d->has_identity;
}

struct session *
device_session(const struct device *d, uint32_t number)
{
	return map_get_u64(&d->sessions, number);
}

void *
device_peer_user(const struct device_peer *peer)
{
	return peer->user;
}

void
device_peer_set_user(struct device_peer *peer, void *user)
{
	peer->user = user;
}

void
device_set_mtu(struct device *d, size_t mtu)
{
	d->mtu = mtu;
}
