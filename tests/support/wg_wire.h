/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_WG_WIRE_H
#define TESTS_SUPPORT_WG_WIRE_H

/*
 * WireGuard devices on a made-up wire with a made-up clock. Node n is at 192.0.2.n:51820, and
 * 10.0.0.n is its own inside; what it sends lies on the wire until the test delivers, drops or
 * copies it. A packet that a node is to send while it has no session is staged, and goes when the
 * device says so.
 */

#include <stdlib.h>
#include <string.h>
#include "overlay/wg/device_core.h"
#include "tests/support/prop.h"

enum {
	WG_NODES_MAX = 4,
	WG_WIRE_MAX = 512,
	WG_STAGED_MAX = DEVICE_STAGED_MAX,
	WG_TEXT = 28, /* an IPv4 header and a number */
	WG_PACKET_MAX = 256,
	WG_PORT = 51820,
	WG_QUEUED = DEVICE_QUEUE_LOADED,
};

static const uint64_t wg_second = 1000000000, wg_ms = 1000000;

struct wg_packet {
	struct addr from, to;
	uint8_t data[WG_PACKET_MAX];
	size_t bytes;
	bool handshake, retry;
};

struct wg_wire;

struct wg_node {
	struct wg_wire *wire;
	struct device *device;
	unsigned number;
	struct addr addr;
	uint8_t private_key[PRIMITIVE_KEY], public_key[PRIMITIVE_KEY];
	struct device_peer *staged_for[WG_STAGED_MAX];
	uint64_t staged_ids[WG_STAGED_MAX];
	size_t staged;
	uint64_t got[1024]; /* ids of texts that came, in their order */
	size_t got_count;
	unsigned keys[3], ready, given_up, gone;
	size_t queued; /* handshake messages that it believes to wait */
};

struct wg_wire {
	struct world_seeded world;
	struct wg_node nodes[WG_NODES_MAX + 1]; /* from 1 */
	struct wg_packet *packets[WG_WIRE_MAX];
	size_t count;
	uint64_t next_id;
	void (*sent)(struct wg_node *node, const struct wg_packet *packet); /* or NULL */
};

static inline struct world *
wg_world(struct wg_wire *wire)
{
	return &wire->world.world;
}

static inline void
wg_address(unsigned node, struct addr *out)
{
	addr_from_v4_be(__builtin_bswap32(0xc0000200u | node), WG_PORT, out);
}

static inline void
wg_inner(unsigned node, struct addr_prefix *out)
{
	*out = (struct addr_prefix){.bits = 128};
	addr_from_v4_be(__builtin_bswap32(0x0a000000u | node), 0, &out->base);
}

/* ---- what a device asks for ---- */

static inline void
wg_put(struct wg_node *node, const struct addr *to, const void *data, size_t bytes, bool handshake,
       bool retry)
{
	struct wg_wire *wire = node->wire;
	struct wg_packet *p = calloc(1, sizeof(*p));

	prop_check(p && wire->count < WG_WIRE_MAX && bytes <= WG_PACKET_MAX);
	p->from = node->addr;
	p->to = *to;
	p->bytes = bytes;
	p->handshake = handshake;
	p->retry = retry;
	memcpy(p->data, data, bytes);
	wire->packets[wire->count++] = p;
	if (wire->sent)
		wire->sent(node, p);
}

static inline void
wg_call_send(void *arg, const struct device_datagram *d)
{
	wg_put(arg, d->to, d->data, d->bytes, d->handshake, d->retry);
}

static inline size_t
wg_call_staged(void *arg, struct device_peer *peer)
{
	const struct wg_node *node = arg;
	size_t count = 0;

	for (size_t i = 0; i < node->staged; i++)
		count += node->staged_for[i] == peer;
	return count;
}

static inline void
wg_unstage(struct wg_node *node, size_t at)
{
	for (node->staged--; at < node->staged; at++) {
		node->staged_for[at] = node->staged_for[at + 1];
		node->staged_ids[at] = node->staged_ids[at + 1];
	}
}

/* An IPv4 packet between the inner addresses that carries a number. */
static inline void
wg_text(unsigned from, unsigned to, uint64_t id, uint8_t out[WG_TEXT])
{
	uint8_t head[20] = {0x45, 0, 0, WG_TEXT, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 0, 10};

	head[15] = (uint8_t)from;
	head[19] = (uint8_t)to;
	memcpy(out, head, sizeof(head));
	memcpy(out + sizeof(head), &id, sizeof(id));
}

static inline unsigned
wg_number_of(struct wg_node *node, struct device_peer *peer)
{
	struct device_peer_state state;

	device_peer_state(peer, &state);
	for (unsigned i = 1; i <= WG_NODES_MAX; i++)
		if (memcmp(node->wire->nodes[i].public_key, state.public_key, PRIMITIVE_KEY) == 0)
			return i;
	return 0;
}

