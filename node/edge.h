/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_EDGE_H
#define NODE_EDGE_H

/*
 * The balancer's programs on the machine's interfaces. dataplane has loaded and pinned them and
 * says so (table datapath); which interfaces they may be attached to is node's to decide, by its
 * configuration: those that it names, or those that carry a default route. As with the uplink
 * (node/outside.h), a process that node forks does it and ends; what was found is published (table
 * edge). Threading: the loop's thread.
 */

#include <uv.h>
#include "base/err.h"
#include "node/hub.h"
#include "node/instance.h"
#include "ring/msg.h"
#include "ring/ring.h"
#include "spec/config.h"

struct edge;

/* All are borrowed. NULL: out of memory. */
struct edge *edge_new(uv_loop_t *loop, struct ring_writer *own, struct hub *hub,
		      const struct instance *inst);
void edge_free(struct edge *e);

/* Once a second. datapath: what dataplane says, NULL while it says nothing (then all stays). */
void edge_tick(struct edge *e, const struct config *config, const struct msg_datapath *datapath);
/* At the end of the instance: leaves every interface. Waits for its process. */
int edge_remove(struct edge *e, struct err *err) MUST_CHECK;

#endif
