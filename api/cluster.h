/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CLUSTER_H
#define API_CLUSTER_H

/* The cluster as a whole: what it is, how it is, who may come in. */

#include "api/server.h"
#include "ring/msg.h"
#include "spec/json.h"

/* NULL while the scheduler has not told. */
const struct msg_cluster *cluster_row(struct server *s);
/* What is told of it; null without a row. key: NULL at the top. */
void cluster_put(struct json *j, const char *key, struct server *s);

#endif
