/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine as a relay (overlay/relay.h): what came to its sockets and is of no session or
 * handshake of its own. Where the nodes are that it passes on between, its own sessions with them
 * say; that is looked at when something is to be passed on, and the last look is old.
 *
 * Receivers pass on as they read. With several at work at once what they pass on may change its
 * order, as it may on any way: the ends put up with that.
 */
#include "overlay/engine/engine_inside.h"

#include <string.h>
#include "base/mem.h"

enum { LOOK_MS = 1000, TICK_MS = 60000 };

static const uint64_t ms = 1000000;

_Static_assert(2 * LOOK_MS <= RELAY_PRESENT_MS, "who is there must be seen to be there");

/* ---- whom ---- */

void
engine_relay_init(struct engine_relay *r)
{
	pthread_mutex_init(&r->lock, NULL);
}

static void
forget(struct engine_relay *r)
{
	for (size_t i = 0; i < r->count; i++)
		engine_peer_unref(r->peers[i]);
	mem_free(r->peers);
	mem_free(r->keys);
	r->peers = NULL;
	r->keys = NULL;
	r->count = 0;
}

void
engine_relay_fini(struct engine_relay *r)
{
	forget(r);
	relay_free(r->core);
	pthread_mutex_destroy(&r->lock);
}

void
engine_relay_resolve(struct engine *e)
{
	struct engine_relay *r = &e->relay;

	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < r->count; i++) {
		struct engine_peer *p = engine_peer_of(device_find(e->device, r->keys[i]));
		struct engine_peer *before = r->peers[i];

		if (before && p != before)
			relay_gone(r->core, r->keys[i]); /* it has no count of its own */
		r->peers[i] = p ? engine_peer_ref(p) : NULL;
		engine_peer_unref(before);
	}
	r->looked_ns = 0;
	pthread_mutex_unlock(&r->lock);
}

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory to relay between nodes");
}

static struct relay *
make_core(const struct engine *e)
{
	struct world w;
	uint64_t seeds[3];

	engine_world(e, &w);
	for (unsigned i = 0; i < 3; i++)
		seeds[i] = world_random_u64(&w);
	return relay_new(seeds);
}

/* With its lock held. */
static int
set_nodes(struct engine *e, const uint8_t (*keys)[SETUP_KEY], size_t count, struct err *err)
{
	struct engine_relay *r = &e->relay;
	struct engine_peer **peers = mem_array(MEM_OVERLAY, count + 1, sizeof(*peers));
	uint8_t(*copy)[SETUP_KEY] = mem_array(MEM_OVERLAY, count + 1, sizeof(*copy));

	if (!r->core)
		r->core = make_core(e);
	if (!peers || !copy || !r->core || relay_set_nodes(r->core, keys, count, err) < 0) {
		bool limit = count > RELAY_NODES_MAX && peers && copy && r->core;

		mem_free(peers);
		mem_free(copy);
		return limit ? -1 : no_memory(err);
	}
	forget(r);
	if (count > 0)
		memcpy(copy, keys, count * sizeof(*copy));
	r->peers = peers;
	r->keys = copy;
	r->count = count;
	return 0;
}

int
engine_relay(struct engine *e, const uint8_t (*keys)[SETUP_KEY], size_t count, struct err *err)
{
	int rc;

	engine_lock(e);
	pthread_mutex_lock(&e->relay.lock);
	rc = set_nodes(e, keys, count, err);
	if (rc == 0)
		atomic_store(&e->relays, count > 1);
	pthread_mutex_unlock(&e->relay.lock);
	if (rc == 0)
		engine_relay_resolve(e);
	engine_unlock(e);
	return rc;
}

void
engine_relay_tick(struct engine *e)
{
	struct engine_relay *r = &e->relay;

	pthread_mutex_lock(&r->lock);
	uint64_t now_ns = engine_now(e);
	if (r->core && now_ns - r->ticked_ns >= TICK_MS * ms) {
		r->ticked_ns = now_ns;
		relay_tick(r->core, now_ns);
	}
	pthread_mutex_unlock(&r->lock);
}

