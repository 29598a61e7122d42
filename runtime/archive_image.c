/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents are followed by their digests from index.json on, and each is checked against the
 * digest and the size that name it. What is for another machine is passed over and remembered, so
 * that the error can say what there is.
 */
#include "runtime/archive_image.h"

#include <string.h>
#include "base/buf.h"
#include "base/text.h"
#include "ring/msg.h"
#include "runtime/documents.h"
#include "runtime/layer_stream.h"
#include "runtime/layout.h"

enum {
	READ_MAX = 512, /* read to find the image */
	INDEX_DEPTH_MAX = 4,
};

struct finder {
	struct archive *archive;
	const char *name;
	const char *architecture;
	struct arena *arena;
	struct buf document;
	unsigned documents;
	struct buf seen; /* platforms that do not fit */
	struct archive_image *found;
};

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
find_blob(const struct finder *f, const char *digest, uint64_t bytes, struct err *err)
{
	char name[128];

	text_format(name, sizeof(name), "blobs/sha256/%s", digest + 7);
	const struct archive_file *file = archive_find(f->archive, name);
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

static int
load_file(struct finder *f, const char *name, struct err *err)
{
	if (++f->documents > READ_MAX)
		return err_set(err, ERR_LIMIT, "the archive names too many manifests");
	return archive_load(f->archive, name, &f->document, err);
}

static int
load_blob(struct finder *f, const char *what, const char *digest, uint64_t bytes, struct err *err)
{
	char name[128];
	char found[MSG_DIGEST];

	if (!find_blob(f, digest, bytes, err))
		return -1;
	text_format(name, sizeof(name), "blobs/sha256/%s", digest + 7);
	if (load_file(f, name, err) < 0)
		return -1;
	documents_digest(f->document.data, f->document.length, found);
	return check_digest(what, digest + 7, found + 7, err);
}

/* ---- which image ---- */

static void
note_platform(struct finder *f, const char *os, const char *architecture, const char *variant)
{
	if (!strcmp(os, "unknown"))
		return; /* attestations of builders */
	buf_printf(&f->seen, "%s%s/%s%s%s", f->seen.length ? ", " : "", *os ? os : "?",
		   *architecture ? architecture : "?", *variant ? "/" : "", variant);
}

static bool
is_for_us(const struct finder *f, const struct image_record *record)
{
	return !strcmp(record->os, "linux") && !strcmp(record->architecture, f->architecture);
}

static int
read_config(struct finder *f, const char *digest, struct err *err)
{
	memset(&f->found->record, 0, sizeof(f->found->record));
	f->found->record.config_digest = arena_strdup(f->arena, digest);
	if (!f->found->record.config_digest)
		return err_set(err, ERR_NO_MEMORY, "no memory to import an image");
	return layout_config(f->document.data, f->document.length, f->arena, &f->found->record,
			     err);
}

static int
take_layers(struct finder *f, const struct layout_manifest *manifest, struct err *err)
{
	if (manifest->layers.count != f->found->record.layers.count) {
		err_set(err, ERR_CORRUPT, "the image's manifest and configuration disagree");
		return err_why(err, "%zu layers here, %zu there", manifest->layers.count,
			       f->found->record.layers.count);
	}
	f->found->count = manifest->layers.count;
	for (size_t i = 0; i < f->found->count; i++) {
		const struct layout_descriptor *d = &manifest->layers.items[i];

		f->found->layers[i].digest = d->digest;
		f->found->layers[i].file = find_blob(f, d->digest, d->bytes, err);
		if (!f->found->layers[i].file)
			return err_where(err, "layer %zu of %zu", i + 1, f->found->count);
	}
	return 0;
}

/* 1: it is for this machine and was taken; 0: it is not. */
static int
try_manifest(struct finder *f, const struct layout_descriptor *d, struct err *err)
{
	struct layout_manifest manifest;

	if (load_blob(f, "manifest", d->digest, d->bytes, err) < 0 ||
	    layout_manifest(f->document.data, f->document.length, f->arena, &manifest, err) < 0)
		return -1;
	const char *type = manifest.config.media_type;
	if (strcmp(type, "application/vnd.oci.image.config.v1+json") != 0 &&
	    strcmp(type, "application/vnd.docker.container.image.v1+json") != 0)
		return 0;
	if (load_blob(f, "configuration", manifest.config.digest, manifest.config.bytes, err) < 0 ||
	    read_config(f, manifest.config.digest, err) < 0)
		return -1;
	if (!is_for_us(f, &f->found->record)) {
		note_platform(f, f->found->record.os, f->found->record.architecture,
			      f->found->record.variant);
		return 0;
	}
	f->found->record.digest = arena_strdup(f->arena, d->digest);
	f->found->record.name = *d->full_name ? d->full_name : d->ref_name;
	if (!f->found->record.digest)
		return err_set(err, ERR_NO_MEMORY, "no memory to import an image");
	return take_layers(f, &manifest, err) < 0 ? -1 : 1;
}

static int pick(struct finder *f, const struct layout_list *list, unsigned depth, struct err *err);

static int
try_index(struct finder *f, const struct layout_descriptor *d, unsigned depth, struct err *err)
{
	struct layout_list list = {0};

	if (depth >= INDEX_DEPTH_MAX)
		return err_set(err, ERR_LIMIT, "the image's indexes are nested too deeply");
	if (load_blob(f, "index", d->digest, d->bytes, err) < 0 ||
	    layout_index(f->document.data, f->document.length, f->arena, &list, err) < 0)
		return -1;
	int rc = pick(f, &list, depth + 1, err);
	/* The name stands at the outermost descriptor. */
	if (rc > 0 && (*d->full_name || *d->ref_name))
		f->found->record.name = *d->full_name ? d->full_name : d->ref_name;
	return rc;
}

static int
pick(struct finder *f, const struct layout_list *list, unsigned depth, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < list->count; i++) {
		const struct layout_descriptor *d = &list->items[i];

		if (!layout_fits(d, f->architecture))
			note_platform(f, d->os, d->architecture, d->variant);
		else
			rc = d->is_index ? try_index(f, d, depth, err) : try_manifest(f, d, err);
	}
	return rc;
}

