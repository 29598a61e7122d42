/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_BALANCER_PRIVATE_H
#define DATAPLANE_BALANCER_PRIVATE_H

/* Inside of dataplane/balancer*.c. */

#include "base/map.h"
#include "dataplane/balancer.h"
#include "dataplane/counts.h"
#include "dataplane/flows.h"
#include "dataplane/services.h"
#include "ring/ring_rows.h"
#include "spec/config.h"

enum { BALANCER_DRAINS_MAX = 256 }; /* replicas that drain at a time */

struct balancer {
	struct station *st;
	struct veth *veth;
	struct across *across;
	void (*changed)(void);
	struct map veths; /* replica -> struct msg_veth */
	struct lb *lb;    /* NULL: nothing to balance */
	struct services *services;
	bool attaches; /* interfaces are to have XDP */
	bool meshed;   /* there are other nodes */
	struct err why_not;
	char refused[ERR_TEXT_BYTES]; /* what was said to be */
	uint32_t xdp;
	struct counts_links links;
	uint8_t modes[MSG_EDGE_LINKS], shared[MSG_EDGE_LINKS];
	uint64_t drains[BALANCER_DRAINS_MAX];
	size_t drains_count;
	struct flows *flows;
	struct addr addresses[SERVICES_OWN_MAX + SERVICES_DEDICATED_MAX];
	size_t addresses_count;
	struct counts counts;
	struct demand {
		struct msg_demand rows[MSG_STREAM_PORTS_MAX];
		size_t count;
	} demand; /* as published */
	uv_timer_t soon, tick;
	unsigned ticks;
};

struct balancer_tables {
	struct ring_reader *scheduler, *overlay, *node;
	struct ring_rows streams, backends, veths;
	bool meshed; /* there are other nodes */
};

/* NULL: it has not come. */
const struct config_dataplane *balancer_settings(const struct balancer *b);
/* What nodes take their prefixes of. */
struct addr_prefix balancer_network(const struct balancer *b);

/* False when not everybody has spoken, or out of memory. To be released in any case. */
bool balancer_input_collect(struct balancer *b, struct balancer_tables *t);
void balancer_input_release(struct balancer_tables *t);
/* Takes over what node says of interfaces, too. */
void balancer_input_fill(struct balancer *b, const struct balancer_tables *t,
			 struct services_input *in);
/* Into the kernel, with those of other nodes who are brought packets. */
int balancer_input_apply(struct balancer *b, const struct balancer_tables *t,
			 struct services_input *in, struct err *err) MUST_CHECK;

/* Packets of clients come to it: by interfaces of this node, or by other nodes. */
bool balancer_report_sees(const struct balancer *b);
void balancer_report_drains(struct balancer *b);
void balancer_report_demand(struct balancer *b);

#endif