static inline enum device_result
wg_send_id(struct wg_node *node, struct device_peer *peer, uint64_t id)
{
	uint8_t text[WG_TEXT], out[WG_PACKET_MAX];
	struct device_peer_state state;
	size_t bytes;

	wg_text(node->number, wg_number_of(node, peer), id, text);
	enum device_result r = device_seal(node->device, peer, wg_world(node->wire), text,
					   sizeof(text), out, sizeof(out), &bytes);
	if (r == DEVICE_OK) {
		device_peer_state(peer, &state);
		wg_put(node, &state.endpoint, out, bytes, false, false);
	}
	return r;
}

static inline void
wg_call_ready(void *arg, struct device_peer *peer)
{
	struct wg_node *node = arg;

	node->ready++;
	for (size_t i = 0; i < node->staged;) {
		if (node->staged_for[i] != peer) {
			i++;
			continue;
		}
		uint64_t id = node->staged_ids[i];
		wg_unstage(node, i);
		prop_check(wg_send_id(node, peer, id) == DEVICE_OK);
	}
}

static inline void
wg_drop_staged(struct wg_node *node, struct device_peer *peer)
{
	for (size_t i = 0; i < node->staged;) {
		if (node->staged_for[i] == peer)
			wg_unstage(node, i);
		else
			i++;
	}
}

static inline void
wg_call_give_up(void *arg, struct device_peer *peer)
{
	struct wg_node *node = arg;

	node->given_up++;
	wg_drop_staged(node, peer);
}

static inline void
wg_call_keys(void *arg, struct device_peer *peer, struct session *session, enum device_keys what)
{
	struct wg_node *node = arg;

	prop_check(session->owner == peer);
	node->keys[what]++;
}

static inline void
wg_call_gone(void *arg, struct device_peer *peer)
{
	struct wg_node *node = arg;

	node->gone++;
	wg_drop_staged(node, peer);
}

static inline struct device_calls
wg_calls(struct wg_node *node)
{
	return (struct device_calls){.arg = node,
				     .send = wg_call_send,
				     .staged = wg_call_staged,
				     .ready = wg_call_ready,
				     .give_up = wg_call_give_up,
				     .keys = wg_call_keys,
				     .gone = wg_call_gone};
}

/* ---- nodes ---- */

static inline void
wg_wire_init(struct wg_wire *wire, uint64_t seed)
{
	memset(wire, 0, sizeof(*wire));
	world_seeded_init(&wire->world, seed, 1000 * wg_second, (int64_t)(1700000000 * wg_second));
}

static inline void
wg_clear(struct wg_wire *wire)
{
	while (wire->count > 0)
		free(wire->packets[--wire->count]);
}

static inline struct wg_node *
wg_add(struct wg_wire *wire, unsigned number)
{
	struct wg_node *node = &wire->nodes[number];
	struct noise_identity identity;
	struct err err = {0};

	*node = (struct wg_node){.wire = wire, .number = number};
	struct device_calls calls = wg_calls(node);
	wg_address(number, &node->addr);
	world_random(wg_world(wire), node->private_key, PRIMITIVE_KEY);
	prop_check(device_new(&calls, wg_world(wire), &node->device, &err) == 0);
	prop_check(device_set_private_key(node->device, node->private_key, &err) == 0);
	prop_check(device_identity(node->device, &identity));
	memcpy(node->public_key, identity.public_key, PRIMITIVE_KEY);
	return node;
}

static inline struct device_peer *
wg_know(struct wg_node *node, const struct wg_node *other)
{
	struct device_prefix inner = {0};
	struct device_change change = {
		.endpoint = &other->addr, .prefixes = &inner, .prefixes_count = 1};
	struct device_peer *peer;
	struct err err = {0};

	wg_inner(other->number, &inner.prefix);
	memcpy(change.public_key, other->public_key, PRIMITIVE_KEY);
	prop_check(device_change(node->device, &change, wg_world(node->wire), &peer, &err) == 0);
	prop_check(peer != NULL);
	return peer;
}

static inline void
wg_wire_fini(struct wg_wire *wire)
{
	for (unsigned i = 1; i <= WG_NODES_MAX; i++)
		device_free(wire->nodes[i].device);
	wg_clear(wire);
}

/* ---- what a test does ---- */

/* A handshake, although there may have been one a moment ago. */
static inline void
wg_begin(struct wg_node *node, struct device_peer *peer)
{
	prop_check(device_wake(node->device, peer, wg_world(node->wire)));
	timers_identity_changed(&peer->awake->timers);
	device_begin(node->device, peer, wg_world(node->wire), false);
}

