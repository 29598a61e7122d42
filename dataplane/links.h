/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_LINKS_H
#define DATAPLANE_LINKS_H

/*
 * Runtime's table of veths, followed: which device has its program, said in table attached. A
 * device waits for its program, and with it a container for its start, until it is known who is
 * behind it and which addresses are this node's: nobody speaks unjudged.
 *
 * A runtime that restarts publishes its veths again bit by bit. So a veth goes when its row is
 * removed, or when a runtime that came back has not named it for a while: never just because a new
 * table is still empty. By the same rule what a predecessor of this process left in the kernel of
 * containers that went meanwhile is dropped.
 *
 * Threading: the loop's.
 */

#include "base/log.h"
#include "dataplane/balancer.h"
#include "dataplane/identities.h"
#include "dataplane/veth.h"
#include "ring/station.h"

enum { LINKS_MAX = 4096 };

struct links {
	struct station *st;
	struct veth *veth;         /* NULL: BPF is not in force */
	struct identities *ids;    /* NULL: as well */
	struct balancer *balancer; /* NULL: as well */
	const struct err *why_not;
	bool has_prefix; /* the maps know this node's addresses */
	bool waits;      /* a device does */
	bool failed;     /* one could not be attached: it is tried again */
	bool former;     /* one of these goes on with the program of a predecessor */
	struct log_few few;
};

/* As of ring_table_sync; arg: struct links. */
void links_changed(void *arg, uint64_t replica, const void *row);
/* Something became known that devices may have waited for; or it is time to try again. */
void links_look(struct links *l);
/* Some time after a runtime came back, when its table is read: what it has not named goes. */
void links_sweep(struct links *l);

#endif
