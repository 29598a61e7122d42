/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes and flows. A flow says: what comes from node F for number N goes to node T. An initiation
 * of T for F makes one of the number that T gave itself; so does the response, the other way.
 * A number is T's choice and may be another's too, so it counts only together with F: who lies
 * about numbers cuts nobody off but himself, and a flow that is in use is not taken over.
 *
 * A node's first MACs are tried one by one to find for whom an initiation is: the key of each is
 * computed when the node is made, so that a try is one short hash. Until one fits, anybody may have
 * sent it in that node's name: only what fits counts as a handshake of the node, and what fits
 * nobody has a small allowance. When that is used up those are still tried that the node speaks
 * with, so that forgers do not end what goes on.
 */
#include "overlay/relay.h"

#include <assert.h>
#include <string.h>
#include "base/list.h"
#include "base/map.h"
#include "overlay/wg/cookie.h"

enum {
	MS = 1000000,
	SECOND = 1000000000,
	I_SENDER = 4,
	R_SENDER = 4,
	R_RECEIVER = 8,
	RECEIVER = 4
};

struct bucket {
	uint64_t tokens, filled_ns;
};

struct node {
	struct list all;
	struct list from, to; /* flows; `to` in the order of their last use */
	uint8_t key[PRIMITIVE_KEY];
	struct cookie_maker maker; /* of which only mac1 is used */
	uint32_t id;
	size_t flows; /* in `to` */
	struct addr at;
	void *user;
	bool heard, wanted;
	uint64_t heard_ns;
	struct bucket bytes, handshakes, strays;
};

struct flow {
	struct list by_from, by_to;
	struct node *from, *to;
	uint32_t number;
	uint64_t used_ns;
};

struct relay {
	struct primitive primitive;
	struct list all;
	struct map by_key, by_address, flows;
	uint32_t last_id;
};

struct relay *
relay_new(const uint64_t seeds[3])
{
	struct relay *r = mem_zalloc(MEM_OVERLAY, sizeof(*r));
	struct err err = {0};

	if (!r)
		return NULL;
	if (primitive_init(&r->primitive, &err) < 0) {
		mem_free(r);
		return NULL;
	}
	list_init(&r->all);
	map_init_seeded(&r->by_key, MEM_OVERLAY, seeds[0]);
	map_init_seeded(&r->by_address, MEM_OVERLAY, seeds[1]);
	map_init_seeded(&r->flows, MEM_OVERLAY, seeds[2]);
	return r;
}

/* ---- flows ---- */

static uint64_t
flow_key(const struct node *from, uint32_t number)
{
	return (uint64_t)from->id << 32 | number;
}

static void
flow_free(struct relay *r, struct flow *f)
{
	map_remove_u64(&r->flows, flow_key(f->from, f->number));
	list_remove(&f->by_from);
	list_remove(&f->by_to);
	f->to->flows--;
	mem_free(f);
}

static void
flow_use(struct flow *f, uint64_t now_ns)
{
	f->used_ns = now_ns;
	list_remove(&f->by_to);
	list_push(&f->to->to, &f->by_to);
}

static bool
flow_is_over(const struct flow *f, uint64_t now_ns)
{
	return now_ns - f->used_ns >= (uint64_t)RELAY_FLOW_MS * MS;
}

static void
drop_old(struct relay *r, struct node *n, uint64_t now_ns)
{
	while (!list_empty(&n->to)) {
		struct flow *f = container_of(n->to.next, struct flow, by_to);

		if (!flow_is_over(f, now_ns) && n->flows < RELAY_NODE_FLOWS_MAX)
			return;
		flow_free(r, f);
	}
}

static enum relay_verdict
flow_add(struct relay *r, struct node *from, uint32_t number, struct node *to, uint64_t now_ns)
{
	struct flow *f = map_get_u64(&r->flows, flow_key(from, number));

	if (f && f->to != to && !flow_is_over(f, now_ns))
		return RELAY_UNKNOWN;
	if (f && f->to == to) {
		flow_use(f, now_ns);
		return RELAY_FORWARD;
	}
	if (f)
		flow_free(r, f);
	drop_old(r, to, now_ns);
	if (map_count(&r->flows) >= RELAY_FLOWS_MAX)
		return RELAY_LIMITED;
	f = mem_zalloc(MEM_OVERLAY, sizeof(*f));
	if (!f)
		return RELAY_LIMITED;
	*f = (struct flow){.from = from, .to = to, .number = number, .used_ns = now_ns};
	if (map_put_u64(&r->flows, flow_key(from, number), f) < 0) {
		mem_free(f);
		return RELAY_LIMITED;
	}
	list_push(&from->from, &f->by_from);
	list_push(&to->to, &f->by_to);
	to->flows++;
	return RELAY_FORWARD;
}

void
relay_tick(struct relay *r, uint64_t now_ns)
{
	struct list *it, *next;

	list_each (it, next, &r->all)
		drop_old(r, container_of(it, struct node, all), now_ns);
}

