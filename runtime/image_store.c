/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, records and layers on the disk, and who uses them. All that is known is read once and kept
 * in memory; a change is written first (atomically), then taken over, so that memory never says
 * more than the disk.
 *
 * An image is kept while a name points to it or a container holds it; a layer while any record
 * lists it. After a restart nobody holds anything until containers are adopted again, so opening
 * removes no image; it does remove layers that no record lists (an import whose end nobody took
 * note of), but only when every record could be read.
 */
#include "runtime/image_store.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/msg.h"
#include "runtime/layout.h"
#include "runtime/tree.h"

enum {
	NAMES_MAX = 1024,
	NAMES_BYTES_MAX = 4 << 20,
	ARENA_BYTES = 4 << 20, /* of one record */
	HEX_DIGITS = 64,
};

struct image {
	char digest[MSG_DIGEST];
	struct arena arena;
	struct image_record *record;
	uint32_t names;
	uint32_t holds;
};

struct name {
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

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for the image store");
}

static struct image *
image_of(const struct image_store *store, const char *digest)
{
	return map_get_str(&store->images, digest);
}

static struct name *
name_of(const struct image_store *store, const char *text)
{
	struct list *it, *next;

	list_each (it, next, &store->names) {
		struct name *n = container_of(it, struct name, link);

		if (!strcmp(n->text, text))
			return n;
	}
	return NULL;
}

/* ---- records ---- */

static void
image_drop(struct image *image)
{
	if (!image)
		return;
	arena_fini(&image->arena);
	mem_free(image);
}

static int
image_new(const void *data, size_t bytes, struct image **out, struct err *err)
{
	struct image *image = mem_zalloc(MEM_RUNTIME, sizeof(*image));

	if (!image)
		return no_memory(err);
	arena_init(&image->arena, MEM_RUNTIME, ARENA_BYTES);
	if (image_record_decode(data, bytes, &image->arena, &image->record, err) < 0) {
		image_drop(image);
		return -1;
	}
	text_copy(image->digest, sizeof(image->digest), image->record->digest);
	*out = image;
	return 0;
}

static bool
is_hex(const char *text)
{
	return strspn(text, "0123456789abcdef") == HEX_DIGITS && text[HEX_DIGITS] == '\0';
}

static int
load_record(struct image_store *store, const char *file, struct err *err)
{
	struct buf data;
	struct image *image = NULL;

	buf_init(&data, MEM_RUNTIME, IMAGE_RECORD_BYTES_MAX);
	int rc = fd_read_file(store->records, file, &data, err);
	if (rc == 0)
		rc = image_new(data.data, data.length, &image, err);
	buf_fini(&data);
	if (rc < 0)
		return -1;
	assert(image);
	if (!text_starts(image->digest, "sha256:") ||
	    !text_equal(image->digest + strlen("sha256:"), file)) {
		image_drop(image);
		return err_set(err, ERR_CORRUPT, "an image's record is not of that image");
	}
	if (map_put_str(&store->images, image->digest, image) < 0) {
		image_drop(image);
		return no_memory(err);
	}
	return 0;
}

static void
set_aside(struct image_store *store, const char *file, struct err *err)
{
	char aside[HEX_DIGITS + 16];

	text_format(aside, sizeof(aside), "%s.damaged", file);
	err_where(err, "records/%s", file);
	log_err(LOG_ERROR, "an image's record is damaged and was set aside: import it again", err);
	if (renameat(store->records, file, store->records, aside) < 0)
		log_event(LOG_ERROR, "a damaged record cannot be renamed", log_s("file", file),
			  LOG_END);
}

