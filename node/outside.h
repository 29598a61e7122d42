/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_OUTSIDE_H
#define NODE_OUTSIDE_H

/*
 * What a node has outside of its fabric, in the machine's own network namespace. It is looked at
 * now and then, each time by a process that node forks and that ends: node itself neither blocks
 * nor talks to the kernel's network. What was found is published (table uplink).
 * Threading: the loop's thread.
 */

#include <uv.h>
#include "base/err.h"
#include "node/hub.h"
#include "node/instance.h"
#include "node/underlay.h"
#include "node/wgroutes.h"
#include "ring/msg.h"
#include "ring/ring.h"
#include "spec/config.h"

struct outside;

/* All are borrowed. NULL: out of memory. */
struct outside *outside_new(uv_loop_t *loop, struct ring_writer *own, struct hub *hub,
			    const struct instance *inst, int fabric);
void outside_free(struct outside *o);

/* Whether a prefix that overlay names may become routes and rules of this machine: a /24 and a /64,
 * of private addresses or as the configuration says. A larger one would take the machine's own
 * traffic. */
bool outside_prefix_holds(const struct config *config, const struct msg_prefix *prefix);

/* Once a second. prefix: of this node's containers; NULL while it is not known. peers: those that
 * are gone to without encryption; sealed: those that are gone to by the device of sealed traffic.
 * Both are copied. */
void outside_tick(struct outside *o, const struct config *config, const struct msg_prefix *prefix,
		  const struct underlay_peers *peers, const struct wgroutes *sealed);
/* A peer that overlay names, as one of these; false: routes of this node do not lead there. */
bool outside_peer(const struct config *config, const struct msg_peer *row, struct config_peer *out);
/* At the end of the last container: removes everything, and waits for that. */
int outside_remove(struct outside *o, struct err *err) MUST_CHECK;

#endif
