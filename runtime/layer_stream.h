/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LAYER_STREAM_H
#define RUNTIME_LAYER_STREAM_H

/*
 * A layer's blob, piece by piece, on its way into a folder: decompressed, and checked on both sides
 * of it: the digest of the blob, and the digest of the tar stream. What was written counts only
 * after layer_stream_end gave 0. Threading: one owner; any thread.
 */

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "runtime/layer.h"

struct layer_stream;

/* layer: borrowed. digest: "sha256:..." of the blob, "" when nobody tells it. diff_id: 64 hex
 * digits. plain_max: most bytes of the tar stream. */
int layer_stream_new(struct layer *layer, const char *digest, const char *diff_id,
		     uint64_t plain_max, struct layer_stream **out, struct err *err) MUST_CHECK;
void layer_stream_free(struct layer_stream *s);
int layer_stream_feed(struct layer_stream *s, const void *data, size_t bytes,
		      struct err *err) MUST_CHECK;
int layer_stream_end(struct layer_stream *s, struct err *err) MUST_CHECK;

/* ERR_CORRUPT with both digests when they differ (hex). what: "configuration" ... */
int layer_stream_compare(const char *what, const char *told, const char *found, struct err *err);

#endif
