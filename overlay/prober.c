/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers stand in two orders, by id and by address, in blocks that are made anew when the list
 * changes. When the next thing is due is kept as a lower bound and put right by each tick.
 */
#include "overlay/prober.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

static const uint64_t second_ns = 1000000000;

struct peer {
	struct prober_peer as;
	struct probe probe;
	bool stays;
	uint64_t tokens, filled_ns; /* of answers */
};

struct prober {
	struct prober_calls calls;
	uint32_t max;
	size_t count;
	struct peer **by_id, **by_address; /* the same, in two orders */
	uint64_t next_ns;
};

struct prober *
prober_new(const struct prober_calls *calls, uint32_t max)
{
	struct prober *p = mem_zalloc(MEM_OVERLAY, sizeof(*p));

	assert(max >= PROBE_MIN && max <= PROBE_MAX);
	if (!p)
		return NULL;
	p->calls = *calls;
	p->max = max;
	p->next_ns = UINT64_MAX;
	return p;
}

static void
free_peers(struct peer **by_id, size_t count, struct peer **by_address)
{
	for (size_t i = 0; i < count; i++)
		mem_free(by_id[i]);
	mem_free(by_id);
	mem_free(by_address);
}

void
prober_free(struct prober *p)
{
	if (!p)
		return;
	free_peers(p->by_id, p->count, p->by_address);
	mem_free(p);
}

/* ---- finding ---- */

static int
order_id(const void *a, const void *b)
{
	const struct peer *const *x = a, *const *y = b;

	return (*x)->as.id < (*y)->as.id ? -1 : (*x)->as.id > (*y)->as.id;
}

static int
order_address(const void *a, const void *b)
{
	const struct peer *const *x = a, *const *y = b;

	return memcmp((*x)->as.address.ip, (*y)->as.address.ip, sizeof((*x)->as.address.ip));
}

static struct peer *
find_id(const struct prober *p, uint64_t id)
{
	const struct peer wanted = {.as.id = id}, *key = &wanted;
	struct peer **at =
		p->count ? bsearch(&key, p->by_id, p->count, sizeof(p->by_id[0]), order_id) : NULL;

	return at ? *at : NULL;
}

static struct peer *
find_address(const struct prober *p, const struct addr *address)
{
	const struct peer wanted = {.as.address = *address}, *key = &wanted;
	struct peer **at = p->count ? bsearch(&key, p->by_address, p->count,
					      sizeof(p->by_address[0]), order_address)
				    : NULL;

	return at ? *at : NULL;
}

/* ---- who they are ---- */

static struct peer *
peer_new(const struct prober *p, const struct prober_peer *as, uint64_t now_ns)
{
	struct peer *peer = mem_zalloc(MEM_OVERLAY, sizeof(*peer));

	if (!peer)
		return NULL;
	peer->as = *as;
	probe_init(&peer->probe, p->max, now_ns);
	return peer;
}

/* Marks those who stay, makes the others; false: those that it made are gone again. */
static bool
gather(struct prober *p, const struct prober_peer *peers, size_t count, uint64_t now_ns,
       struct peer **out)
{
	size_t i;

	for (i = 0; i < count; i++) {
		struct peer *peer = find_id(p, peers[i].id);

		if (peer && addr_equal_ip(&peer->as.address, &peers[i].address))
			peer->stays = true;
		else
			peer = peer_new(p, &peers[i], now_ns);
		if (!peer)
			break;
		out[i] = peer;
	}
	if (i == count)
		return true;
	while (i-- > 0) {
		if (!out[i]->stays)
			mem_free(out[i]);
	}
	for (i = 0; i < p->count; i++)
		p->by_id[i]->stays = false;
	return false;
}

static void
drop_others(struct prober *p)
{
	for (size_t i = 0; i < p->count; i++) {
		if (!p->by_id[i]->stays)
			mem_free(p->by_id[i]);
		else
			p->by_id[i]->stays = false;
	}
	mem_free(p->by_id);
	mem_free(p->by_address);
}

int
prober_set_peers(struct prober *p, const struct prober_peer *peers, size_t count, uint64_t now_ns,
		 struct err *err)
{
	struct peer **by_id, **by_address;

	if (count > PROBER_PEERS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d peers cannot be probed",
			       PROBER_PEERS_MAX);
	by_id = mem_array(MEM_OVERLAY, count + 1, sizeof(*by_id));
	by_address = mem_array(MEM_OVERLAY, count + 1, sizeof(*by_address));
	if (!by_id || !by_address || !gather(p, peers, count, now_ns, by_id)) {
		mem_free(by_id);
		mem_free(by_address);
		return err_set(err, ERR_NO_MEMORY, "no memory for the peers that are probed");
	}
	drop_others(p);
	memcpy(by_address, by_id, count * sizeof(*by_id));
	qsort(by_id, count, sizeof(*by_id), order_id);
	qsort(by_address, count, sizeof(*by_address), order_address);
	p->by_id = by_id;
	p->by_address = by_address;
	p->count = count;
	p->next_ns = count ? now_ns : UINT64_MAX;
	return 0;
}

static void
tell(const struct prober *p, const struct peer *peer, bool another)
{
	p->calls.found(p->calls.arg, peer->as.id, probe_mtu(&peer->probe), peer->probe.rtt_ns,
		       another);
}

