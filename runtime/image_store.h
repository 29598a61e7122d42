/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_IMAGE_STORE_H
#define RUNTIME_IMAGE_STORE_H

/*
 * The content-addressed image store below the data folder, as runtime sees it:
 *   images/records/<manifest sha256 hex>   struct image_record, replaced atomically
 *   images/names                           reference -> digest, one text file, replaced atomically
 *   images/layers/<diff id hex>/fs         an unpacked layer; appears by rename when complete
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

/* Opens a layer's folder (O_PATH|O_DIRECTORY), checked to be complete; -1 with err. */
int image_store_open_layer(struct image_store *store, const char *layer, struct err *err);

/* Containers hold images: an image in use is not removed. */
void image_store_hold(struct image_store *store, const char *digest);
void image_store_release(struct image_store *store, const char *digest);

/* Takes a record made by unpack under a name (adds or moves the name). */
int image_store_add(struct image_store *store, const char *name, const struct image_record *record,
		    struct err *err) MUST_CHECK;
/* Removes a name; the record and layers that nothing else names or holds go with it. */
int image_store_remove(struct image_store *store, const char *name, struct err *err) MUST_CHECK;

struct image_entry {
	const char *name;
	const struct image_record *record;
	uint32_t in_use;
	int64_t imported_wall_ns;
};
/* Visits all names; the pointers are valid during the call. */
void image_store_each(struct image_store *store,
		      void (*visit)(void *arg, const struct image_entry *), void *arg);

/* While an import is under way no layer is removed: unpack may count on one that nothing lists yet.
 * At the end of the last one layers that nothing lists go. */
void image_store_import_begin(struct image_store *store);
void image_store_import_end(struct image_store *store);

/* Unpacked bytes of all images; a layer that several have counts for each. */
uint64_t image_store_bytes(const struct image_store *store);

#endif
