/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer into a folder. Every entry is made below a descriptor of its parent, which openat2(2)
 * resolved beneath the layer's root without following any symbolic link; an existing name is
 * removed, never opened for writing, so an entry cannot be led elsewhere by an earlier one.
 *
 * Order for a file: create with mode 0600, data, owner, mode (a change of owner clears set-uid
 * bits), extended attributes (security.capability too), times. Times of folders come last of all.
 *
 * What is kept: owner, mode with set-uid bits, mtime, user.* attributes and security.capability.
 * What is dropped: other attributes (trusted.*, system.*, SELinux labels). What is refused: device
 * nodes, attributes that overlayfs would obey (user.overlay.*, trusted.overlay.*), "..", paths
 * through links or files, and hard links to what is not in the same layer: a layer is kept once
 * for all images that have it, so it cannot depend on what lies below.
 *
 * A layer that deletes a folder and brings it again (whiteout and folder of one name, in any order)
 * gives an opaque folder.
 */
#include "runtime/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/layer_implicit.h"
#include "runtime/layer_path.h"
#include "runtime/tar.h"
#include "runtime/tree.h"

#define OPAQUE_XATTR "user.overlay.opaque"

struct layer {
	int root;
	struct layer_limits limits;
	struct tar tar;
	uint64_t bytes;
	uint64_t entries;
	bool root_seen;
	/* The entry under way. */
	enum layer_name kind;
	struct layer_path path;
	int file; /* being written; -1 */
	/* The parent that was opened last. */
	char parent[TAR_PATH_BYTES];
	int parent_fd;
	struct layer_implicit implicit;
};

int
layer_new(int root, const int *lower, size_t lower_count, const struct layer_limits *limits,
	  struct layer **out, struct err *err)
{
	struct layer *l = mem_zalloc(MEM_RUNTIME, sizeof(*l));

	if (!l)
		return err_set(err, ERR_NO_MEMORY, "no memory to unpack a layer");
	l->root = root;
	l->limits = *limits;
	l->file = -1;
	l->parent_fd = -1;
	tar_init(&l->tar);
	layer_implicit_init(&l->implicit, root, lower, lower_count);
	*out = l;
	return 0;
}

void
layer_free(struct layer *l)
{
	if (!l)
		return;
	tar_fini(&l->tar);
	layer_implicit_fini(&l->implicit);
	fd_close(&l->file);
	fd_close(&l->parent_fd);
	mem_free(l);
}

uint64_t
layer_bytes(const struct layer *l)
{
	return l->bytes;
}

uint64_t
layer_entries(const struct layer *l)
{
	return l->entries;
}

/* ---- errors: what, the entry, why ---- */

static int
name_entry(const struct layer *l, struct err *err)
{
	return err_where(err, "entry %s", l->tar.entry.path);
}

static int
refuse(const struct layer *l, enum err_kind kind, const char *why, struct err *err)
{
	err_set(err, kind, "the image's layer is refused");
	err_why(err, "%s", why);
	return name_entry(l, err);
}

static int
failed(const struct layer *l, const char *what, struct err *err)
{
	layer_implicit_failed(what, err);
	return name_entry(l, err);
}

/* ---- folders ---- */

static int
remember_time(struct layer *l, const char *parent, const char *base, int64_t s, uint32_t ns,
	      struct err *err)
{
	if (layer_implicit_time(&l->implicit, parent, base, s, ns, err) < 0)
		return name_entry(l, err);
	return 0;
}

static int
adopt_below(struct layer *l, int parent, const char *name, const char *path, struct err *err)
{
	if (layer_implicit_adopt(&l->implicit, parent, name, path, err) < 0)
		return name_entry(l, err);
	return 0;
}

static int
set_opaque(const struct layer *l, int parent, const char *name, struct err *err)
{
	defer_close int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fsetxattr(fd, OPAQUE_XATTR, "y", 1, 0) < 0)
		return failed(l, "mark a folder as opaque", err);
	return 0;
}

void
layer_defer(struct layer *l, struct buf *orphans)
{
	l->implicit.orphans = orphans;
}

static bool
is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

/* A folder that the archive did not bring (yet). */
static int
make_parent(struct layer *l, int parent, const char *name, const char *path, struct err *err)
{
	struct stat st;
	bool hidden = false;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		if (!is_whiteout(&st))
			return refuse(l, ERR_CORRUPT,
				      S_ISLNK(st.st_mode)
					      ? "its path goes through a symbolic link"
					      : "its path goes through something that is no folder",
				      err);
		hidden = true;
		if (unlinkat(parent, name, 0) < 0)
			return failed(l, "replace a whiteout", err);
	}
	if (mkdirat(parent, name, 0700) < 0)
		return failed(l, "make a folder", err);
	if (adopt_below(l, parent, name, path, err) < 0)
		return -1;
	return hidden ? set_opaque(l, parent, name, err) : 0;
}

