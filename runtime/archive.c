/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outer archive of an image. Only regular files are indexed; links in it (some tools write
 * them for layers that occur twice) are not followed. Of two entries with one name the last counts,
 * as it would on a disk. Nothing here is trusted: digests are checked by who reads.
 */
#include "runtime/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/mem.h"
#include "runtime/inflate.h"
#include "runtime/tar.h"

enum { CHUNK_BYTES = 256 << 10, HEAD_BYTES = 4096, ARENA_BYTES = 16 << 20 };

struct archive {
	int fd;
	int spool; /* own file, or -1 */
	uint64_t bytes;
	struct map files; /* name -> struct archive_file */
	struct arena arena;
};

static int
read_at(int fd, uint64_t at, void *out, size_t bytes, size_t *read_out)
{
	size_t have = 0;

	while (have < bytes) {
		ssize_t n = pread(fd, (char *)out + have, bytes - have, (off_t)(at + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	*read_out = have;
	return 0;
}

/* ---- one that is compressed as a whole ---- */

static int
write_out(void *arg, const void *data, size_t bytes, struct err *err)
{
	const int *fd = arg;

	if (fd_write_all(*fd, data, bytes, err) == 0)
		return 0;
	if (err->kind == ERR_NO_SPACE)
		err_fix(err, "make room on the disk of the data folder, then import again");
	return err_where(err, "decompressing the archive");
}

static int
spool_all(struct archive *a, struct inflate *z, uint8_t *chunk, struct err *err)
{
	uint64_t at = 0;
	size_t n;

	do {
		if (read_at(a->fd, at, chunk, CHUNK_BYTES, &n) < 0)
			return err_sys(err, errno, "cannot read the archive");
		if (inflate_feed(z, chunk, n, err) < 0)
			return -1;
		at += n;
	} while (n == CHUNK_BYTES);
	return inflate_end(z, err);
}

static int
spool(struct archive *a, enum inflate_kind kind, int tmp, uint64_t bytes_max, struct err *err)
{
	struct inflate *z;
	uint8_t *chunk = mem_alloc(MEM_RUNTIME, CHUNK_BYTES);
	int rc = -1;

	a->spool = openat(tmp, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (!chunk)
		err_set(err, ERR_NO_MEMORY, "no memory to read the archive");
	else if (a->spool < 0)
		err_sys(err, errno, "cannot make a temporary file for the archive");
	else if (inflate_new(kind, bytes_max, write_out, &a->spool, &z, err) == 0) {
		rc = spool_all(a, z, chunk, err);
		inflate_free(z);
	}
	mem_free(chunk);
	if (rc < 0)
		return err_where(err, "the archive");
	a->fd = a->spool;
	return 0;
}

/* ---- the index ---- */

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory to index the archive");
}

static int
add_file(struct archive *a, const struct tar_entry *e, uint64_t offset, struct err *err)
{
	const char *name = e->path;

	if (e->type != TAR_FILE)
		return 0;
	while (!strncmp(name, "./", 2))
		name += 2;
	if (map_count(&a->files) >= ARCHIVE_ENTRIES_MAX)
		return err_set(err, ERR_LIMIT, "the archive has more than %d files",
			       ARCHIVE_ENTRIES_MAX);
	if (offset > a->bytes || e->size > a->bytes - offset) {
		err_set(err, ERR_CORRUPT, "the archive ends too early");
		return err_where(err, "file %s", name);
	}
	struct archive_file *file = arena_new(&a->arena, struct archive_file);
	if (!file)
		return no_memory(err);
	file->offset = offset;
	file->bytes = e->size;
	return map_put_str(&a->files, name, file) < 0 ? no_memory(err) : 0;
}

/* Bodies are skipped, so the pass reads little more than the headers. */
static int
index_all(struct archive *a, struct tar *t, struct err *err)
{
	uint8_t head[HEAD_BYTES];
	uint64_t at = 0;
	size_t n;

	for (;;) {
		if (read_at(a->fd, at, head, sizeof(head), &n) < 0)
			return err_sys(err, errno, "cannot read the archive");
		if (n == 0) {
			err_set(err, ERR_CORRUPT, "the archive ends too early, or is no tar file");
			return err_fix(err, "give a tar archive of an OCI layout, or of docker "
					    "save");
		}
		at += n;
		tar_give(t, head, n);
		for (enum tar_event e; (e = tar_next(t)) != TAR_MORE;) {
			if (e == TAR_END)
				return 0;
			if (e == TAR_BAD) {
				err_set(err, ERR_CORRUPT, "the archive is no valid tar file");
				return err_why(err, "%s", t->why);
			}
			if (e != TAR_ENTRY)
				continue;
			if (add_file(a, &t->entry, at - t->in_bytes, err) < 0)
				return -1;
			at += tar_skip(t);
		}
	}
}

int
archive_open(int fd, int tmp, uint64_t spool_bytes_max, struct archive **out, struct err *err)
{
	struct archive *a = mem_zalloc(MEM_RUNTIME, sizeof(*a));
	struct tar *t = mem_alloc(MEM_RUNTIME, sizeof(*t));
	uint8_t magic[INFLATE_MAGIC_BYTES];
	struct stat st;
	size_t n = 0;
	int rc = -1;

	if (!a || !t) {
		mem_free(a);
		mem_free(t);
		return no_memory(err);
	}
	a->fd = fd;
	a->spool = -1;
	map_init(&a->files, MEM_RUNTIME);
	arena_init(&a->arena, MEM_RUNTIME, ARENA_BYTES);
	tar_init(t);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		err_set(err, ERR_INVALID, "the archive is not a regular file");
	else if (read_at(fd, 0, magic, sizeof(magic), &n) < 0)
		err_sys(err, errno, "cannot read the archive");
	else
		rc = 0;
	enum inflate_kind kind = inflate_detect(magic, n);
	if (rc == 0 && kind != INFLATE_NONE)
		rc = spool(a, kind, tmp, spool_bytes_max, err);
	if (rc == 0 && (rc = fstat(a->fd, &st)) < 0)
		err_sys(err, errno, "cannot look at the archive");
	a->bytes = rc == 0 ? (uint64_t)st.st_size : 0;
	if (rc == 0)
		rc = index_all(a, t, err);
	tar_fini(t);
	mem_free(t);
	if (rc < 0)
		archive_close(a);
	else
		*out = a;
	return rc;
}

void
archive_close(struct archive *a)
{
	if (!a)
		return;
	map_fini(&a->files);
	arena_fini(&a->arena);
	fd_close(&a->spool);
	mem_free(a);
}

const struct archive_file *
archive_find(const struct archive *a, const char *name)
{
	return map_get_str(&a->files, name);
}

int
archive_read(const struct archive *a, const struct archive_file *file, uint64_t at, void *out,
	     size_t bytes, struct err *err)
{
	size_t n;

	if (read_at(a->fd, file->offset + at, out, bytes, &n) < 0)
		return err_sys(err, errno, "cannot read the archive");
	if (n != bytes)
		return err_set(err, ERR_CORRUPT, "the archive became shorter while it was read");
	return 0;
}

int
archive_load(const struct archive *a, const char *name, struct buf *out, struct err *err)
{
	const struct archive_file *file = archive_find(a, name);

	if (!file)
		return err_set(err, ERR_NOT_FOUND, "the archive has no file %s", name);
	if (file->bytes > out->cap_bytes) {
		err_set(err, ERR_LIMIT, "a file of the archive is too large");
		return err_where(err, "file %s", name);
	}
	buf_reset(out);
	uint8_t *to = buf_reserve(out, (size_t)file->bytes);
	if (!to)
		return no_memory(err);
	if (archive_read(a, file, 0, to, (size_t)file->bytes, err) < 0)
		return -1;
	buf_commit(out, (size_t)file->bytes);
	return 0;
}
