/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_IMAGE_STORE_H
#define RUNTIME_IMAGE_STORE_H

/*
 * The content-addressed image store below the data folder, as runtime sees it:
 *   images/records/<manifest sha256 hex>   struct image_record, replaced atomically
 *   images/names                           reference -> digest, one text file, replaced atomically
 *   images/layers/<chain id hex>/fs        an unpacked layer; appears by rename when complete
 *   images/tmp/                            under way; emptied at start
 * Only unpack writes layers/ and tmp/; only runtime writes records/ and names.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "runtime/image_record.h"

struct image_store;

/* dirfd: the folder images/ (borrowed; duplicated). Reads what is there; a damaged record is set
 * aside with a log line, never fatal. */
int image_store_open(int dirfd, struct image_store **out, struct err *err) MUST_CHECK;
void image_store_close(struct image_store *store);

/* Looks a normalised reference up ("docker.io/library/web:1", or with @sha256:... / a digest
 * alone). ERR_NOT_FOUND says what names exist that are near, and how to import. ERR_UNSUPPORTED
 * when the image is for another CPU or operating system. All in the arena. */
int image_store_find(struct image_store *store, const char *reference, struct arena *arena,
		     struct image_record **out, struct err *err) MUST_CHECK;

/* The digest of what a name or digest means now; "" when it is not here. Borrowed. */
const char *image_store_digest(const struct image_store *store, const char *reference);
/* Gives a further name to an image that is here, by its digest. */
int image_store_name(struct image_store *store, const char *name, const char *digest,
		     struct err *err) MUST_CHECK;

/* Opens a layer's folder (O_PATH|O_DIRECTORY), checked to be complete; -1 with err. */
int image_store_open_layer(struct image_store *store, const char *layer, struct err *err);

/* Containers hold images: an image in use is not removed. */
void image_store_hold(struct image_store *store, const char *digest);
void image_store_release(struct image_store *store, const char *digest);

/* Takes a record made by unpack under a name (adds or moves the name). */
int image_store_add(struct image_store *store, const char *name, const struct image_record *record,
		    struct err *err) MUST_CHECK;
/* Removes a name; the record and layers that nothing else names or holds go with it. ERR_CONFLICT:
 * it is the last name of an image that a container holds or that is pinned. */
int image_store_remove(struct image_store *store, const char *name, struct err *err) MUST_CHECK;

/* What must stay although nothing names or holds it: asked before an image goes. err: gets why and
 * fix, what is set; NULL: only asked. NULL (at first): there is no such image. */
typedef bool (*image_store_pinned_fn)(void *arg, const char *digest, struct err *err);
void image_store_pins(struct image_store *store, image_store_pinned_fn pinned, void *arg);

struct image_pruned {
	uint32_t images;
	uint32_t layers;
	uint64_t bytes;
};
/* Removes all images, with their names, that no container holds and that are not pinned, and
 * layers that are then in no image. dry_run: only counts. ERR_CONFLICT while an import is under
 * way. */
int image_store_prune(struct image_store *store, bool dry_run, struct image_pruned *out,
		      struct err *err) MUST_CHECK;

/* Fewer may be pinned: what nothing names, holds or pins goes. */
void image_store_unpinned(struct image_store *store);

struct image_entry {
	const char *name; /* "" when none is left */
	const struct image_record *record;
	uint32_t in_use;
	bool pinned;
	int64_t imported_wall_ns;
};
/* Visits all names, and images without one; the pointers are valid during the call. */
void image_store_each(struct image_store *store,
		      void (*visit)(void *arg, const struct image_entry *), void *arg);

/* While an import is under way no layer is removed: unpack may count on one that nothing lists yet.
 * At the end of the last one layers that nothing lists go. */
void image_store_import_begin(struct image_store *store);
void image_store_import_end(struct image_store *store);

/* Unpacked bytes of all images; a layer that several have counts for each. */
uint64_t image_store_bytes(const struct image_store *store);

#endif
