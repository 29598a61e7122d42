/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_RELAY_WORLD_H
#define TESTS_SUPPORT_RELAY_WORLD_H

/*
 * Two nodes that only dial out, each behind a NAT of its own, and two that everybody reaches and
 * that relay, on the wire of wg_wire.h:
 *
 *     1 --- NAT 198.51.100.1 ---.           .--- 3 192.0.2.3, relay
 *                                >---------<
 *     2 --- NAT 198.51.100.2 ---'           '--- 4 192.0.2.4, relay
 *
 * The NATs are of the worst kind: another port outside for each destination, and nothing gets in
 * from where nothing was sent to. A relay asks its device first, and what that has no use for its
 * relay, as the product does.
 */

#include "overlay/relay.h"
#include "tests/support/wg_wire.h"

enum { RW_HIDDEN = 2, RW_RELAYS = 2, RW_MAPPINGS_MAX = 16, RW_KEEPALIVE_S = 25 };

struct rw_mapping {
	struct addr outside, to;
	uint64_t last_ns;
};

struct rw_nat {
	struct rw_mapping mappings[RW_MAPPINGS_MAX];
	size_t count;
	uint16_t next_port;
};

struct rw {
	struct wg_wire wire;
	struct wg_node *node[5];        /* from 1 */
	struct device_peer *peer[5][5]; /* as the first one knows the second one */
	struct rw_nat nat[RW_HIDDEN + 1];
	struct relay *relay[5]; /* of nodes 3 and 4; NULL: it is dead */
	uint64_t verdicts[RELAY_VERDICTS];
	bool cut; /* nothing arrives */
};

static inline uint64_t
rw_now(struct rw *rw)
{
	return wg_world(&rw->wire)->mono_ns;
}

/* ---- NAT ---- */

static inline void
rw_outside(struct rw *rw, unsigned node, const struct addr *to, struct addr *out)
{
	struct rw_nat *nat = &rw->nat[node];

	for (size_t i = 0; i < nat->count; i++) {
		if (addr_equal(&nat->mappings[i].to, to)) {
			nat->mappings[i].last_ns = rw_now(rw);
			*out = nat->mappings[i].outside;
			return;
		}
	}
	prop_check(nat->count < RW_MAPPINGS_MAX);
	addr_from_v4_be(__builtin_bswap32(0xc6336400u | node), ++nat->next_port, out);
	nat->mappings[nat->count++] = (struct rw_mapping){*out, *to, rw_now(rw)};
}

/* The one whose NAT lets it in, or NULL. */
static inline struct wg_node *
rw_inside(struct rw *rw, const struct addr *from, const struct addr *to)
{
	for (unsigned n = 1; n <= RW_HIDDEN; n++) {
		struct rw_nat *nat = &rw->nat[n];

		for (size_t i = 0; i < nat->count; i++) {
			if (addr_equal(&nat->mappings[i].to, from) &&
			    addr_equal(&nat->mappings[i].outside, to))
				return rw->node[n];
		}
	}
	return NULL;
}

/* The NAT has been started anew: all outside is another one. */
static inline void
rw_rebind(struct rw *rw, unsigned node)
{
	rw->nat[node].count = 0;
	rw->nat[node].next_port = (uint16_t)(rw->nat[node].next_port + 1000);
}

/* ---- relays ---- */

/* What the relay's own sessions say. */
static inline void
rw_look(struct rw *rw, unsigned relay)
{
	struct device *d = rw->node[relay]->device;

	for (struct device_peer *p = device_next(d, NULL); p; p = device_next(d, p)) {
		const struct session *s = wg_current(p);

		if (s && p->has_endpoint && session_receives(s, rw_now(rw)))
			(void)relay_heard(rw->relay[relay], p->key.public_key, &p->endpoint, p,
					  rw_now(rw));
	}
}

static inline enum relay_verdict
rw_relay(struct rw *rw, unsigned relay, const struct wg_packet *p)
{
	struct relay_to to;
	enum relay_verdict v =
		relay_take(rw->relay[relay], rw_now(rw), &p->from, p->data, p->bytes, &to);

	rw->verdicts[v]++;
	if (v == RELAY_FORWARD)
		wg_put(rw->node[relay], &to.at, p->data, p->bytes, p->handshake, p->retry);
	return v;
}

static inline void
rw_at_relay(struct rw *rw, unsigned relay, const struct wg_packet *p)
{
	enum device_result r = wg_give(rw->node[relay], p);

	if (r != DEVICE_FORGED && r != DEVICE_UNKNOWN)
		return;
	rw_look(rw, relay);
	(void)rw_relay(rw, relay, p);
}

/* ---- the wire ---- */

