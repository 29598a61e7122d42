/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_BALANCER_H
#define DATAPLANE_BALANCER_H

/*
 * When there is something to balance, and with what: from the tables of scheduler, runtime, overlay
 * and node to dataplane/services.h. The programs are loaded when the first public tcp or udp
 * endpoint appears that an interface may serve, and go when the last one has gone. Publishes
 * applied and drain while it balances, and fills in its part of the row of table datapath.
 * Threading: the loop's thread.
 */

#include "dataplane/across.h"
#include "dataplane/lb.h"
#include "dataplane/veth.h"
#include "ring/msg.h"
#include "ring/station.h"

struct balancer;

/* lb: what a predecessor left, opened before confinement, is given; or NULL. across is borrowed.
 * changed: the row of table datapath is to be published again. NULL: out of memory. */
struct balancer *balancer_new(struct station *st, struct veth *veth, struct across *across,
			      struct lb *lb, void (*changed)(void));

/* A producer's segment has something new, or came. */
void balancer_wake(struct balancer *b, struct ring_reader *reader);
/* A container's device; NULL when it is gone. */
void balancer_veth(struct balancer *b, uint64_t replica, const struct msg_veth *row);
/* The configuration is another. */
void balancer_config(struct balancer *b);
/* What is known of other nodes, or of their replicas, is another. */
void balancer_mesh(struct balancer *b);
/* Fills edge, across, xdp, links and edge_reason. */
void balancer_tell(const struct balancer *b, struct msg_datapath *row);

#endif
