/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PROBE_H
#define RUNTIME_PROBE_H

/* The probe role: asks replicas over TCP, HTTP and UDP from inside the fabric (table probe of
 * scheduler) and publishes what it saw (table result). It judges nothing. */

#include "ring/station.h"

extern const struct station_role probe_role;

#endif
