/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building the book of names. Rows come in any order but services before replicas; names_finish()
 * sorts once, after which every look-up is a binary search. A node has at most some thousand
 * replicas, so that a whole new book is made for each change of the tables: there is no other way
 * for a name to appear or to go. Only whether a container runs is changed in place, because it is
 * known sooner than the scheduler has judged.
 */
#include "overlay/names.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "overlay/names_book.h"

struct names *
names_new(void)
{
	return mem_zalloc(MEM_OVERLAY, sizeof(struct names));
}

void
names_free(struct names *n)
{
	if (!n)
		return;
	mem_free(n->services.items);
	mem_free(n->replicas.items);
	mem_free(n->by_id.items);
	mem_free(n->by_addr.items);
	mem_free(n->nodes.items);
	mem_free(n->nodes_by_addr.items);
	mem_free(n->prefixes.items);
	mem_free(n->guests.items);
	mem_free(n->guests_by_addr.items);
	mem_free(n->visitors.items);
	mem_free(n);
}

static void
push(struct names *n, struct names_array *a, const void *item, size_t bytes)
{
	if (a->count == a->capacity) {
		size_t more = a->capacity ? a->capacity * 2 : 16;
		void *grown = mem_resize(MEM_OVERLAY, a->items, more, bytes);

		n->failed |= grown == NULL;
		if (!grown)
			return;
		a->items = grown;
		a->capacity = more;
	}
	memcpy((char *)a->items + a->count++ * bytes, item, bytes);
}

/* ---- rows ---- */

static void
take_endpoints(const struct msg_service *row, struct names_service *out)
{
	for (uint32_t i = 0; i < row->endpoints_count && i < MSG_ENDPOINTS_MAX; i++) {
		if (!MSG_OK(row->endpoints[i].name) || !text_is_label(row->endpoints[i].name))
			return;
		out->endpoints[out->endpoints_count++] = row->endpoints[i];
	}
}

void
names_add_service(struct names *n, const struct msg_service *row)
{
	struct names_service s = {.id = row->id, .deployment_id = row->deployment};

	if (!MSG_OK(row->deployment_name) || !MSG_OK(row->name) ||
	    !text_is_label(row->deployment_name) || !text_is_label(row->name))
		return;
	text_copy(s.deployment, sizeof(s.deployment), row->deployment_name);
	text_copy(s.name, sizeof(s.name), row->name);
	s.overlays = row->overlays & MSG_IDENTITY_SAID ? row->overlays : (uint32_t)IDENTITY_USUAL;
	take_endpoints(row, &s);
	push(n, &n->services, &s, sizeof(s));
}

void
names_add_replica(struct names *n, const struct names_replica *replica)
{
	struct names_entry e = {.replica = *replica};

	push(n, &n->replicas, &e, sizeof(e));
}

void
names_add_node(struct names *n, const char *name, const struct addr *addr4,
	       const struct addr *addr6)
{
	struct names_host h = {.addr4 = *addr4, .addr6 = *addr6, .turn = (uint32_t)n->nodes.count};

	if (!text_is_label(name) || n->nodes.count == NAMES_NODES_MAX)
		return;
	text_copy(h.name, sizeof(h.name), name);
	push(n, &n->nodes, &h, sizeof(h));
}

void
names_add_prefix(struct names *n, const struct addr_prefix *prefix)
{
	bool v4 = addr_is_v4(&prefix->base);
	unsigned bits = prefix->bits;

	if (v4 ? bits <= 96 || bits > 128 || bits % 8 != 0 : bits == 0 || bits > 128 || bits % 4)
		return;
	push(n, &n->prefixes, prefix, sizeof(*prefix));
}

/* ---- order ---- */

static int
compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int
by_service_name(const void *a, const void *b)
{
	const struct names_service *x = a, *y = b;
	int c = strcmp(x->deployment, y->deployment);

	if (c == 0)
		c = strcmp(x->name, y->name);
	return c ? c : compare_u64(x->id, y->id);
}

static int
by_service_id(const void *a, const void *b)
{
	const struct names_key *x = a, *y = b;

	return compare_u64(x->id, y->id);
}

static int
by_place(const void *a, const void *b)
{
	const struct names_entry *x = a, *y = b;

	if (x->service != y->service)
		return x->service < y->service ? -1 : 1;
	if (x->replica.local != y->replica.local)
		return x->replica.local ? -1 : 1;
	if (x->replica.index != y->replica.index)
		return x->replica.index < y->replica.index ? -1 : 1;
	return compare_u64(x->replica.id, y->replica.id);
}

static int
by_address(const void *a, const void *b)
{
	const struct names_key *x = a, *y = b;
	int c = memcmp(x->addr.ip, y->addr.ip, sizeof(x->addr.ip));

	return c ? c : compare_u64(x->replica, y->replica);
}

static int
by_host_name(const void *a, const void *b)
{
	const struct names_host *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : compare_u64(x->turn, y->turn);
}

static int
by_base(const void *a, const void *b)
{
	const struct addr_prefix *x = a, *y = b;

	return memcmp(x->base.ip, y->base.ip, sizeof(x->base.ip));
}

static void
sort(struct names_array *a, size_t bytes, int (*compare)(const void *a, const void *b))
{
	if (a->count > 1)
		qsort(a->items, a->count, bytes, compare);
}

static const struct names_key *
find_id(const struct names_array *a, uint64_t id)
{
	struct names_key key = {.id = id};

	return a->count ? bsearch(&key, a->items, a->count, sizeof(key), by_service_id) : NULL;
}

