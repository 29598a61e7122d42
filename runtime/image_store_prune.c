/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image is kept while a name points to it, a container holds it or a revision pins it; a layer
 * while any record lists it. The record goes first: layers without a record are swept at the next
 * opening. While an import is under way, or a record could not be read, no layer goes.
 */
#include "runtime/image_store_private.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/tree.h"

bool
image_store_is_pinned(const struct image_store *store, const char *digest)
{
	return store->pinned && store->pinned(store->pinned_arg, digest, NULL);
}

static bool
lists_layer(const struct image_store *store, const char *layer)
{
	struct map_iter it = {0};

	while (map_next(&store->images, &it)) {
		const struct image *image = it.value;

		for (size_t i = 0; i < image->record->layers.count; i++) {
			if (!strcmp(image->record->layers.items[i], layer))
				return true;
		}
	}
	return false;
}

/* First out of sight, then removed: a layer is there whole or not at all. */
static void
remove_layer(struct image_store *store, const char *layer)
{
	char aside[IMAGE_STORE_HEX_DIGITS + 16];

	text_format(aside, sizeof(aside), "%s.removed", layer);
	if (tree_remove(store->tmp, aside) < 0 ||
	    (renameat(store->layers, layer, store->tmp, aside) < 0 && errno != ENOENT) ||
	    tree_remove(store->tmp, aside) < 0)
		log_event(LOG_WARN, "a layer that nothing needs cannot be removed",
			  log_s("layer", layer), log_s("why", strerror(errno)), LOG_END);
}

void
image_store_sweep(struct image_store *store)
{
	int copy = openat(store->layers, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!dir) {
		fd_close(&copy);
		return;
	}
	while ((e = readdir(dir))) {
		if (image_store_is_hex(e->d_name) && !lists_layer(store, e->d_name))
			remove_layer(store, e->d_name);
	}
	closedir(dir);
}

void
image_store_collect(struct image_store *store, struct image *image)
{
	if (image->names || image->holds || image_store_is_pinned(store, image->digest))
		return;
	if (unlinkat(store->records, image->digest + 7, 0) < 0 && errno != ENOENT) {
		log_event(LOG_WARN, "an image's record cannot be removed",
			  log_s("image", image->digest), log_s("why", strerror(errno)), LOG_END);
		return;
	}
	map_remove_str(&store->images, image->digest);
	bool keep = store->imports || !store->whole;
	for (size_t i = 0; i < image->record->layers.count && !keep; i++) {
		if (!lists_layer(store, image->record->layers.items[i]))
			remove_layer(store, image->record->layers.items[i]);
	}
	image_store_drop(image);
}

void
image_store_import_begin(struct image_store *store)
{
	store->imports++;
}

void
image_store_import_end(struct image_store *store)
{
	assert(store->imports > 0);
	if (--store->imports == 0 && store->whole)
		image_store_sweep(store);
}

void
image_store_pins(struct image_store *store, image_store_pinned_fn pinned, void *arg)
{
	store->pinned = pinned;
	store->pinned_arg = arg;
}

void
image_store_unpinned(struct image_store *store)
{
	struct map_iter it = {0};

	while (map_next(&store->images, &it))
		image_store_collect(store, it.value);
}

/* ---- pruning ---- */

/* A layer's own size is what its images say of all of theirs: unpack noted it beside the files. */
static uint64_t
layer_size(const struct image_store *store, const char *layer)
{
	char path[IMAGE_STORE_HEX_DIGITS + 8];
	struct buf text;
	struct err ignored = {0};
	uint64_t bytes = 0;

	text_format(path, sizeof(path), "%s/bytes", layer);
	buf_init(&text, MEM_RUNTIME, 32);
	if (fd_read_file(store->layers, path, &text, &ignored) == 0 && text.length > 1) {
		text.data[text.length - 1] = '\0';
		if (!text_u64((const char *)text.data, INT64_MAX, &bytes))
			bytes = 0;
	}
	buf_fini(&text);
	return bytes;
}

static bool
is_unused(const struct image_store *store, const struct image *image)
{
	return !image->holds && !image_store_is_pinned(store, image->digest);
}

/* Whether an image that stays has the layer. */
static bool
is_needed(const struct image_store *store, const char *layer)
{
	struct map_iter it = {0};

	while (map_next(&store->images, &it)) {
		const struct image *image = it.value;

		for (size_t i = 0; !is_unused(store, image) && i < image->record->layers.count;
		     i++) {
			if (!strcmp(image->record->layers.items[i], layer))
				return true;
		}
	}
	return false;
}

static int
count_unused(const struct image_store *store, struct image_pruned *out, struct err *err)
{
	struct map_iter it = {0};
	struct map seen;
	int rc = 0;

	map_init(&seen, MEM_RUNTIME);
	while (rc == 0 && map_next(&store->images, &it)) {
		const struct image *image = it.value;

		if (!is_unused(store, image))
			continue;
		out->images++;
		for (size_t i = 0; rc == 0 && i < image->record->layers.count; i++) {
			const char *layer = image->record->layers.items[i];

			if (map_get_str(&seen, layer) || is_needed(store, layer))
				continue;
			if (map_put_str(&seen, layer, &seen) < 0)
				rc = image_store_no_memory(err);
			out->layers++;
			out->bytes += layer_size(store, layer);
		}
	}
	map_fini(&seen);
	return rc;
}

/* Names first, all at once; what they named goes one by one. */
static int
remove_unused(struct image_store *store, struct err *err)
{
	struct list *it, *next;
	struct list away;
	struct map_iter at = {0};

	list_init(&away);
	list_each (it, next, &store->names) {
		struct image_name *n = container_of(it, struct image_name, link);

		if (!is_unused(store, n->image))
			continue;
		image_store_unlink(store, n);
		list_push(&away, &n->link);
	}
	int rc = list_empty(&away) ? 0 : image_store_write_names(store, err);
	list_each (it, next, &away) {
		struct image_name *n = container_of(it, struct image_name, link);

		list_remove(&n->link);
		if (rc < 0)
			image_store_link(store, n);
		else
			mem_free(n);
	}
	while (rc == 0 && map_next(&store->images, &at))
		image_store_collect(store, at.value);
	return rc;
}

int
image_store_prune(struct image_store *store, bool dry_run, struct image_pruned *out,
		  struct err *err)
{
	memset(out, 0, sizeof(*out));
	if (store->imports) {
		err_set(err, ERR_CONFLICT, "images cannot be removed now");
		err_why(err, "an image is being pulled or imported");
		return err_fix(err, "try again when that is over");
	}
	if (count_unused(store, out, err) < 0)
		return -1;
	if (dry_run || !out->images)
		return 0;
	if (remove_unused(store, err) < 0)
		return -1;
	if (store->whole)
		image_store_sweep(store);
	return 0;
}