/* Leaves those that have the name; all when none has it and they can be of one image. */
static int
pick_named(struct finder *f, struct layout_list *list, struct err *err)
{
	const char *name = f->name;
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
refuse_platform(struct finder *f, struct err *err)
{
	if (!f->seen.length) {
		err_set(err, ERR_INVALID, "the archive has no container image");
		return err_fix(err, "give a tar archive of an OCI layout with one image");
	}
	err_set(err, ERR_UNSUPPORTED, "the image is for another CPU or operating system");
	err_why(err, "this machine is linux/%s", f->architecture);
	err_why(err, "the archive has %s", buf_cstr(&f->seen));
	return err_fix(err, "build or copy the image for linux/%s (skopeo copy --override-arch %s)",
		       f->architecture, f->architecture);
}

static int
read_oci(struct finder *f, struct err *err)
{
	struct layout_list list = {0};

	if (load_file(f, "index.json", err) < 0 ||
	    layout_index(f->document.data, f->document.length, f->arena, &list, err) < 0 ||
	    pick_named(f, &list, err) < 0)
		return -1;
	int rc = pick(f, &list, 0, err);
	return rc < 0 ? -1 : rc > 0 ? 0 : refuse_platform(f, err);
}

static int
read_saved(struct finder *f, struct err *err)
{
	struct layout_saved saved = {0};
	char digest[MSG_DIGEST];

	if (load_file(f, "manifest.json", err) < 0 ||
	    layout_saved(f->document.data, f->document.length, f->name, f->arena, &saved, err) <
		    0 ||
	    load_file(f, saved.config, err) < 0)
		return -1;
	documents_digest(f->document.data, f->document.length, digest);
	if (read_config(f, digest, err) < 0)
		return -1;
	if (!is_for_us(f, &f->found->record)) {
		note_platform(f, f->found->record.os, f->found->record.architecture,
			      f->found->record.variant);
		return refuse_platform(f, err);
	}
	f->found->record.digest = f->found->record.config_digest;
	f->found->record.name = saved.name;
	if (saved.layers.count != f->found->record.layers.count)
		return err_set(err, ERR_CORRUPT,
			       "the image's manifest and configuration disagree on its layers");
	f->found->count = saved.layers.count;
	for (size_t i = 0; i < f->found->count; i++) {
		f->found->layers[i].digest = "";
		f->found->layers[i].file = archive_find(f->archive, saved.layers.items[i]);
		if (!f->found->layers[i].file) {
			err_set(err, ERR_CORRUPT, "the archive is not complete");
			return err_why(err, "the file %s is not in it (links are not followed)",
				       saved.layers.items[i]);
		}
	}
	return 0;
}

static int
find(struct finder *f, struct err *err)
{
	if (archive_find(f->archive, "index.json"))
		return read_oci(f, err);
	if (archive_find(f->archive, "manifest.json"))
		return read_saved(f, err);
	err_set(err, ERR_INVALID, "the archive is no container image");
	err_why(err, "it has neither index.json (OCI layout) nor manifest.json (docker save)");
	return err_fix(err,
		       "make one: skopeo copy docker://IMAGE oci-archive:FILE, or docker save");
}

int
archive_image_find(struct archive *archive, const char *name, const char *architecture,
		   struct arena *arena, struct archive_image *out, struct err *err)
{
	struct finder f = {.archive = archive,
			   .name = name,
			   .architecture = architecture,
			   .arena = arena,
			   .found = out};

	memset(out, 0, sizeof(*out));
	buf_init(&f.document, MEM_RUNTIME, LAYOUT_JSON_BYTES_MAX);
	buf_init(&f.seen, MEM_RUNTIME, ERR_TEXT_BYTES);
	int rc = find(&f, err);
	buf_fini(&f.document);
	buf_fini(&f.seen);
	return rc;
}
