/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From archive to layers. Two kinds of archives: an OCI layout (image-spec 1.1: index.json, blobs/)
 * and what `docker save` of old wrote (manifest.json, no digests of its own: only the diff ids of
 * the configuration are there to check).
 *
 * A layer's folder is named by its chain id (layer_chain.h): a layer that two images have on top of
 * the same layers is unpacked once. All layers are moved to their places at the end
 * (layer_folder.h).
 */
#include "runtime/import.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/archive.h"
#include "runtime/image_record.h"
#include "runtime/layer_folder.h"
#include "runtime/layer_stream.h"
#include "runtime/layout.h"
#include "runtime/tree.h"

enum {
	CHUNK_BYTES = 256 << 10,
	ARENA_BYTES = 64 << 20,
	DOCUMENTS_MAX = 512, /* read to find the image */
	INDEX_DEPTH_MAX = 4,
	SHA256_BYTES = 32,
	HEX_BYTES = 2 * SHA256_BYTES + 1,
};

struct source {
	const struct archive_file *file;
	const char *digest; /* of the compressed blob; "" when the archive has none */
	uint64_t number;    /* of its folder below tmp/, when it is unpacked now; else 0 */
	int fd;             /* its folder fs */
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
	struct buf document;
	unsigned documents;
	struct buf seen; /* platforms that do not fit */
	struct image_record record;
	struct source sources[IMAGE_LAYERS_MAX];
	size_t count;
	uint32_t layers_new;
	uint8_t *chunk;
};

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory to import an image");
}

/* The archive can be made again: what a registry has cannot. */
static int
check_digest(const char *what, const char *told, const char *found, struct err *err)
{
	if (layer_stream_compare(what, told, found, err) == 0)
		return 0;
	return err_fix(err, "make the archive again, and compare its checksum after copying it");
}

/* ---- documents ---- */

static const struct archive_file *
find_blob(const struct import *im, const char *digest, uint64_t bytes, struct err *err)
{
	char name[128];

	text_format(name, sizeof(name), "blobs/sha256/%s", digest + 7);
	const struct archive_file *file = archive_find(im->archive, name);
	if (!file) {
		err_set(err, ERR_CORRUPT, "the archive is not complete");
		err_why(err, "the image needs %s, which is not in the archive", digest);
	} else if (file->bytes != bytes) {
		err_set(err, ERR_CORRUPT, "the image is damaged: a part has another size");
		err_why(err, "%s has %llu bytes, the image says %llu", digest,
			(unsigned long long)file->bytes, (unsigned long long)bytes);
		file = NULL;
	}
	return file;
}

static void
hash_document(const struct import *im, char hex[HEX_BYTES])
{
	uint8_t digest[SHA256_BYTES] = {0};

	EVP_Digest(im->document.data, im->document.length, digest, NULL, EVP_sha256(), NULL);
	text_hex(digest, sizeof(digest), hex, HEX_BYTES);
}

static int
load_file(struct import *im, const char *name, struct err *err)
{
	if (++im->documents > DOCUMENTS_MAX)
		return err_set(err, ERR_LIMIT, "the archive names too many manifests");
	return archive_load(im->archive, name, &im->document, err);
}

static int
load_blob(struct import *im, const char *what, const char *digest, uint64_t bytes, struct err *err)
{
	char name[128];
	char hex[HEX_BYTES];

	if (!find_blob(im, digest, bytes, err))
		return -1;
	text_format(name, sizeof(name), "blobs/sha256/%s", digest + 7);
	if (load_file(im, name, err) < 0)
		return -1;
	hash_document(im, hex);
	return check_digest(what, digest + 7, hex, err);
}

/* ---- which image ---- */

static void
note_platform(struct import *im, const char *os, const char *architecture, const char *variant)
{
	if (!strcmp(os, "unknown"))
		return; /* attestations of builders */
	buf_printf(&im->seen, "%s%s/%s%s%s", im->seen.length ? ", " : "", *os ? os : "?",
		   *architecture ? architecture : "?", *variant ? "/" : "", variant);
}

static bool
is_for_us(const struct import *im, const struct image_record *record)
{
	return !strcmp(record->os, "linux") && !strcmp(record->architecture, im->architecture);
}

static int
read_config(struct import *im, const char *digest, struct err *err)
{
	memset(&im->record, 0, sizeof(im->record));
	im->record.config_digest = arena_strdup(&im->arena, digest);
	if (!im->record.config_digest)
		return no_memory(err);
	return layout_config(im->document.data, im->document.length, &im->arena, &im->record, err);
}

