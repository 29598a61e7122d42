/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer as threads see it, and what the device says about it. A session to send with is only seen
 * once all packets that waited for it are gone: what comes later does not overtake them.
 */
#include "overlay/engine/engine_inside.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"

static struct engine_key **
bucket(struct engine *e, uint32_t number)
{
	return &e->buckets[number & (ENGINE_BUCKETS - 1)];
}

/* ---- references ---- */

struct engine_peer *
engine_peer_new(const uint8_t key[SETUP_KEY])
{
	struct engine_peer *p = mem_zalloc(MEM_OVERLAY, sizeof(*p));

	if (!p)
		return NULL;
	atomic_init(&p->references, 1);
	memcpy(p->key, key, SETUP_KEY);
	list_init(&p->staged);
	list_init(&p->fresh);
	return p;
}

struct engine_peer *
engine_peer_ref(struct engine_peer *p)
{
	atomic_fetch_add_explicit(&p->references, 1, memory_order_relaxed);
	return p;
}

void
engine_peer_unref(struct engine_peer *p)
{
	while (p && atomic_fetch_sub_explicit(&p->references, 1, memory_order_acq_rel) == 1) {
		struct engine_peer *before = p->before;

		mem_free(p);
		p = before;
	}
}

struct engine_peer *
engine_peer_of(const struct device_peer *peer)
{
	return peer ? device_peer_user(peer) : NULL;
}

void
engine_peer_begin(struct engine *e, struct engine_peer *p)
{
	list_remove(&p->fresh);
	list_push(&e->fresh, &p->fresh);
}

void
engine_peer_use(struct engine_peer *p, uint64_t now_ns)
{
	static const uint64_t second = 1000000000;

	/* Packets are many: the line of memory is written once a second. */
	if (now_ns - atomic_load_explicit(&p->used_ns, memory_order_relaxed) >= second)
		atomic_store_explicit(&p->used_ns, now_ns, memory_order_relaxed);
}

/* ---- writing the table ---- */

void
engine_table_begin(struct engine *e)
{
	if (e->table_depth++ == 0)
		pthread_rwlock_wrlock(&e->table);
}

void
engine_table_end(struct engine *e)
{
	assert(e->table_depth > 0);
	if (--e->table_depth == 0)
		pthread_rwlock_unlock(&e->table);
}

static bool
same_source(const struct udp_source *a, const struct udp_source *b)
{
	return a->interface == b->interface && addr_equal_ip(&a->address, &b->address);
}

void
engine_peer_sync(struct engine *e, struct engine_peer *p)
{
	const struct addr *at = p->peer ? device_peer_endpoint(p->peer) : NULL;

	if (!at)
		return;
	bool moved = !p->has_endpoint || !addr_equal(at, &p->endpoint);
	bool heard = e->heard_from && addr_equal(at, e->heard_from);
	if (!moved && (!heard || same_source(&p->source, e->heard_at)))
		return;
	engine_table_begin(e);
	p->endpoint = *at;
	p->has_endpoint = true;
	p->source = heard ? *e->heard_at : (struct udp_source){0};
	engine_table_end(e);
}

void
engine_peer_lose_source(struct engine *e, struct engine_peer *p)
{
	engine_table_begin(e);
	p->source = (struct udp_source){0};
	engine_table_end(e);
}

void
engine_peer_publish(struct engine *e, struct engine_peer *p, struct session *s)
{
	if (p->session == s)
		return;
	engine_table_begin(e);
	session_unref(p->session);
	p->session = s ? session_ref(s) : NULL;
	engine_table_end(e);
}

static void
add_key(struct engine *e, struct engine_peer *p, struct session *s)
{
	struct engine_key **at = bucket(e, s->keys.local), *k = p->keys;

	while (k->session)
		k++;
	assert(k < p->keys + ENGINE_KEYS);
	engine_table_begin(e);
	*k = (struct engine_key){.session = session_ref(s), .peer = p, .next = *at};
	*at = k;
	engine_table_end(e);
}

static struct engine_key *
find_key(struct engine_peer *p, const struct session *s)
{
	for (unsigned i = 0; i < ENGINE_KEYS; i++)
		if (p->keys[i].session == s)
			return &p->keys[i];
	return NULL;
}

static void
remove_key(struct engine *e, struct engine_peer *p, struct session *s)
{
	struct engine_key **at = bucket(e, s->keys.local), *k = find_key(p, s);

	assert(k);
	if (p->session == s)
		engine_peer_publish(e, p, NULL);
	while (*at != k)
		at = &(*at)->next;
	engine_table_begin(e);
	*at = k->next;
	*k = (struct engine_key){0};
	engine_table_end(e);
	session_unref(s);
}

/* ---- what the device says ---- */

static void
note_succession(struct engine *e, const struct engine_peer *p)
{
	struct map_iter it = {0};

	while (p->heir && map_next(&e->successions, &it)) {
		struct engine_succession *s = it.value;

		if (memcmp(s->next, p->key, SETUP_KEY) == 0)
			s->due = e->succession_due = true;
	}
}

