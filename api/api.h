/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_API_H
#define API_API_H

/* The api process: REST over the node's admin socket, answered from the ring's tables and by asking
 * scheduler and runtime. docs/openapi.json describes it. */

#include "ring/station.h"

/* The argument of its station: NULL, or for how many milliseconds (uint64_t) calls are held at most
 * (api/hold.h). */
extern const struct station_role api_role;

#endif
