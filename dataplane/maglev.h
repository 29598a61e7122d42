/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_MAGLEV_H
#define DATAPLANE_MAGLEV_H

/*
 * Maglev tables (Eisenbud et al., NSDI 2016, section 3.4): every member takes slots in turn along
 * a permutation of its own. The same set of members gives the same table on every node, whatever
 * their order; a member more or less moves little but its own share.
 * Pure: no I/O, no clock. Threading: none.
 */

#include <stddef.h>
#include <stdint.h>

enum { MAGLEV_MEMBERS_MAX = 1024 };

/* Writes to each of `slots` (a power of two) the index into ids of its owner. ids are distinct,
 * 1 to MAGLEV_MEMBERS_MAX of them, and not more than there are slots. */
void maglev_build(const uint64_t *ids, size_t count, uint16_t *owners_out, size_t slots);

#endif
