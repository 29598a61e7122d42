/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_WGDEV_DOOR_H
#define NODE_WGDEV_DOOR_H

/*
 * The last door (node/wgdoor.h) that overlay was given: whether its process lives, or why there is
 * none, and when another one is due.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "node/wgdoor.h"

struct wgdev_door {
	int alive;         /* ends with it; -1: there is none */
	struct err err;    /* why there is none, if there should be one */
	uint64_t again_ns; /* not before that, then */
};

void wgdev_door_init(struct wgdev_door *d);
/* Forgets it: the process ends with overlay's end of it. */
void wgdev_door_close(struct wgdev_door *d);
/* Instead of the last one. Gives the socket for overlay, or -1: d->err says why. */
int wgdev_door_open(struct wgdev_door *d, const struct wgdoor_order *order);
/* Overlay is to be given another one. */
bool wgdev_door_is_due(struct wgdev_door *d);

#endif