/* ---- nodes ---- */

struct place { /* of a node, as a key */
	uint8_t ip[16];
	uint16_t port;
};

enum { PLACE_BYTES = 18 };

static struct place
place_of(const struct addr *a)
{
	struct place p = {.port = a->port};

	memcpy(p.ip, a->ip, sizeof(p.ip));
	return p;
}

static void
leave_place(struct relay *r, struct node *n)
{
	struct place p = place_of(&n->at);

	if (n->heard)
		map_remove(&r->by_address, &p, PLACE_BYTES);
	n->heard = false;
}

static void
node_free(struct relay *r, struct node *n)
{
	struct list *it, *next;

	list_each (it, next, &n->from)
		flow_free(r, container_of(it, struct flow, by_from));
	list_each (it, next, &n->to)
		flow_free(r, container_of(it, struct flow, by_to));
	leave_place(r, n);
	map_remove(&r->by_key, n->key, sizeof(n->key));
	list_remove(&n->all);
	mem_free(n);
}

void
relay_free(struct relay *r)
{
	struct list *it, *next;

	if (!r)
		return;
	list_each (it, next, &r->all)
		node_free(r, container_of(it, struct node, all));
	map_fini(&r->by_key);
	map_fini(&r->by_address);
	map_fini(&r->flows);
	primitive_fini(&r->primitive);
	mem_free(r);
}

static bool
node_add(struct relay *r, const uint8_t key[PRIMITIVE_KEY])
{
	struct node *n = mem_zalloc(MEM_OVERLAY, sizeof(*n));

	if (!n)
		return false;
	if (!cookie_maker_set(&r->primitive, &n->maker, key) ||
	    map_put(&r->by_key, key, PRIMITIVE_KEY, n, NULL) < 0) {
		mem_free(n);
		return false;
	}
	memcpy(n->key, key, PRIMITIVE_KEY);
	list_init(&n->from);
	list_init(&n->to);
	n->id = ++r->last_id;
	list_push(&r->all, &n->all);
	return true;
}

/* Those that came since the mark, or those that nobody wants. */
static void
sweep(struct relay *r, uint32_t above_id, bool unwanted)
{
	struct list *it, *next;

	list_each (it, next, &r->all) {
		struct node *n = container_of(it, struct node, all);

		if (n->id > above_id || (unwanted && !n->wanted))
			node_free(r, n);
		else
			n->wanted = false;
	}
}

int
relay_set_nodes(struct relay *r, const uint8_t (*keys)[PRIMITIVE_KEY], size_t count,
		struct err *err)
{
	uint32_t mark = r->last_id;

	if (count > RELAY_NODES_MAX)
		return err_set(err, ERR_LIMIT, "more than %d nodes cannot be relayed between",
			       RELAY_NODES_MAX);
	for (size_t i = 0; i < count; i++) {
		struct node *n = map_get(&r->by_key, keys[i], PRIMITIVE_KEY);

		if (!n && !node_add(r, keys[i])) {
			sweep(r, mark, false);
			return err_set(err, ERR_NO_MEMORY, "no memory for nodes to relay between");
		}
		if (!n)
			n = map_get(&r->by_key, keys[i], PRIMITIVE_KEY);
		assert(n);
		n->wanted = true;
	}
	sweep(r, UINT32_MAX, true);
	return 0;
}

bool
relay_heard(struct relay *r, const uint8_t key[PRIMITIVE_KEY], const struct addr *at, void *user,
	    uint64_t now_ns)
{
	struct node *n = map_get(&r->by_key, key, PRIMITIVE_KEY);
	struct place p = place_of(at);
	void *before = NULL;

	if (!n)
		return false;
	if (!n->heard || !addr_equal(&n->at, at)) {
		leave_place(r, n);
		if (map_put(&r->by_address, &p, PLACE_BYTES, n, &before) < 0)
			return false;
		if (before)
			((struct node *)before)->heard = false; /* it is there no longer */
	}
	n->at = *at;
	n->user = user;
	n->heard = true;
	n->heard_ns = now_ns;
	return true;
}

void
relay_gone(struct relay *r, const uint8_t key[PRIMITIVE_KEY])
{
	struct node *n = map_get(&r->by_key, key, PRIMITIVE_KEY);

	if (!n)
		return;
	leave_place(r, n);
	n->user = NULL;
}

static bool
is_present(const struct node *n, uint64_t now_ns)
{
	return n->heard && now_ns - n->heard_ns < (uint64_t)RELAY_PRESENT_MS * MS;
}

/* ---- datagrams ---- */

static bool
take_tokens(struct bucket *b, uint64_t now_ns, uint64_t cost, uint64_t rate, uint64_t burst)
{
	uint64_t gone = now_ns - b->filled_ns, full_ns = burst * SECOND / rate;

	if (b->filled_ns == 0 || gone >= full_ns) {
		b->tokens = burst;
		b->filled_ns = now_ns;
	} else {
		uint64_t more = gone * rate / SECOND;

		b->tokens = b->tokens + more < burst ? b->tokens + more : burst;
		b->filled_ns += more * SECOND / rate;
	}
	if (b->tokens < cost)
		return false;
	b->tokens -= cost;
	return true;
}