static int
take_layers(struct import *im, const struct layout_manifest *manifest, struct err *err)
{
	if (manifest->layers.count != im->record.layers.count) {
		err_set(err, ERR_CORRUPT, "the image's manifest and configuration disagree");
		return err_why(err, "%zu layers here, %zu there", manifest->layers.count,
			       im->record.layers.count);
	}
	im->count = manifest->layers.count;
	for (size_t i = 0; i < im->count; i++) {
		const struct layout_descriptor *d = &manifest->layers.items[i];

		im->sources[i].digest = d->digest;
		im->sources[i].file = find_blob(im, d->digest, d->bytes, err);
		if (!im->sources[i].file)
			return err_where(err, "layer %zu of %zu", i + 1, im->count);
	}
	return 0;
}

/* 1: it is for this machine and was taken; 0: it is not. */
static int
try_manifest(struct import *im, const struct layout_descriptor *d, struct err *err)
{
	struct layout_manifest manifest;

	if (load_blob(im, "manifest", d->digest, d->bytes, err) < 0 ||
	    layout_manifest(im->document.data, im->document.length, &im->arena, &manifest, err) < 0)
		return -1;
	const char *type = manifest.config.media_type;
	if (strcmp(type, "application/vnd.oci.image.config.v1+json") != 0 &&
	    strcmp(type, "application/vnd.docker.container.image.v1+json") != 0)
		return 0;
	if (load_blob(im, "configuration", manifest.config.digest, manifest.config.bytes, err) <
		    0 ||
	    read_config(im, manifest.config.digest, err) < 0)
		return -1;
	if (!is_for_us(im, &im->record)) {
		note_platform(im, im->record.os, im->record.architecture, im->record.variant);
		return 0;
	}
	im->record.digest = arena_strdup(&im->arena, d->digest);
	im->record.name = *d->full_name ? d->full_name : d->ref_name;
	if (!im->record.digest)
		return no_memory(err);
	return take_layers(im, &manifest, err) < 0 ? -1 : 1;
}

static int pick(struct import *im, const struct layout_list *list, unsigned depth, struct err *err);

static int
try_index(struct import *im, const struct layout_descriptor *d, unsigned depth, struct err *err)
{
	struct layout_list list = {0};

	if (depth >= INDEX_DEPTH_MAX)
		return err_set(err, ERR_LIMIT, "the image's indexes are nested too deeply");
	if (load_blob(im, "index", d->digest, d->bytes, err) < 0 ||
	    layout_index(im->document.data, im->document.length, &im->arena, &list, err) < 0)
		return -1;
	int rc = pick(im, &list, depth + 1, err);
	/* The name stands at the outermost descriptor. */
	if (rc > 0 && (*d->full_name || *d->ref_name))
		im->record.name = *d->full_name ? d->full_name : d->ref_name;
	return rc;
}

static int
pick(struct import *im, const struct layout_list *list, unsigned depth, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < list->count; i++) {
		const struct layout_descriptor *d = &list->items[i];

		if (!layout_fits(d, im->architecture))
			note_platform(im, d->os, d->architecture, d->variant);
		else
			rc = d->is_index ? try_index(im, d, depth, err) : try_manifest(im, d, err);
	}
	return rc;
}

/* Leaves those that have the name; all when none has it and they can be of one image. */
static int
pick_named(struct import *im, struct layout_list *list, struct err *err)
{
	const char *name = im->request->name;
	const char *first = NULL;
	bool several = false;
	size_t kept = 0;

	for (size_t i = 0; *name && i < list->count; i++) {
		if (layout_named(&list->items[i], name))
			list->items[kept++] = list->items[i];
	}
	if (kept) {
		list->count = kept;
		return 0;
	}
	for (size_t i = 0; i < list->count; i++) {
		const char *own = *list->items[i].full_name ? list->items[i].full_name
							    : list->items[i].ref_name;

		several = several || (first && strcmp(own, first) != 0);
		first = first ? first : own;
	}
	if (!several)
		return 0;
	err_set(err, ERR_INVALID, "the archive has several images");
	for (size_t i = 0; i < list->count && i < 3; i++)
		err_why(err, "one is \"%s\"",
			*list->items[i].full_name ? list->items[i].full_name
						  : list->items[i].ref_name);
	return err_fix(err, "import it under one of these names, or save the images one by one");
}