/* Replicas of services that are not there are dropped. */
static void
place_replicas(struct names *n)
{
	struct names_array ids = {0};
	struct names_entry *entries = n->replicas.items;
	size_t kept = 0;

	for (size_t i = 0; i < n->services.count; i++) {
		struct names_key key = {.id = names_service_at(n, i)->id, .replica = (uint32_t)i};

		push(n, &ids, &key, sizeof(key));
	}
	sort(&ids, sizeof(struct names_key), by_service_id);
	for (size_t i = 0; i < n->replicas.count && !n->failed; i++) {
		const struct names_key *found = find_id(&ids, entries[i].replica.service);

		if (!found)
			continue;
		entries[i].service = found->replica;
		entries[kept++] = entries[i];
	}
	n->replicas.count = kept;
	mem_free(ids.items);
	sort(&n->replicas, sizeof(struct names_entry), by_place);
}

static void
index_addr(struct names *n, struct names_array *a, const struct addr *addr, size_t i)
{
	struct names_key key = {.addr = *addr, .replica = (uint32_t)i};

	if (!addr_is_zero(addr))
		push(n, a, &key, sizeof(key));
}

static void
index_replica(struct names *n, size_t i)
{
	const struct names_entry *e = names_entry_at(n, i);
	struct names_service *s = (struct names_service *)n->services.items + e->service;
	struct names_key key = {.id = e->replica.id, .replica = (uint32_t)i};

	if (s->count++ == 0)
		s->first = (uint32_t)i;
	s->local += e->replica.local;
	push(n, &n->by_id, &key, sizeof(key));
	index_addr(n, &n->by_addr, &e->replica.addr4, i);
	index_addr(n, &n->by_addr, &e->replica.addr6, i);
}

static void
place_nodes(struct names *n)
{
	struct names_host *hosts = n->nodes.items;
	size_t kept = 0;

	sort(&n->nodes, sizeof(struct names_host), by_host_name);
	for (size_t i = 0; i < n->nodes.count; i++)
		if (kept == 0 || strcmp(hosts[kept - 1].name, hosts[i].name) != 0)
			hosts[kept++] = hosts[i];
	n->nodes.count = kept;
	for (size_t i = 0; i < n->nodes.count; i++) {
		index_addr(n, &n->nodes_by_addr, &names_host_at(n, i)->addr4, i);
		index_addr(n, &n->nodes_by_addr, &names_host_at(n, i)->addr6, i);
	}
	sort(&n->nodes_by_addr, sizeof(struct names_key), by_address);
	sort(&n->prefixes, sizeof(struct addr_prefix), by_base);
}

static void
add_visitor(struct names *n, const struct addr *addr, uint64_t id, const struct identity *who)
{
	const struct names_visitor v = {.addr = *addr, .id = id, .who = *who};

	if (!addr_is_zero(addr))
		push(n, &n->visitors, &v, sizeof(v));
}

static void
add_named(struct names *n, struct names_guest *g, const char *network, const char *name)
{
	if (!text_is_label(network) || !text_is_label(name))
		return;
	g->who = identity_of_network(network);
	text_copy(g->network, sizeof(g->network), network);
	text_copy(g->name, sizeof(g->name), name);
	push(n, &n->guests, g, sizeof(*g));
}

void
names_add_guest(struct names *n, const struct msg_attachment *row)
{
	struct names_guest g = {.addr4 = row->addr4, .addr6 = row->addr6, .local = true};
	struct identity who;

	if (!MSG_OK(row->key.network))
		return;
	who = identity_of_network(row->key.network);
	add_visitor(n, &g.addr4, row->id, &who);
	add_visitor(n, &g.addr6, row->id, &who);
	if (MSG_OK(row->name))
		add_named(n, &g, row->key.network, row->name);
}

void
names_add_far_guest(struct names *n, const struct msg_guest *row)
{
	struct names_guest g = {.addr4 = row->addr4, .addr6 = row->addr6};

	if (MSG_OK(row->network) && MSG_OK(row->name))
		add_named(n, &g, row->network, row->name);
}

static int
by_guest(const void *a, const void *b)
{
	const struct names_guest *x = a, *y = b;
	int c = strcmp(x->network, y->network);

	if (c == 0)
		c = strcmp(x->name, y->name);
	if (c == 0)
		c = (int)y->local - (int)x->local;
	return c ? c : memcmp(x->addr4.ip, y->addr4.ip, sizeof(x->addr4.ip));
}

static void
place_guests(struct names *n)
{
	sort(&n->guests, sizeof(struct names_guest), by_guest);
	for (size_t i = 0; i < n->guests.count; i++) {
		index_addr(n, &n->guests_by_addr, &names_guest_at(n, i)->addr4, i);
		index_addr(n, &n->guests_by_addr, &names_guest_at(n, i)->addr6, i);
	}
	sort(&n->guests_by_addr, sizeof(struct names_key), by_address);
}

static int
by_visitor(const void *a, const void *b)
{
	const struct names_visitor *x = a, *y = b;
	int c = memcmp(x->addr.ip, y->addr.ip, sizeof(x->addr.ip));

	return c ? c : compare_u64(x->id, y->id);
}

bool
names_finish(struct names *n)
{
	sort(&n->services, sizeof(struct names_service), by_service_name);
	place_replicas(n);
	for (size_t i = 0; i < n->replicas.count; i++)
		index_replica(n, i);
	sort(&n->by_id, sizeof(struct names_key), by_service_id);
	sort(&n->by_addr, sizeof(struct names_key), by_address);
	place_nodes(n);
	place_guests(n);
	sort(&n->visitors, sizeof(struct names_visitor), by_visitor);
	n->done = !n->failed;
	return n->done;
}

void
names_set_running(struct names *n, uint64_t replica, bool running)
{
	const struct names_key *found = find_id(&n->by_id, replica);

	if (found)
		((struct names_entry *)n->replicas.items + found->replica)->replica.running =
			running;
}
