/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_API_H
#define API_API_H

/* The api process: REST over the node's admin socket, answered from the ring's tables and by asking
 * scheduler and runtime. docs/openapi.json describes it. */

#include "ring/station.h"

/* The argument of its station: NULL, or other times than these. */
struct api_times {
	uint64_t hold_ms;   /* 0: HOLD_MS, api/hold.h */
	uint64_t linger_ms; /* 0: SERVER_LINGER_MS */
	uint64_t drain_ms;  /* 0: SERVER_DRAIN_MS */
};

extern const struct station_role api_role;

#endif
