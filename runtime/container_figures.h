/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CONTAINER_FIGURES_H
#define RUNTIME_CONTAINER_FIGURES_H

/*
 * What a container uses and counts: its cgroups' figures, lines, ports, in its row and in the
 * metrics. container_measure() and container_look_for_ports() are of container.h.
 * Threading: the loop's thread.
 */

#include "ring/metrics.h"
#include "runtime/container.h"

/* The service's series of this metric, with one more label (name NULL: none). NULL: no place. */
struct metric_series *container_figures_series(const struct container *c, enum metrics_id id,
					       const char *name, const char *value);
/* A new attempt counts from nothing; its series are there from now on. */
void container_figures_begin(struct container *c);
/* The attempt runs since before this process. */
void container_figures_adopt(struct container *c);
/* Takes over what the monitor counted. */
void container_figures_lines(struct container *c, const struct control_state *state);
/* kills: of this attempt, up to now. */
void container_figures_oom(struct container *c, uint64_t kills);
/* No longer shows what was measured of a container that goes. */
void container_figures_hide(const struct container *c);

#endif
