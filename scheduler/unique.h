/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_UNIQUE_H
#define SCHEDULER_UNIQUE_H

/*
 * Replicas of which there may be one at a time, whatever becomes of the network between nodes
 * (scale.unique): each lives with a lease of the store (store_lease.h), kept by the node that has
 * it, with one tenure (tenure.h) for each.
 *
 * Who kills is the container's monitor: it has the deadline, and this process moves it on through
 * the runtime's claim, as often as the store has kept the lease. So what is leased ends in time
 * when the store cannot be asked, when this process or the runtime is dead or stands still, and
 * when the machine was suspended. A process of the scheduler that begins anew goes on from the
 * deadline and the epoch that the monitor has.
 *
 * What others see of it has the epoch: traffic for a replica goes only to the one of the highest
 * epoch that was ever seen here (unique_may_serve). That is decided where backends are published,
 * since proxies and the BPF maps know no other backends than these.
 *
 * A node in no cluster needs no lease: there the one waits for the other one to be gone.
 *
 * Threading: the loop's.
 */

#include "scheduler/model.h"

struct msg_claim;

enum {
	UNIQUE_TTL_S = 10, /* of a lease; its holder is dead TENURE_MARGIN_MS before */
};

/* Part of a pass, behind depend_look: what may not start is held, and says why. */
void unique_look(struct model *m);
/* What the runtime is to know of it. */
void unique_claim(struct model *m, struct replica *p, struct msg_claim *row);
bool unique_may_serve(const struct model *m, const struct replica *p);
/* Whether its container does, or is about to. */
bool unique_lives(const struct replica *p);
/* Why it was ended for want of its lease. */
void unique_cause(const struct replica *p, struct err *err);

/* The replica goes. What is left of it ends by itself. */
void unique_part(struct replica *p);
/* With the model, after its store. */
void unique_forget(struct model *m);

#endif
