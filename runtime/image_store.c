/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, records and layers on the disk, and who uses them. All that is known is read once and kept
 * in memory; a change is written first (atomically), then taken over, so that memory never says
 * more than the disk.
 *
 * After a restart nobody holds anything until containers are adopted again, so opening removes no
 * image; it does remove layers that no record lists (an import whose end nobody took note of), but
 * only when every record could be read.
 */
#include "runtime/image_store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/layout.h"

int
image_store_no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for the image store");
}

struct image *
image_store_image(const struct image_store *store, const char *digest)
{
	return map_get_str(&store->images, digest);
}

struct image_name *
image_store_name_of(const struct image_store *store, const char *text)
{
	struct list *it, *next;

	list_each (it, next, &store->names) {
		struct image_name *n = container_of(it, struct image_name, link);

		if (!strcmp(n->text, text))
			return n;
	}
	return NULL;
}

struct image_name *
image_store_name_new(const char *text, struct image *image, int64_t imported_wall_ns)
{
	struct image_name *n = mem_zalloc(MEM_RUNTIME, sizeof(*n));

	if (!n)
		return NULL;
	text_copy(n->text, sizeof(n->text), text);
	n->image = image;
	n->imported_wall_ns = imported_wall_ns;
	list_init(&n->link);
	return n;
}

void
image_store_link(struct image_store *store, struct image_name *n)
{
	list_push(&store->names, &n->link);
	store->names_count++;
	n->image->names++;
}

void
image_store_unlink(struct image_store *store, struct image_name *n)
{
	list_remove(&n->link);
	store->names_count--;
	n->image->names--;
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
	if (image_store_load(store, err) < 0)
		return -1;
	if (store->whole)
		image_store_sweep(store);
	return 0;
}

int
image_store_open(int dirfd, struct image_store **out, struct err *err)
{
	struct image_store *store = mem_zalloc(MEM_RUNTIME, sizeof(*store));

	if (!store)
		return image_store_no_memory(err);
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
		mem_free(container_of(it, struct image_name, link));
	while (map_next(&store->images, &at))
		image_store_drop(at.value);
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
			words[count++] = container_of(it, struct image_name, link)->text;
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
		return image_store_image(store, digest);
	struct image_name *n = image_store_name_of(store, reference);
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
			   : image_store_no_memory(err);
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
	char path[IMAGE_STORE_HEX_DIGITS + 8];
	int fd;

	if (!image_store_is_hex(layer))
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
	struct image *image = image_store_image(store, digest);

	if (image)
		image->holds++;
}

void
image_store_release(struct image_store *store, const char *digest)
{
	struct image *image = image_store_image(store, digest);

	if (!image || !image->holds)
		return;
	image->holds--;
	image_store_collect(store, image);
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
	rc = buf_ok(&data) ? image_store_decode(data.data, data.length, &image, err)
			   : image_store_no_memory(err);
	if (rc == 0)
		rc = fd_replace(store->records, image->digest + 7, data.data, data.length, 0600,
				err);
	buf_fini(&data);
	if (rc == 0 && map_put_str(&store->images, image->digest, image) < 0) {
		unlinkat(store->records, image->digest + 7, 0);
		rc = image_store_no_memory(err);
	}
	if (rc < 0) {
		image_store_drop(image);
		return -1;
	}
	*out = image;
	return 0;
}

/* The name's new place is written; when that fails all is as it was. */
static int
move_name(struct image_store *store, const char *text, struct image *image, struct err *err)
{
	struct image_name *old = image_store_name_of(store, text);
	struct image_name *n = image_store_name_new(text, image, world_wall_ns());

	if (!n)
		return image_store_no_memory(err);
	if (old)
		image_store_unlink(store, old);
	image_store_link(store, n);
	if (image_store_write_names(store, err) < 0) {
		image_store_unlink(store, n);
		mem_free(n);
		if (old)
			image_store_link(store, old);
		return -1;
	}
	if (old)
		image_store_collect(store, old->image);
	mem_free(old);
	return 0;
}

int
image_store_add(struct image_store *store, const char *name, const struct image_record *record,
		struct err *err)
{
	struct image *image = image_store_image(store, record->digest);

	if (!image_store_is_name(name)) {
		err_set(err, ERR_INVALID, "the image's name is empty or not a reference");
		return err_fix(err, "give it a name, such as registry.example.com/team/web:1");
	}
	if (store->names_count >= IMAGE_STORE_NAMES_MAX && !image_store_name_of(store, name))
		return err_set(err, ERR_LIMIT, "the node has %d image names, no more are kept",
			       IMAGE_STORE_NAMES_MAX);
	if (!image && add_record(store, record, &image, err) < 0)
		return -1;
	if (move_name(store, name, image, err) < 0) {
		image_store_collect(store, image);
		return -1;
	}
	return 0;
}

/* Its last name goes only with the image. */
static int
check_unused(const struct image_store *store, const struct image_name *n, struct err *err)
{
	const struct image *image = n->image;

	if (image->names > 1 || (!image->holds && !image_store_is_pinned(store, image->digest)))
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
	struct image_name *n = image_store_name_of(store, name);

	if (!n)
		return not_found(store, name, err);
	if (check_unused(store, n, err) < 0)
		return -1;
	struct image *image = n->image;
	image_store_unlink(store, n);
	if (image_store_write_names(store, err) < 0) {
		image_store_link(store, n);
		return -1;
	}
	mem_free(n);
	image_store_collect(store, image);
	return 0;
}

int
image_store_name(struct image_store *store, const char *name, const char *digest, struct err *err)
{
	const struct image *image = image_store_image(store, digest);

	if (!image)
		return not_found(store, digest, err);
	const struct image_name *n = image_store_name_of(store, name);
	return n && n->image == image ? 0 : image_store_add(store, name, image->record, err);
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
			.pinned = image_store_is_pinned(store, image->digest),
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
		struct image_name *n = container_of(it, struct image_name, link);
		struct image_entry entry = {
			.name = n->text,
			.record = n->image->record,
			.in_use = n->image->holds,
			.pinned = image_store_is_pinned(store, n->image->digest),
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
