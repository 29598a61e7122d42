/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_DEMAND_H
#define PROXY_DEMAND_H

/*
 * What is asked of services that are scaled by it, and the queue of those that sleep: a request, a
 * connection or a udp session that finds no replica waits here until one is there, its time is
 * over, or its client has gone. How many may wait is bounded, by service and in all. I/O-free: who
 * waits keeps its own deadline.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"
#include "base/map.h"

enum {
	DEMAND_WAITING_MAX = 100,      /* for one service, in one worker */
	DEMAND_WAITING_ALL_MAX = 1000, /* in one worker */
	DEMAND_WAIT_MS = 30000,        /* for a replica; then it is refused */
	DEMAND_SERVICES_MAX = 1024,
};

struct demand_service {
	uint64_t id;
	uint64_t requests; /* begun, ever */
	uint32_t in_flight;
	uint32_t waiting;
	struct list queue; /* oldest first */
	bool named;
};

struct demand_wait {
	struct list link;
	struct demand_service *service; /* NULL: it does not wait */
	/* There is a replica; it does not wait any more, and may wait anew. */
	void (*go)(struct demand_wait *w);
};

struct demand {
	struct map services; /* id -> struct demand_service */
	size_t waiting;
	bool changed; /* somebody has begun to wait, or nobody does any more: tell it soon */
};

void demand_init(struct demand *d);
/* Nobody waits. */
void demand_fini(struct demand *d);

/* One round of what is scaled: begin, each service (maybe more than once), commit. What was not
 * named is forgotten as soon as nothing of it is open; `gone` (may be NULL) is told. -1: out of
 * memory or too many, it is not counted. */
void demand_begin(struct demand *d);
int demand_name(struct demand *d, uint64_t service) __attribute__((warn_unused_result));
void demand_commit(struct demand *d, void (*gone)(void *arg, uint64_t service), void *arg);

/* NULL: it is not counted. Holds while something of it is open. */
struct demand_service *demand_find(const struct demand *d, uint64_t service);
/* Something is asked, and was answered (or given up). */
void demand_enter(struct demand_service *s);
void demand_leave(struct demand_service *s);

void demand_wait_init(struct demand_wait *w, void (*go)(struct demand_wait *w));
/* Joins the queue; harmless when it is in it. False: it is full. */
bool demand_wait(struct demand *d, struct demand_service *s, struct demand_wait *w);
/* Leaves it; harmless when it does not wait. */
void demand_stop(struct demand *d, struct demand_wait *w);
/* A replica is there: all that wait now go, in their order. */
void demand_go(struct demand *d, struct demand_service *s);

#endif
