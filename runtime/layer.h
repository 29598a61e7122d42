/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LAYER_H
#define RUNTIME_LAYER_H

/*
 * Applies one layer (an uncompressed tar stream, OCI image-spec "layer") to a fresh folder, in the
 * form that overlayfs mounted with userxattr reads: a whiteout is a character device 0:0, an opaque
 * folder has user.overlay.opaque=y. The archive is hostile: nothing is ever written outside of the
 * folder, nothing is followed, and what cannot be is refused with the entry's name.
 * Threading: one owner; may run on any thread.
 */

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

enum {
	LAYER_ENTRIES_MAX = 1000000,
	LAYER_DEPTH_MAX = 128, /* folders in a path */
	LAYER_NAME_MAX = 255,
};
#define LAYER_BYTES_MAX (UINT64_C(64) << 30) /* of all files */

struct layer_limits {
	uint64_t bytes_max;
	uint64_t entries_max;
};

struct layer;

/* root: an empty folder (borrowed until layer_free). lower: folders of the layers below, topmost
 * first (borrowed): a folder that the archive needs but does not have takes owner and mode from
 * there, because overlayfs shows the uppermost folder's. */
int layer_new(int root, const int *lower, size_t lower_count, const struct layer_limits *limits,
	      struct layer **out, struct err *err) MUST_CHECK;
void layer_free(struct layer *l);
/* When the layers below are not there yet: such folders are listed in `orphans` (borrowed; its cap
 * is a limit), and layer_adopt is called with the list when they are. */
void layer_defer(struct layer *l, struct buf *orphans);
int layer_adopt(int root, const int *lower, size_t lower_count, const void *orphans, size_t bytes,
		struct err *err) MUST_CHECK;
/* -1 with err ends it; the folder is then to be removed by the caller. */
int layer_feed(struct layer *l, const void *data, size_t bytes, struct err *err) MUST_CHECK;
/* The stream is at its end: checks that it is complete, sets what can only be set last. */
int layer_end(struct layer *l, struct err *err) MUST_CHECK;
uint64_t layer_bytes(const struct layer *l);
uint64_t layer_entries(const struct layer *l);

#endif
