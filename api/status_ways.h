/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_STATUS_WAYS_H
#define API_STATUS_WAYS_H

/* A part of the node's status (api/status.c). */

#include "api/call.h"
#include "spec/json.h"

/* The keys datapath, uplink and overlay; null of what is not known yet. */
void status_ways_put(struct json *j, struct call *call);

#endif
