/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_SERVICES_PRIVATE_H
#define DATAPLANE_SERVICES_PRIVATE_H

/* Inside of dataplane/services*.c. */

#include "base/map.h"
#include "dataplane/places.h"
#include "dataplane/services.h"
#include "dataplane/sets.h"

struct service {
	uint64_t stream;
	bool seen, dirty;
	uint16_t port;
	struct sets_service face; /* row: of this update */
	struct plan plan;
	struct plan_member *members;
	size_t members_count;
	char label[MSG_TARGET], endpoint[MSG_NAME];
	uint64_t followed; /* the service's id, if it is scaled by what is asked of it */
	struct edge_count counted;
	uint64_t taken; /* the counter, when the table that is in force was read */
};

struct services {
	struct lb *lb;
	struct map streams; /* -> struct service */
	struct places *places;
	uint64_t now_ms;
	size_t vips;
	bool attached;
	struct err refused; /* the first one of this update */
	bool numbers[EDGE_SERVICES_MAX];
};

/* The relay serves it on the node's own addresses; the others go on. */
void services_refuse(struct services *s, const struct msg_stream *r, const char *why);
/* Whose replicas are there, and where: the members of each service that was seen. */
int services_members_take(struct services *s, const struct services_input *in,
			  struct err *err) MUST_CHECK;

#endif
