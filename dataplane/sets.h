/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_SETS_H
#define DATAPLANE_SETS_H

/*
 * What the kernel's sets (enum lb_set) are to hold: from services, their backends and the node's
 * addresses to rows. Writes nothing. Every service and backend is added before sets_finish, because
 * whether replies of one service have to be noted is known when all have been seen. Out of memory:
 * the rows say so (lb_rows.failed), and lb_put refuses them. Threading: one owner, no state but the
 * object.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/map.h"
#include "dataplane/lb.h"
#include "ring/msg.h"

/* A service, as its rows need it: stays where it is, and as it is, while the sets do. */
struct sets_service {
	uint32_t number;
	const struct msg_stream *row; /* its lists are within their limits */
	bool big;                     /* its table */
	bool remember;                /* false at first; by sets_add_backend: replies are noted */
};

struct sets {
	struct lb_rows of[LB_SETS];
	struct map speakers; /* container, port, protocol -> the service that came first */
	const struct addr *addresses;
	size_t addresses_count, own_count;
	bool second; /* some service is not the first of its speaker */
	bool meshed; /* clients may come by other nodes: their flows are noted */
};

/* Addresses are borrowed, the node's own ones first. meshed: other nodes send clients' packets. */
void sets_init(struct sets *s, const struct addr *addresses, size_t count, size_t own_count,
	       bool meshed);
void sets_fini(struct sets *s);

/* Whose clients it serves. */
void sets_add_service(struct sets *s, const struct sets_service *v);
/* index: of the backend. */
void sets_add_backend(struct sets *s, struct sets_service *v, const struct edge_backend *b,
		      uint32_t index);
/* All services and backends have been added: what is said of their replies is settled. */
void sets_finish(struct sets *s);
/* After that: where it is found. False when there are as many addresses with ports as can be. */
bool sets_add_vips(struct sets *s, const struct sets_service *v);
/* Dedicated addresses answer pings. */
void sets_add_echoes(struct sets *s);

#endif
