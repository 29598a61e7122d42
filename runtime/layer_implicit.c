/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits for the layers below is a list of lines: '+' and a path, made without an entry; '-'
 * and a path, whose entry came after all. The list lies beside the layer's files until it is moved
 * to its place (layer_folder.h), and is believed no more than an archive is: every folder is opened
 * beneath the root, through no link.
 */
#include "runtime/layer_implicit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/map.h"
#include "base/text.h"
#include "runtime/layer.h"
#include "runtime/tar.h"

enum { TIMES_BYTES_MAX = 64 << 20 };

void
layer_implicit_init(struct layer_implicit *t, int root, const int *lower, size_t lower_count)
{
	*t = (struct layer_implicit){.root = root, .lower = lower, .lower_count = lower_count};
	buf_init(&t->times, MEM_RUNTIME, TIMES_BYTES_MAX);
}

void
layer_implicit_fini(struct layer_implicit *t)
{
	buf_fini(&t->times);
}

/* ---- errors ---- */

static int
too_many(struct err *err)
{
	err_set(err, ERR_LIMIT, "the image's layer is refused");
	return err_why(err, "the layer has too many folders");
}

int
layer_implicit_failed(const char *what, struct err *err)
{
	err_sys(err, errno, "cannot %s while unpacking a layer", what);
	if (err->kind == ERR_NO_SPACE)
		err_fix(err, "make room on the disk of the data folder, then import again");
	return -1;
}

/* ---- times ---- */

int
layer_implicit_time(struct layer_implicit *t, const char *parent, const char *base, int64_t s,
		    uint32_t ns, struct err *err)
{
	char path[TAR_PATH_BYTES + 256];

	text_format(path, sizeof(path), "%s%s%s", parent, *parent ? "/" : "", base);
	buf_text(&t->times, path);
	buf_u64(&t->times, (uint64_t)s);
	buf_u32(&t->times, ns);
	if (!buf_ok(&t->times))
		return too_many(err);
	return 0;
}

/* Folders that were replaced later are passed over. */
int
layer_implicit_end(struct layer_implicit *t, struct err *err)
{
	struct cursor c;

	cursor_init(&c, t->times.data, t->times.length);
	while (cursor_left(&c) > 0) {
		char path[TAR_PATH_BYTES + 256];
		size_t length;
		const void *text = cursor_blob(&c, sizeof(path) - 1, &length);
		struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};

		times[1].tv_sec = (int64_t)cursor_u64(&c);
		times[1].tv_nsec = cursor_u32(&c);
		if (!cursor_ok(&c))
			return err_set(err, ERR_INTERNAL, "the times of folders were lost");
		memcpy(path, text, length);
		path[length] = '\0';
		if (length > 1 && path[length - 1] == '/')
			path[length - 1] = '\0';
		defer_close int fd = fd_open_beneath(t->root, path, O_RDONLY | O_DIRECTORY, 0);
		if (fd >= 0 && futimens(fd, times) < 0)
			return layer_implicit_failed("set the time", err);
	}
	return 0;
}

/* ---- adopting ---- */

/* What the layers below have at this place; the usual 0755 of root when none has it. */
static void
look_below(const struct layer_implicit *t, const char *path, struct stat *out)
{
	*out = (struct stat){.st_mode = 0755};
	for (size_t i = 0; i < t->lower_count; i++) {
		defer_close int fd =
			fd_open_beneath(t->lower[i], *path ? path : ".", O_PATH | O_DIRECTORY, 0);

		if (fd >= 0 && fstat(fd, out) == 0)
			return;
		if (fd < 0 && errno != ENOENT)
			return;
	}
}

/* '+': made without an entry of its own; '-': its entry came after all. */
static int
note(struct layer_implicit *t, char what, const char *path, struct err *err)
{
	char line[TAR_PATH_BYTES + 1];

	if (!t->orphans)
		return 0;
	text_format(line, sizeof(line), "%c%s", what, path);
	buf_text(t->orphans, line);
	if (!buf_ok(t->orphans))
		return too_many(err);
	return 0;
}

/* Beneath the root, through no link. */
static int
open_folder_at(const struct layer_implicit *t, int parent, const char *name)
{
	if (parent == t->root)
		return fd_open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0);
	return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int
layer_implicit_adopt(struct layer_implicit *t, int parent, const char *name, const char *path,
		     struct err *err)
{
	defer_close int fd = open_folder_at(t, parent, name);
	struct stat st;

	/* Something else may have taken its place meanwhile. */
	if (fd < 0 && t->adopting && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return 0;
	if (fd < 0)
		return layer_implicit_failed("make a folder", err);
	look_below(t, path, &st);
	if (fchown(fd, st.st_uid, st.st_gid) < 0 || fchmod(fd, st.st_mode & 07777) < 0)
		return layer_implicit_failed("make a folder", err);
	if (note(t, '+', path, err) < 0)
		return -1;
	return layer_implicit_time(t, path, "", st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec,
				   err);
}

int
layer_implicit_brought(struct layer_implicit *t, const char *path, struct err *err)
{
	return note(t, '-', path, err);
}

/* ---- later ---- */

/* The next line of the list, or NULL at its end. */
static const char *
next_orphan(struct cursor *c, char out[TAR_PATH_BYTES + 1])
{
	size_t length = 0;
	const void *text = cursor_left(c) ? cursor_blob(c, TAR_PATH_BYTES, &length) : NULL;

	if (!text || length < 2)
		return NULL;
	memcpy(out, text, length);
	out[length] = '\0';
	return out;
}

static int
note_brought(const void *orphans, size_t bytes, struct map *out)
{
	struct cursor c;
	char line[TAR_PATH_BYTES + 1];

	cursor_init(&c, orphans, bytes);
	while (next_orphan(&c, line)) {
		if (line[0] == '-' && map_put_str(out, line + 1, out) < 0)
			return -1;
	}
	return 0;
}

int
layer_adopt(int root, const int *lower, size_t lower_count, const void *orphans, size_t bytes,
	    struct err *err)
{
	struct layer_implicit t;
	struct cursor c;
	struct map brought;
	char line[TAR_PATH_BYTES + 1];
	int rc = 0;

	layer_implicit_init(&t, root, lower, lower_count);
	t.adopting = true;
	map_init(&brought, MEM_RUNTIME);
	if (note_brought(orphans, bytes, &brought) < 0)
		rc = err_set(err, ERR_NO_MEMORY, "no memory to finish a layer");
	cursor_init(&c, orphans, bytes);
	while (rc == 0 && next_orphan(&c, line)) {
		if (line[0] == '+' && !map_get_str(&brought, line + 1))
			rc = layer_implicit_adopt(&t, root, line + 1, line + 1, err);
	}
	if (rc == 0 && !cursor_done(&c))
		rc = err_set(err, ERR_CORRUPT, "a layer's list of folders does not hold");
	if (rc == 0)
		rc = layer_implicit_end(&t, err);
	map_fini(&brought);
	layer_implicit_fini(&t);
	return rc;
}