static inline void
rw_deliver(struct rw *rw)
{
	struct wg_packet *p = wg_pick(&rw->wire, 0);
	struct wg_node *to;

	for (unsigned n = 1; n <= RW_HIDDEN; n++) {
		if (addr_equal(&p->from, &rw->node[n]->addr))
			rw_outside(rw, n, &p->to, &p->from);
	}
	if (!rw->cut) {
		for (unsigned n = RW_HIDDEN + 1; n <= RW_HIDDEN + RW_RELAYS; n++) {
			if (rw->relay[n] && addr_equal(&p->to, &rw->node[n]->addr))
				rw_at_relay(rw, n, p);
		}
		to = rw_inside(rw, &p->from, &p->to);
		if (to)
			(void)wg_give(to, p);
	}
	free(p);
}

static inline void
rw_deliver_all(struct rw *rw)
{
	while (rw->wire.count > 0)
		rw_deliver(rw);
}

static inline void
rw_pass(struct rw *rw, uint64_t ns)
{
	uint64_t end = rw_now(rw) + ns;

	for (;;) {
		uint64_t next = end;

		for (unsigned i = 1; i <= WG_NODES_MAX; i++) {
			uint64_t due = device_deadline(rw->node[i]->device);

			if (due < next)
				next = due;
		}
		if (next > rw_now(rw))
			wg_jump(&rw->wire, next - rw_now(rw));
		wg_tick(&rw->wire);
		rw_deliver_all(rw);
		if (next >= end)
			break;
	}
}

/* ---- nodes ---- */

static inline struct device_peer *
rw_know(struct rw *rw, unsigned node, unsigned other, const struct addr *endpoint,
	uint16_t keepalive_s)
{
	struct device_prefix inner = {0};
	struct device_change change = {.endpoint = endpoint,
				       .has_keepalive = true,
				       .keepalive_s = keepalive_s,
				       .prefixes = &inner,
				       .prefixes_count = 1};
	struct err err = {0};

	wg_inner(other, &inner.prefix);
	memcpy(change.public_key, rw->node[other]->public_key, PRIMITIVE_KEY);
	prop_check(device_change(rw->node[node]->device, &change, wg_world(&rw->wire),
				 &rw->peer[node][other], &err) == 0);
	return rw->peer[node][other];
}

/* Both take this relay for each other. */
static inline void
rw_use(struct rw *rw, unsigned node, unsigned other, unsigned relay)
{
	rw_know(rw, node, other, &rw->node[relay]->addr, RW_KEEPALIVE_S);
}

static inline void
rw_start_relay(struct rw *rw, unsigned relay)
{
	static const uint64_t seeds[3] = {1, 2, 3};
	uint8_t keys[RW_HIDDEN][PRIMITIVE_KEY];
	struct err err = {0};

	for (unsigned n = 1; n <= RW_HIDDEN; n++) {
		memcpy(keys[n - 1], rw->node[n]->public_key, PRIMITIVE_KEY);
		rw_know(rw, relay, n, NULL, RW_KEEPALIVE_S);
	}
	rw->relay[relay] = relay_new(seeds);
	prop_check(rw->relay[relay] != NULL);
	prop_check(relay_set_nodes(rw->relay[relay], (const uint8_t(*)[PRIMITIVE_KEY])keys,
				   RW_HIDDEN, &err) == 0);
}

/* The process has died: its sessions are gone with it. */
static inline void
rw_stop_relay(struct rw *rw, unsigned relay)
{
	device_remove_all(rw->node[relay]->device);
	relay_free(rw->relay[relay]);
	rw->relay[relay] = NULL;
}

static inline void
rw_init(struct rw *rw, uint64_t seed)
{
	memset(rw, 0, sizeof(*rw));
	wg_wire_init(&rw->wire, seed);
	for (unsigned n = 1; n <= RW_HIDDEN + RW_RELAYS; n++)
		rw->node[n] = wg_add(&rw->wire, n);
	for (unsigned n = 1; n <= RW_HIDDEN; n++)
		rw->nat[n].next_port = 1024;
	for (unsigned r = RW_HIDDEN + 1; r <= RW_HIDDEN + RW_RELAYS; r++) {
		rw_start_relay(rw, r);
		for (unsigned n = 1; n <= RW_HIDDEN; n++)
			rw_know(rw, n, r, &rw->node[r]->addr, RW_KEEPALIVE_S);
	}
	rw_deliver_all(rw);
}

static inline void
rw_fini(struct rw *rw)
{
	for (unsigned r = RW_HIDDEN + 1; r <= RW_HIDDEN + RW_RELAYS; r++)
		relay_free(rw->relay[r]);
	wg_wire_fini(&rw->wire);
}

/* What one says to the other; whether it came at once. */
static inline bool
rw_says(struct rw *rw, unsigned from, unsigned to)
{
	uint64_t id = wg_say(rw->node[from], rw->peer[from][to]);

	rw_deliver_all(rw);
	return wg_got(rw->node[to], id);
}

#endif
