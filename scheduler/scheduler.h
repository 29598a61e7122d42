/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_SCHEDULER_H
#define SCHEDULER_SCHEDULER_H

/* The scheduler role: owner of the store, judge of every replica's life, author of claims, routes
 * and backends. Needs folder 0 of its welcome (the state folder, writable). */

#include "ring/station.h"

extern const struct station_role scheduler_role;

#endif
