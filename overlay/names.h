/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_NAMES_H
#define OVERLAY_NAMES_H

/*
 * The names of this node's services, replicas and nodes, and what a question about them is
 * answered with. A book is built whole from rows of the ring, then only read: nothing is allocated
 * for an answer. No I/O.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "ring/msg.h"
#include "wire/dns.h"

enum {
	NAMES_TTL_S = 3,                     /* of every answer, negative ones too */
	NAMES_NODES_MAX = MSG_PEERS_MAX + 1, /* and this node */
};

struct names;

/* Nobody and nothing. NULL: out of memory. */
struct names *names_new(void);
void names_free(struct names *n);

/* Building a book. Rows are checked: one whose texts or counts do not hold is left out. A row that
 * finds no memory makes names_finish() fail. Replicas come after their services. */
void names_add_service(struct names *n, const struct msg_service *row);
struct names_replica {
	uint64_t id;
	uint64_t service;
	uint32_t index;           /* N of "web.N" */
	bool local;               /* on this node: answered with before those of others */
	bool ready;               /* in balancing */
	bool running;             /* its container is not known to have ended */
	struct addr addr4, addr6; /* zero: none */
	uint16_t ports[MSG_ENDPOINTS_MAX];
	uint32_t overlays; /* of its identity, with MSG_IDENTITY_SAID; 0: those of the service */
};
void names_add_replica(struct names *n, const struct names_replica *replica);
/* A node and its own address in the overlay, this one first: of two with one name the first counts.
 */
void names_add_node(struct names *n, const char *name, const struct addr *addr4,
		    const struct addr *addr6);
/* A container of others on this node (ring/msg_attachment.h). It has a name if its own and that of
 * its network are labels. Of two with one name both count. */
void names_add_guest(struct names *n, const struct msg_attachment *row);
/* One on another node: it asks that node's name server, here it only has a name. */
void names_add_far_guest(struct names *n, const struct msg_guest *row);
/* Addresses that nobody but the nodes can name, this node's and its peers': questions for their
 * names are answered here. Of IPv4 the prefix ends between two bytes, of IPv6 between two digits;
 * any other is passed over. Prefixes do not overlap. */
void names_add_prefix(struct names *n, const struct addr_prefix *prefix);
/* The book can be read from now on. False: out of memory, it is of no use. */
bool names_finish(struct names *n);

/* A replica's container has ended, or runs again: its addresses are left out, or not. */
void names_set_running(struct names *n, uint64_t replica, bool running);

/* The container of this node with this address: a replica's id or that of an attachment. False:
 * none. */
bool names_find(const struct names *n, const struct addr *addr, uint64_t *id_out);

enum names_answer {
	NAMES_ANSWERED, /* the answer stands in w, but for dns_write_end() */
	NAMES_FOREIGN,  /* not ours to answer: to be forwarded */
	NAMES_REFUSED,  /* a name that is relative to the asker, who is no replica of ours */
};

/* Answers a question in w, in which the question already stands. asker: the source of the query;
 * a container, one of others too, learns only names and addresses that it may reach
 * (ring/identity.h), anybody else all; turn: any number, another one for each query, rotates the
 * records. *rcode_out is set with NAMES_ANSWERED; w->cut means that not all records fit. */
enum names_answer names_answer(const struct names *n, const struct addr *asker, unsigned turn,
			       const struct dns_question *question, struct dns_write *w,
			       enum dns_rcode *rcode_out);

#endif
