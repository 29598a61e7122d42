/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_REMOTE_H
#define SCHEDULER_REMOTE_H

/*
 * Replicas of other nodes, as their nodes say they are (tidings.h). They are in the model like
 * those of this node, so that roll-outs, dependencies and status see a whole cluster; but they are
 * nobody's business here: no life cycle, no row in the store, no claim for the runtime, no checks.
 * Threading: the loop's.
 */

#include "scheduler/model.h"
#include "scheduler/tidings.h"

/* Adds it or brings it up. False: its service is not known here (yet), the id is another's, or
 * there is no memory. */
bool remote_take(struct model *m, uint32_t node, const char *name, uint64_t id,
		 const struct tidings_replica *t);
/* Harmless for what is not there, and for this node's own. */
void remote_drop(struct model *m, uint32_t node, uint64_t id);
void remote_drop_node(struct model *m, uint32_t node);
/* As this node tells it to the others. */
void remote_tell(const struct model *m, const struct replica *p, struct tidings_replica *out);

/* Whether this node's proxies can reach it: its node's addresses are known and nobody else's. */
bool remote_is_reachable(const struct model *m, const struct replica *p);
/* Whether its node does not answer just now: others are asked first. */
bool remote_is_doubted(const struct model *m, const struct replica *p);

#endif
