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
	struct names_service s = {.id = row->id};

	if (!MSG_OK(row->deployment_name) || !MSG_OK(row->name) ||
	    !text_is_label(row->deployment_name) || !text_is_label(row->name))
		return;
	text_copy(s.deployment, sizeof(s.deployment), row->deployment_name);
	text_copy(s.name, sizeof(s.name), row->name);
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
	struct names_host h = {.addr4 = *addr4, .addr6 = *addr6};

	if (!text_is_label(name) || n->nodes.count == NAMES_NODES_MAX)
		return;
	text_copy(h.name, sizeof(h.name), name);
	push(n, &n->nodes, &h, sizeof(h));
}

void
names_set_prefixes(struct names *n, const struct addr_prefix *v4, const struct addr_prefix *v6)
{
	n->v4 = *v4;
	n->v6 = *v6;
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
	if (x->replica.index != y->replica.index)
		return x->replica.index < y->replica.index ? -1 : 1;
	return compare_u64(x->replica.id, y->replica.id);
}

static int
by_address(const void *a, const void *b)
{
	const struct names_key *x = a, *y = b;

	return memcmp(x->addr.ip, y->addr.ip, sizeof(x->addr.ip));
}

static void
sort(struct names_array *a, size_t bytes, int (*compare)(const void *a, const void *b))
{
	if (a->count > 1)
		qsort(a->items, a->count, bytes, compare);
}

static const struct names_key *
find_key(const struct names_array *a, const struct names_key *key,
	 int (*compare)(const void *a, const void *b))
{
	return a->count ? bsearch(key, a->items, a->count, sizeof(*key), compare) : NULL;
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
		struct names_key key = {.id = entries[i].replica.service};
		const struct names_key *found = find_key(&ids, &key, by_service_id);

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
index_replica(struct names *n, size_t i)
{
	const struct names_entry *e = names_entry_at(n, i);
	struct names_service *s = (struct names_service *)n->services.items + e->service;
	struct names_key key = {.id = e->replica.id, .replica = (uint32_t)i};

	if (s->count++ == 0)
		s->first = (uint32_t)i;
	push(n, &n->by_id, &key, sizeof(key));
	key.addr = e->replica.addr4;
	if (!addr_is_zero(&key.addr))
		push(n, &n->by_addr, &key, sizeof(key));
	key.addr = e->replica.addr6;
	if (!addr_is_zero(&key.addr))
		push(n, &n->by_addr, &key, sizeof(key));
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
	n->done = !n->failed;
	return n->done;
}

/* ---- look-ups ---- */

size_t
names_lower(const struct names *n, const char *deployment, const char *name)
{
	size_t low = 0, high = n->services.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct names_service *s = names_service_at(n, mid);
		int c = strcmp(s->deployment, deployment);

		if (c == 0)
			c = strcmp(s->name, name);
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct names_entry *
names_entry_of(const struct names *n, const struct addr *addr)
{
	struct names_key key = {.addr = *addr};
	const struct names_key *found = find_key(&n->by_addr, &key, by_address);

	return found ? names_entry_at(n, found->replica) : NULL;
}

bool
names_find(const struct names *n, const struct addr *addr, uint64_t *replica_out)
{
	const struct names_entry *e = names_entry_of(n, addr);

	if (e)
		*replica_out = e->replica.id;
	return e != NULL;
}

void
names_set_running(struct names *n, uint64_t replica, bool running)
{
	struct names_key key = {.id = replica};
	const struct names_key *found = find_key(&n->by_id, &key, by_service_id);

	if (found)
		((struct names_entry *)n->replicas.items + found->replica)->replica.running =
			running;
}