/* What is sent with, or NULL. */
static inline const struct session *
wg_current(const struct device_peer *peer)
{
	return peer->awake ? peer->awake->slots.current : NULL;
}

/* Makes the first MAC of a handshake message for a peer; the second one is that of no cookie. */
static inline void
wg_stamp(struct wg_node *node, const struct device_peer *to, uint8_t *packet, size_t bytes)
{
	struct cookie_maker maker = {0};

	prop_check(cookie_maker_set(&node->device->primitive, &maker, to->key.public_key));
	prop_check(cookie_stamp(&node->device->primitive, &maker, packet, bytes,
				wg_world(node->wire)->mono_ns));
}

/* Sends a text, or stages it when it has to wait. Gives its number. */
static inline uint64_t
wg_say(struct wg_node *node, struct device_peer *peer)
{
	uint64_t id = ++node->wire->next_id;

	if (wg_send_id(node, peer, id) == DEVICE_WAIT) {
		if (node->staged == WG_STAGED_MAX)
			wg_unstage(node, 0);
		node->staged_for[node->staged] = peer;
		node->staged_ids[node->staged++] = id;
	}
	return id;
}

static inline struct wg_packet *
wg_pick(struct wg_wire *wire, size_t at)
{
	struct wg_packet *p = wire->packets[at];

	wire->count--;
	memmove(&wire->packets[at], &wire->packets[at + 1],
		(wire->count - at) * sizeof(wire->packets[0]));
	return p;
}

static inline enum device_result
wg_give(struct wg_node *node, const struct wg_packet *p)
{
	uint8_t copy[WG_PACKET_MAX];
	struct device_opened opened;

	memcpy(copy, p->data, p->bytes);
	if (noise_type(copy, p->bytes) != NOISE_TYPE_DATA)
		return device_receive(node->device, wg_world(node->wire), &p->from, copy, p->bytes,
				      node->queued);
	enum device_result r =
		device_open(node->device, wg_world(node->wire), &p->from, copy, p->bytes, &opened);
	if (r == DEVICE_OK) {
		prop_check(opened.bytes == WG_TEXT && node->got_count < 1024);
		memcpy(&node->got[node->got_count++], opened.text + 20, sizeof(uint64_t));
	}
	return r;
}

static inline struct wg_node *
wg_receiver(struct wg_wire *wire, const struct wg_packet *p)
{
	for (unsigned i = 1; i <= WG_NODES_MAX; i++)
		if (wire->nodes[i].device && addr_equal(&wire->nodes[i].addr, &p->to))
			return &wire->nodes[i];
	return NULL;
}

/* The oldest one on the wire. */
static inline enum device_result
wg_deliver(struct wg_wire *wire)
{
	prop_check(wire->count > 0);
	struct wg_packet *p = wg_pick(wire, 0);
	struct wg_node *node = wg_receiver(wire, p);
	enum device_result r = node ? wg_give(node, p) : DEVICE_UNREACHABLE;

	free(p);
	return r;
}

static inline void
wg_deliver_all(struct wg_wire *wire)
{
	while (wire->count > 0)
		wg_deliver(wire);
}

static inline void
wg_tick(struct wg_wire *wire)
{
	for (unsigned i = 1; i <= WG_NODES_MAX; i++) {
		struct device *d = wire->nodes[i].device;

		while (d && device_deadline(d) <= wg_world(wire)->mono_ns)
			device_tick(d, wg_world(wire));
	}
}

static inline void
wg_jump(struct wg_wire *wire, uint64_t ns)
{
	wg_world(wire)->mono_ns += ns;
	wg_world(wire)->wall_ns += (int64_t)ns;
}

/* Time goes by, from one deadline to the next; what is sent is delivered at once unless `hold`. */
static inline void
wg_pass(struct wg_wire *wire, uint64_t ns, bool hold)
{
	uint64_t end = wg_world(wire)->mono_ns + ns;

	for (;;) {
		uint64_t next = end;

		for (unsigned i = 1; i <= WG_NODES_MAX; i++) {
			struct device *d = wire->nodes[i].device;

			if (d && device_deadline(d) < next)
				next = device_deadline(d);
		}
		if (next > wg_world(wire)->mono_ns)
			wg_jump(wire, next - wg_world(wire)->mono_ns);
		wg_tick(wire);
		if (!hold)
			wg_deliver_all(wire);
		if (next >= end)
			break;
	}
}

static inline bool
wg_got(const struct wg_node *node, uint64_t id)
{
	for (size_t i = 0; i < node->got_count; i++)
		if (node->got[i] == id)
			return true;
	return false;
}

#endif
