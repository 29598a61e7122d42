/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_IDENTITIES_H
#define DATAPLANE_IDENTITIES_H

/*
 * Table identity into the maps of the programs: what each replica of the cluster is. Those of other
 * nodes are found by their addresses, those of this node stand with their devices
 * (dataplane/veth.h).
 *
 * An identity is forgotten only when the table says that it is whole, and never while its replica
 * has a device here. The maps outlive this process; a successor goes on with what is in them.
 * Threading: one owner; calls do not block. Rows are another process's and are checked.
 */

#include <stdint.h>
#include "base/err.h"
#include "dataplane/veth.h"
#include "ring/msg.h"

struct identities;

/* veth is borrowed. NULL: out of memory. */
struct identities *identities_new(struct veth *veth);
void identities_free(struct identities *ids); /* maps stay */

/* Before each look at the table. A scheduler of another generation says everything anew: what it
 * does not say goes when it says that the table is whole. */
void identities_begin(struct identities *ids, uint32_t generation);
/* A change of the table: row NULL when it is removed; the key MSG_IDENTITY_WHOLE is no replica's.
 * A row that fails keeps no other one back. */
int identities_change(struct identities *ids, uint64_t key, const struct msg_identity *row,
		      struct err *err) MUST_CHECK;
/* After all changes of a look at the table. whole: the row of MSG_IDENTITY_WHOLE is there. */
int identities_settle(struct identities *ids, bool whole, struct err *err) MUST_CHECK;
/* What a replica is; NULL: not said. Until the next change. */
const struct tc_identity *identities_get(const struct identities *ids, uint64_t replica);

#endif
