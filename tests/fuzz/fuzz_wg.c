/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams to a WireGuard device that knows one peer and has a session with it: u8 what, u8 time,
 * u8 bytes and the bytes, as often as there is input. Most of what comes from outside ends at a
 * MAC, so `what` also says how far the bytes get: as they are; with a right first MAC; sealed by
 * the peer, as a hostile peer can; or laid over what the peer really says. Whatever came before,
 * both ends find together again.
 */
#include "tests/support/wg_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	RAW,
	STAMPED,
	SEALED,
	INITIATION,
	RESPONSE,
	COOKIE,
	KINDS = 7, /* the mask */
	LOADED = 8,
	ELSEWHERE = 16,
	NUMBERED = 32, /* with the number of a session or handshake that there is */
};

static struct wg_wire wire;
static struct wg_node *peer, *device;
static struct device_peer *to_device, *to_peer;

static void
give(uint8_t what, const uint8_t *data, size_t bytes)
{
	/* Of its size, so that a read beyond is seen. */
	uint8_t *exact = mem_dup(MEM_BASE, data, bytes);
	struct addr from = peer->addr;
	struct device_opened opened;

	prop_check(exact != NULL);
	if (what & ELSEWHERE)
		from.port++;
	if (noise_type(exact, bytes) != NOISE_TYPE_DATA) {
		device_receive(device->device, wg_world(&wire), &from, exact, bytes,
			       what & LOADED ? WG_QUEUED : 0);
	} else if (device_open(device->device, wg_world(&wire), &from, exact, bytes, &opened) ==
		   DEVICE_OK) {
		prop_check(opened.peer == to_peer);
		prop_check(opened.text >= exact + NOISE_HEADER);
		prop_check(opened.text + opened.bytes <= exact + bytes - PRIMITIVE_TAG);
		prop_check(opened.bytes >= 20);
	}
	mem_free(exact);
}

static void
lay_over(uint8_t *packet, size_t bytes, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < bytes && i < size; i++)
		packet[i] ^= data[i];
}

/* With a MAC that says: whoever sent this knows the device's public key. */
static void
stamp(uint8_t *packet, size_t bytes)
{
	if (bytes > NOISE_MACS)
		wg_stamp(peer, to_device, packet, bytes);
}

static void
give_raw(uint8_t what, const uint8_t *data, size_t size)
{
	uint8_t packet[UINT8_MAX];
	static const struct device_awake asleep;
	const struct device_awake *awake = to_peer->awake ? to_peer->awake : &asleep;
	const struct session *s = awake->slots.current;
	bool answer = size > 0 && data[0] == NOISE_TYPE_RESPONSE;

	memcpy(packet, data, size);
	if (what & NUMBERED && size >= 12) {
		uint32_t number = answer ? awake->handshake.local : s ? s->keys.local : 0;

		noise_put_u32(packet + (answer ? 8 : 4), number);
	}
	if ((what & KINDS) == STAMPED)
		stamp(packet, size);
	give(what, packet, size);
}

static void
give_sealed(uint8_t what, const uint8_t *data, size_t size)
{
	uint8_t out[UINT8_MAX + NOISE_OVERHEAD + SESSION_PAD];
	size_t bytes;

	if (device_seal(peer->device, to_device, wg_world(&wire), data, size, out, sizeof(out),
			&bytes) == DEVICE_OK)
		give(what, out, bytes);
}

/* The oldest packet to the device, with data over it. */
static void
give_over(uint8_t what, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < wire.count; i++) {
		if (!addr_equal(&wire.packets[i]->to, &device->addr))
			continue;
		struct wg_packet *p = wg_pick(&wire, i);
		lay_over(p->data, p->bytes, data, size);
		if (noise_type(p->data, p->bytes) == NOISE_TYPE_INITIATION ||
		    noise_type(p->data, p->bytes) == NOISE_TYPE_RESPONSE)
			stamp(p->data, p->bytes);
		give(what, p->data, p->bytes);
		free(p);
		return;
	}
}

static void
begin(struct wg_node *node, struct device_peer *to)
{
	wg_clear(&wire);
	wg_begin(node, to);
}

static void
give_genuine(uint8_t what, const uint8_t *data, size_t size)
{
	if ((what & KINDS) == INITIATION) {
		begin(peer, to_device);
	} else {
		begin(device, to_peer);
		peer->queued = (what & KINDS) == COOKIE ? WG_QUEUED : 0;
		if (wire.count > 0)
			wg_deliver(&wire);
	}
	give_over(what, data, size);
	wg_clear(&wire);
}

static void
record(uint8_t what, uint8_t time, const uint8_t *data, size_t size)
{
	wg_jump(&wire, time * 100 * wg_ms);
	wg_tick(&wire);
	switch (what & KINDS) {
	case SEALED:
		give_sealed(what, data, size);
		break;
	case INITIATION:
	case RESPONSE:
	case COOKIE:
		give_genuine(what, data, size);
		break;
	default:
		give_raw(what, data, size);
	}
	wg_clear(&wire);
}

static void
start(void)
{
	wg_wire_init(&wire, 1);
	peer = wg_add(&wire, 1);
	device = wg_add(&wire, 2);
	to_device = wg_know(peer, device);
	to_peer = wg_know(device, peer);
	uint64_t id = wg_say(peer, to_device);
	wg_deliver_all(&wire);
	prop_check(wg_got(device, id));
}

static void
finish(void)
{
	uint64_t id;

	peer->queued = 0;
	to_peer->endpoint = peer->addr;
	to_device->endpoint = device->addr;
	for (unsigned i = 0; i < 10; i++) {
		wg_say(peer, to_device);
		wg_say(device, to_peer);
		wg_deliver_all(&wire);
		wg_pass(&wire, 3 * wg_second, false);
	}
	id = wg_say(peer, to_device);
	wg_deliver_all(&wire);
	prop_check(wg_got(device, id));
	id = wg_say(device, to_peer);
	wg_deliver_all(&wire);
	prop_check(wg_got(peer, id));
	wg_wire_fini(&wire);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	start();
	for (size_t at = 0; at + 3 <= size;) {
		size_t bytes = data[at + 2];

		if (bytes > size - at - 3)
			bytes = size - at - 3;
		record(data[at], data[at + 1], data + at + 3, bytes);
		at += 3 + bytes;
	}
	finish();
	return 0;
}
