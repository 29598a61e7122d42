/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handshakes of a device. A message is looked at in the order of what that costs: its length, its
 * first MAC, under load the second one and how often that address asked, and only then the curve.
 *
 * The two ends of a handshake are kept apart: one that this end began goes on while it answers one
 * of the other end. When both begin at the same time both come to an end, and each sends with what
 * it began itself until one of them follows the other (device_data.c).
 */
#include <assert.h>
#include <string.h>
#include "overlay/wg/device_core.h"

enum { MS = 1000000, NUMBER_TRIES = 32, RECEIVER = 4, R_RECEIVER = 8 };

static const int64_t stamp_step_ns = 1 << 24; /* what noise_timestamp() leaves out, and no less */

/* ---- what is kept ---- */

bool
device_reachable(const struct device *d, const struct device_peer *p)
{
	return d->has_identity && p->key.state != NOISE_SHARED_NEVER && p->has_endpoint;
}

void
device_drop_handshake(struct device *d, struct device_peer *p)
{
	if (p->awake->handshake.state != NOISE_IDLE)
		map_remove_u64(&d->handshakes, p->awake->handshake.local);
	noise_clear(&p->awake->handshake);
}

void
device_let_go(struct device *d, struct device_peer *p, struct session_gone *gone)
{
	for (unsigned i = 0; i < gone->count; i++) {
		struct session *s = gone->items[i];

		map_remove_u64(&d->sessions, s->keys.local);
		d->calls.keys(d->calls.arg, p, s, DEVICE_KEYS_GONE);
		session_unref(s);
	}
	gone->count = 0;
}

void
device_drop_sessions(struct device *d, struct device_peer *p)
{
	struct session_gone gone;

	session_slots_clear(&p->awake->slots, &gone);
	device_let_go(d, p, &gone);
}

/* One that nothing else has. */
static bool
draw_number(const struct device *d, const struct world *w, uint32_t *out)
{
	for (unsigned i = 0; i < NUMBER_TRIES; i++) {
		world_random(w, out, sizeof(*out));
		if (!map_get_u64(&d->handshakes, *out) && !map_get_u64(&d->sessions, *out))
			return true;
	}
	return false;
}

static bool
add_session(struct device *d, struct device_peer *p, const struct noise_keys *keys,
	    const struct world *w)
{
	struct session *s = session_new(keys, p, w->mono_ns);
	struct session_gone gone;

	if (!s)
		return false;
	if (map_put_u64(&d->sessions, keys->local, s) < 0) {
		session_unref(s);
		return false;
	}
	session_slots_add(&p->awake->slots, s, &gone);
	device_let_go(d, p, &gone);
	d->calls.keys(d->calls.arg, p, s, DEVICE_KEYS_NEW);
	timers_derived(&p->awake->timers, w);
	return true;
}

void
device_completed(struct device *d, struct device_peer *p, const struct world *w)
{
	device_drop_handshake(d, p);
	timers_completed(&p->awake->timers);
	p->handshake_wall_ns = w->wall_ns;
	d->calls.keys(d->calls.arg, p, p->awake->slots.current, DEVICE_KEYS_CURRENT);
}

/* ---- sending ---- */

static void
send_out(struct device *d, struct device_peer *p, const struct world *w, const uint8_t *data,
	 size_t bytes, bool retry)
{
	const struct device_datagram datagram = {.peer = p,
						 .to = &p->endpoint,
						 .data = data,
						 .bytes = bytes,
						 .handshake = true,
						 .retry = retry};

	p->tx_bytes += bytes;
	timers_sent(&p->awake->timers, w->mono_ns);
	d->calls.send(d->calls.arg, &datagram);
}

/* Greater than the last one, also when the clock was put back. */
static void
stamp(struct device_peer *p, const struct world *w, uint8_t out[NOISE_TIMESTAMP])
{
	int64_t least = p->stamped_ns + stamp_step_ns;

	p->stamped_ns = p->stamped_ns && w->wall_ns < least ? least : w->wall_ns;
	noise_timestamp(p->stamped_ns, out);
}

