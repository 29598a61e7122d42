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
void render_event(const json_t *event, const struct render *r, struct buf *out);

#endif