static int
refuse_platform(struct import *im, struct err *err)
{
	if (!im->seen.length) {
		err_set(err, ERR_INVALID, "the archive has no container image");
		return err_fix(err, "give a tar archive of an OCI layout with one image");
	}
	err_set(err, ERR_UNSUPPORTED, "the image is for another CPU or operating system");
	err_why(err, "this machine is linux/%s", im->architecture);
	err_why(err, "the archive has %s", buf_cstr(&im->seen));
	return err_fix(err, "build or copy the image for linux/%s (skopeo copy --override-arch %s)",
		       im->architecture, im->architecture);
}

static int
read_oci(struct import *im, struct err *err)
{
	struct layout_list list = {0};

	if (load_file(im, "index.json", err) < 0 ||
	    layout_index(im->document.data, im->document.length, &im->arena, &list, err) < 0 ||
	    pick_named(im, &list, err) < 0)
		return -1;
	int rc = pick(im, &list, 0, err);
	return rc < 0 ? -1 : rc > 0 ? 0 : refuse_platform(im, err);
}

static int
read_saved(struct import *im, struct err *err)
{
	struct layout_saved saved = {0};
	char digest[MSG_DIGEST];
	char hex[HEX_BYTES];

	if (load_file(im, "manifest.json", err) < 0 ||
	    layout_saved(im->document.data, im->document.length, im->request->name, &im->arena,
			 &saved, err) < 0 ||
	    load_file(im, saved.config, err) < 0)
		return -1;
	hash_document(im, hex);
	text_format(digest, sizeof(digest), "sha256:%s", hex);
	if (read_config(im, digest, err) < 0)
		return -1;
	if (!is_for_us(im, &im->record)) {
		note_platform(im, im->record.os, im->record.architecture, im->record.variant);
		return refuse_platform(im, err);
	}
	im->record.digest = im->record.config_digest;
	im->record.name = saved.name;
	if (saved.layers.count != im->record.layers.count)
		return err_set(err, ERR_CORRUPT,
			       "the image's manifest and configuration disagree on its layers");
	im->count = saved.layers.count;
	for (size_t i = 0; i < im->count; i++) {
		im->sources[i].digest = "";
		im->sources[i].file = archive_find(im->archive, saved.layers.items[i]);
		if (!im->sources[i].file) {
			err_set(err, ERR_CORRUPT, "the archive is not complete");
			return err_why(err, "the file %s is not in it (links are not followed)",
				       saved.layers.items[i]);
		}
	}
	return 0;
}

static int
find_image(struct import *im, struct err *err)
{
	if (archive_find(im->archive, "index.json"))
		return read_oci(im, err);
	if (archive_find(im->archive, "manifest.json"))
		return read_saved(im, err);
	err_set(err, ERR_INVALID, "the archive is no container image");
	err_why(err, "it has neither index.json (OCI layout) nor manifest.json (docker save)");
	return err_fix(err,
		       "make one: skopeo copy docker://IMAGE oci-archive:FILE, or docker save");
}

/* ---- one layer ---- */

static int
pump(struct import *im, const struct source *src, struct layer_stream *s, struct err *err)
{
	for (uint64_t at = 0; at < src->file->bytes;) {
		uint64_t left = src->file->bytes - at;
		size_t n = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;

		if (archive_read(im->archive, src->file, at, im->chunk, n, err) < 0 ||
		    layer_stream_feed(s, im->chunk, n, err) < 0)
			return -1;
		at += n;
	}
	return layer_stream_end(s, err);
}

static int
unpack_stream(struct import *im, const struct source *src, const char *diff_id, struct layer *layer,
	      struct err *err)
{
	struct layer_stream *s;

	/* The tar stream is larger than its files: headers of as many entries as are allowed. */
	uint64_t max = im->limits.bytes_max + im->limits.entries_max * 4096;

	if (layer_stream_new(layer, src->digest, diff_id, max, &s, err) < 0)
		return -1;
	int rc = pump(im, src, s, err);
	layer_stream_free(s);
	return rc;
}

/* Folders below, topmost first. */
static size_t
list_lower(const struct import *im, size_t upto, int *out)
{
	size_t count = 0;

	while (upto > 0) {
		if (im->sources[--upto].fd >= 0)
			out[count++] = im->sources[upto].fd;
	}
	return count;
}

