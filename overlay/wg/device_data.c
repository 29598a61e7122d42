/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data of a device: what sending and receiving mean for sessions, timers and endpoints, and both
 * for one packet.
 */
#include <assert.h>
#include <string.h>
#include "overlay/wg/device_core.h"

enum {
	V4_HEADER = 20,
	V4_LENGTH = 2,
	V4_SOURCE = 12,
	V4_DESTINATION = 16,
	V6_HEADER = 40,
	V6_LENGTH = 4,
	V6_SOURCE = 8,
	V6_DESTINATION = 24,
};

/* ---- sending ---- */

enum device_result
device_wants_send(struct device *d, struct device_peer *peer, const struct world *w,
		  struct session **session_out)
{
	struct session *s;

	*session_out = NULL;
	if (!peer->awake && !device_reachable(d, peer))
		return DEVICE_UNREACHABLE;
	if (!device_wake(d, peer, w))
		return DEVICE_NO_MEMORY;
	device_use(d, peer);
	s = peer->awake->slots.current;
	if (s && session_sends(s, w->mono_ns)) {
		*session_out = s;
		return DEVICE_OK;
	}
	device_begin(d, peer, w, false);
	return device_reachable(d, peer) ? DEVICE_WAIT : DEVICE_UNREACHABLE;
}

void
device_sent(struct device *d, struct device_peer *peer, const struct world *w, uint64_t bytes,
	    bool data)
{
	peer->tx_bytes += bytes;
	if (!peer->awake)
		return;
	device_use(d, peer);
	timers_sent(&peer->awake->timers, w->mono_ns);
	if (data)
		timers_sent_data(&peer->awake->timers, w->mono_ns);
	device_arm(d, peer);
	if (peer->awake->slots.current &&
	    session_sent_enough(peer->awake->slots.current, w->mono_ns))
		device_begin(d, peer, w, false);
}

enum device_result
device_seal(struct device *d, struct device_peer *peer, const struct world *w, const void *text,
	    size_t bytes, uint8_t *out, size_t cap, size_t *bytes_out)
{
	size_t padded = session_padded(bytes, d->mtu);
	struct session *s;
	uint64_t counter;

	if (cap < NOISE_OVERHEAD || padded > cap - NOISE_OVERHEAD)
		return DEVICE_TOO_LONG;
	enum device_result r = device_wants_send(d, peer, w, &s);
	if (r != DEVICE_OK)
		return r;
	if (!session_reserve(s, 1, w->mono_ns, &counter))
		return DEVICE_WAIT;
	if (!session_seal(&d->primitive, s, counter, text, bytes, padded, out))
		return DEVICE_NO_MEMORY;
	*bytes_out = NOISE_OVERHEAD + padded;
	device_sent(d, peer, w, *bytes_out, bytes > 0);
	return DEVICE_OK;
}

bool
device_speak(struct device *d, struct device_peer *p, const struct world *w)
{
	uint8_t out[NOISE_OVERHEAD];
	struct device_datagram datagram = {.peer = p, .to = &p->endpoint, .data = out};
	enum device_result r = device_seal(d, p, w, NULL, 0, out, sizeof(out), &datagram.bytes);

	if (r == DEVICE_OK)
		d->calls.send(d->calls.arg, &datagram);
	return r != DEVICE_NO_MEMORY;
}

/* ---- receiving ---- */

static bool
confirm(struct device *d, struct device_peer *p, const struct session *s, const struct world *w)
{
	struct session_gone gone;

	if (!session_slots_confirm(&p->awake->slots, s, &gone))
		return false;
	device_let_go(d, p, &gone);
	device_completed(d, p, w);
	return true;
}

/*
 * Both began at the same time, and each sends with what it began itself. Who answers the next
 * handshake lets go of its previous session, so what the other end sends with must not be that one:
 * the end with the smaller key sends with what comes from the other one. It goes on to do so until
 * the next handshake, lest a packet that was late leave the two with one each.
 */
static void
follow(struct device *d, struct device_peer *p, const struct session *s)
{
	if (memcmp(d->identity.public_key, p->key.public_key, PRIMITIVE_KEY) < 0 &&
	    session_slots_follow(&p->awake->slots, s))
		d->calls.keys(d->calls.arg, p, p->awake->slots.current, DEVICE_KEYS_CURRENT);
}

