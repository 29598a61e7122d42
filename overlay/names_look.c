/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking up in a book that is whole: all arrays are sorted, each look-up is a binary search.
 */
#include <string.h>
#include "overlay/names_book.h"

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

/* The first key that is not below an address. */
static size_t
lower_addr(const struct names_array *a, const struct addr *addr)
{
	const struct names_key *keys = a->items;
	size_t low = 0, high = a->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (memcmp(keys[mid].addr.ip, addr->ip, sizeof(addr->ip)) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* With this address; of several the first. */
static const struct names_key *
find_addr(const struct names_array *a, const struct addr *addr)
{
	const struct names_key *keys = a->items;
	size_t at = lower_addr(a, addr);

	return at < a->count && addr_equal_ip(&keys[at].addr, addr) ? &keys[at] : NULL;
}

const struct names_entry *
names_entry_of(const struct names *n, const struct addr *addr)
{
	const struct names_key *found = find_addr(&n->by_addr, addr);

	return found ? names_entry_at(n, found->replica) : NULL;
}

const struct names_visitor *
names_visitor_of(const struct names *n, const struct addr *addr)
{
	const struct names_visitor *visitors = n->visitors.items;
	size_t low = 0, high = n->visitors.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (memcmp(visitors[mid].addr.ip, addr->ip, sizeof(addr->ip)) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < n->visitors.count && addr_equal_ip(&visitors[low].addr, addr) ? &visitors[low]
										   : NULL;
}

bool
names_any_in(const struct names *n, const struct addr_prefix *prefix)
{
	const struct names_array *arrays[] = {&n->by_addr, &n->nodes_by_addr, &n->guests_by_addr};

	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
		const struct names_key *keys = arrays[i]->items;
		size_t at = lower_addr(arrays[i], &prefix->base);

		if (at < arrays[i]->count && addr_in_prefix(&keys[at].addr, prefix))
			return true;
	}
	return false;
}

const struct names_host *
names_host_find(const struct names *n, const char *name)
{
	size_t low = 0, high = n->nodes.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(names_host_at(n, mid)->name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < n->nodes.count && strcmp(names_host_at(n, low)->name, name) == 0
		       ? names_host_at(n, low)
		       : NULL;
}

const struct names_host *
names_host_of(const struct names *n, const struct addr *addr)
{
	const struct names_key *found = find_addr(&n->nodes_by_addr, addr);

	return found ? names_host_at(n, found->replica) : NULL;
}

const struct names_guest *
names_guest_of(const struct names *n, const struct addr *addr)
{
	const struct names_key *found = find_addr(&n->guests_by_addr, addr);

	return found ? names_guest_at(n, found->replica) : NULL;
}

const struct addr_prefix *
names_prefix_of(const struct names *n, const struct addr *addr)
{
	size_t low = 0, high = n->prefixes.count; /* the last one whose base is not above */

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (memcmp(names_prefix_at(n, mid)->base.ip, addr->ip, sizeof(addr->ip)) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low > 0 && addr_in_prefix(addr, names_prefix_at(n, low - 1))
		       ? names_prefix_at(n, low - 1)
		       : NULL;
}

bool
names_find(const struct names *n, const struct addr *addr, uint64_t *id_out)
{
	const struct names_entry *e = names_entry_of(n, addr);
	const struct names_visitor *v = e ? NULL : names_visitor_of(n, addr);

	if (e || v)
		*id_out = e ? e->replica.id : v->id;
	return e || v;
}

size_t
names_guest_lower(const struct names *n, const char *network, const char *name)
{
	size_t low = 0, high = n->guests.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(names_guest_at(n, mid)->network, network);

		if (c == 0)
			c = strcmp(names_guest_at(n, mid)->name, name);
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}
