/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_RENDER_H
#define CLI_RENDER_H

/* What the node tells (JSON of the API) as screens for people. Pure: time comes in. */

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "wire/json_read.h"

struct render {
	int64_t now_wall_ns;
	bool colour;
	bool wide;
	bool all; /* ps: also what has ended */
};

/* target: only this deployment, or this service of it; "" for all. */
void render_status(const json_t *status, const char *deployment, const char *service,
		   const struct render *r, struct buf *out);
void render_replicas(const json_t *replicas, const struct render *r, struct buf *out);
void render_revisions(const json_t *revisions, const struct render *r, struct buf *out);
void render_images(const json_t *images, const struct render *r, struct buf *out);
void render_nodes(const json_t *nodes, const struct render *r, struct buf *out);
/* One in full. */
void render_node(const json_t *node, const struct render *r, struct buf *out);
void render_cluster(const json_t *cluster, const struct render *r, struct buf *out);
void render_event(const json_t *event, const struct render *r, struct buf *out);
/* One of GET /v1/flows, in a line. */
void render_flow(const json_t *flow, const struct render *r, struct buf *out);

/* ---- for screens that are made of several parts ---- */

void render_put_safe(struct buf *out, const char *text);
/* "12d" since a time of the node, "" when there is none. */
void render_age(const json_t *object, const char *key, const struct render *r, char *out,
		size_t cap);
/* Of the status of a node that is in a cluster: "   3 nodes: 2 alive, 1 unreachable", and the table
 * of nodes. */
void render_counts(const json_t *status, struct buf *out);
void render_status_cluster(const json_t *status, const struct render *r, struct buf *out);

#endif
