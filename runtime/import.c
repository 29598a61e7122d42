/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From archive to layers: which they are says archive_image.h.
 *
 * A layer's folder is named by its chain id (layer_chain.h): a layer that two images have on top of
 * the same layers is unpacked once. All layers are moved to their places at the end
 * (layer_folder.h).
 */
#include "runtime/import.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/archive.h"
#include "runtime/archive_image.h"
#include "runtime/image_record.h"
#include "runtime/layer_folder.h"
#include "runtime/layer_stream.h"
#include "runtime/layout.h"
#include "runtime/tree.h"

enum {
	CHUNK_BYTES = 256 << 10,
	ARENA_BYTES = 64 << 20,
};

struct folder {
	uint64_t number; /* of its folder below tmp/, when it is unpacked now; else 0 */
	int fd;          /* its folder fs */
};

struct import {
	int images;
	int layers;
	int tmp;
	const struct import_request *request;
	const char *architecture;
	struct layer_limits limits; /* what is left of them */
	struct archive *archive;
	struct arena arena;
	struct archive_image image;
	struct folder folders[IMAGE_LAYERS_MAX];
	uint32_t layers_new;
	uint8_t *chunk;
};

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory to import an image");
}

/* ---- one layer ---- */

static int
pump(struct import *im, const struct archive_file *file, struct layer_stream *s, struct err *err)
{
	for (uint64_t at = 0; at < file->bytes;) {
		uint64_t left = file->bytes - at;
		size_t n = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;

		if (archive_read(im->archive, file, at, im->chunk, n, err) < 0 ||
		    layer_stream_feed(s, im->chunk, n, err) < 0)
			return -1;
		at += n;
	}
	return layer_stream_end(s, err);
}

static int
unpack_stream(struct import *im, size_t i, struct layer *layer, struct err *err)
{
	const struct archive_image_layer *from = &im->image.layers[i];
	struct layer_stream *s;

	/* The tar stream is larger than its files: headers of as many entries as are allowed. */
	uint64_t max = im->limits.bytes_max + im->limits.entries_max * 4096;

	if (layer_stream_new(layer, from->digest, im->image.record.diff_ids.items[i], max, &s,
			     err) < 0)
		return -1;
	int rc = pump(im, from->file, s, err);
	layer_stream_free(s);
	return rc;
}

/* Folders below, topmost first. */
static size_t
list_lower(const struct import *im, size_t upto, int *out)
{
	size_t count = 0;

	while (upto > 0) {
		if (im->folders[--upto].fd >= 0)
			out[count++] = im->folders[upto].fd;
	}
	return count;
}

static int
unpack_into(struct import *im, size_t i, struct err *err)
{
	struct folder *f = &im->folders[i];
	int lower[IMAGE_LAYERS_MAX];
	size_t lower_count = list_lower(im, i, lower);
	struct layer *layer;

	if (layer_new(f->fd, lower, lower_count, &im->limits, &layer, err) < 0)
		return -1;
	int rc = unpack_stream(im, i, layer, err);
	im->limits.bytes_max -= layer_bytes(layer);
	im->limits.entries_max -= rc == 0 ? layer_entries(layer) : 0;
	im->image.record.bytes += layer_bytes(layer);
	layer_free(layer);
	return rc;
}

static int
make_layer(struct import *im, size_t i, struct err *err)
{
	struct folder *f = &im->folders[i];
	struct layer_folder folder;
	uint64_t before = im->image.record.bytes;

	f->number = layer_folder_number();
	if (layer_folder_make(im->tmp, f->number, &folder, err) < 0)
		return -1;
	f->fd = fd_take(&folder.fs);
	int rc = unpack_into(im, i, err);
	if (rc == 0)
		rc = layer_folder_finish(&folder, im->image.record.bytes - before, NULL, err);
	layer_folder_close(&folder);
	im->layers_new += rc == 0;
	return rc;
}

static bool
open_layer(struct import *im, size_t i)
{
	uint64_t bytes;

	im->folders[i].fd = layer_folder_open(im->layers, im->image.record.layers.items[i], &bytes);
	im->image.record.bytes += bytes;
	return im->folders[i].fd >= 0;
}

/* ---- all layers ---- */

static int
unpack_all(struct import *im, struct err *err)
{
	for (size_t i = 0; i < im->image.count; i++) {
		if (open_layer(im, i))
			continue;
		if (make_layer(im, i, err) < 0)
			return err_where(err, "layer %zu of %zu, sha256:%.12s", i + 1,
					 im->image.count, im->image.record.diff_ids.items[i]);
	}
	return 0;
}