/* It may come back before anything is done about it: then it goes on. */
static void
note_gone(struct engine *e, const struct engine_peer *p)
{
	struct engine_succession *s = map_get(&e->successions, p->key, SETUP_KEY);

	if (s)
		s->over = e->succession_due = true;
}

static void
use_key(struct engine *e, struct engine_peer *p, struct session *s)
{
	struct engine_key *k = find_key(p, s);

	if (!k->completed)
		engine_count(&e->counts, ENGINE_HANDSHAKES, 1);
	k->completed = true;
	engine_peer_publish(e, p, p->staged_count == 0 ? s : NULL);
	note_succession(e, p);
}

static void
call_keys(void *arg, struct device_peer *peer, struct session *session, enum device_keys what)
{
	struct engine_peer *p = engine_peer_of(peer);
	struct engine *e = arg;

	switch (what) {
	case DEVICE_KEYS_NEW:
		add_key(e, p, session);
		break;
	case DEVICE_KEYS_CURRENT:
		use_key(e, p, session);
		break;
	case DEVICE_KEYS_GONE:
		remove_key(e, p, session);
		break;
	}
}

static void
call_send(void *arg, const struct device_datagram *d)
{
	struct engine_peer *p = engine_peer_of(d->peer);
	struct engine *e = arg;
	struct udp *udp = engine_socket(e, d->to);
	struct udp_send send = {
		.to = *d->to,
		.data = d->data,
		.bytes = (uint32_t)d->bytes,
		.stride = (uint32_t)d->bytes,
		.handshake = d->handshake,
	};

	if (p) {
		engine_peer_sync(e, p);
		if (d->retry)
			engine_peer_lose_source(e, p);
		send.from = p->source;
	} else if (e->heard_from && addr_equal(d->to, e->heard_from)) {
		send.from = *e->heard_at;
	}
	if (udp)
		udp_send(udp, &send, 1);
	if (!udp || send.error)
		engine_count(&e->counts, ENGINE_DROP_SOCKET, 1);
	if (send.source_gone && p)
		engine_peer_lose_source(e, p);
}

static size_t
call_staged(void *arg, struct device_peer *peer)
{
	struct engine_peer *p = engine_peer_of(peer);

	(void)arg;
	return p ? p->staged_count : 0;
}

static void
call_ready(void *arg, struct device_peer *peer)
{
	engine_staged_send(arg, engine_peer_of(peer));
}

static void
call_give_up(void *arg, struct device_peer *peer)
{
	struct engine_peer *p = engine_peer_of(peer);

	if (p)
		engine_staged_drop(arg, p, ENGINE_DROP_UNREACHABLE);
}

static void
call_gone(void *arg, struct device_peer *peer)
{
	struct engine_peer *p = engine_peer_of(peer);
	struct engine *e = arg;

	if (!p)
		return;
	engine_staged_drop(e, p, ENGINE_DROP_NO_PEER);
	list_remove(&p->fresh);
	note_gone(e, p);
	p->peer = NULL;
	engine_peer_unref(p);
}

void
engine_peer_calls(struct engine *e, struct device_calls *out)
{
	*out = (struct device_calls){
		.arg = e,
		.send = call_send,
		.staged = call_staged,
		.ready = call_ready,
		.give_up = call_give_up,
		.keys = call_keys,
		.gone = call_gone,
	};
}

/* ---- reading the table ---- */

void
engine_route_fill(struct engine_peer *p, struct engine_route *out)
{
	*out = (struct engine_route){
		.peer = engine_peer_ref(p),
		.session = p->session ? session_ref(p->session) : NULL,
		.to = p->endpoint,
		.from = p->source,
		.has_to = p->has_endpoint,
		.mtu = p->mtu,
	};
}

void
engine_route_drop(struct engine_route *r)
{
	engine_peer_unref(r->peer);
	session_unref(r->session);
	*r = (struct engine_route){0};
}

void
engine_peer_route(struct engine *e, const uint8_t *packet, const struct inner *in,
		  struct engine_route *out)
{
	*out = (struct engine_route){0};
	pthread_rwlock_rdlock(&e->table);
	struct engine_peer *p = engine_peer_of(
		in->version == 4 ? device_whose4(e->device, packet + INNER_IP4_SOURCE + 4)
				 : device_whose6(e->device, packet + INNER_IP6_SOURCE + 16));
	if (p)
		engine_route_fill(p, out);
	pthread_rwlock_unlock(&e->table);
}

bool
engine_peer_session(struct engine *e, uint32_t number, const struct udp_received *r,
		    struct engine_span *out)
{
	const struct engine_key *k;

	*out = (struct engine_span){.received = r};
	pthread_rwlock_rdlock(&e->table);
	for (k = *bucket(e, number); k && k->session->keys.local != number; k = k->next)
		;
	if (k && session_receives(k->session, engine_now(e))) {
		out->peer = engine_peer_ref(k->peer);
		out->session = session_ref(k->session);
		out->usual = k->peer->session == k->session && k->peer->has_endpoint &&
			     addr_equal(&k->peer->endpoint, &r->from) &&
			     same_source(&k->peer->source, &r->to);
	}
	pthread_rwlock_unlock(&e->table);
	return out->session != NULL;
}
