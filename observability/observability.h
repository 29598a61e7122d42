/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OBSERVABILITY_OBSERVABILITY_H
#define OBSERVABILITY_OBSERVABILITY_H

/* The observability role: /metrics from the metric pages of all processes, and the access
 * log. Events are logged by scheduler, which makes them. */

#include "ring/station.h"

extern const struct station_role observability_role;

#endif
