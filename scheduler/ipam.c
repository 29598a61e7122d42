/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map of what everybody says, and one of whose each prefix is. All prefixes of a family are of
 * one length: two overlap when they are the same. Nodes that say the same one stand in a chain, the
 * lowest first; it is looked at no further than its second. Who looks for a free one begins at a
 * place of its own, so that nodes that come at the same time rarely choose the same.
 */
#include "scheduler/ipam.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"
#include "spec/config.h"

enum { VERSION = 2, V4_BITS = 24, V6_BITS = 64, V4_MAPPED = 96 };

void
ipam_init(struct ipam *m, uint32_t self)
{
	memset(m, 0, sizeof(*m));
	m->self = self;
	map_init_seeded(&m->nodes, MEM_SCHEDULER, self);
	map_init_seeded(&m->by4, MEM_SCHEDULER, self);
	map_init_seeded(&m->by6, MEM_SCHEDULER, self);
}

void
ipam_fini(struct ipam *m)
{
	struct map_iter it = {0};

	while (map_next(&m->nodes, &it))
		mem_free(it.value);
	map_fini(&m->nodes);
	map_fini(&m->by4);
	map_fini(&m->by6);
}

/* ---- whose prefixes are ---- */

/* One of the two families. */
struct chains {
	struct map *heads;
	bool v6;
};

static const struct addr_prefix *
prefix_of(const struct chains *c, const struct ipam_node *n)
{
	return c->v6 ? &n->prefixes.v6 : &n->prefixes.v4;
}

static struct ipam_node **
next_of(const struct chains *c, struct ipam_node *n)
{
	return c->v6 ? &n->next6 : &n->next4;
}

/* NULL: nobody. */
static struct ipam_node *
first_of(const struct map *heads, const struct addr_prefix *p)
{
	return p->bits ? map_get(heads, p->base.ip, sizeof(p->base.ip)) : NULL;
}

/* -1: no memory, and nothing has changed. */
static int
enter(const struct chains *c, struct ipam_node *n)
{
	const struct addr_prefix *p = prefix_of(c, n);
	struct ipam_node *head = first_of(c->heads, p), *at = head;

	*next_of(c, n) = NULL;
	if (!p->bits)
		return 0;
	if (!head || n->node < head->node) {
		*next_of(c, n) = head;
		return map_put(c->heads, p->base.ip, sizeof(p->base.ip), n, NULL);
	}
	while (*next_of(c, at) && (*next_of(c, at))->node < n->node)
		at = *next_of(c, at);
	*next_of(c, n) = *next_of(c, at);
	*next_of(c, at) = n;
	return 0;
}

/* A head that is replaced needs no memory: its place is there. */
static void
leave(const struct chains *c, struct ipam_node *n)
{
	const struct addr_prefix *p = prefix_of(c, n);
	struct ipam_node *at = first_of(c->heads, p), *next = *next_of(c, n);

	if (!at)
		return;
	if (at == n && !next) {
		map_remove(c->heads, p->base.ip, sizeof(p->base.ip));
	} else if (at == n) {
		int rc = map_put(c->heads, p->base.ip, sizeof(p->base.ip), next, NULL);

		assert(rc == 0);
		(void)rc;
	} else {
		while (at && *next_of(c, at) != n)
			at = *next_of(c, at);
		if (at)
			*next_of(c, at) = next;
	}
	*next_of(c, n) = NULL;
}

static int
enter_both(struct ipam *m, struct ipam_node *n)
{
	const struct chains four = {&m->by4, false}, six = {&m->by6, true};

	if (enter(&four, n) < 0)
		return -1;
	if (enter(&six, n) == 0)
		return 0;
	leave(&four, n);
	return -1;
}

static void
leave_both(struct ipam *m, struct ipam_node *n)
{
	leave(&(const struct chains){&m->by4, false}, n);
	leave(&(const struct chains){&m->by6, true}, n);
}

/* ---- what is known ---- */

static struct ipam_node *
node_of(struct ipam *m, uint32_t node)
{
	struct ipam_node *n = map_get_u64(&m->nodes, node);

	if (n || node == 0 || node == m->self || map_count(&m->nodes) >= IPAM_NODES_MAX)
		return n;
	n = mem_zalloc(MEM_SCHEDULER, sizeof(*n));
	if (!n)
		return NULL;
	n->node = node;
	if (map_put_u64(&m->nodes, node, n) < 0) {
		mem_free(n);
		return NULL;
	}
	return n;
}

int
ipam_address(struct ipam *m, uint32_t node, const struct addr *address)
{
	struct ipam_node *n = node_of(m, node);

	if (!n)
		return -1;
	n->address = *address;
	return 0;
}