static int
commit(struct import *im, struct err *err)
{
	struct layer_folder_move moves[IMAGE_LAYERS_MAX];

	for (size_t i = 0; i < im->image.count; i++) {
		moves[i] = (struct layer_folder_move){
			.chain_id = im->image.record.layers.items[i],
			.number = im->folders[i].number,
			.fs = im->folders[i].fd,
		};
	}
	return layer_folder_commit(im->images, im->layers, im->tmp, moves, im->image.count, err);
}

static void
clean_up(struct import *im)
{
	for (size_t i = 0; i < im->image.count; i++) {
		if (im->folders[i].fd > 0)
			fd_close(&im->folders[i].fd);
		if (im->folders[i].number)
			layer_folder_remove(im->tmp, im->folders[i].number);
	}
}

/* ---- the whole ---- */

int
import_prepare(int images, struct err *err)
{
	if ((mkdirat(images, "layers", 0755) < 0 && errno != EEXIST) ||
	    (mkdirat(images, "tmp", 0700) < 0 && errno != EEXIST))
		return err_sys(err, errno, "cannot make the folders of the image store");
	defer_close int tmp = fd_open_beneath(images, "tmp", O_RDONLY | O_DIRECTORY, 0);
	if (tmp < 0 || tree_empty(tmp) < 0)
		return err_sys(err, errno, "cannot empty the image store's tmp folder");
	return 0;
}

static int
open_all(struct import *im, struct err *err)
{
	im->layers = fd_open_beneath(im->images, "layers", O_RDONLY | O_DIRECTORY, 0);
	im->tmp = fd_open_beneath(im->images, "tmp", O_RDONLY | O_DIRECTORY, 0);
	im->chunk = mem_alloc(MEM_RUNTIME, CHUNK_BYTES);
	if (im->layers < 0 || im->tmp < 0)
		return err_sys(err, errno, "cannot open the folders of the image store");
	if (!im->chunk)
		return no_memory(err);
	return archive_open(im->request->archive, im->tmp, im->limits.bytes_max, &im->archive, err);
}

static int
give_record(struct import *im, struct buf *record_out, struct msg_imported *out, struct err *err)
{
	const char *name = *im->request->name ? im->request->name : im->image.record.name;

	/* What many tools write when nobody gave a name. */
	if (!strcmp(name, "latest"))
		name = "";
	memset(out, 0, sizeof(*out));
	if (!text_copy(out->name, sizeof(out->name), name))
		return err_set(err, ERR_LIMIT, "the image's name is too long");
	text_copy(out->digest, sizeof(out->digest), im->image.record.digest);
	im->image.record.name = out->name;
	image_record_encode(&im->image.record, record_out);
	if (!buf_ok(record_out) || record_out->length > IMAGE_RECORD_BYTES_MAX)
		return err_set(err, ERR_LIMIT, "the image's configuration is too large");
	out->bytes = im->image.record.bytes;
	out->layers = (uint32_t)im->image.record.layers.count;
	out->layers_new = im->layers_new;
	return 0;
}

static int
run(struct import *im, struct buf *record_out, struct msg_imported *out, struct err *err)
{
	if (open_all(im, err) < 0 ||
	    archive_image_find(im->archive, im->request->name, im->architecture, &im->arena,
			       &im->image, err) < 0)
		return -1;
	for (size_t i = 0; i < im->image.count; i++)
		im->folders[i].fd = -1;
	int rc = unpack_all(im, err);
	if (rc == 0)
		rc = commit(im, err);
	clean_up(im);
	return rc < 0 ? -1 : give_record(im, record_out, out, err);
}

int
import_run(int images, const struct import_request *request, struct buf *record_out,
	   struct msg_imported *out, struct err *err)
{
	struct import *im = mem_zalloc(MEM_RUNTIME, sizeof(*im));

	if (!im)
		return no_memory(err);
	im->images = images;
	im->layers = -1;
	im->tmp = -1;
	im->request = request;
	im->architecture = request->architecture ? request->architecture : layout_machine();
	im->limits.bytes_max =
		request->limits.bytes_max ? request->limits.bytes_max : LAYER_BYTES_MAX;
	im->limits.entries_max =
		request->limits.entries_max ? request->limits.entries_max : LAYER_ENTRIES_MAX;
	arena_init(&im->arena, MEM_RUNTIME, ARENA_BYTES);
	int rc = run(im, record_out, out, err);
	archive_close(im->archive);
	arena_fini(&im->arena);
	mem_free(im->chunk);
	fd_close(&im->layers);
	fd_close(&im->tmp);
	mem_free(im);
	return rc;
}
