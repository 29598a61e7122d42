/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two devices on a bad wire: what is sent is lost, doubled, turned around and held back for
 * minutes; both ends say something, keep silent, move to other addresses, lose their keys, are
 * under load, and the clock jumps. Meanwhile:
 *   - no two packets ever have the same key and counter
 *   - nothing is received twice, nothing that was not sent, nothing that is too old
 *   - no key is there for longer than 540 s
 * and after the faults have stopped both ends agree, and whatever is said comes through.
 */
#include "overlay/wg/device.h"
#include "base/map.h"
#include "tests/support/wg_wire.h"

enum { STEPS = 10000, HELD_MAX = 400 };

static struct wg_wire wire;
static struct wg_node *ends[2];
static struct device_peer *peers[2];
static struct map sealed; /* (number of the receiver, counter) of what was sealed */
static struct map received;
static uint64_t said_count, got_count, handshakes;
static char there;

struct seal {
	uint8_t key[PRIMITIVE_KEY];
	uint64_t counter;
};

static const struct session *
by_remote(const struct device_peer *p, uint32_t remote)
{
	const struct session *all[] = {p->awake->slots.current, p->awake->slots.previous,
				       p->awake->slots.next};

	for (unsigned i = 0; i < 3; i++)
		if (all[i] && all[i]->keys.remote == remote)
			return all[i];
	return NULL;
}

/* Each packet that is sealed, of both ends. */
static void
watch(struct wg_node *node, const struct wg_packet *packet)
{
	const struct device_peer *peer = peers[node == ends[1]];
	struct seal seal = {0};
	void *before;

	if (noise_type(packet->data, packet->bytes) != NOISE_TYPE_DATA)
		return;
	const struct session *s = by_remote(peer, noise_u32(packet->data + 4));
	prop_check(s != NULL && s == peer->awake->slots.current);
	prop_check(session_sends(s, wg_world(&wire)->mono_ns));
	memcpy(seal.key, s->keys.send, PRIMITIVE_KEY);
	seal.counter = noise_u64(packet->data + 8);
	prop_check(map_put(&sealed, &seal, sizeof(seal), &there, &before) == 0);
	prop_check(before == NULL);
}

static void
check_keys(void)
{
	for (unsigned i = 0; i < 2; i++) {
		static const struct device_awake asleep;
		const struct device_awake *awake = peers[i]->awake ? peers[i]->awake : &asleep;
		const struct session_slots *s = &awake->slots;
		const struct session *all[] = {s->current, s->previous, s->next};
		size_t count = 0;

		for (unsigned k = 0; k < 3; k++) {
			if (!all[k])
				continue;
			count++;
			prop_check(device_session(ends[i]->device, all[k]->keys.local) == all[k]);
		}
		prop_check(map_count(&ends[i]->device->sessions) == count);
		prop_check(map_count(&ends[i]->device->handshakes) ==
			   (awake->handshake.state != NOISE_IDLE));
		/* The newest of them says when all go. */
		uint64_t newest = 0;
		for (unsigned k = 0; k < 3; k++)
			if (all[k] && all[k]->born_ns > newest)
				newest = all[k]->born_ns;
		prop_check(count == 0 ||
			   wg_world(&wire)->mono_ns < newest + TIMERS_FORGET_S * wg_second);
	}
}

/* What came: once, and said by the other end. */
static void
check_got(void)
{
	for (unsigned i = 0; i < 2; i++) {
		for (size_t k = 0; k < ends[i]->got_count; k++) {
			void *before;

			prop_check(ends[i]->got[k] >= 1 && ends[i]->got[k] <= wire.next_id);
			prop_check(map_put(&received, &ends[i]->got[k], 8, &there, &before) == 0);
			prop_check(before == NULL);
			got_count++;
		}
		ends[i]->got_count = 0;
	}
}

static void
give(struct wg_packet *p)
{
	/* Where it came from, nowadays. */
	struct wg_node *to = &wire.nodes[0];

	for (unsigned i = 0; i < 2; i++)
		if (addr_equal(&ends[i]->addr, &p->to))
			to = ends[i];
	if (!to->device)
		return;
	enum device_result r = wg_give(to, p);
	handshakes += r == DEVICE_OK && p->bytes == NOISE_RESPONSE;
}

static void
wire_step(struct prop *p)
{
	if (wire.count == 0)
		return;
	uint64_t what = prop_below(p, 10);
	size_t at = prop_below(p, 3) ? 0 : prop_below(p, wire.count);

	if (what == 0) { /* lost */
		free(wg_pick(&wire, at));
	} else if (what == 1) { /* there, and still on its way */
		give(wire.packets[at]);
	} else if (what == 2) { /* damaged */
		struct wg_packet *packet = wire.packets[at];

		packet->data[prop_below(p, packet->bytes)] ^= (uint8_t)(1u << prop_below(p, 8));
	} else {
		struct wg_packet *packet = wg_pick(&wire, at);

		give(packet);
		free(packet);
	}
}

static void
move(struct prop *p, unsigned end)
{
	wg_address((unsigned)(10 + 2 * prop_below(p, 50) + end), &ends[end]->addr);
}

