/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_SERVICES_H
#define DATAPLANE_SERVICES_H

/*
 * The tcp and udp endpoints of this node, kept in the kernel's maps: from rows of the ring to
 * addresses, tables and backends. Told all that holds at once; what is new is written before what
 * leads to it, what is old goes after. Threading: one owner. Time is given.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "dataplane/lb.h"
#include "dataplane/places.h"
#include "ring/msg.h"

enum {
	SERVICES_OWN_MAX = 16,       /* the node's own addresses */
	SERVICES_DEDICATED_MAX = 64, /* of dataplane.vips */
};

struct services;

/* Whether the kernel brings packets to a replica of another node, and where. */
enum services_reach { SERVICES_BY_RELAY, SERVICES_BY_KERNEL, SERVICES_AS_BEFORE };

struct services_away {
	enum services_reach reach;
	struct places_away to; /* of SERVICES_BY_KERNEL */
};

/* All borrowed for the call. Rows need not hold: what does not is passed over. */
struct services_input {
	const struct msg_stream *const *streams;
	size_t streams_count;
	const struct msg_backend *const *backends;
	size_t backends_count;
	/* One for each backend, or NULL: none is known to be brought to another node. */
	const struct services_away *aways;
	const struct msg_veth *const *veths;
	size_t veths_count;
	struct addr addresses[SERVICES_OWN_MAX + SERVICES_DEDICATED_MAX]; /* own ones first */
	size_t addresses_count, own_count;
	uint32_t mtu;  /* of containers' devices */
	bool attached; /* packets come this way */
	bool meshed;   /* and by other nodes */
	bool partial;  /* replicas of other nodes that are not named are as they were */
	struct edge_config config;
};

/* Takes over what a predecessor left in lb (borrowed). */
int services_new(struct lb *lb, uint64_t now_ms, struct services **out, struct err *err) MUST_CHECK;
void services_free(struct services *s);

int services_update(struct services *s, const struct services_input *in, uint64_t now_ms,
		    struct err *err) MUST_CHECK;
/* Whether the last update left something out because a limit is reached; *out says what. */
bool services_refused(const struct services *s, struct err *out);
/* Once a second or so. */
void services_tick(struct services *s, uint64_t now_ms);

/* Draining replicas: whether packets still go to them. */
void services_drains(struct services *s, void (*visit)(void *arg, uint64_t replica, bool busy),
		     void *arg);
/* Counters since the last visit, by "deployment/service" and endpoint. */
void services_counts(struct services *s,
		     void (*visit)(void *arg, const char *service, const char *endpoint,
				   const struct edge_count *more),
		     void *arg);
/* Packets that were sent to replicas so far, by endpoint of the services that are scaled by what is
 * asked of them. */
void services_demand(struct services *s,
		     void (*visit)(void *arg, uint64_t service, uint64_t packets), void *arg);
/* The TCP ports that are balanced, at most `capacity`; how many. */
struct services_port {
	uint16_t port;
	bool changes;   /* flows may be pinned now, */
	uint32_t epoch; /* with this */
};
size_t services_ports(const struct services *s, struct services_port *out, size_t capacity);
/* How many of each there are. */
struct services_sizes {
	size_t services, vips, backends;
};
void services_sizes(const struct services *s, struct services_sizes *out);

/* Expands prefixes of dataplane.vips into addresses; false when there are more than fit. */
bool services_addresses(const struct addr_prefix *prefixes, size_t count, struct addr *out,
			size_t capacity, size_t *count_out);

#endif
