/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packs a folder that is an OCI image layout into a tar stream (POSIX ustar: names up to 100 bytes,
 * which a layout's are) without a temporary file, or opens an archive. Links and special files of a
 * folder are refused: a layout has none. A file that changes its size while it is read is an error,
 * because the archive would be damaged.
 */
#include "cli/pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "base/dl.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"

#define INFLATER_CALLS(X) X(inflateInit2_) X(inflate) X(inflateEnd)

DL_DECLARE(inflater, INFLATER_CALLS);
DL_DEFINE(inflater, "libz.so.1", INFLATER_CALLS)

enum {
	BLOCK = 512,
	NAME_MAX_BYTES = 100,
	DEPTH_MAX = 4,
	ENTRIES_MAX = 65536,
	INPUT_BYTES = 64 << 10,
	GZIP_WINDOW = 15 + 16, /* zlib: expect a gzip head */
};

enum pack_kind { PACK_FOLDER, PACK_PLAIN, PACK_GZIP };

struct folder {
	DIR *dir;
	size_t name_length; /* of `name` up to here */
};

struct pack {
	enum pack_kind kind;
	int fd; /* archive, or the current file */
	/* folder */
	struct folder folders[DEPTH_MAX];
	size_t depth;
	char name[256];
	uint64_t left;  /* of the current file */
	size_t padding; /* zero bytes after it */
	size_t entries;
	bool ended;
	char block[BLOCK];
	size_t block_at, block_bytes; /* what of `block` is still to go out */
	/* gzip */
	z_stream stream;
	bool stream_open;
	bool stream_over; /* a member has ended; another may follow */
	uint8_t *input;
};

struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type;
	char link[100], magic[6], version[2], uname[32], gname[32], major[8], minor[8];
	char prefix[155], fill[12];
};

_Static_assert(sizeof(struct ustar) == BLOCK, "a header is a block");

static void
put_size(char out[12], uint64_t size)
{
	if (size < 1ull << 33) {
		snprintf(out, 12, "%011llo", (unsigned long long)size);
		return;
	}
	memset(out, 0, 12); /* base 256, as all tars of today read it */
	out[0] = (char)0x80;
	for (int i = 11; size; i--, size >>= 8)
		out[i] = (char)(size & 0xff);
}

static void
make_header(struct pack *p, uint64_t size, char type)
{
	struct ustar h;
	unsigned sum = 0;

	memset(&h, 0, sizeof(h));
	memcpy(h.name, p->name, strnlen(p->name, sizeof(h.name)));
	memcpy(h.mode, type == '5' ? "0000755" : "0000644", 8);
	memcpy(h.uid, "0000000", 8);
	memcpy(h.gid, "0000000", 8);
	put_size(h.size, size);
	memcpy(h.mtime, "00000000000", 12);
	memset(h.checksum, ' ', sizeof(h.checksum));
	h.type = type;
	memcpy(h.magic, "ustar", 6);
	memcpy(h.version, "00", 2);
	for (size_t i = 0; i < sizeof(h); i++)
		sum += ((const unsigned char *)&h)[i];
	snprintf(h.checksum, sizeof(h.checksum), "%06o", sum);
	memcpy(p->block, &h, sizeof(h));
	p->block_at = 0;
	p->block_bytes = BLOCK;
}

static int
enter(struct pack *p, int dirfd, const char *name, struct err *err)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, errno, "cannot read the folder %s", p->name);
	if (p->depth == DEPTH_MAX) {
		fd_close(&fd);
		return err_set(err, ERR_INVALID, "%s is nested too deep for an OCI layout",
			       p->name);
	}
	DIR *dir = fdopendir(fd);
	if (!dir) {
		err_sys(err, errno, "cannot read the folder %s", p->name);
		fd_close(&fd);
		return -1;
	}
	p->folders[p->depth++] = (struct folder){.dir = dir, .name_length = strlen(p->name)};
	return 0;
}