static bool
write_initiation(struct device *d, struct device_peer *p, const struct world *w, uint8_t *out)
{
	uint8_t random[PRIMITIVE_KEY], timestamp[NOISE_TIMESTAMP];
	uint32_t number;

	if (!noise_peer_ready(&p->key, &d->identity) || !draw_number(d, w, &number) ||
	    map_put_u64(&d->handshakes, number, p) < 0)
		return false;
	world_random(w, random, sizeof(random));
	stamp(p, w, timestamp);
	bool ok = noise_initiate(&d->primitive, &d->identity, &p->key, number, random, timestamp,
				 &p->awake->handshake, out) &&
		  cookie_stamp(&d->primitive, &p->awake->cookie, out, NOISE_INITIATION, w->mono_ns);
	mem_wipe(random, sizeof(random));
	if (!ok) {
		map_remove_u64(&d->handshakes, number);
		noise_clear(&p->awake->handshake);
	}
	return ok;
}

void
device_begin(struct device *d, struct device_peer *p, const struct world *w, bool retry)
{
	uint8_t out[NOISE_INITIATION];

	if (!retry)
		timers_wanted(&p->awake->timers, w->mono_ns);
	if (!device_reachable(d, p))
		return;
	if (!timers_may_initiate(&p->awake->timers, w->mono_ns)) {
		timers_postponed(&p->awake->timers, w);
		device_arm(d, p);
		return;
	}
	device_drop_handshake(d, p);
	/* Also when it fails: then it is tried again after that time. */
	timers_initiated(&p->awake->timers, w);
	if (write_initiation(d, p, w, out))
		send_out(d, p, w, out, sizeof(out), retry);
	device_arm(d, p);
}

static bool
respond(struct device *d, struct device_peer *p, const struct world *w, struct noise *n)
{
	uint8_t random[PRIMITIVE_KEY], out[NOISE_RESPONSE];
	struct noise_keys keys;
	uint32_t number;

	if (!draw_number(d, w, &number))
		return false;
	world_random(w, random, sizeof(random));
	bool ok = noise_respond(&d->primitive, &p->key, number, random, n, out, &keys) &&
		  cookie_stamp(&d->primitive, &p->awake->cookie, out, sizeof(out), w->mono_ns) &&
		  add_session(d, p, &keys, w);
	mem_wipe(random, sizeof(random));
	mem_wipe(&keys, sizeof(keys));
	if (!ok)
		return false;
	timers_responded(&p->awake->timers, w->mono_ns);
	send_out(d, p, w, out, sizeof(out), false);
	return true;
}

/* ---- receiving ---- */

static void
heard(struct device_peer *p, const struct world *w, const struct addr *from, size_t bytes)
{
	p->endpoint = *from;
	p->has_endpoint = true;
	p->rx_bytes += bytes;
	timers_received(&p->awake->timers, w->mono_ns);
}

/* Whether what an initiation says is newer than all before it. */
static enum device_result
admit(struct device_peer *p, const struct world *w, const uint8_t timestamp[NOISE_TIMESTAMP])
{
	if (p->consumed && memcmp(timestamp, p->greatest, NOISE_TIMESTAMP) <= 0)
		return DEVICE_REPLAYED;
	if (p->consumed && w->mono_ns - p->consumed_ns < (uint64_t)DEVICE_INITIATIONS_MS * MS)
		return DEVICE_TOO_SOON;
	memcpy(p->greatest, timestamp, NOISE_TIMESTAMP);
	p->consumed_ns = w->mono_ns;
	p->consumed = true;
	return DEVICE_OK;
}

static enum device_result
answer(struct device *d, struct device_peer *p, const struct world *w, const struct addr *from,
       const uint8_t *data, struct noise_claim *claim, struct noise *n)
{
	uint8_t timestamp[NOISE_TIMESTAMP];

	if (!noise_peer_ready(&p->key, &d->identity))
		return p->key.state == NOISE_SHARED_NEVER ? DEVICE_FORGED : DEVICE_NO_MEMORY;
	if (!noise_consume_initiation(&d->primitive, &p->key, data, claim, n, timestamp))
		return DEVICE_FORGED;
	enum device_result r = admit(p, w, timestamp);
	if (r != DEVICE_OK)
		return r;
	if (!device_wake(d, p, w))
		return DEVICE_NO_MEMORY;
	heard(p, w, from, NOISE_INITIATION);
	device_use(d, p);
	r = respond(d, p, w, n) ? DEVICE_OK : DEVICE_NO_MEMORY;
	device_arm(d, p);
	return r;
}