/* Walks down, making what is missing. Gives a descriptor, or -1. */
static int
make_parents(struct layer *l, const char *path, struct err *err)
{
	char upto[TAR_PATH_BYTES];
	char name[LAYER_NAME_MAX + 1];
	defer_close int at = fd_open_beneath(l->root, ".", O_PATH | O_DIRECTORY, 0);

	for (const char *from = path; at >= 0 && *from;) {
		size_t length = strcspn(from, "/");

		memcpy(name, from, length);
		name[length] = '\0';
		from += length;
		memcpy(upto, path, (size_t)(from - path));
		upto[from - path] = '\0';
		from += strspn(from, "/");
		if (make_parent(l, at, name, upto, err) < 0)
			return -1;
		int below = fd_open_beneath(at, name, O_PATH | O_DIRECTORY, 0);

		fd_close(&at);
		at = below;
	}
	if (at < 0)
		return failed(l, "open a folder", err);
	return fd_take(&at);
}

/* Borrowed: valid until the next call. -1 with err. */
static int
open_parent(struct layer *l, const char *path, struct err *err)
{
	if (l->parent_fd >= 0 && !strcmp(l->parent, path))
		return l->parent_fd;
	fd_close(&l->parent_fd);
	l->parent_fd = fd_open_beneath(l->root, *path ? path : ".", O_PATH | O_DIRECTORY, 0);
	if (l->parent_fd < 0)
		l->parent_fd = make_parents(l, path, err);
	if (l->parent_fd >= 0)
		memcpy(l->parent, path, strlen(path) + 1);
	return l->parent_fd;
}

/* Makes room for an entry that is no folder. */
static int
clear_place(struct layer *l, int parent, struct err *err)
{
	if (unlinkat(parent, l->path.base, 0) == 0 || errno == ENOENT)
		return 0;
	if (tree_remove(parent, l->path.base) < 0)
		return failed(l, "replace an earlier entry", err);
	return 0;
}

/* ---- attributes ---- */

static bool
is_dangerous(const char *name)
{
	return text_starts(name, "user.overlay.") || text_starts(name, "trusted.overlay.");
}

static int
check_xattrs(const struct layer *l, struct err *err)
{
	for (size_t i = 0; i < l->tar.entry.xattrs_count; i++) {
		if (is_dangerous(l->tar.entry.xattrs[i].name))
			return refuse(l, ERR_CORRUPT,
				      "it has an attribute that would steer overlayfs", err);
	}
	return 0;
}

static int
set_xattrs(const struct layer *l, int fd, struct err *err)
{
	for (size_t i = 0; i < l->tar.entry.xattrs_count; i++) {
		const struct tar_xattr *x = &l->tar.entry.xattrs[i];

		if (!text_starts(x->name, "user.") && strcmp(x->name, "security.capability") != 0)
			continue;
		if (fsetxattr(fd, x->name, x->value, x->bytes, 0) < 0) {
			failed(l, "set an extended attribute", err);
			return err_why(err, "attribute %s", x->name);
		}
	}
	return 0;
}

static int
set_owner_and_mode(const struct layer *l, int fd, struct err *err)
{
	const struct tar_entry *e = &l->tar.entry;

	if (fchown(fd, e->uid, e->gid) < 0)
		return failed(l, "set the owner", err);
	if (fchmod(fd, e->mode & 07777) < 0)
		return failed(l, "set the mode", err);
	return set_xattrs(l, fd, err);
}

