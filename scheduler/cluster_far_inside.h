/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CLUSTER_FAR_INSIDE_H
#define SCHEDULER_CLUSTER_FAR_INSIDE_H

/* Between cluster_far.c, which asks other nodes, and cluster_far_serve.c, which is asked. */

#include "scheduler/cluster_inside.h"
#include "scheduler/far_wire.h"

enum {
	CLUSTER_FAR_WHY_ROWS_MAX = 1024,
	CLUSTER_FAR_WHY_BYTES_MAX = CLUSTER_FAR_WHY_ROWS_MAX * sizeof(struct msg_why),
	CLUSTER_FAR_SINCE_BYTES = 40, /* of a time for people */
};

/* Why nodes do not take that service, as this node sees it: rows of struct msg_why. */
void cluster_far_own_why(struct cluster *c, uint64_t service, struct buf *rows);

/* What another node sent as the rows of a WHY (struct msg_why), EVENTS (struct msg_event) or FLOWS
 * (struct msg_flow_row), one behind the other; to be freed in every case. */
int cluster_far_rows(enum far_what what, const void *data, size_t bytes, struct buf *out,
		     struct err *err) MUST_CHECK;

/* What is asked of that node ends, with that reason; all of it, without a word. */
void cluster_far_asks_part(struct cluster *c, uint32_t node, const struct err *err);
void cluster_far_asks_end(struct cluster *c);

#endif
