/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_IMAGE_STORE_PRIVATE_H
#define RUNTIME_IMAGE_STORE_PRIVATE_H

/*
 * What the files of the image store share: image_store.c (what there is, and who uses it),
 * image_store_files.c (records and names on the disk), image_store_prune.c (what nobody needs
 * goes).
 */

#include "base/list.h"
#include "base/map.h"
#include "ring/msg.h"
#include "runtime/image_store.h"

enum {
	IMAGE_STORE_NAMES_MAX = 1024,
	IMAGE_STORE_HEX_DIGITS = 64,
};

struct image {
	char digest[MSG_DIGEST];
	struct arena arena;
	struct image_record *record;
	uint32_t names;
	uint32_t holds;
};

struct image_name {
	struct list link;
	struct image *image;
	int64_t imported_wall_ns;
	char text[MSG_IMAGE];
};

struct image_store {
	int dir, records, layers, tmp;
	struct map images; /* digest -> struct image */
	struct list names; /* in the order of their import */
	size_t names_count;
	unsigned imports;
	bool whole; /* every record could be read: what no record lists is not needed */
	image_store_pinned_fn pinned;
	void *pinned_arg;
};

/* ---- image_store.c ---- */

int image_store_no_memory(struct err *err);
/* NULL when there is none. */
struct image *image_store_image(const struct image_store *store, const char *digest);
struct image_name *image_store_name_of(const struct image_store *store, const char *text);
/* In memory only; a name that is unlinked is the caller's. */
struct image_name *image_store_name_new(const char *text, struct image *image,
					int64_t imported_wall_ns);
void image_store_link(struct image_store *store, struct image_name *n);
void image_store_unlink(struct image_store *store, struct image_name *n);

/* ---- image_store_files.c ---- */

/* Everything that is there; what is damaged is set aside. */
int image_store_load(struct image_store *store, struct err *err) MUST_CHECK;
/* All names, replaced atomically. */
int image_store_write_names(struct image_store *store, struct err *err) MUST_CHECK;
int image_store_decode(const void *data, size_t bytes, struct image **out,
		       struct err *err) MUST_CHECK;
void image_store_drop(struct image *image); /* NULL is fine */
bool image_store_is_name(const char *text);
bool image_store_is_hex(const char *text);

/* ---- image_store_prune.c ---- */

bool image_store_is_pinned(const struct image_store *store, const char *digest);
/* Removes an image that nothing names, holds or pins; `image` may be gone then. */
void image_store_collect(struct image_store *store, struct image *image);
/* Removes layers that no record lists. */
void image_store_sweep(struct image_store *store);

#endif