/* The last chance of who only receives: its answers would not come through any more. */
static void
renew(struct device *d, struct device_peer *p, const struct world *w)
{
	const struct session *s = p->awake->slots.current;

	if (s && session_sends(s, w->mono_ns) && session_received_enough(s, w->mono_ns) &&
	    timers_take_last_minute(&p->awake->timers))
		device_begin(d, p, w, false);
}

struct device_peer *
device_received(struct device *d, const struct session *s, const struct world *w,
		const struct addr *from, uint64_t bytes, bool data)
{
	if (device_session(d, s->keys.local) != s)
		return NULL;
	struct device_peer *p = s->owner;
	p->endpoint = *from;
	p->has_endpoint = true;
	p->rx_bytes += bytes;
	device_use(d, p);
	timers_received(&p->awake->timers, w->mono_ns);
	if (data)
		timers_received_data(&p->awake->timers, w->mono_ns);
	bool confirmed = confirm(d, p, s, w);
	if (!confirmed)
		follow(d, p, s);
	renew(d, p, w);
	device_arm(d, p);
	if (confirmed && d->calls.staged(d->calls.arg, p) > 0)
		d->calls.ready(d->calls.arg, p);
	return p;
}

/* Of an IP packet whose header says how long it is, or 0. */
static size_t
ip_length(const uint8_t *text, size_t bytes)
{
	size_t length, least;

	if (bytes >= V4_HEADER && text[0] >> 4 == 4) {
		least = V4_HEADER;
		length = (size_t)text[V4_LENGTH] << 8 | text[V4_LENGTH + 1];
	} else if (bytes >= V6_HEADER && text[0] >> 4 == 6) {
		least = V6_HEADER;
		length = V6_HEADER + ((size_t)text[V6_LENGTH] << 8 | text[V6_LENGTH + 1]);
	} else {
		return 0;
	}
	return length >= least && length <= bytes ? length : 0;
}

static struct device_peer *
owner(struct allowed_owner *o)
{
	return o ? container_of(o, struct device_peer, places) : NULL;
}

struct device_peer *
device_whose4(const struct device *d, const uint8_t ip[4])
{
	return owner(allowed_find4(&d->allowed, ip));
}

struct device_peer *
device_whose6(const struct device *d, const uint8_t ip[16])
{
	return owner(allowed_find6(&d->allowed, ip));
}

static struct device_peer *
whose(const struct device *d, const uint8_t *text, size_t v4, size_t v6)
{
	return text[0] >> 4 == 4 ? device_whose4(d, text + v4) : device_whose6(d, text + v6);
}

size_t
device_inner(const struct device *d, const struct device_peer *peer, const uint8_t *text,
	     size_t bytes)
{
	size_t length = ip_length(text, bytes);

	return length && whose(d, text, V4_SOURCE, V6_SOURCE) == peer ? length : 0;
}

struct device_peer *
device_route(const struct device *d, const uint8_t *packet, size_t bytes)
{
	return ip_length(packet, bytes) ? whose(d, packet, V4_DESTINATION, V6_DESTINATION) : NULL;
}

enum device_result
device_open(struct device *d, const struct world *w, const struct addr *from, uint8_t *data,
	    size_t bytes, struct device_opened *out)
{
	if (noise_type(data, bytes) != NOISE_TYPE_DATA)
		return DEVICE_MALFORMED;
	struct session *s = device_session(d, noise_u32(data + 4));
	if (!s)
		return DEVICE_UNKNOWN;
	if (!session_receives(s, w->mono_ns))
		return DEVICE_EXPIRED;
	if (!session_open(&d->primitive, s, data, bytes))
		return DEVICE_FORGED;
	if (!session_take(s, noise_u64(data + 8)))
		return DEVICE_REPLAYED;

	const size_t sealed = bytes - NOISE_OVERHEAD;
	const uint8_t *text = data + NOISE_HEADER;
	struct device_peer *p = device_received(d, s, w, from, bytes, sealed > 0);
	assert(p);
	if (sealed == 0)
		return DEVICE_KEEPALIVE;
	size_t length = ip_length(text, sealed);
	if (length == 0)
		return DEVICE_MALFORMED;
	if (whose(d, text, V4_SOURCE, V6_SOURCE) != p)
		return DEVICE_NOT_ALLOWED;
	*out = (struct device_opened){.peer = p, .text = text, .bytes = length};
	return DEVICE_OK;
}
