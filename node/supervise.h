/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_SUPERVISE_H
#define NODE_SUPERVISE_H

/*
 * When processes run: started in the order of the table, started again when they end (at once, then
 * with back-off), killed when they stop beating, replaced one by one at an upgrade, stopped in the
 * reverse order.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "node/collect.h"
#include "node/unit.h"

struct supervise;

struct supervise_events {
	/* Every role of this program is up (again): after start, and after a replacement. */
	void (*settled)(void *arg);
	/* A process runs and can be sent messages. */
	void (*spawned)(void *arg, struct unit *unit);
	/* After supervise_stop(): nothing runs any more. */
	void (*stopped)(void *arg);
};

/* roles: those that this program has. env is filled in by the caller up to the callbacks, which are
 * set here. */
struct supervise *supervise_new(struct unit_env *env, const unsigned *roles, size_t count,
				const struct supervise_events *events, void *arg);
void supervise_free(struct supervise *s);

/* A proxy of a killed node: it drains once ours are up. Descriptors are given (not the listeners').
 */
void supervise_collected(struct supervise *s, struct collect_found *found);
/* Starts every role that does not run. */
void supervise_start(struct supervise *s);
/* The leash of a unit broke (hub_events.broken): it is killed unless it ends by itself. */
void supervise_broken(struct supervise *s, struct unit *unit, const char *how);
/* Once a second: heartbeats; now and then also the process_* metrics, which cost more. */
void supervise_tick(struct supervise *s, bool usage);
/* Tells the processes of the listeners that came up. */
void supervise_listeners(struct supervise *s);
/* Replaces every process by a new one, consumers before producers, proxies last. */
void supervise_replace(struct supervise *s);
/* One process is just giving way to its successor: node must not be replaced now, it alone knows
 * who follows whom. Over in a minute at most. */
bool supervise_in_between(struct supervise *s);
/* Stops everything, in order; `stopped` follows (from the loop). Again: kills. */
void supervise_stop(struct supervise *s);

/* All units, for an upgrade; the list is the supervisor's own. A unit made elsewhere is given. */
struct list *supervise_units(struct supervise *s);
void supervise_add(struct supervise *s, struct unit *unit);

#endif