/* For whom of those that it speaks with, the last ones first, an initiation is. */
static struct node *
known_receiver_of(struct relay *r, const struct node *from, const uint8_t *data)
{
	struct list *it = from->to.prev;

	for (unsigned i = 0; i < RELAY_KNOWN_TRIES && it != &from->to; i++, it = it->prev) {
		struct node *n = container_of(it, struct flow, by_to)->from;

		if (n != from && cookie_is_for(&r->primitive, &n->maker, data, NOISE_INITIATION))
			return n;
	}
	return NULL;
}

static struct node *
receiver_of(struct relay *r, const struct node *from, const uint8_t *data)
{
	struct list *it, *next;

	list_each (it, next, &r->all) {
		struct node *n = container_of(it, struct node, all);

		if (n != from && cookie_is_for(&r->primitive, &n->maker, data, NOISE_INITIATION))
			return n;
	}
	return NULL;
}

static enum relay_verdict
initiation(struct relay *r, uint64_t now_ns, struct node *from, const uint8_t *data,
	   struct node **to_out)
{
	struct node *to = known_receiver_of(r, from, data);

	if (!to) {
		if (!take_tokens(&from->strays, now_ns, 1, RELAY_STRAYS, RELAY_STRAYS_BURST))
			return RELAY_LIMITED;
		to = receiver_of(r, from, data);
		if (!to)
			return RELAY_UNKNOWN;
		from->strays.tokens++; /* it was none */
	}
	if (!take_tokens(&from->handshakes, now_ns, 1, RELAY_HANDSHAKES, RELAY_HANDSHAKES_BURST))
		return RELAY_LIMITED;
	*to_out = to;
	if (!is_present(to, now_ns))
		return RELAY_ABSENT;
	return flow_add(r, to, noise_u32(data + I_SENDER), from, now_ns);
}

static enum relay_verdict
by_number(struct relay *r, uint64_t now_ns, struct node *from, uint32_t number,
	  struct node **to_out)
{
	struct flow *f = map_get_u64(&r->flows, flow_key(from, number));

	if (!f || flow_is_over(f, now_ns))
		return RELAY_UNKNOWN;
	*to_out = f->to;
	if (!is_present(f->to, now_ns))
		return RELAY_ABSENT;
	flow_use(f, now_ns);
	return RELAY_FORWARD;
}

static enum relay_verdict
response(struct relay *r, uint64_t now_ns, struct node *from, const uint8_t *data,
	 struct node **to_out)
{
	enum relay_verdict v = by_number(r, now_ns, from, noise_u32(data + R_RECEIVER), to_out);

	if (v != RELAY_FORWARD)
		return v;
	return flow_add(r, *to_out, noise_u32(data + R_SENDER), from, now_ns);
}

enum relay_verdict
relay_take(struct relay *r, uint64_t now_ns, const struct addr *from, const uint8_t *data,
	   size_t bytes, struct relay_to *out)
{
	struct place p = place_of(from);
	struct node *n = map_get(&r->by_address, &p, PLACE_BYTES), *to = NULL;
	enum relay_verdict v = RELAY_OWN;

	if (!n || !is_present(n, now_ns))
		return RELAY_OWN;
	switch (noise_type(data, bytes)) {
	case NOISE_TYPE_INITIATION:
		v = initiation(r, now_ns, n, data, &to);
		break;
	case NOISE_TYPE_RESPONSE:
		v = response(r, now_ns, n, data, &to);
		break;
	case NOISE_TYPE_COOKIE:
	case NOISE_TYPE_DATA:
		v = by_number(r, now_ns, n, noise_u32(data + RECEIVER), &to);
		break;
	default:
		return RELAY_OWN;
	}
	if (v == RELAY_FORWARD &&
	    !take_tokens(&n->bytes, now_ns, bytes, RELAY_BYTES, RELAY_BYTES_BURST))
		v = RELAY_LIMITED;
	if (v == RELAY_FORWARD)
		*out = (struct relay_to){to->at, to->user};
	return v;
}

/* ---- reading ---- */

size_t
relay_nodes(const struct relay *r)
{
	return map_count(&r->by_key);
}

size_t
relay_flows(const struct relay *r)
{
	return map_count(&r->flows);
}

const char *
relay_verdict_name(enum relay_verdict v)
{
	static const char *const names[RELAY_VERDICTS] = {
		[RELAY_OWN] = "own",         [RELAY_FORWARD] = "forwarded",
		[RELAY_UNKNOWN] = "unknown", [RELAY_ABSENT] = "absent",
		[RELAY_LIMITED] = "limited",
	};

	return names[v];
}
