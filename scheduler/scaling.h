/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_SCALING_H
#define SCHEDULER_SCALING_H

/*
 * Services of mode adaptive: their figures (figures.h) are given to the core (autoscale.h), and
 * what it says becomes the size of the service, an event and a metric. The replicas are made and
 * removed by the roll-out at rest, as always.
 *
 * While an operation is under way, or the service was stopped by hand, nothing is changed, but a
 * service at size 0 for which a request waits is woken all the same; afterwards a whole cooldown
 * passes first. A size that was set by hand counts as a change.
 *
 * In a cluster every node takes the figures of what it has and is asked, and tells them to the
 * others; the deployment's conductor adds them up and decides. It tells what it decided, and by
 * what, so that every node can show it, and so that a successor
 * knows of the last change.
 * Threading: the loop's.
 */

#include <stdbool.h>
#include <stdint.h>
#include "ring/msg.h"
#include "scheduler/autoscale.h"
#include "scheduler/figures.h"

struct model;
struct service;

enum { SCALING_INTERVAL_MIN_MS = 1000 };

/* Soft: after a restart the cooldown begins anew. */
struct scaling {
	struct autoscale core;
	struct figures_base base;
	struct figures own;     /* the last ones of this node */
	bool fresh;             /* they have not been judged yet */
	struct figures figures; /* of all nodes, added up */
	struct autoscale_rule rule;
	uint32_t size;     /* as it was left */
	uint32_t reason;   /* enum msg_scale_reason */
	uint32_t from, to; /* the last change; equal: none is known */
	int64_t changed_wall_ns;
	char why[MSG_TEXT];     /* of that */
	struct msg_reason held; /* why it cannot grow; kind 0: nothing holds it back */
	uint64_t stranded_ns;   /* since when requests wait that no replica can be given to; 0 */
	bool conducted;         /* by this node, at the last look */
};

/* One look at every service. True: a size was changed. */
bool scaling_step(struct model *m);
void scaling_free(struct scaling *x);
/* Whether its size follows what is asked of it; whether what its replicas use counts, too; and
 * whether it may have none and is woken by a request: not when it was stopped. */
bool scaling_follows(const struct service *s);
bool scaling_measures(const struct service *s);
bool scaling_wakes(const struct service *s);
/* Whether its last change made it larger, and what was made since may not be ready yet. */
bool scaling_grows(const struct model *m, const struct service *s);
/* Requests that wait for a replica of it now, at all nodes. */
uint32_t scaling_waiting(const struct model *m, const struct service *s);
/* Its part of the service's row. */
void scaling_show(struct model *m, const struct service *s, struct msg_service *row);

#endif
