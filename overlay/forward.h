/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_FORWARD_H
#define OVERLAY_FORWARD_H

/*
 * Questions that are not ours to answer go to the machine's own resolvers. Everything is bounded:
 * so many questions under way, so many askers of one question, so many per container. The sockets
 * are made by node in its own network namespace and given to us; none is opened here.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "overlay/resolvers.h"
#include "ring/station.h"
#include "wire/dns.h"

enum {
	FORWARD_TASKS_MAX = 192,   /* questions under way */
	FORWARD_ASKERS_MAX = 8,    /* that wait for the same one */
	FORWARD_PER_SOURCE = 48,   /* of them, of one container */
	FORWARD_LANES_MAX = 256,   /* sockets */
	FORWARD_TIMEOUT_MS = 1500, /* until the next resolver is asked */
	FORWARD_TIMEOUT_TCP_MS = 3000,
	FORWARD_TRIES_MAX = 4,
	FORWARD_TRIES_TCP_MAX = 2,
	FORWARD_SHUN_MS = 10000, /* a resolver that did not answer is asked last for so long */
};

struct forward;

/* Who asked: kept until the answer, and given back with it. way and serial are the owner's. */
struct forward_asker {
	struct addr from, to;
	void *way;
	uint64_t serial;
	struct dns_query query;
};

/* The answer, with the asker's id and spelling in it, valid during the call; NULL when there is
 * none (SERVFAIL). Called later, never from within forward_ask(). */
typedef void (*forward_fn)(void *arg, const struct forward_asker *asker, void *message,
			   size_t bytes);

struct forward *forward_new(struct station *st, forward_fn answered, void *arg);
/* A socket from node: unconnected, of the family and type that it has. fd is given. */
void forward_add_socket(struct forward *f, int fd);
/* Their text changed. Questions under way are asked anew. */
void forward_set_resolvers(struct forward *f, const struct resolvers *resolvers);

enum forward_ask {
	FORWARD_TAKEN,
	FORWARD_NOBODY, /* there is no resolver */
	FORWARD_BUSY,   /* too many under way */
};
/* tcp: the answer may be long. */
enum forward_ask forward_ask(struct forward *f, const struct forward_asker *asker, bool tcp);
/* Whether this question is under way. */
bool forward_has(const struct forward *f, const struct dns_question *question);

#endif
