/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_WGDEV_H
#define NODE_WGDEV_H

/*
 * What sealed traffic needs that overlay cannot make: a device in the fabric (node/wgdev_make.h),
 * and the socket at which wg(8) finds it. Of a TUN device overlay is given duplicates of the
 * queues; node keeps them, so that the device, its routes and the packets in it stay while overlay
 * is replaced, and go with node; the UDP sockets are listeners (node/listeners.h). To a device of
 * the kernel's WireGuard overlay is given a door (node/wgdoor.h); it stays when node ends, for as
 * long as the fabric (docs/decisions/021). A device that somebody else alters is put back.
 * Threading: the loop's thread. Making the device waits for a child that enters the fabric.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "node/hub.h"
#include "node/instance.h"
#include "node/listeners.h"
#include "node/upgrade.h"
#include "node/wgdev_make.h"
#include "spec/config.h"

struct wgdev;

/* own, hub, inst: borrowed. fabric: its namespace, borrowed. NULL: out of memory. */
struct wgdev *wgdev_new(struct ring_writer *own, struct hub *hub, const struct instance *inst,
			int fabric);
/* Closes all: a TUN device goes when overlay is gone too. NULL is fine. */
void wgdev_free(struct wgdev *w);

/* Who is to seal now; what another one sealed with goes, so that its port is free. wanted: the node
 * is in a cluster; not to be called before that is known. True: as wgdev_tick. */
bool wgdev_choose(struct wgdev *w, bool wanted, const struct config *config);
/* The UDP sockets of listen.overlay are to be open: it is the engine. */
bool wgdev_takes_sockets(const struct wgdev *w);
/* At least once a second, after wgdev_choose. True: what overlay was told is not right any more,
 * wgdev_tell is to be called for it. */
bool wgdev_tick(struct wgdev *w, const struct config *config, const struct listeners *listeners);
/* So soon there is something to do; 0: a second is soon enough. */
uint64_t wgdev_due_ms(const struct wgdev *w);
/* Hands a process of overlay all there is. */
void wgdev_tell(struct wgdev *w, struct hub_member *overlay);
/* In the fabric; 0: there is none. */
uint32_t wgdev_index(const struct wgdev *w);
/* How often it was made or set up: its routes of an earlier time may be gone. */
uint32_t wgdev_times(const struct wgdev *w);

/* Over an upgrade of node: what there is, appended to the sockets of `up`; and back: takes the
 * descriptor when the name is one of these. */
void wgdev_put(const struct wgdev *w, struct upgrade *up);
bool wgdev_adopt(struct wgdev *w, const struct config *config, const char *name, int fd);

#endif
