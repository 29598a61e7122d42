/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_SEALED_COUNT_H
#define OVERLAY_SEALED_COUNT_H

/*
 * Metrics of sealed traffic (product.md section 5): what the engine has counted, and what it says
 * of each peer. Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/map.h"
#include "base/metric.h"
#include "overlay/engine/engine.h"
#include "overlay/peers.h"

struct sealed_count {
	struct metric_page *page;
	bool begun;                      /* something was taken since the last reset */
	bool many;                       /* peers: those that are silent have no figures */
	uint32_t live;                   /* peers with a handshake within the last three minutes */
	uint64_t counted[ENGINE_COUNTS]; /* as they were at the last time, of this engine */
	struct map bytes;                /* public key -> own: likewise of each peer */
};

void sealed_count_init(struct sealed_count *c, struct metric_page *page); /* shows them at 0 */
void sealed_count_fini(struct sealed_count *c);
/* The engine is another one, and counts from 0; or the kernel's device is looked at anew: what it
 * has counted so far was counted before. */
void sealed_count_reset(struct sealed_count *c);
/* e NULL: the kernel seals, of which no more is known than `is`. */
void sealed_count_take(struct sealed_count *c, const struct setup *is, const struct engine *e,
		       const struct peers *peers);

#endif