static void
entry_times(const struct tar_entry *e, struct timespec times[2])
{
	times[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
	times[1] = (struct timespec){.tv_sec = e->mtime_s, .tv_nsec = e->mtime_ns};
}

/* Of what has no descriptor to write through: links and pipes. */
static int
set_by_name(const struct layer *l, int parent, struct err *err)
{
	const struct tar_entry *e = &l->tar.entry;
	struct timespec times[2];

	entry_times(e, times);
	if (fchownat(parent, l->path.base, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(l, "set the owner", err);
	/* Just made by us, and no link: nothing is followed. */
	if (e->type == TAR_FIFO && fchmodat(parent, l->path.base, e->mode & 07777, 0) < 0)
		return failed(l, "set the mode", err);
	if (utimensat(parent, l->path.base, times, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(l, "set the time", err);
	return 0;
}

/* ---- the kinds of entries ---- */

static int
apply_root(struct layer *l, struct err *err)
{
	const struct tar_entry *e = &l->tar.entry;

	if (e->type != TAR_FOLDER)
		return refuse(l, ERR_CORRUPT, "it would replace the root folder", err);
	defer_close int fd = fd_open_beneath(l->root, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return failed(l, "open the root folder", err);
	if (set_owner_and_mode(l, fd, err) < 0)
		return -1;
	l->root_seen = true;
	return remember_time(l, "", ".", e->mtime_s, e->mtime_ns, err);
}

static int
note_brought_after(struct layer *l, struct err *err)
{
	char path[TAR_PATH_BYTES + 256];
	const struct layer_path *p = &l->path;

	text_format(path, sizeof(path), "%s%s%s", p->parent, *p->parent ? "/" : "", p->base);
	return layer_implicit_brought(&l->implicit, path, err) < 0 ? name_entry(l, err) : 0;
}

static int
apply_folder(struct layer *l, int parent, struct err *err)
{
	const struct tar_entry *e = &l->tar.entry;
	const char *name = l->path.base;
	struct stat st;
	bool there = fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	bool hidden = there && is_whiteout(&st);

	if (there && !S_ISDIR(st.st_mode)) {
		if (clear_place(l, parent, err) < 0)
			return -1;
		there = false;
	}
	if (!there && mkdirat(parent, name, 0700) < 0)
		return failed(l, "make a folder", err);
	defer_close int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return failed(l, "open a folder", err);
	if (set_owner_and_mode(l, fd, err) < 0)
		return -1;
	if (there && note_brought_after(l, err) < 0)
		return -1;
	if (hidden && fsetxattr(fd, OPAQUE_XATTR, "y", 1, 0) < 0)
		return failed(l, "mark a folder as opaque", err);
	return remember_time(l, l->path.parent, name, e->mtime_s, e->mtime_ns, err);
}

static int
apply_file(struct layer *l, int parent, struct err *err)
{
	const struct tar_entry *e = &l->tar.entry;

	if (e->size > l->limits.bytes_max - l->bytes)
		return refuse(l, ERR_LIMIT, "the image unpacks to more than is allowed", err);
	if (clear_place(l, parent, err) < 0)
		return -1;
	l->file = openat(parent, l->path.base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			 0600);
	if (l->file < 0)
		return failed(l, "make a file", err);
	l->bytes += e->size;
	return 0;
}

static int
apply_symlink(struct layer *l, int parent, struct err *err)
{
	if (!l->tar.entry.link[0])
		return refuse(l, ERR_CORRUPT, "it is a symbolic link to nothing", err);
	if (clear_place(l, parent, err) < 0)
		return -1;
	if (symlinkat(l->tar.entry.link, parent, l->path.base) < 0)
		return failed(l, "make a symbolic link", err);
	return set_by_name(l, parent, err);
}

static int
no_target(struct layer *l, struct err *err)
{
	refuse(l, ERR_UNSUPPORTED, "it is a hard link to a file that is not in the same layer",
	       err);
	err_why(err, "the link's target is %s", l->tar.entry.link);
	return err_fix(err, "build the image so that the file and its links are in one layer, or "
			    "squash it");
}

static int
apply_hardlink(struct layer *l, int parent, struct err *err)
{
	struct layer_path target;
	struct stat st;

	if (layer_path_parse_link(l->tar.entry.link, &target) == LAYER_BAD)
		return refuse(l, ERR_CORRUPT, target.why, err);
	if (!strcmp(target.parent, l->path.parent) && !strcmp(target.base, l->path.base))
		return fstatat(parent, target.base, &st, AT_SYMLINK_NOFOLLOW) == 0
			       ? 0
			       : no_target(l, err);
	defer_close int from = fd_open_beneath(l->root, *target.parent ? target.parent : ".",
					       O_PATH | O_DIRECTORY, 0);
	if (from < 0 && (errno == ELOOP || errno == ENOTDIR))
		return refuse(l, ERR_CORRUPT, "the hard link's target is beyond a symbolic link",
			      err);
	if (from < 0 || fstatat(from, target.base, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    is_whiteout(&st))
		return no_target(l, err);
	if (S_ISDIR(st.st_mode))
		return refuse(l, ERR_CORRUPT, "it is a hard link to a folder", err);
	if (clear_place(l, parent, err) < 0)
		return -1;
	if (linkat(from, target.base, parent, l->path.base, 0) < 0)
		return failed(l, "make a hard link", err);
	return 0;
}

static int
apply_fifo(struct layer *l, int parent, struct err *err)
{
	if (clear_place(l, parent, err) < 0)
		return -1;
	if (mknodat(parent, l->path.base, S_IFIFO | 0600, 0) < 0)
		return failed(l, "make a named pipe", err);
	return set_by_name(l, parent, err);
}

/* What the layer itself brought stays: a whiteout hides what is below only. */
static int
apply_whiteout(struct layer *l, int parent, struct err *err)
{
	struct stat st;

	if (fstatat(parent, l->path.base, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISDIR(st.st_mode) ? set_opaque(l, parent, l->path.base, err) : 0;
	if (mknodat(parent, l->path.base, S_IFCHR, makedev(0, 0)) < 0)
		return failed(l, "make a whiteout", err);
	return 0;
}

/* A folder that became a file or a link: builders list what was in it as hidden, too. There is
 * nothing to do: what replaced it hides all. */
static bool
is_hidden_already(const struct layer *l)
{
	const char *path = l->path.parent;
	defer_close int fd = fd_open_beneath(l->root, *path ? path : ".", O_PATH | O_DIRECTORY, 0);

	return fd < 0 && (errno == ENOTDIR || errno == ELOOP);
}

static int
apply_plain(struct layer *l, int parent, struct err *err)
{
	if (check_xattrs(l, err) < 0)
		return -1;
	switch (l->tar.entry.type) {
	case TAR_FILE:
		return apply_file(l, parent, err);
	case TAR_FOLDER:
		return apply_folder(l, parent, err);
	case TAR_SYMLINK:
		return apply_symlink(l, parent, err);
	case TAR_HARDLINK:
		return apply_hardlink(l, parent, err);
	case TAR_FIFO:
		return apply_fifo(l, parent, err);
	case TAR_CHAR_DEVICE:
	case TAR_BLOCK_DEVICE:
		refuse(l, ERR_CORRUPT, "it is a device node", err);
		return err_fix(err, "build the image without device nodes: every container gets "
				    "its own /dev");
	}
	return refuse(l, ERR_CORRUPT, "it is of an unknown type", err);
}

static int
begin_entry(struct layer *l, struct err *err)
{
	int parent;

	if (++l->entries > l->limits.entries_max)
		return refuse(l, ERR_LIMIT, "the layer has too many entries", err);
	l->kind = layer_path_parse(l->tar.entry.path, &l->path);
	if (l->kind == LAYER_BAD)
		return refuse(l, ERR_CORRUPT, l->path.why, err);
	if (l->kind == LAYER_IGNORED)
		return 0;
	if (l->kind == LAYER_ROOT)
		return check_xattrs(l, err) < 0 ? -1 : apply_root(l, err);
	if (l->kind != LAYER_PLAIN && is_hidden_already(l))
		return 0;
	parent = open_parent(l, l->path.parent, err);
	if (parent < 0)
		return -1;
	if (l->kind == LAYER_OPAQUE)
		return set_opaque(l, parent, ".", err);
	if (l->kind == LAYER_WHITEOUT)
		return apply_whiteout(l, parent, err);
	return apply_plain(l, parent, err);
}

static int
end_entry(struct layer *l, struct err *err)
{
	struct timespec times[2];

	if (l->file < 0)
		return 0;
	entry_times(&l->tar.entry, times);
	if (set_owner_and_mode(l, l->file, err) < 0)
		return -1;
	if (futimens(l->file, times) < 0)
		return failed(l, "set the time", err);
	fd_close(&l->file);
	return 0;
}

static int
take_data(struct layer *l, struct err *err)
{
	struct err why = {0};

	if (l->file < 0)
		return 0;
	if (fd_write_all(l->file, l->tar.chunk, l->tar.chunk_bytes, &why) == 0)
		return 0;
	errno = why.code ? why.code : EIO;
	return failed(l, "write a file", err);
}

int
layer_feed(struct layer *l, const void *data, size_t bytes, struct err *err)
{
	tar_give(&l->tar, data, bytes);
	for (;;) {
		int rc = 0;

		switch (tar_next(&l->tar)) {
		case TAR_MORE:
			return 0;
		case TAR_ENTRY:
			rc = begin_entry(l, err);
			break;
		case TAR_DATA:
			rc = take_data(l, err);
			break;
		case TAR_DONE:
			rc = end_entry(l, err);
			break;
		case TAR_END:
			break;
		case TAR_BAD:
			refuse(l, ERR_CORRUPT, "its tar archive is wrong", err);
			return err_why(err, "at or after this entry: %s", l->tar.why);
		}
		if (rc < 0)
			return -1;
	}
}

int
layer_end(struct layer *l, struct err *err)
{
	if (!tar_complete(&l->tar))
		return refuse(l, ERR_CORRUPT, "its tar archive ends too early", err);
	if (!l->root_seen && adopt_below(l, l->root, ".", ".", err) < 0)
		return -1;
	return layer_implicit_end(&l->implicit, err) < 0 ? name_entry(l, err) : 0;
}
