/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding: u32 magic, u32 count, then each document with a u32 length. Reading follows the chain
 * of digests from the one that was asked for: the index names the manifest, the manifest the
 * configuration, the configuration the layers' contents. A document that is not the one which its
 * predecessor names is an error, whoever put it there.
 */
#include "runtime/documents.h"

#include <openssl/evp.h>
#include <string.h>
#include "base/text.h"
#include "wire/json_read.h"

void
documents_digest(const void *data, size_t bytes, char out[MSG_DIGEST])
{
	uint8_t digest[32] = {0};

	EVP_Digest(data, bytes, digest, NULL, EVP_sha256(), NULL);
	memcpy(out, "sha256:", 7);
	text_hex(digest, sizeof(digest), out + 7, MSG_DIGEST - 7);
}

/* ---- types ---- */

static bool
is_one_of(const char *type, const char *const *list)
{
	for (; *list; list++) {
		if (!strcmp(type, *list))
			return true;
	}
	return false;
}

static const char *const indexes[] = {"application/vnd.oci.image.index.v1+json",
				      "application/vnd.docker.distribution.manifest.list.v2+json",
				      NULL};
static const char *const manifests[] = {"application/vnd.oci.image.manifest.v1+json",
					"application/vnd.docker.distribution.manifest.v2+json",
					NULL};
static const char *const configs[] = {"application/vnd.oci.image.config.v1+json",
				      "application/vnd.docker.container.image.v1+json", NULL};
static const char *const layers[] = {"application/vnd.oci.image.layer.v1.tar",
				     "application/vnd.oci.image.layer.v1.tar+gzip",
				     "application/vnd.oci.image.layer.v1.tar+zstd",
				     "application/vnd.docker.image.rootfs.diff.tar",
				     "application/vnd.docker.image.rootfs.diff.tar.gzip",
				     "application/vnd.docker.image.rootfs.diff.tar.zstd",
				     NULL};
/* What servers say when they do not know. */
static const char *const anything[] = {"", "application/json", "text/plain",
				       "application/octet-stream", NULL};

static enum documents_kind
kind_of_type(const char *type)
{
	if (is_one_of(type, indexes))
		return DOCUMENTS_INDEX;
	return is_one_of(type, manifests) ? DOCUMENTS_MANIFEST : DOCUMENTS_OTHER;
}

enum documents_kind
documents_kind(const void *data, size_t bytes, const char *header, struct arena *arena,
	       const char **name_out)
{
	struct err ignored = {0};
	enum documents_kind kind;
	json_t *j = json_read_parse(data, bytes, &ignored);
	const char *own = json_read_text(j, "mediaType");

	if (own[0]) {
		kind = kind_of_type(own);
		*name_out = arena_strndup(arena, own, strnlen(own, 128));
	} else {
		kind = kind_of_type(header);
		*name_out = header;
		if (kind == DOCUMENTS_OTHER && is_one_of(header, anything) &&
		    json_read_int(j, "schemaVersion") == 2)
			kind = json_read_array(j, "manifests") ? DOCUMENTS_INDEX
							       : DOCUMENTS_MANIFEST;
	}
	if (!*name_out)
		*name_out = "";
	json_read_free(j);
	return kind;
}

int
documents_refuse(const char *media_type, struct err *err)
{
	char safe[160];

	text_printable(media_type, strnlen(media_type, 120), safe, sizeof(safe));
	err_set(err, ERR_UNSUPPORTED, "what the registry has is no image that can be run");
	err_why(err, "its type is %s", safe[0] ? safe : "not told");
	if (text_starts(media_type, "application/vnd.docker.distribution.manifest.v1+"))
		return err_fix(err, "push it again with a tool of after 2017 (schema 2)");
	return err_fix(err, "name an image: OCI, or Docker's schema 2");
}

int
documents_check(const struct layout_manifest *m, struct err *err)
{
	if (!is_one_of(m->config.media_type, configs))
		return documents_refuse(m->config.media_type, err);
	for (size_t i = 0; i < m->layers.count; i++) {
		const char *type = m->layers.items[i].media_type;
		char safe[160];

		if (is_one_of(type, layers))
			continue;
		text_printable(type, strnlen(type, 120), safe, sizeof(safe));
		err_set(err, ERR_UNSUPPORTED, "the image has a layer of a type that is not known");
		err_why(err, "layer %zu of %zu is %s", i + 1, m->layers.count, safe);
		if (strstr(type, "foreign") || strstr(type, "nondistributable"))
			err_why(err, "such a layer is not in the registry but with its owner");
		return err_fix(err, "build the image with plain, gzip or zstd layers");
	}
	return 0;
}

