/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_IMPORT_H
#define RUNTIME_IMPORT_H

/*
 * An image archive into the store's layers: finds the image for this machine, checks every digest,
 * unpacks the layers that are not there yet below tmp/, and moves them to layers/ all at once when
 * all are complete and on the disk. After any failure or death nothing but tmp/ is left behind,
 * and running it again works. Blocking: it runs on a worker thread of the unpack role.
 */

#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "ring/msg.h"
#include "runtime/layer.h"

struct import_request {
	int archive;      /* regular file or memfd; borrowed */
	const char *name; /* which, and how it will be called; "" when the archive says it */
	const char *architecture; /* NULL: this machine's */
	struct layer_limits
		limits; /* of the whole image; zeros: LAYER_BYTES_MAX, LAYER_ENTRIES_MAX */
};

/* Makes layers/ and tmp/ below the folder images/, empties tmp/. */
int import_prepare(int images, struct err *err) MUST_CHECK;
/* record_out gets image_record_encode()'s bytes; its cap is to be IMAGE_RECORD_BYTES_MAX. */
int import_run(int images, const struct import_request *request, struct buf *record_out,
	       struct msg_imported *out, struct err *err) MUST_CHECK;

#endif