static int
unpack_into(struct import *im, size_t i, struct err *err)
{
	struct source *src = &im->sources[i];
	int lower[IMAGE_LAYERS_MAX];
	size_t lower_count = list_lower(im, i, lower);
	struct layer *layer;

	if (layer_new(src->fd, lower, lower_count, &im->limits, &layer, err) < 0)
		return -1;
	int rc = unpack_stream(im, src, im->record.diff_ids.items[i], layer, err);
	im->limits.bytes_max -= layer_bytes(layer);
	im->limits.entries_max -= rc == 0 ? layer_entries(layer) : 0;
	im->record.bytes += layer_bytes(layer);
	layer_free(layer);
	return rc;
}

static int
make_layer(struct import *im, size_t i, struct err *err)
{
	struct source *src = &im->sources[i];
	struct layer_folder folder;
	uint64_t before = im->record.bytes;

	src->number = layer_folder_number();
	if (layer_folder_make(im->tmp, src->number, &folder, err) < 0)
		return -1;
	src->fd = fd_take(&folder.fs);
	int rc = unpack_into(im, i, err);
	if (rc == 0)
		rc = layer_folder_finish(&folder, im->record.bytes - before, NULL, err);
	layer_folder_close(&folder);
	im->layers_new += rc == 0;
	return rc;
}

static bool
open_layer(struct import *im, size_t i)
{
	uint64_t bytes;

	im->sources[i].fd = layer_folder_open(im->layers, im->record.layers.items[i], &bytes);
	im->record.bytes += bytes;
	return im->sources[i].fd >= 0;
}

/* ---- all layers ---- */

static int
unpack_all(struct import *im, struct err *err)
{
	for (size_t i = 0; i < im->count; i++) {
		if (open_layer(im, i))
			continue;
		if (make_layer(im, i, err) < 0)
			return err_where(err, "layer %zu of %zu, sha256:%.12s", i + 1, im->count,
					 im->record.diff_ids.items[i]);
	}
	return 0;
}

static int
commit(struct import *im, struct err *err)
{
	struct layer_folder_move moves[IMAGE_LAYERS_MAX];

	for (size_t i = 0; i < im->count; i++) {
		moves[i] = (struct layer_folder_move){
			.chain_id = im->record.layers.items[i],
			.number = im->sources[i].number,
			.fs = im->sources[i].fd,
		};
	}
	return layer_folder_commit(im->images, im->layers, im->tmp, moves, im->count, err);
}

static void
clean_up(struct import *im)
{
	for (size_t i = 0; i < im->count; i++) {
		if (im->sources[i].fd > 0)
			fd_close(&im->sources[i].fd);
		if (im->sources[i].number)
			layer_folder_remove(im->tmp, im->sources[i].number);
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
	const char *name = *im->request->name ? im->request->name : im->record.name;

	/* What many tools write when nobody gave a name. */
	if (!strcmp(name, "latest"))
		name = "";
	memset(out, 0, sizeof(*out));
	if (!text_copy(out->name, sizeof(out->name), name))
		return err_set(err, ERR_LIMIT, "the image's name is too long");
	text_copy(out->digest, sizeof(out->digest), im->record.digest);
	im->record.name = out->name;
	image_record_encode(&im->record, record_out);
	if (!buf_ok(record_out) || record_out->length > IMAGE_RECORD_BYTES_MAX)
		return err_set(err, ERR_LIMIT, "the image's configuration is too large");
	out->bytes = im->record.bytes;
	out->layers = (uint32_t)im->record.layers.count;
	out->layers_new = im->layers_new;
	return 0;
}

static int
run(struct import *im, struct buf *record_out, struct msg_imported *out, struct err *err)
{
	if (open_all(im, err) < 0 || find_image(im, err) < 0)
		return -1;
	for (size_t i = 0; i < im->count; i++)
		im->sources[i].fd = -1;
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
	buf_init(&im->document, MEM_RUNTIME, LAYOUT_JSON_BYTES_MAX);
	buf_init(&im->seen, MEM_RUNTIME, ERR_TEXT_BYTES);
	int rc = run(im, record_out, out, err);
	archive_close(im->archive);
	arena_fini(&im->arena);
	buf_fini(&im->document);
	buf_fini(&im->seen);
	mem_free(im->chunk);
	fd_close(&im->layers);
	fd_close(&im->tmp);
	mem_free(im);
	return rc;
}