/* -1: no memory, and it has those that it had, or none. */
static int
set_prefixes(struct ipam *m, struct ipam_node *n, const struct ipam_prefixes *prefixes)
{
	struct ipam_prefixes before = n->prefixes;

	if (memcmp(&before, prefixes, sizeof(before)) == 0)
		return 0;
	leave_both(m, n);
	n->prefixes = *prefixes;
	if (enter_both(m, n) == 0)
		return 0;
	n->prefixes = before;
	if (enter_both(m, n) < 0)
		n->prefixes = (struct ipam_prefixes){0};
	return -1;
}

int
ipam_says(struct ipam *m, uint32_t node, const struct ipam_prefixes *prefixes,
	  const struct ipam_ways *ways)
{
	static const struct ipam_prefixes none;
	struct ipam_node *n = node_of(m, node);

	if (!n || set_prefixes(m, n, prefixes ? prefixes : &none) < 0)
		return -1;
	n->ways = prefixes && ways ? *ways : (struct ipam_ways){0};
	return 0;
}

void
ipam_forget(struct ipam *m, uint32_t node)
{
	struct ipam_node *n = map_remove_u64(&m->nodes, node);

	if (n)
		leave_both(m, n);
	mem_free(n);
}

void
ipam_own(struct ipam *m, const struct ipam_prefixes *own, const struct addr_prefix *network,
	 bool fixed, bool containers)
{
	m->own = *own;
	m->network = *network;
	m->fixed = fixed;
	m->containers = containers;
}

/* ---- judging ---- */

static bool
overlap(const struct addr_prefix *a, const struct addr_prefix *b)
{
	return a->bits && b->bits && addr_prefix_overlap(a, b);
}

static bool
any_overlaps(const struct ipam_prefixes *a, const struct ipam_prefixes *b)
{
	return overlap(&a->v4, &b->v4) || overlap(&a->v6, &b->v6);
}

/* The lowest of a chain, but `but`; 0 none. */
static uint32_t
lowest(const struct ipam_node *first, bool v6, uint32_t but)
{
	if (first && first->node == but)
		first = v6 ? first->next6 : first->next4;
	return first ? first->node : 0;
}

/* The lowest node that has one of them, but `but`; 0 none. */
static uint32_t
holder(const struct ipam *m, const struct ipam_prefixes *of, uint32_t but)
{
	uint32_t four = lowest(first_of(&m->by4, &of->v4), false, but);
	uint32_t six = lowest(first_of(&m->by6, &of->v6), true, but);

	return four && (!six || four < six) ? four : six;
}

static bool
find_free(const struct ipam *m, struct addr_prefix *out)
{
	static const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 7};
	uint64_t start = map_siphash(key, &m->self, sizeof(m->self));
	uint32_t places = config_network_places(&m->network);

	for (uint32_t i = 0; i < places; i++) {
		config_network_place(&m->network, (uint32_t)((start + i) % places), out);
		const struct ipam_prefixes next = {.v4 = *out};

		if (!addr_prefix_overlap(out, &m->own.v4) && !holder(m, &next, 0))
			return true;
	}
	return false;
}

enum ipam_verdict
ipam_judge(const struct ipam *m, uint32_t *rival, struct addr_prefix *wish)
{
	*rival = 0;
	if (!m->own.v4.bits)
		return IPAM_UNKNOWN;
	const struct ipam_prefixes own4 = {.v4 = m->own.v4}, own6 = {.v6 = m->own.v6};
	uint32_t rival6 = holder(m, &own6, 0);

	*rival = holder(m, &own4, 0);
	if (!*rival || *rival > m->self) {
		if (rival6 && (!*rival || rival6 < *rival))
			*rival = rival6;
		/* One of 2^40 is nobody else's by chance: it is never changed for anybody. */
		return rival6 && rival6 < m->self ? IPAM_TROUBLE : IPAM_GOOD;
	}
	if (m->fixed)
		return IPAM_TROUBLE;
	if (!find_free(m, wish))
		return IPAM_FULL; /* also where containers are in the way first */
	return m->containers ? IPAM_TROUBLE : IPAM_CHANGE;
}

bool
ipam_rival4(const struct ipam *m, uint32_t rival)
{
	const struct ipam_node *n = map_get_u64(&m->nodes, rival);

	return n && overlap(&n->prefixes.v4, &m->own.v4);
}

bool
ipam_knows(const struct ipam *m, uint32_t node)
{
	const struct ipam_node *n = map_get_u64(&m->nodes, node);

	return n && n->prefixes.v4.bits && !addr_is_zero(&n->address);
}

