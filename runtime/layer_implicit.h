/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LAYER_IMPLICIT_H
#define RUNTIME_LAYER_IMPLICIT_H

/*
 * Folders that a layer needs and has no entry for: they take owner, mode and time from the layers
 * below, at once or when those are there (layer_defer and layer_adopt of runtime/layer.h). And the
 * times of all its folders, which can be set only when nothing is put into them any more.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

struct layer_implicit {
	int root;         /* borrowed */
	const int *lower; /* borrowed */
	size_t lower_count;
	struct buf *orphans; /* folders to adopt later; NULL: now, from lower */
	bool adopting;       /* it is later */
	struct buf times;    /* of folders: text, u64 seconds, u32 nanoseconds */
};

void layer_implicit_init(struct layer_implicit *t, int root, const int *lower, size_t lower_count);
void layer_implicit_fini(struct layer_implicit *t);
/* A folder of the layer has this time at its end. */
int layer_implicit_time(struct layer_implicit *t, const char *parent, const char *base, int64_t s,
			uint32_t ns, struct err *err) MUST_CHECK;
/* path, whose name is there below parent, was made without an entry. */
int layer_implicit_adopt(struct layer_implicit *t, int parent, const char *name, const char *path,
			 struct err *err) MUST_CHECK;
/* Its entry came after all. */
int layer_implicit_brought(struct layer_implicit *t, const char *path, struct err *err) MUST_CHECK;
int layer_implicit_end(struct layer_implicit *t, struct err *err) MUST_CHECK;
/* -1 with err from errno: "cannot WHAT while unpacking a layer". */
int layer_implicit_failed(const char *what, struct err *err);

#endif
