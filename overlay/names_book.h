/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_NAMES_BOOK_H
#define OVERLAY_NAMES_BOOK_H

/* The book from inside, for names.c (which builds it), names_look.c (which searches),
 * names_target.c and names_answer.c. All arrays are sorted, see names.c. Indexes, not pointers:
 * they were made while arrays grew. */

#include "overlay/names.h"
#include "ring/identity.h"

struct names_service {
	uint64_t id;
	uint64_t deployment_id;
	uint32_t overlays; /* bits of enum msg_identity_flag */
	char deployment[MSG_NAME];
	char name[MSG_NAME];
	uint32_t endpoints_count;
	struct msg_service_endpoint endpoints[MSG_ENDPOINTS_MAX];
	uint32_t first, count; /* its replicas */
	uint32_t local;        /* of them, of this node: they stand first */
};

struct names_key { /* an address or a replica's id, and the replica; or a node's, and the node */
	uint64_t id;
	struct addr addr;
	uint32_t replica;
};

struct names_entry {
	struct names_replica replica;
	uint32_t service; /* index */
};

struct names_host {
	char name[MSG_NAME];
	struct addr addr4, addr6;
	uint32_t turn; /* of two with one name the lower counts */
};

struct names_array {
	void *items;
	size_t count, capacity;
};

struct names_guest { /* a container of others that has a name */
	char network[MSG_NAME], name[MSG_NAME];
	bool local;
	struct addr addr4, addr6;
	struct identity who;
};

struct names_visitor { /* an address of any container of others */
	struct addr addr;
	uint64_t id;
	struct identity who;
};

struct names {
	struct names_array services;       /* struct names_service, by deployment, name */
	struct names_array replicas;       /* struct names_entry, by service, index, id */
	struct names_array by_id;          /* struct names_key */
	struct names_array by_addr;        /* struct names_key */
	struct names_array nodes;          /* struct names_host, by name */
	struct names_array nodes_by_addr;  /* struct names_key */
	struct names_array prefixes;       /* struct addr_prefix, by base */
	struct names_array guests;         /* struct names_guest, by network, name; local first */
	struct names_array guests_by_addr; /* struct names_key */
	struct names_array visitors;       /* struct names_visitor, by address */
	bool failed, done;
};

static inline const struct names_service *
names_service_at(const struct names *n, size_t i)
{
	return (const struct names_service *)n->services.items + i;
}

static inline const struct names_entry *
names_entry_at(const struct names *n, size_t i)
{
	return (const struct names_entry *)n->replicas.items + i;
}

static inline const struct names_host *
names_host_at(const struct names *n, size_t i)
{
	return (const struct names_host *)n->nodes.items + i;
}

static inline const struct addr_prefix *
names_prefix_at(const struct names *n, size_t i)
{
	return (const struct addr_prefix *)n->prefixes.items + i;
}

static inline const struct names_guest *
names_guest_at(const struct names *n, size_t i)
{
	return (const struct names_guest *)n->guests.items + i;
}

/* As names_lower, of guests; name "" for the first of the network. */
size_t names_guest_lower(const struct names *n, const char *network, const char *name);
/* The index of the first service that is not below (deployment, name); name "" for the first of the
 * deployment. */
size_t names_lower(const struct names *n, const char *deployment, const char *name);
/* The replica with this address; NULL: none. */
const struct names_entry *names_entry_of(const struct names *n, const struct addr *addr);
/* The container of others with this address; NULL: none. */
const struct names_visitor *names_visitor_of(const struct names *n, const struct addr *addr);
/* The container of others with this address that has a name; NULL: none. */
const struct names_guest *names_guest_of(const struct names *n, const struct addr *addr);
/* Whether an address of somebody who has a name is in it. */
bool names_any_in(const struct names *n, const struct addr_prefix *prefix);
/* The node with this name, or this address; NULL: none. */
const struct names_host *names_host_find(const struct names *n, const char *name);
const struct names_host *names_host_of(const struct names *n, const struct addr *addr);
/* The prefix of ours that this address is in; NULL: none. */
const struct addr_prefix *names_prefix_of(const struct names *n, const struct addr *addr);

#endif