static int
load_records(struct image_store *store, struct err *err)
{
	int copy = openat(store->records, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;
	int rc = 0;

	store->whole = true;
	if (!dir) {
		fd_close(&copy);
		return err_sys(err, errno, "cannot read the image store's records");
	}
	while (rc == 0 && (e = readdir(dir))) {
		if (text_ends(e->d_name, ".damaged"))
			store->whole = false;
		if (!is_hex(e->d_name))
			continue;
		rc = load_record(store, e->d_name, err);
		if (rc < 0 && err->kind != ERR_NO_MEMORY) {
			store->whole = false;
			set_aside(store, e->d_name, err);
			err_clear(err);
			rc = 0;
		}
	}
	closedir(dir);
	return rc;
}

/* ---- names: "REFERENCE DIGEST IMPORTED_NS\n" ---- */

static bool
is_name(const char *text)
{
	size_t length = strlen(text);

	if (!length || length >= MSG_IMAGE || !text_is_utf8(text, length))
		return false;
	for (const char *c = text; *c; c++) {
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return false;
	}
	return true;
}

static int
write_names(struct image_store *store, struct err *err)
{
	struct buf out;
	struct list *it, *next;

	buf_init(&out, MEM_RUNTIME, NAMES_BYTES_MAX);
	list_each (it, next, &store->names) {
		struct name *n = container_of(it, struct name, link);

		buf_printf(&out, "%s %s %lld\n", n->text, n->image->digest,
			   (long long)n->imported_wall_ns);
	}
	int rc = buf_ok(&out) ? fd_replace(store->dir, "names", out.data, out.length, 0600, err)
			      : no_memory(err);
	buf_fini(&out);
	return rc < 0 ? err_where(err, "the image store's names") : 0;
}

static struct name *
name_new(const char *text, struct image *image, int64_t imported_wall_ns)
{
	struct name *n = mem_zalloc(MEM_RUNTIME, sizeof(*n));

	if (!n)
		return NULL;
	text_copy(n->text, sizeof(n->text), text);
	n->image = image;
	n->imported_wall_ns = imported_wall_ns;
	list_init(&n->link);
	return n;
}

static void
name_link(struct image_store *store, struct name *n)
{
	list_push(&store->names, &n->link);
	store->names_count++;
	n->image->names++;
}

static void
name_unlink(struct image_store *store, struct name *n)
{
	list_remove(&n->link);
	store->names_count--;
	n->image->names--;
}

static int
load_name(struct image_store *store, char *line, struct err *err)
{
	char *digest = strchr(line, ' ');
	char *time = digest ? strchr(digest + 1, ' ') : NULL;
	uint64_t at;

	if (!time)
		return 0;
	*digest++ = '\0';
	*time++ = '\0';
	struct image *image = image_of(store, digest);
	if (!image || !is_name(line) || name_of(store, line) || !text_u64(time, INT64_MAX, &at) ||
	    store->names_count >= NAMES_MAX) {
		log_event(LOG_WARN, "an image's name has lost its image: import it again",
			  log_s("image", line), LOG_END);
		return 0;
	}
	struct name *n = name_new(line, image, (int64_t)at);
	if (!n)
		return no_memory(err);
	name_link(store, n);
	return 0;
}

static int
load_names(struct image_store *store, struct err *err)
{
	struct buf data;
	char *save = NULL;
	int rc;

	buf_init(&data, MEM_RUNTIME, NAMES_BYTES_MAX);
	rc = fd_read_file(store->dir, "names", &data, err);
	if (rc < 0 && err->kind == ERR_NOT_FOUND) {
		err_clear(err);
		buf_fini(&data);
		return 0;
	}
	if (rc == 0) {
		buf_putc(&data, '\0');
		if (!buf_ok(&data))
			rc = no_memory(err);
	}
	for (char *line = rc == 0 ? strtok_r((char *)data.data, "\n", &save) : NULL; line && !rc;
	     line = strtok_r(NULL, "\n", &save))
		rc = load_name(store, line, err);
	buf_fini(&data);
	return rc;
}

/* ---- removing what nobody needs ---- */

static bool
is_pinned(const struct image_store *store, const char *digest)
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
	char aside[HEX_DIGITS + 16];

	text_format(aside, sizeof(aside), "%s.removed", layer);
	if (tree_remove(store->tmp, aside) < 0 ||
	    (renameat(store->layers, layer, store->tmp, aside) < 0 && errno != ENOENT) ||
	    tree_remove(store->tmp, aside) < 0)
		log_event(LOG_WARN, "a layer that nothing needs cannot be removed",
			  log_s("layer", layer), log_s("why", strerror(errno)), LOG_END);
}

