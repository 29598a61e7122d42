/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_LISTENERS_H
#define NODE_LISTENERS_H

/*
 * The listening sockets of a node. http, https, and the tcp and udp ports of public endpoints: one
 * per address and proxy worker (SO_REUSEPORT); admin (a unix socket) and api for role api; metrics
 * for role observability; dns-udp, dns-tcp and probe for role overlay, and, in a cluster, overlay:
 * the UDP sockets of sealed traffic. node opens them in its own network namespace (those of names
 * in the fabric's, where they answer nobody but containers) and keeps a duplicate of each, so that
 * connections and questions wait while a role is replaced. An address that cannot be had does not
 * stop the others: it is tried again and shown with the reason (MSG_TABLE_LISTENER). Threading: one
 * owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/err.h"
#include "node/instance.h"
#include "ring/msg.h"
#include "ring/role.h"
#include "spec/config.h"

enum {
	LISTENERS_STREAMS_MAX = 2 * MSG_STREAM_PORTS_MAX, /* ports times addresses */
	LISTENERS_MAX = 2 * CONFIG_LISTENERS_MAX + 10 + LISTENERS_STREAMS_MAX,
	LISTENERS_NAME = 32,
};

struct listener {
	char name[LISTENERS_NAME];
	struct addr want; /* as configured; zero for the unix socket */
	struct addr addr; /* as bound: port 0 resolved */
	unsigned role;    /* who serves it */
	unsigned sockets; /* that are wanted: workers, or 1 */
	int fds[ROLE_PROXIES_MAX];
	bool local;  /* the unix socket */
	bool stream; /* of an endpoint: name is tcp or udp */
	bool inside; /* in the fabric */
	bool up;
	bool fresh; /* up since the last listeners_settle() */
	bool stale; /* not in the configuration that is being planned */
	struct err reason;
};

struct listeners {
	const struct instance *inst;
	unsigned workers;
	int fabric;  /* the namespace, borrowed; -1: there is none, and no name server */
	bool sealed; /* listen.overlay is wanted: the node is in a cluster. For the next plan */
	struct listener items[LISTENERS_MAX];
	size_t count;
};

void listeners_init(struct listeners *l, const struct instance *inst, unsigned workers);
/* Closes all; the unix socket's name is removed. */
void listeners_fini(struct listeners *l);

/* Takes what the configuration wants: addresses that are no longer in it are closed, new ones are
 * added (not yet open). */
void listeners_plan(struct listeners *l, const struct config *config);
/* The addresses at which public endpoints are: writes at most LISTENERS_EDGES, gives how many.
 */
enum { LISTENERS_EDGES = 2 * CONFIG_LISTENERS_MAX };
size_t listeners_edge(const struct config *config, struct addr *out);
/* The public ports of endpoints: on every address that http or https has (on all when there is
 * none). What is no longer wanted is closed and told to `gone`; new ones are added (not yet open).
 */
struct listeners_port {
	uint16_t port;
	bool udp;
};
typedef void (*listeners_gone_fn)(void *arg, const char *name, const struct addr *addr);
void listeners_streams(struct listeners *l, const struct config *config,
		       const struct listeners_port *ports, size_t count, listeners_gone_fn gone,
		       void *arg);
/* The first of that name; NULL: there is none. */
const struct listener *listeners_named(const struct listeners *l, const char *name);
/* A socket that was open before: given. It serves when it listens and the plan has its name and
 * address, and is closed otherwise; one of an endpoint is kept until listeners_streams says what is
 * wanted. role: whose word the name is; ROLE_NODE for our own (an
 * upgrade), else only listeners of that role are taken (a proxy that outlived its node). */
void listeners_adopt(struct listeners *l, unsigned role, const char *name, int fd);
/* Opens what is not up. True when something changed (newly up, or another reason). */
bool listeners_open(struct listeners *l);
bool listeners_all_up(const struct listeners *l);

/* The sockets for a process of a role (worker: 0 unless proxy), borrowed: all, or the fresh. */
typedef void (*listeners_fn)(void *arg, const char *name, int fd, bool last);
void listeners_each(const struct listeners *l, unsigned role, unsigned worker, bool fresh,
		    listeners_fn visit, void *arg);
/* Nothing is fresh any more: all processes know. */
void listeners_settle(struct listeners *l);

#endif
