/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_UNPACK_IMAGE_H
#define RUNTIME_UNPACK_IMAGE_H

/*
 * An image that is pulled, as the unpack role sees it: which layers are missing, one layer from its
 * packets into a folder below tmp/, and all of them to their places. Blocking: these run on worker
 * threads. After any failure nothing but tmp/ is left behind.
 */

#include "base/buf.h"
#include "base/err.h"
#include "ring/msg.h"

/* out: array of struct msg_layer, bottom first. */
int unpack_image_look(int images, int documents, const struct msg_commit *what, struct buf *out,
		      struct err *err) MUST_CHECK;
/* stream: socket of packets (MSG_OP_FETCH_BLOB). ERR_INTERRUPTED: the stream ended too early or has
 * a gap, and may be asked for again. */
int unpack_image_layer(int images, int stream, const struct msg_layer *what,
		       struct msg_unpacked *out, struct err *err) MUST_CHECK;
/* ERR_CONFLICT: a layer that was unpacked is gone; begin anew. */
int unpack_image_commit(int images, int documents, const struct msg_commit *what,
			struct buf *record_out, struct msg_imported *out,
			struct err *err) MUST_CHECK;
void unpack_image_drop(int images, uint64_t folder);

#endif