static int
begin_entry(struct pack *p, int dirfd, const char *name, struct err *err)
{
	struct stat sb;

	if (fstatat(dirfd, name, &sb, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, errno, "cannot look at %s", p->name);
	if (++p->entries > ENTRIES_MAX || strlen(p->name) >= NAME_MAX_BYTES)
		return err_set(err, ERR_LIMIT, "this folder is too large for an OCI layout");
	if (S_ISDIR(sb.st_mode)) {
		if (enter(p, dirfd, name, err) < 0)
			return -1;
		text_format(p->name + strlen(p->name), sizeof(p->name) - strlen(p->name), "/");
		p->folders[p->depth - 1].name_length = strlen(p->name);
		make_header(p, 0, '5');
		return 0;
	}
	if (!S_ISREG(sb.st_mode)) {
		err_set(err, ERR_INVALID, "%s is neither a file nor a folder", p->name);
		return err_fix(err, "an OCI layout has no links: copy it with skopeo");
	}
	p->fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (p->fd < 0)
		return err_sys(err, errno, "cannot read %s", p->name);
	p->left = (uint64_t)sb.st_size;
	p->padding = (BLOCK - p->left % BLOCK) % BLOCK;
	make_header(p, p->left, '0');
	return 0;
}

/* Puts the next header, or the end, into `block`. */
static int
next_entry(struct pack *p, struct err *err)
{
	fd_close(&p->fd);
	while (p->depth > 0) {
		struct folder *f = &p->folders[p->depth - 1];

		errno = 0;
		struct dirent *d = readdir(f->dir);
		if (!d && errno)
			return err_sys(err, errno, "cannot read a folder");
		if (!d) {
			closedir(f->dir);
			p->depth--;
			continue;
		}
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (!text_copy(p->name + f->name_length, sizeof(p->name) - f->name_length,
			       d->d_name))
			return err_set(err, ERR_LIMIT, "a name is too long for an OCI layout");
		return begin_entry(p, dirfd(f->dir), d->d_name, err);
	}
	if (p->ended)
		return 0;
	p->ended = true; /* two empty blocks */
	memset(p->block, 0, BLOCK);
	p->block_at = 0;
	p->block_bytes = BLOCK;
	p->padding = BLOCK;
	return 0;
}

static long
read_folder(struct pack *p, void *out, size_t cap, struct err *err)
{
	size_t n;

	for (;;) {
		if (p->block_bytes > p->block_at) {
			n = p->block_bytes - p->block_at < cap ? p->block_bytes - p->block_at : cap;
			memcpy(out, p->block + p->block_at, n);
			p->block_at += n;
			return (long)n;
		}
		if (p->left > 0) {
			n = p->left < cap ? (size_t)p->left : cap;
			ssize_t got = read(p->fd, out, n);
			if (got < 0)
				return err_sys(err, errno, "cannot read %s", p->name);
			if (got == 0)
				return err_set(err, ERR_CORRUPT, "%s became shorter", p->name);
			p->left -= (uint64_t)got;
			return got;
		}
		if (p->padding > 0) {
			n = p->padding < cap ? p->padding : cap;
			memset(out, 0, n);
			p->padding -= n;
			return (long)n;
		}
		if (next_entry(p, err) < 0)
			return -1;
		if (p->block_bytes <= p->block_at && p->padding == 0)
			return 0;
	}
}

static int
fill_input(struct pack *p, struct err *err)
{
	ssize_t n = read(p->fd, p->input, INPUT_BYTES);

	if (n < 0)
		return err_sys(err, errno, "cannot read the archive");
	p->stream.next_in = p->input;
	p->stream.avail_in = (unsigned)n;
	return n > 0;
}

static int
next_member(struct pack *p, struct err *err)
{
	z_stream kept = p->stream;

	inflater.inflateEnd(&p->stream);
	p->stream_open = false;
	memset(&p->stream, 0, sizeof(p->stream));
	p->stream.next_in = kept.next_in;
	p->stream.avail_in = kept.avail_in;
	if (inflater.inflateInit2_(&p->stream, GZIP_WINDOW, ZLIB_VERSION, (int)sizeof(p->stream)) !=
	    Z_OK)
		return err_set(err, ERR_NO_MEMORY, "out of memory");
	p->stream_open = true;
	p->stream_over = false;
	return 0;
}

static long
read_gzip(struct pack *p, void *out, size_t cap, struct err *err)
{
	p->stream.next_out = out;
	p->stream.avail_out = (unsigned)cap;
	while (p->stream.avail_out == cap) {
		if (p->stream.avail_in == 0) {
			int more = fill_input(p, err);

			if (more < 0)
				return -1;
			if (!more && p->stream_over)
				return 0;
			if (!more)
				return err_set(err, ERR_CORRUPT, "the archive was cut");
		}
		if (p->stream_over) {
			if (next_member(p, err) < 0)
				return -1;
			p->stream.next_out = out;
			p->stream.avail_out = (unsigned)cap;
		}
		int r = inflater.inflate(&p->stream, Z_NO_FLUSH);
		if (r == Z_STREAM_END)
			p->stream_over = true;
		else if (r != Z_OK && r != Z_BUF_ERROR)
			return err_set(err, ERR_CORRUPT, "the archive is damaged");
	}
	return (long)(cap - p->stream.avail_out);
}

long
pack_read(void *arg, void *out, size_t cap, struct err *err)
{
	struct pack *p = arg;

	if (p->kind == PACK_FOLDER)
		return read_folder(p, out, cap, err);
	if (p->kind == PACK_GZIP)
		return read_gzip(p, out, cap, err);
	ssize_t n = read(p->fd, out, cap);
	return n < 0 ? err_sys(err, errno, "cannot read the archive") : n;
}

static int
open_folder(struct pack *p, const char *path, struct err *err)
{
	int fd = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = -1;

	p->kind = PACK_FOLDER;
	if (fd < 0)
		return err_sys(err, errno, "cannot read %s", path);
	if (faccessat(fd, "oci-layout", R_OK, 0) < 0) {
		err_set(err, ERR_INVALID, "%s is not an OCI layout", path);
		err_why(err, "it has no file oci-layout");
		err_fix(err, "for example: skopeo copy docker://IMAGE oci:FOLDER:TAG");
	} else {
		rc = enter(p, fd, ".", err);
	}
	fd_close(&fd);
	return rc;
}

static int
open_archive(struct pack *p, const char *path, struct err *err)
{
	uint8_t magic[2] = {0};

	p->kind = PACK_PLAIN;
	p->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (p->fd < 0)
		return err_sys(err, errno, "cannot read %s", path);
	if (pread(p->fd, magic, 2, 0) != 2 || magic[0] != 0x1f || magic[1] != 0x8b)
		return 0;
	p->kind = PACK_GZIP;
	p->input = mem_alloc(MEM_CLI, INPUT_BYTES);
	if (!p->input)
		return err_set(err, ERR_NO_MEMORY, "out of memory");
	if (dl_load_inflater(err) < 0)
		return -1;
	if (inflater.inflateInit2_(&p->stream, GZIP_WINDOW, ZLIB_VERSION, (int)sizeof(p->stream)) !=
	    Z_OK)
		return err_set(err, ERR_NO_MEMORY, "out of memory");
	p->stream_open = true;
	return 0;
}

int
pack_open(const char *path, struct pack **out, struct err *err)
{
	struct pack *p = mem_zalloc(MEM_CLI, sizeof(*p));
	struct stat sb;
	int rc;

	*out = NULL;
	if (!p)
		return err_set(err, ERR_NO_MEMORY, "out of memory");
	p->fd = -1;
	if (stat(path, &sb) < 0)
		rc = err_sys(err, errno, "cannot read %s", path);
	else if (S_ISDIR(sb.st_mode))
		rc = open_folder(p, path, err);
	else
		rc = open_archive(p, path, err);
	if (rc < 0) {
		pack_close(p);
		return -1;
	}
	*out = p;
	return 0;
}

void
pack_close(struct pack *p)
{
	if (!p)
		return;
	while (p->depth > 0)
		closedir(p->folders[--p->depth].dir);
	if (p->stream_open)
		inflater.inflateEnd(&p->stream);
	fd_close(&p->fd);
	mem_free(p->input);
	mem_free(p);
}
