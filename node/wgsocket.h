/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_WGSOCKET_H
#define NODE_WGSOCKET_H

/*
 * The socket at which wg(8) finds the sealed traffic of this node, whoever seals
 * (overlay/wg/uapi_socket.h): node makes it, because overlay may not, and keeps it while overlay is
 * replaced.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "node/instance.h"

struct wgsocket {
	const struct instance *inst;
	int fd; /* -1: there is none */
	struct err err;
	uint64_t again_ns; /* not before that */
};

void wgsocket_init(struct wgsocket *s, const struct instance *inst);
/* True: it is there now, and was not. What cannot be had is said once, and tried again later. */
bool wgsocket_tick(struct wgsocket *s);
/* With its name. */
void wgsocket_close(struct wgsocket *s);

#endif
