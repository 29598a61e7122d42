/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ETCD_H
#define NODE_ETCD_H

/*
 * The etcd of this node: one process, which does what scheduler orders (ring/msg_cluster.h, struct
 * msg_etcd_order) where node.yaml lets it (listen.store), and is told about (table etcd). It is no
 * role of the ring: it speaks with schedulers of all nodes over the network, and node reads nothing
 * of it but its last words.
 *
 * It outlives a node that was killed, and one that gives way to a newer program: the next one finds
 * it. A node that stops in order ends it.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <uv.h>
#include "base/err.h"
#include "node/cgroup.h"
#include "node/hub.h"
#include "node/instance.h"
#include "ring/msg.h"
#include "ring/ring.h"
#include "spec/config.h"

struct etcd;

/* All are borrowed. Finds the process of an earlier node. */
int etcd_new(uv_loop_t *loop, struct ring_writer *own, struct hub *hub, const struct instance *inst,
	     const struct cgroup *cgroup, struct etcd **out, struct err *err) MUST_CHECK;
/* Leaves the process where it is. */
void etcd_free(struct etcd *e);

/* Once a second, and when the order may be another one. order: NULL while nobody says anything. */
void etcd_tick(struct etcd *e, const struct config *config, const struct msg_etcd_order *order);
/* Once in a while: metrics of the process. */
void etcd_usage(struct etcd *e);
/* Ends the process; `stopped` follows, from the loop or at once. */
void etcd_stop(struct etcd *e, void (*stopped)(void *arg), void *arg);
/* At the end of the instance, when it has stopped: what is in the run folder. */
void etcd_remove(const struct instance *inst);

#endif