static enum device_result
initiation(struct device *d, const struct world *w, const struct addr *from, const uint8_t *data)
{
	struct noise_claim claim = {0};
	struct noise n = {0};
	enum device_result r = DEVICE_UNKNOWN;

	if (!noise_read_initiation(&d->primitive, &d->identity, data, &claim))
		return DEVICE_FORGED;
	struct device_peer *p = device_find(d, claim.public_key);
	if (p) {
		r = answer(d, p, w, from, data, &claim, &n);
		if (!p->awake)
			noise_peer_forget(&p->key);
	}
	mem_wipe(&claim, sizeof(claim));
	noise_clear(&n);
	return r;
}

static enum device_result
response(struct device *d, const struct world *w, const struct addr *from, const uint8_t *data)
{
	uint32_t number = noise_u32(data + R_RECEIVER);
	struct device_peer *p = map_get_u64(&d->handshakes, number);
	struct noise_keys keys;

	if (!p)
		return DEVICE_UNKNOWN;
	if (!noise_consume_response(&d->primitive, &d->identity, &p->key, data,
				    &p->awake->handshake, &keys))
		return DEVICE_FORGED;
	map_remove_u64(&d->handshakes, number);
	heard(p, w, from, NOISE_RESPONSE);
	bool ok = add_session(d, p, &keys, w);
	mem_wipe(&keys, sizeof(keys));
	if (ok)
		device_completed(d, p, w);
	device_arm(d, p);
	if (!ok)
		return DEVICE_NO_MEMORY;
	/* Something has to be sent now: the other end waits for it before it sends itself. */
	if (d->calls.staged(d->calls.arg, p) > 0)
		d->calls.ready(d->calls.arg, p);
	else
		(void)device_speak(d, p, w);
	return DEVICE_OK;
}

/* To an initiation of this end, or to a response. */
static enum device_result
cookie(struct device *d, const struct world *w, const uint8_t *data)
{
	uint32_t number = noise_u32(data + RECEIVER);
	struct device_peer *p = map_get_u64(&d->handshakes, number);

	if (!p) {
		struct session *s = device_session(d, number);

		p = s ? s->owner : NULL;
	}
	if (!p)
		return DEVICE_UNKNOWN;
	if (!cookie_take(&d->primitive, &p->awake->cookie, data, w->mono_ns))
		return DEVICE_FORGED;
	p->rx_bytes += NOISE_COOKIE;
	return DEVICE_OK;
}

static bool
loaded(struct device *d, const struct world *w, size_t queued)
{
	if (queued >= DEVICE_QUEUE_LOADED)
		d->loaded_until_ns = w->mono_ns + (uint64_t)DEVICE_LOADED_MS * MS;
	return w->mono_ns < d->loaded_until_ns;
}

static enum device_result
send_cookie(struct device *d, const struct world *w, const struct addr *from, const uint8_t *data,
	    size_t bytes)
{
	uint8_t out[NOISE_COOKIE];
	const struct device_datagram datagram = {
		.to = from, .data = out, .bytes = sizeof(out), .handshake = true};

	if (!cookie_reply(&d->primitive, &d->checker, data, bytes, from, w, out))
		return DEVICE_NO_MEMORY;
	d->calls.send(d->calls.arg, &datagram);
	return DEVICE_COOKIE;
}

/* What comes before the expensive part. */
static enum device_result
guard(struct device *d, const struct world *w, const struct addr *from, const uint8_t *data,
      size_t bytes, bool under_load)
{
	switch (cookie_check(&d->primitive, &d->checker, data, bytes, from, w)) {
	case COOKIE_REFUSED:
		return DEVICE_FORGED;
	case COOKIE_PLAIN:
		return under_load ? send_cookie(d, w, from, data, bytes) : DEVICE_OK;
	case COOKIE_PROVEN:
		return under_load && !limiter_take(d->limiter, from, w->mono_ns) ? DEVICE_LIMITED
										 : DEVICE_OK;
	}
	return DEVICE_FORGED;
}

enum device_result
device_receive(struct device *d, const struct world *w, const struct addr *from,
	       const uint8_t *data, size_t bytes, size_t queued)
{
	bool under_load = loaded(d, w, queued);
	unsigned type = noise_type(data, bytes);

	if (type == 0 || type == NOISE_TYPE_DATA)
		return DEVICE_MALFORMED;
	if (!d->has_identity)
		return DEVICE_UNREACHABLE;
	if (type == NOISE_TYPE_COOKIE)
		return cookie(d, w, data);
	enum device_result r = guard(d, w, from, data, bytes, under_load);
	if (r != DEVICE_OK)
		return r;
	return type == NOISE_TYPE_INITIATION ? initiation(d, w, from, data)
					     : response(d, w, from, data);
}