/* ---- where they are ---- */

/* With the table held. */
static bool
is_there(const struct engine_peer *p, uint64_t now_ns)
{
	if (!p || !p->has_endpoint)
		return false;
	for (unsigned i = 0; i < ENGINE_KEYS; i++) {
		const struct engine_key *k = &p->keys[i];

		if (k->session && k->completed && session_receives(k->session, now_ns))
			return true;
	}
	return false;
}

static void
look(struct engine *e, uint64_t now_ns)
{
	struct engine_relay *r = &e->relay;

	if (r->looked_ns && now_ns - r->looked_ns < LOOK_MS * ms)
		return;
	r->looked_ns = now_ns;
	pthread_rwlock_rdlock(&e->table);
	for (size_t i = 0; i < r->count; i++) {
		struct engine_peer *p = r->peers[i];

		if (is_there(p, now_ns))
			(void)relay_heard(r->core, p->key, &p->endpoint, p, now_ns);
	}
	pthread_rwlock_unlock(&e->table);
}

/* ---- passing on ---- */

static void
count_verdict(struct engine_counts *counts, enum relay_verdict v, uint32_t datagrams)
{
	static const enum engine_count which[] = {
		[RELAY_FORWARD] = ENGINE_RELAYED,
		[RELAY_UNKNOWN] = ENGINE_DROP_UNKNOWN,
		[RELAY_ABSENT] = ENGINE_DROP_ABSENT,
		[RELAY_LIMITED] = ENGINE_DROP_LIMITED,
	};

	engine_count(counts, which[v], datagrams);
}

static void
send_on(struct engine *e, struct engine_counts *counts, const struct relay_to *to,
	struct udp_send *send)
{
	struct udp *udp = engine_socket(e, &to->at);
	struct engine_peer *p = to->user;

	send->to = to->at;
	pthread_rwlock_rdlock(&e->table);
	send->from = p->source;
	pthread_rwlock_unlock(&e->table);
	if (udp)
		udp_send(udp, send, 1);
	if (!udp || send->error)
		engine_count(counts, ENGINE_DROP_SOCKET, 1);
	engine_peer_unref(p);
}

bool
engine_relay_take(struct engine *e, struct engine_counts *counts, const struct addr *from,
		  const uint8_t *data, uint32_t bytes, uint32_t stride)
{
	struct udp_send send = {.data = data, .bytes = bytes, .stride = stride};
	struct engine_relay *r = &e->relay;
	struct relay_to to;
	enum relay_verdict v;

	if (!atomic_load_explicit(&e->relays, memory_order_relaxed))
		return false;
	send.handshake = noise_type(data, bytes) != NOISE_TYPE_DATA;
	pthread_mutex_lock(&r->lock);
	uint64_t now_ns = engine_now(e);
	look(e, now_ns);
	v = relay_take(r->core, now_ns, from, data, bytes, &to);
	if (v == RELAY_FORWARD)
		engine_peer_ref(to.user);
	pthread_mutex_unlock(&r->lock);
	if (v == RELAY_OWN)
		return false;
	count_verdict(counts, v, (bytes + stride - 1) / stride);
	if (v == RELAY_FORWARD)
		send_on(e, counts, &to, &send);
	return true;
}

unsigned
engine_relay_run(struct engine *e, struct engine_counts *counts, const struct udp_received *r,
		 unsigned at)
{
	enum { SAME = 8 }; /* the type and the receiver's number */
	uint32_t bytes, more;
	const uint8_t *first = udp_datagram(r, at, &bytes);
	unsigned count = 1;

	for (; at + count < r->count && count < UDP_SEGMENTS_MAX; count++) {
		const uint8_t *data = udp_datagram(r, at + count, &more);

		if (noise_type(data, more) != NOISE_TYPE_DATA || memcmp(first, data, SAME) != 0 ||
		    bytes + more > UDP_SEND_MAX)
			break;
		bytes += more;
	}
	return engine_relay_take(e, counts, &r->from, first, bytes, r->stride) ? count : 0;
}