void
prober_set_max(struct prober *p, uint32_t max, uint64_t now_ns)
{
	assert(max >= PROBE_MIN && max <= PROBE_MAX);
	if (max == p->max)
		return;
	p->max = max;
	for (size_t i = 0; i < p->count; i++) {
		struct peer *peer = p->by_id[i];

		probe_set_max(&peer->probe, max, now_ns);
		tell(p, peer, true);
	}
	p->next_ns = p->count ? now_ns : UINT64_MAX;
}

void
prober_moved(struct prober *p, uint64_t id, uint64_t now_ns)
{
	struct peer *peer = find_id(p, id);

	if (!peer)
		return;
	probe_moved(&peer->probe, now_ns);
	p->next_ns = now_ns;
}

/* ---- asking ---- */

static void
ask(struct prober *p, const struct peer *peer, const struct probe_send *s)
{
	const struct probe_message m = {PROBE_ASKS, s->size, s->token};
	uint8_t head[PROBE_BYTES];

	probe_put(&m, head);
	p->calls.send(p->calls.arg, &peer->as.address, head, s->size - PROBER_HEADERS);
}

static void
tick_peer(struct prober *p, struct peer *peer, const struct world *w)
{
	uint32_t mtu = probe_mtu(&peer->probe);
	struct probe_send sends[PROBE_SENDS];
	size_t count = probe_tick(&peer->probe, w, sends);

	for (size_t i = 0; i < count; i++)
		ask(p, peer, &sends[i]);
	if (mtu != probe_mtu(&peer->probe))
		tell(p, peer, true);
}

void
prober_tick(struct prober *p, const struct world *w)
{
	if (w->mono_ns < p->next_ns)
		return;
	p->next_ns = UINT64_MAX;
	for (size_t i = 0; i < p->count; i++) {
		struct peer *peer = p->by_id[i];

		if (probe_deadline(&peer->probe) <= w->mono_ns)
			tick_peer(p, peer, w);
		if (probe_deadline(&peer->probe) < p->next_ns)
			p->next_ns = probe_deadline(&peer->probe);
	}
}

uint64_t
prober_deadline(const struct prober *p)
{
	return p->next_ns;
}

/* ---- what comes ---- */

static bool
may_answer(struct peer *peer, uint64_t now_ns)
{
	uint64_t more = (now_ns - peer->filled_ns) / (second_ns / PROBER_ANSWERS);

	if (peer->filled_ns == 0 || more >= PROBER_ANSWERS_BURST) {
		peer->tokens = PROBER_ANSWERS_BURST;
		peer->filled_ns = now_ns;
	} else if (more > 0) {
		peer->tokens += more;
		if (peer->tokens > PROBER_ANSWERS_BURST)
			peer->tokens = PROBER_ANSWERS_BURST;
		peer->filled_ns += more * (second_ns / PROBER_ANSWERS);
	}
	if (peer->tokens == 0)
		return false;
	peer->tokens--;
	return true;
}

static void
send_short(struct prober *p, const struct peer *peer, const struct probe_message *m)
{
	uint8_t head[PROBE_BYTES];

	probe_put(m, head);
	p->calls.send(p->calls.arg, &peer->as.address, head, PROBE_BYTES);
}

static void
answer(struct prober *p, struct peer *peer, uint64_t now_ns, const struct probe_message *asked)
{
	const struct probe_message m = {PROBE_ANSWERS, asked->size, asked->token};

	if (may_answer(peer, now_ns))
		send_short(p, peer, &m);
}

/* ---- keys ---- */

static void
answer_key(struct prober *p, struct peer *peer, uint64_t now_ns, uint64_t token)
{
	const struct probe_message m = {.kind = PROBE_KEY_KNOWN, .token = token};

	if (may_answer(peer, now_ns) && p->calls.knows &&
	    p->calls.knows(p->calls.arg, peer->as.id, token))
		send_short(p, peer, &m);
}

void
prober_ask_key(struct prober *p, uint64_t id, uint64_t token)
{
	const struct probe_message m = {.kind = PROBE_KEY, .token = token};
	const struct peer *peer = find_id(p, id);

	if (peer)
		send_short(p, peer, &m);
}

/* ---- all that comes ---- */

static void
take_answer(struct prober *p, struct peer *peer, uint64_t now_ns, const struct probe_message *m)
{
	uint32_t mtu = probe_mtu(&peer->probe);

	if (!probe_answered(&peer->probe, now_ns, m->token, m->size))
		return;
	if (probe_deadline(&peer->probe) < p->next_ns)
		p->next_ns = probe_deadline(&peer->probe);
	tell(p, peer, probe_mtu(&peer->probe) != mtu);
}

void
prober_receive(struct prober *p, uint64_t now_ns, const struct addr *from, const uint8_t *data,
	       size_t bytes)
{
	struct peer *peer = find_address(p, from);
	struct probe_message m;

	if (!peer || !probe_take(data, bytes, PROBER_HEADERS, &m))
		return;
	switch (m.kind) {
	case PROBE_ASKS:
		answer(p, peer, now_ns, &m);
		break;
	case PROBE_ANSWERS:
		take_answer(p, peer, now_ns, &m);
		break;
	case PROBE_KEY:
		answer_key(p, peer, now_ns, m.token);
		break;
	case PROBE_KEY_KNOWN:
		if (p->calls.known)
			p->calls.known(p->calls.arg, peer->as.id, m.token);
		break;
	}
}

uint32_t
prober_mtu(const struct prober *p, uint64_t id)
{
	const struct peer *peer = find_id(p, id);

	return peer ? probe_mtu(&peer->probe) : 0;
}
