/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_ARCHIVE_IMAGE_H
#define RUNTIME_ARCHIVE_IMAGE_H

/*
 * Which image of an archive is meant, and where its layers are in it. Two kinds of archives: an OCI
 * layout (image-spec 1.1: index.json, blobs/) and what `docker save` of old wrote (manifest.json,
 * no digests of its own: only the diff ids of the configuration are there to check). Blocking.
 */

#include "base/arena.h"
#include "base/err.h"
#include "runtime/archive.h"
#include "runtime/image_record.h"

struct archive_image {
	struct image_record record; /* all but `bytes` */
	struct archive_image_layer {
		const struct archive_file *file; /* the archive's */
		const char *digest;              /* of the blob; "" when the archive has none */
	} layers[IMAGE_LAYERS_MAX];              /* bottom first, as many as the record has */
	size_t count;
};

/* name: which; "" when there is only one. architecture: as layout_machine(). Texts are in the arena
 * or the archive. */
int archive_image_find(struct archive *archive, const char *name, const char *architecture,
		       struct arena *arena, struct archive_image *out, struct err *err) MUST_CHECK;

#endif