int
documents_pick(const struct layout_list *list, const char *architecture,
	       const struct layout_descriptor **out, struct err *err)
{
	struct buf seen;

	for (size_t i = 0; i < list->count; i++) {
		const struct layout_descriptor *d = &list->items[i];

		if (!d->is_index && d->is_platform && layout_fits(d, architecture)) {
			*out = d;
			return 0;
		}
	}
	/* An index without platforms can only mean its one manifest. */
	if (list->count == 1 && !list->items[0].is_platform && !list->items[0].is_index) {
		*out = &list->items[0];
		return 0;
	}
	buf_init(&seen, MEM_RUNTIME, ERR_TEXT_BYTES / 2);
	for (size_t i = 0; i < list->count; i++) {
		const struct layout_descriptor *d = &list->items[i];

		if (d->is_platform && strcmp(d->os, "unknown") != 0)
			buf_printf(&seen, "%s%.16s/%.16s", seen.length ? ", " : "", d->os,
				   d->architecture);
	}
	err_set(err, ERR_UNSUPPORTED, "the image is for another CPU or operating system");
	err_why(err, "this machine is linux/%s, the registry has %s", architecture,
		seen.length ? buf_cstr(&seen) : "nothing that says what it is for");
	buf_fini(&seen);
	return err_fix(err, "build it for linux/%s", architecture);
}

/* ---- passing on ---- */

void
documents_begin(struct buf *out)
{
	buf_u32(out, DOCUMENTS_MAGIC);
}

void
documents_add(struct buf *out, const void *data, size_t bytes)
{
	buf_blob(out, data, bytes);
}

struct part {
	const void *data;
	size_t bytes;
};

static int
not_that(const char *what, const char *told, const struct part *p, struct err *err)
{
	char found[MSG_DIGEST];

	documents_digest(p->data, p->bytes, found);
	if (!strcmp(told, found))
		return 0;
	err_set(err, ERR_CORRUPT, "the image is damaged: the digest of its %s does not match",
		what);
	err_why(err, "it should be %s", told);
	return err_why(err, "it is %s", found);
}

static int
split(const void *data, size_t bytes, struct part parts[DOCUMENTS_MAX], size_t *count_out,
      struct err *err)
{
	struct cursor c;
	size_t count = 0;

	cursor_init(&c, data, bytes);
	if (cursor_u32(&c) != DOCUMENTS_MAGIC)
		c.failed = true;
	while (cursor_ok(&c) && cursor_left(&c) > 0 && count < DOCUMENTS_MAX) {
		parts[count].data = cursor_blob(&c, DOCUMENTS_EACH_MAX, &parts[count].bytes);
		count++;
	}
	if (!cursor_done(&c) || count < 2)
		return err_set(err, ERR_CORRUPT, "an image's documents do not hold");
	*count_out = count;
	return 0;
}

static int
check_index(const struct part *index, const struct part *manifest, const char *architecture,
	    struct arena *arena, struct err *err)
{
	struct layout_list list = {0};
	const struct layout_descriptor *d;

	if (layout_index(index->data, index->bytes, arena, &list, err) < 0 ||
	    documents_pick(&list, architecture, &d, err) < 0)
		return -1;
	return not_that("manifest", d->digest, manifest, err);
}

static int
check_platform(const struct image_record *r, const char *architecture, struct err *err)
{
	if (!strcmp(r->os, "linux") && !strcmp(r->architecture, architecture))
		return 0;
	err_set(err, ERR_UNSUPPORTED, "the image is for another CPU or operating system");
	err_why(err, "it is for %.32s/%.32s, this machine is linux/%s", r->os, r->architecture,
		architecture);
	return err_fix(err, "build it for linux/%s", architecture);
}

int
documents_read(const void *data, size_t bytes, const char *digest, const char *architecture,
	       struct arena *arena, struct documents *out, struct err *err)
{
	struct part parts[DOCUMENTS_MAX];
	size_t count;

	memset(out, 0, sizeof(*out));
	if (split(data, bytes, parts, &count, err) < 0)
		return -1;
	const struct part *manifest = &parts[count - 2], *config = &parts[count - 1];
	if (not_that(count == 3 ? "index" : "manifest", digest, &parts[0], err) < 0 ||
	    (count == 3 && check_index(&parts[0], manifest, architecture, arena, err) < 0) ||
	    layout_manifest(manifest->data, manifest->bytes, arena, &out->manifest, err) < 0 ||
	    documents_check(&out->manifest, err) < 0 ||
	    not_that("configuration", out->manifest.config.digest, config, err) < 0 ||
	    layout_config(config->data, config->bytes, arena, &out->record, err) < 0 ||
	    check_platform(&out->record, architecture, err) < 0)
		return -1;
	if (out->manifest.layers.count != out->record.layers.count) {
		err_set(err, ERR_CORRUPT, "the image's manifest and configuration disagree");
		return err_why(err, "%zu layers here, %zu there", out->manifest.layers.count,
			       out->record.layers.count);
	}
	out->record.config_digest = out->manifest.config.digest;
	return 0;
}
