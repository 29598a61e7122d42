/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_FIGURES_H
#define SCHEDULER_FIGURES_H

/*
 * What a service's replicas use and what is asked of it on this node, for scaling by it: from the
 * containers' rows of runtime and the demand of proxies and data path. Everything is a sum: figures
 * of several nodes are added up with figures_add(). What other nodes have comes from them
 * (placing.h).
 * Threading: the loop's.
 */

#include <stdbool.h>
#include <stdint.h>
#include "ring/role.h"
#include "scheduler/autoscale.h"

struct model;
struct service;
struct replica;
struct doc_service;

enum { FIGURES_OLD_MS = 30000 /* then a container's figures count as missing */ };

/* A process that counts, as it was when it was looked at last. */
struct figures_counter {
	uint32_t generation; /* 0: it was not there */
	uint64_t requests, packets;
};

/* What the next figures are compared with. */
struct figures_base {
	uint64_t taken_ns; /* 0: never */
	uint32_t in_flight;
	struct figures_counter proxies[ROLE_PROXIES_MAX];
	struct figures_counter dataplane;
};

/* A container, likewise: kept in struct replica. */
struct figures_container {
	uint32_t attempt;
	uint64_t measured_ns, cpu_ns;
	uint64_t cpu_milli; /* between the last two looks */
	bool known;
};

struct figures {
	bool whole; /* nothing is missing */
	bool asked; /* something was asked since the last time */
	/* Replicas of this node; requests that its proxies have. */
	uint32_t ready, waiting, in_flight;
	/* Over all ready replicas: cpu and memory in thousandths of one replica's limit (of the
	 * node's where it has none), requests in thousandths a second. */
	uint64_t sum[AUTOSCALE_METRICS_];
};

void figures_add(struct figures *to, const struct figures *from);
/* How many wait for a replica now, at this node. */
uint32_t figures_waiting(const struct model *m, const struct service *s);
/* In every pass: a container that is new is measured from here on. */
void figures_note(struct replica *p);
/* Since the last time (the first time: nothing is known of what was asked, and the figures are not
 * whole). needed: the metrics that must be there. */
void figures_take(struct model *m, struct service *s, const struct doc_service *spec,
		  const bool needed[AUTOSCALE_METRICS_], struct figures_base *base,
		  struct figures *out);

#endif