const struct ipam_node *
ipam_peer(const struct ipam *m, uint32_t node)
{
	const struct ipam_node *n = map_get_u64(&m->nodes, node);

	if (!ipam_knows(m, node))
		return NULL;
	uint32_t other = holder(m, &n->prefixes, node);
	if (other && other < node)
		return NULL;
	/* A lower one of two keeps it; so this node's own goes before a higher one's. */
	if (any_overlaps(&m->own, &n->prefixes) && m->self < node)
		return NULL;
	return n;
}

static bool
is_zero(const uint8_t key[MSG_KEY])
{
	static const uint8_t zero[MSG_KEY];

	return memcmp(key, zero, sizeof(zero)) == 0;
}

uint32_t
ipam_between(const struct ipam_ways *own, const struct ipam_ways *other)
{
	uint32_t ways = 0;

	if (!other->said)
		return own->trusted && own->plain ? MSG_WAY_PLAIN | MSG_WAY_TRUSTED : 0;
	if (own->plain && other->plain)
		ways |= MSG_WAY_PLAIN;
	if (ways && own->trusted && other->trusted)
		ways |= MSG_WAY_TRUSTED;
	if (!is_zero(own->key) && !is_zero(other->key) && (own->port || other->port))
		ways |= MSG_WAY_SEALED;
	/* Plain alone is for what says so of itself; all else would be cut off. */
	if (!(ways & (MSG_WAY_SEALED | MSG_WAY_TRUSTED)))
		return 0;
	return ways | (other->clients ? MSG_WAY_CLIENTS : 0);
}

/* ---- the entry ---- */

/* Offsets of what version 2 added; bits of WAYS are those of enum msg_way. */
enum { WAYS = 23, PORT = 24, KEY = 26, NEXT_KEY = 58, WAYS_KERNEL = 128 };

void
ipam_put(const struct ipam_prefixes *p, const struct ipam_ways *w, uint8_t out[IPAM_VALUE_BYTES])
{
	out[0] = VERSION;
	memcpy(out + 1, p->v4.base.ip + 12, 4);
	out[5] = V4_BITS;
	memcpy(out + 6, p->v6.base.ip, 16);
	out[22] = V6_BITS;
	out[WAYS] = (uint8_t)((w->plain ? MSG_WAY_PLAIN : 0) | (w->trusted ? MSG_WAY_TRUSTED : 0) |
			      (w->clients ? MSG_WAY_CLIENTS : 0) | (w->kernel ? WAYS_KERNEL : 0));
	out[PORT] = (uint8_t)w->port;
	out[PORT + 1] = (uint8_t)(w->port >> 8);
	memcpy(out + KEY, w->key, MSG_KEY);
	memcpy(out + NEXT_KEY, w->next_key, MSG_KEY);
}

static void
take_ways(const uint8_t *at, struct ipam_ways *out)
{
	out->said = true;
	out->plain = at[WAYS] & MSG_WAY_PLAIN;
	out->trusted = at[WAYS] & MSG_WAY_TRUSTED;
	out->clients = at[WAYS] & MSG_WAY_CLIENTS;
	out->kernel = at[WAYS] & WAYS_KERNEL;
	out->port = (uint16_t)(at[PORT] | at[PORT + 1] << 8);
	memcpy(out->key, at + KEY, MSG_KEY);
	memcpy(out->next_key, at + NEXT_KEY, MSG_KEY);
}

bool
ipam_take(const void *value, size_t bytes, struct ipam_prefixes *out, struct ipam_ways *ways)
{
	static const uint8_t zero[16];
	const uint8_t *at = value;

	memset(out, 0, sizeof(*out));
	memset(ways, 0, sizeof(*ways));
	if (bytes < IPAM_VALUE_V1_BYTES || at[0] == 0 || at[5] != V4_BITS || at[22] != V6_BITS ||
	    at[4] != 0 || memcmp(at + 14, zero, 8) != 0 || (at[0] > 1 && bytes < IPAM_VALUE_BYTES))
		return false;
	out->v4.base.ip[10] = out->v4.base.ip[11] = 0xff;
	memcpy(out->v4.base.ip + 12, at + 1, 4);
	out->v4.bits = V4_MAPPED + V4_BITS;
	memcpy(out->v6.base.ip, at + 6, 16);
	out->v6.bits = V6_BITS;
	/* They become routes, so nothing that is not private (RFC 4193 of IPv6). */
	if (!addr_prefix_is_private4(&out->v4) || (at[6] & 0xfe) != 0xfc)
		return false;
	if (at[0] > 1)
		take_ways(at, ways);
	return true;
}
