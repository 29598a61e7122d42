/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_REPLICAS_H
#define API_REPLICAS_H

#include "api/call.h"
#include "api/rows.h"

/* The replica of the path's id; NULL: it was answered. */
const struct msg_replica *replicas_find(struct call *call);
/* A target of the query; false: it was answered. */
bool replicas_target(struct call *call, const char *text, struct rows_target *out);

#endif
