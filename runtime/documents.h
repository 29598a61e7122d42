/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_DOCUMENTS_H
#define RUNTIME_DOCUMENTS_H

/*
 * The documents of an image as fetch hands them on: an index (when the name is of several
 * platforms), a manifest and a configuration, each as the registry gave it. Whoever uses them
 * checks the digests again. Reading gives what unpack needs, refused by name when it is something
 * that cannot be run: foreign layers, artifacts, the old schema.
 * Threading: pure but for the arena.
 */

#include <stdbool.h>
#include <stddef.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "runtime/image_record.h"
#include "runtime/layout.h"

enum {
	DOCUMENTS_MAGIC = 0x434f445a, /* "ZDOC" */
	DOCUMENTS_EACH_MAX = LAYOUT_JSON_BYTES_MAX,
	DOCUMENTS_MAX = 3,
	DOCUMENTS_BYTES_MAX = DOCUMENTS_MAX * (DOCUMENTS_EACH_MAX + 4) + 8,
};

enum documents_kind { DOCUMENTS_INDEX, DOCUMENTS_MANIFEST, DOCUMENTS_OTHER };

/* What a document is, by its own mediaType, else by the header's; *name_out is what it calls
 * itself (borrowed from `header`, or in the arena). */
enum documents_kind documents_kind(const void *data, size_t bytes, const char *header,
				   struct arena *arena, const char **name_out);
int documents_refuse(const char *media_type, struct err *err);

/* The one of an index for this machine. ERR_UNSUPPORTED names what there is. */
int documents_pick(const struct layout_list *list, const char *architecture,
		   const struct layout_descriptor **out, struct err *err) MUST_CHECK;
/* Configuration and layers of types that can be run. */
int documents_check(const struct layout_manifest *manifest, struct err *err) MUST_CHECK;

/* "sha256:..." of bytes. */
void documents_digest(const void *data, size_t bytes, char out[MSG_DIGEST]);

struct documents {
	struct image_record record; /* digest and name are the caller's to say */
	struct layout_manifest manifest;
};

void documents_begin(struct buf *out);
void documents_add(struct buf *out, const void *data, size_t bytes);
/* digest: of the outermost document. All in the arena. */
int documents_read(const void *data, size_t bytes, const char *digest, const char *architecture,
		   struct arena *arena, struct documents *out, struct err *err) MUST_CHECK;

#endif
