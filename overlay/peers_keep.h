/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_PEERS_KEEP_H
#define OVERLAY_PEERS_KEEP_H

/*
 * The nodes of the cluster as this one knew them last, in a file of overlay's folder: where they
 * are and what their public keys are. A successor goes on with them, also where its scheduler has
 * been replaced with it and nothing can be heard of the others. What the file says gives nobody
 * access: without the preshared key of the pair, which the scheduler hands over each time, a row is
 * of no use (docs/decisions/016).
 *
 * The file: "zlMesh1" and a NUL, u32 bytes of a row, u32 rows, u32 own id, u32 0, i64 the request
 * for another key that was told last, u64 SipHash of all that follows; then rows as in table mesh.
 * It is of this machine's byte order, and of this version's rows: another one's is passed over.
 *
 * No clock. Threading: one owner.
 */

#include "base/buf.h"
#include "overlay/peers.h"

enum { PEERS_KEEP_HEAD = 40, PEERS_KEEP_BYTES_MAX = PEERS_KEEP_HEAD + MSG_PEERS_MAX * 1024 };

/* Appends; false: no memory. */
bool peers_keep_put(const struct peers *p, struct buf *out);
/* Into p, which has nothing yet of the cluster. False: no such file, or damaged; p is as it was. */
bool peers_keep_take(const void *data, size_t bytes, struct peers *p);

/* The file itself. Nothing was kept: p is as it was, and that is no error. */
void peers_keep_load(int folder, struct peers *p);
/* Only what was not written last; what cannot be written is tried with the next call. */
void peers_keep_save(int folder, const struct peers *p);

#endif