static void
sweep_layers(struct image_store *store)
{
	int copy = openat(store->layers, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!dir) {
		fd_close(&copy);
		return;
	}
	while ((e = readdir(dir))) {
		if (is_hex(e->d_name) && !lists_layer(store, e->d_name))
			remove_layer(store, e->d_name);
	}
	closedir(dir);
}

/* The record first: layers without a record are swept at the next opening. */
static void
collect(struct image_store *store, struct image *image)
{
	if (image->names || image->holds || is_pinned(store, image->digest))
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
	image_drop(image);
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
		sweep_layers(store);
}

/* ---- opening ---- */

static int
open_folder(int dir, const char *name, mode_t mode)
{
	if (mkdirat(dir, name, mode) < 0 && errno != EEXIST)
		return -1;
	return fd_open_beneath(dir, name, O_RDONLY | O_DIRECTORY, 0);
}

static int
load_all(struct image_store *store, int dirfd, struct err *err)
{
	store->dir = fd_open_beneath(dirfd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (store->dir >= 0) {
		store->records = open_folder(store->dir, "records", 0700);
		store->layers = open_folder(store->dir, "layers", 0755);
		store->tmp = open_folder(store->dir, "tmp", 0700);
	}
	if (store->dir < 0 || store->records < 0 || store->layers < 0 || store->tmp < 0)
		return err_sys(err, errno, "cannot open the folders of the image store");
	if (load_records(store, err) < 0 || load_names(store, err) < 0)
		return -1;
	if (store->whole)
		sweep_layers(store);
	return 0;
}

int
image_store_open(int dirfd, struct image_store **out, struct err *err)
{
	struct image_store *store = mem_zalloc(MEM_RUNTIME, sizeof(*store));

	if (!store)
		return no_memory(err);
	store->dir = store->records = store->layers = store->tmp = -1;
	map_init(&store->images, MEM_RUNTIME);
	list_init(&store->names);
	if (load_all(store, dirfd, err) < 0) {
		image_store_close(store);
		return -1;
	}
	*out = store;
	return 0;
}

void
image_store_close(struct image_store *store)
{
	struct list *it, *next;
	struct map_iter at = {0};

	if (!store)
		return;
	list_each (it, next, &store->names)
		mem_free(container_of(it, struct name, link));
	while (map_next(&store->images, &at))
		image_drop(at.value);
	map_fini(&store->images);
	fd_close(&store->dir);
	fd_close(&store->records);
	fd_close(&store->layers);
	fd_close(&store->tmp);
	mem_free(store);
}

/* ---- finding ---- */

static int
not_found(const struct image_store *store, const char *reference, struct err *err)
{
	const char *words[257];
	size_t count = 0;
	struct list *it, *next;

	list_each (it, next, &store->names) {
		if (count < 256)
			words[count++] = container_of(it, struct name, link)->text;
	}
	words[count] = NULL;
	const char *near = text_nearest(reference, words);

	err_set(err, ERR_NOT_FOUND, "the image %s is not on this node", reference);
	if (near)
		err_why(err, "there is an image of a similar name: %s", near);
	else if (count)
		err_why(err, "the node has %zu other images, the last is %s", store->names_count,
			words[count - 1]);
	else
		err_why(err, "the node has no images");
	return err_fix(err, "see what there is: zlayer image ls; fetch it: zlayer image pull %s",
		       reference);
}

static const struct image *
look_up(const struct image_store *store, const char *reference)
{
	const char *digest = strstr(reference, "sha256:");

	if (digest && (digest == reference || digest[-1] == '@'))
		return image_of(store, digest);
	struct name *n = name_of(store, reference);
	return n ? n->image : NULL;
}

const char *
image_store_digest(const struct image_store *store, const char *reference)
{
	const struct image *image = look_up(store, reference);

	return image ? image->digest : "";
}

static int
copy_record(const struct image_record *record, struct arena *arena, struct image_record **out,
	    struct err *err)
{
	struct buf data;
	int rc;

	buf_init(&data, MEM_RUNTIME, IMAGE_RECORD_BYTES_MAX);
	image_record_encode(record, &data);
	rc = buf_ok(&data) ? image_record_decode(data.data, data.length, arena, out, err)
			   : no_memory(err);
	buf_fini(&data);
	return rc;
}

int
image_store_find(struct image_store *store, const char *reference, struct arena *arena,
		 struct image_record **out, struct err *err)
{
	const struct image *image = look_up(store, reference);

	if (!image)
		return not_found(store, reference, err);
	const struct image_record *r = image->record;
	if (strcmp(r->os, "linux") != 0 || strcmp(r->architecture, layout_machine()) != 0) {
		err_set(err, ERR_UNSUPPORTED, "the image %s is for another machine", reference);
		err_why(err, "it is for %s/%s, this node is linux/%s", r->os, r->architecture,
			layout_machine());
		return err_fix(err, "build it for linux/%s and import it again", layout_machine());
	}
	return copy_record(r, arena, out, err);
}

int
image_store_open_layer(struct image_store *store, const char *layer, struct err *err)
{
	char path[HEX_DIGITS + 8];
	int fd;

	if (!is_hex(layer))
		return err_set(err, ERR_CORRUPT, "a layer's name is not one");
	text_format(path, sizeof(path), "%s/fs", layer);
	fd = fd_open_beneath(store->layers, path, O_PATH | O_DIRECTORY, 0);
	if (fd < 0 && errno == ENOENT) {
		err_set(err, ERR_CORRUPT, "a layer of the image is missing from the node");
		err_where(err, "images/layers/%s", layer);
		return err_fix(err, "import the image again");
	}
	if (fd < 0)
		return err_sys(err, errno, "cannot open a layer of the image");
	return fd;
}

/* ---- changing ---- */

void
image_store_hold(struct image_store *store, const char *digest)
{
	struct image *image = image_of(store, digest);

	if (image)
		image->holds++;
}

void
image_store_release(struct image_store *store, const char *digest)
{
	struct image *image = image_of(store, digest);

	if (!image || !image->holds)
		return;
	image->holds--;
	collect(store, image);
}

static int
add_record(struct image_store *store, const struct image_record *record, struct image **out,
	   struct err *err)
{
	struct buf data;
	struct image *image = NULL;
	int rc;

	buf_init(&data, MEM_RUNTIME, IMAGE_RECORD_BYTES_MAX);
	image_record_encode(record, &data);
	rc = buf_ok(&data) ? image_new(data.data, data.length, &image, err) : no_memory(err);
	if (rc == 0)
		rc = fd_replace(store->records, image->digest + 7, data.data, data.length, 0600,
				err);
	buf_fini(&data);
	if (rc == 0 && map_put_str(&store->images, image->digest, image) < 0) {
		unlinkat(store->records, image->digest + 7, 0);
		rc = no_memory(err);
	}
	if (rc < 0) {
		image_drop(image);
		return -1;
	}
	*out = image;
	return 0;
}

/* The name's new place is written; when that fails all is as it was. */
static int
move_name(struct image_store *store, const char *text, struct image *image, struct err *err)
{
	struct name *old = name_of(store, text);
	struct name *n = name_new(text, image, world_wall_ns());

	if (!n)
		return no_memory(err);
	if (old)
		name_unlink(store, old);
	name_link(store, n);
	if (write_names(store, err) < 0) {
		name_unlink(store, n);
		mem_free(n);
		if (old)
			name_link(store, old);
		return -1;
	}
	if (old)
		collect(store, old->image);
	mem_free(old);
	return 0;
}

int
image_store_add(struct image_store *store, const char *name, const struct image_record *record,
		struct err *err)
{
	struct image *image = image_of(store, record->digest);

	if (!is_name(name)) {
		err_set(err, ERR_INVALID, "the image's name is empty or not a reference");
		return err_fix(err, "give it a name, such as registry.example.com/team/web:1");
	}
	if (store->names_count >= NAMES_MAX && !name_of(store, name))
		return err_set(err, ERR_LIMIT, "the node has %d image names, no more are kept",
			       NAMES_MAX);
	if (!image && add_record(store, record, &image, err) < 0)
		return -1;
	if (move_name(store, name, image, err) < 0) {
		collect(store, image);
		return -1;
	}
	return 0;
}

/* Its last name goes only with the image. */
static int
check_unused(const struct image_store *store, const struct name *n, struct err *err)
{
	const struct image *image = n->image;

	if (image->names > 1 || (!image->holds && !is_pinned(store, image->digest)))
		return 0;
	err_set(err, ERR_CONFLICT, "the image %s is in use", n->text);
	if (image->holds)
		err_why(err, "%u container%s of this node run%s it", image->holds,
			image->holds == 1 ? "" : "s", image->holds == 1 ? "s" : "");
	if (!store->pinned || !store->pinned(store->pinned_arg, image->digest, err))
		err_fix(err, "remove or update the deployments that use it first");
	return -1;
}

int
image_store_remove(struct image_store *store, const char *name, struct err *err)
{
	struct name *n = name_of(store, name);

	if (!n)
		return not_found(store, name, err);
	if (check_unused(store, n, err) < 0)
		return -1;
	struct image *image = n->image;
	name_unlink(store, n);
	if (write_names(store, err) < 0) {
		name_link(store, n);
		return -1;
	}
	mem_free(n);
	collect(store, image);
	return 0;
}

int
image_store_name(struct image_store *store, const char *name, const char *digest, struct err *err)
{
	const struct image *image = image_of(store, digest);

	if (!image)
		return not_found(store, digest, err);
	const struct name *n = name_of(store, name);
	return n && n->image == image ? 0 : image_store_add(store, name, image->record, err);
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
		collect(store, it.value);
}

/* ---- pruning ---- */

/* A layer's own size is what its images say of all of theirs: unpack noted it beside the files. */
static uint64_t
layer_size(const struct image_store *store, const char *layer)
{
	char path[HEX_DIGITS + 8];
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
	return !image->holds && !is_pinned(store, image->digest);
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
				rc = no_memory(err);
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
		struct name *n = container_of(it, struct name, link);

		if (!is_unused(store, n->image))
			continue;
		name_unlink(store, n);
		list_push(&away, &n->link);
	}
	int rc = list_empty(&away) ? 0 : write_names(store, err);
	list_each (it, next, &away) {
		struct name *n = container_of(it, struct name, link);

		list_remove(&n->link);
		if (rc < 0)
			name_link(store, n);
		else
			mem_free(n);
	}
	while (rc == 0 && map_next(&store->images, &at))
		collect(store, at.value);
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
		sweep_layers(store);
	return 0;
}

static void
visit_nameless(struct image_store *store, void (*visit)(void *arg, const struct image_entry *entry),
	       void *arg)
{
	struct map_iter it = {0};

	while (map_next(&store->images, &it)) {
		const struct image *image = it.value;
		struct image_entry entry = {
			.name = "",
			.record = image->record,
			.in_use = image->holds,
			.pinned = is_pinned(store, image->digest),
		};

		if (!image->names)
			visit(arg, &entry);
	}
}

void
image_store_each(struct image_store *store,
		 void (*visit)(void *arg, const struct image_entry *entry), void *arg)
{
	struct list *it, *next;

	list_each (it, next, &store->names) {
		struct name *n = container_of(it, struct name, link);
		struct image_entry entry = {
			.name = n->text,
			.record = n->image->record,
			.in_use = n->image->holds,
			.pinned = is_pinned(store, n->image->digest),
			.imported_wall_ns = n->imported_wall_ns,
		};

		visit(arg, &entry);
	}
	visit_nameless(store, visit, arg);
}

uint64_t
image_store_bytes(const struct image_store *store)
{
	struct map_iter it = {0};
	uint64_t sum = 0;

	while (map_next(&store->images, &it))
		sum += ((const struct image *)it.value)->record->bytes;
	return sum;
}
