/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_SPACE_H
#define SCHEDULER_GOSSIP_SPACE_H

/* Namespaces: what each node says of itself, and how changes are put in. Pointers to spaces are
 * valid until the next space is made. */

#include "scheduler/gossip/core.h"

enum { SPACE_ENTRY_BYTES = 20 }; /* charged for each entry besides its value */

enum space_result {
	SPACE_NEW,
	SPACE_OLD,     /* it was here already */
	SPACE_GAP,     /* an earlier one is missing */
	SPACE_REFUSED, /* a limit or no memory: it may come again */
};

struct space *space_find(const struct gossip *g, uint32_t node);
struct space *space_of(const struct gossip *g, size_t at); /* of a member by index */
uint64_t space_version(const struct gossip *g, size_t at); /* 0: nothing is known */
/* The one that is there, or a new one at version 0. NULL: out of memory. */
struct space *space_make(struct gossip *g, size_t at);
void space_remove(struct gossip *g, size_t at);
const struct entry *space_entry(const struct space *s, uint16_t type, uint64_t id);
enum space_result space_apply(struct gossip *g, size_t at, const struct change *c);
void space_set_version(struct gossip *g, size_t at, uint64_t version);
/* Forgets all entries; told. The version stays. */
void space_reset(struct gossip *g, size_t at);
/* One entry, when it is newer than what is held. Tells, but for the own. */
enum space_result space_store(struct gossip *g, size_t at, const struct change *c);
void space_erase(struct gossip *g, size_t at, size_t index);
/* The entries after a sequence, in its order; *list is to be freed. -1: out of memory. */
long space_since(const struct space *s, uint64_t sequence, const struct entry ***list_out);
/* The own namespace begins anew; first: no other life is known of. */
void space_birth(struct gossip *g, uint32_t incarnation, bool first);
enum gossip_result space_put(struct gossip *g, uint16_t type, uint64_t id, const void *value,
			     size_t bytes);
enum gossip_result space_drop(struct gossip *g, uint16_t type, uint64_t id);
void space_fini(struct gossip *g);

#endif
