/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_MEMBERS_H
#define DATAPLANE_MEMBERS_H

/*
 * Which peers are members of the cluster: those whose IPv4 prefix a row of the scheduler's table
 * mesh has, or whose name, where the row says that all is as before. Made for one look at the
 * tables; a peer is found without looking at all rows. Threading: one owner.
 */

#include "base/map.h"
#include "ring/msg.h"
#include "ring/ring.h"

enum members_answer {
	MEMBERS_NO,
	MEMBERS_YES,
	MEMBERS_AS_BEFORE, /* the scheduler has not said who is one, or there is no memory */
};

struct members {
	bool said;
	struct map by_prefix, by_name;
};

/* scheduler: NULL is fine. */
void members_init(struct members *m, const struct ring_reader *scheduler);
void members_fini(struct members *m);
enum members_answer members_is(const struct members *m, const struct msg_peer *peer);

#endif