static void
set_keepalive(struct prop *p, unsigned end)
{
	struct device_change c = {.has_keepalive = true,
				  .keepalive_s = (uint16_t)(prop_below(p, 2) * 25)};
	struct device_peer *peer;
	struct err err = {0};

	memcpy(c.public_key, ends[!end]->public_key, PRIMITIVE_KEY);
	prop_check(device_change(ends[end]->device, &c, wg_world(&wire), &peer, &err) == 0);
	prop_check(peer == peers[end]);
}

/* As if it had been started again. */
static void
restart(unsigned end)
{
	struct wg_node *node = ends[end];
	struct device_calls calls = wg_calls(node);
	struct err err = {0};

	device_free(node->device);
	prop_check(node->staged == 0);
	prop_check(device_new(&calls, wg_world(&wire), &node->device, &err) == 0);
	prop_check(device_set_private_key(node->device, node->private_key, &err) == 0);
	peers[end] = wg_know(node, ends[!end]);
}

static void
step(struct prop *p)
{
	unsigned end = (unsigned)prop_below(p, 2);

	switch (prop_below(p, 200)) {
	case 0:
		wg_pass(&wire, prop_below(p, 200) * wg_second, true);
		break;
	case 1:
		wg_jump(&wire, prop_below(p, 700) * wg_second);
		wg_tick(&wire);
		break;
	case 2:
		move(p, end);
		break;
	case 3:
		ends[end]->queued = prop_below(p, 2) ? WG_QUEUED : 0;
		break;
	case 4:
		set_keepalive(p, end);
		break;
	case 5:
		if (prop_below(p, 4) == 0)
			restart(end);
		break;
	case 6: /* another one was in need of its place */
		if (!device_peer_kept(peers[end]))
			device_sleep(ends[end]->device, peers[end]);
		break;
	case 7 ... 40:
		wg_say(ends[end], peers[end]);
		said_count++;
		break;
	case 41 ... 80:
		wg_pass(&wire, prop_below(p, 4000) * wg_ms, true);
		break;
	default:
		wire_step(p);
	}
	while (wire.count > HELD_MAX)
		free(wg_pick(&wire, prop_below(p, wire.count)));
}

/* The faults are over: the first thing that each says brings both together. */
static void
recover(void)
{
	wg_clear(&wire);
	for (unsigned i = 0; i < 2; i++) {
		struct device_change c = {.endpoint = &ends[!i]->addr};
		struct device_peer *peer;
		struct err err = {0};

		ends[i]->queued = 0;
		memcpy(c.public_key, ends[!i]->public_key, PRIMITIVE_KEY);
		prop_check(device_change(ends[i]->device, &c, wg_world(&wire), &peer, &err) == 0);
	}
	for (unsigned k = 0; k < 20; k++) {
		wg_say(ends[0], peers[0]);
		wg_say(ends[1], peers[1]);
		wg_deliver_all(&wire);
		wg_pass(&wire, 2 * wg_second, false);
		check_got();
	}
	for (unsigned i = 0; i < 2; i++) {
		uint64_t id = wg_say(ends[i], peers[i]);

		wg_deliver_all(&wire);
		prop_check(wg_got(ends[!i], id));
		prop_check(ends[i]->staged == 0);
		/* What one sends with the other receives with. */
		const struct session *s = peers[i]->awake->slots.current;
		prop_check(s && by_remote(peers[!i], s->keys.local));
	}
	check_got();
	check_keys();
}

/* Nobody says anything: all is forgotten. */
static void
fall_silent(void)
{
	for (unsigned i = 0; i < 2; i++) {
		struct device_change c = {.has_keepalive = true};
		struct device_peer *peer;
		struct err err = {0};

		memcpy(c.public_key, ends[!i]->public_key, PRIMITIVE_KEY);
		prop_check(device_change(ends[i]->device, &c, wg_world(&wire), &peer, &err) == 0);
	}
	wg_pass(&wire, (TIMERS_FORGET_S + 120) * wg_second, false);
	for (unsigned i = 0; i < 2; i++) {
		prop_check(map_count(&ends[i]->device->sessions) == 0);
		prop_check(!peers[i]->awake);
		prop_check(device_deadline(ends[i]->device) == TIMERS_NEVER);
	}
}

int
main(int argc, char **argv)
{
	struct prop p;

	prop_init(&p, argc, argv);
	wg_wire_init(&wire, prop_u64(&p));
	map_init(&sealed, MEM_BASE);
	map_init(&received, MEM_BASE);
	ends[0] = wg_add(&wire, 1);
	ends[1] = wg_add(&wire, 2);
	peers[0] = wg_know(ends[0], ends[1]);
	peers[1] = wg_know(ends[1], ends[0]);
	wire.sent = watch;
	for (unsigned i = 1; i <= STEPS; i++) {
		step(&p);
		check_got();
		check_keys();
		if (i % 1000 == 0)
			recover();
		if (i % 5000 == 0)
			fall_silent();
	}
	printf("%llu said, %llu came, %llu handshakes\n", (unsigned long long)said_count,
	       (unsigned long long)got_count, (unsigned long long)handshakes);
	prop_check(got_count > said_count / 10 && handshakes > 5);
	map_fini(&sealed);
	map_fini(&received);
	wg_wire_fini(&wire);
	return 0;
}
