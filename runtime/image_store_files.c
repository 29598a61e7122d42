/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records are one file each, named by the digest of the manifest; names are one text file, a line
 * each: "REFERENCE DIGEST IMPORTED_NS". Both are replaced atomically. A record that does not hold
 * is renamed and said, never fatal; while there is such a one, nothing is known to be needed by
 * nobody.
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

enum {
	NAMES_BYTES_MAX = 4 << 20,
	ARENA_BYTES = 4 << 20, /* of one record */
};

/* ---- records ---- */

void
image_store_drop(struct image *image)
{
	if (!image)
		return;
	arena_fini(&image->arena);
	mem_free(image);
}

int
image_store_decode(const void *data, size_t bytes, struct image **out, struct err *err)
{
	struct image *image = mem_zalloc(MEM_RUNTIME, sizeof(*image));

	if (!image)
		return image_store_no_memory(err);
	arena_init(&image->arena, MEM_RUNTIME, ARENA_BYTES);
	if (image_record_decode(data, bytes, &image->arena, &image->record, err) < 0) {
		image_store_drop(image);
		return -1;
	}
	text_copy(image->digest, sizeof(image->digest), image->record->digest);
	*out = image;
	return 0;
}

bool
image_store_is_hex(const char *text)
{
	return strspn(text, "0123456789abcdef") == IMAGE_STORE_HEX_DIGITS &&
	       text[IMAGE_STORE_HEX_DIGITS] == '\0';
}

static int
load_record(struct image_store *store, const char *file, struct err *err)
{
	struct buf data;
	struct image *image = NULL;

	buf_init(&data, MEM_RUNTIME, IMAGE_RECORD_BYTES_MAX);
	int rc = fd_read_file(store->records, file, &data, err);
	if (rc == 0)
		rc = image_store_decode(data.data, data.length, &image, err);
	buf_fini(&data);
	if (rc < 0)
		return -1;
	assert(image);
	if (!text_starts(image->digest, "sha256:") ||
	    !text_equal(image->digest + strlen("sha256:"), file)) {
		image_store_drop(image);
		return err_set(err, ERR_CORRUPT, "an image's record is not of that image");
	}
	if (map_put_str(&store->images, image->digest, image) < 0) {
		image_store_drop(image);
		return image_store_no_memory(err);
	}
	return 0;
}

static void
set_aside(struct image_store *store, const char *file, struct err *err)
{
	char aside[IMAGE_STORE_HEX_DIGITS + 16];

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
		if (!image_store_is_hex(e->d_name))
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

/* ---- names ---- */

bool
image_store_is_name(const char *text)
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

int
image_store_write_names(struct image_store *store, struct err *err)
{
	struct buf out;
	struct list *it, *next;

	buf_init(&out, MEM_RUNTIME, NAMES_BYTES_MAX);
	list_each (it, next, &store->names) {
		struct image_name *n = container_of(it, struct image_name, link);

		buf_printf(&out, "%s %s %lld\n", n->text, n->image->digest,
			   (long long)n->imported_wall_ns);
	}
	int rc = buf_ok(&out) ? fd_replace(store->dir, "names", out.data, out.length, 0600, err)
			      : image_store_no_memory(err);
	buf_fini(&out);
	return rc < 0 ? err_where(err, "the image store's names") : 0;
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
	struct image *image = image_store_image(store, digest);
	if (!image || !image_store_is_name(line) || image_store_name_of(store, line) ||
	    !text_u64(time, INT64_MAX, &at) || store->names_count >= IMAGE_STORE_NAMES_MAX) {
		log_event(LOG_WARN, "an image's name has lost its image: import it again",
			  log_s("image", line), LOG_END);
		return 0;
	}
	struct image_name *n = image_store_name_new(line, image, (int64_t)at);
	if (!n)
		return image_store_no_memory(err);
	image_store_link(store, n);
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
			rc = image_store_no_memory(err);
	}
	for (char *line = rc == 0 ? strtok_r((char *)data.data, "\n", &save) : NULL; line && !rc;
	     line = strtok_r(NULL, "\n", &save))
		rc = load_name(store, line, err);
	buf_fini(&data);
	return rc;
}

int
image_store_load(struct image_store *store, struct err *err)
{
	return load_records(store, err) < 0 ? -1 : load_names(store, err);
}
