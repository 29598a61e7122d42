/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of certificates are made by root of what scheduler wrote: of regular files that are
 * scheduler's own, reached by no link, of a size that certificates have. So a scheduler that was
 * taken over can show etcd what it wrote itself, and no file of anybody else.
 *
 * A file is replaced whole; key and certificates fit each other at every moment, since the key is
 * the same for as long as the node has it (scheduler/cluster_order.c).
 */
#include "node/etcd_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "node/etcd_wal.h"
#include "node/folder.h"

enum { LIFE_DIGITS = ETCD_FOLDER_NAME - 1, FILE_MAX = 2 << 20, NOTE_MAX = 64 };

static const char folder_name[] = "etcd", shown_name[] = ETCD_FOLDER_SHOWN,
		  source[] = "state/cluster/etcd", note_name[] = "etcd.life";
static const char *const names[] = {"clients.crt", "peers.crt", "server.key",
				    "server.crt",  "peer.crt",  "revoked.crl"};

int
etcd_folder_open(int data, const char *data_path, uid_t uid, struct etcd_folder *out,
		 struct err *err)
{
	*out = (struct etcd_folder){.fd = -1, .data = data, .uid = uid};
	if (!text_format(out->path, sizeof(out->path), "%s/%s", data_path, folder_name))
		return err_set(err, ERR_LIMIT, "the path of the data folder is too long for etcd");
	if (mkdirat(data, folder_name, 0711) < 0 && errno != EEXIST)
		return err_sys(err, errno, "cannot make the folder %s", out->path);
	out->fd = openat(data, folder_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out->fd < 0)
		return err_sys(err, errno, "cannot open the folder %s", out->path);
	struct stat st;
	if (fstat(out->fd, &st) == 0 && st.st_uid == 0 && st.st_gid == 0 &&
	    (st.st_mode & 07777) == 0711)
		return 0;
	if (fchown(out->fd, 0, 0) == 0 && fchmod(out->fd, 0711) == 0)
		return 0;
	err_sys(err, errno, "cannot keep the folder %s", out->path);
	etcd_folder_close(out);
	return -1;
}

void
etcd_folder_close(struct etcd_folder *f)
{
	fd_close(&f->fd);
}

/* ---- lives ---- */

static void
name_of(uint64_t life, char out[LIFE_DIGITS + 1])
{
	text_format(out, LIFE_DIGITS + 1, "%016llx", (unsigned long long)life);
}

static uint64_t
life_of(const char *name)
{
	if (strlen(name) != LIFE_DIGITS || strspn(name, "0123456789abcdef") != LIFE_DIGITS)
		return 0;
	return strtoull(name, NULL, 16);
}

static DIR *
list(const struct etcd_folder *f)
{
	int fd = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir)
		fd_close(&fd);
	return dir;
}

uint64_t
etcd_folder_life(const struct etcd_folder *f)
{
	DIR *dir = list(f);
	struct stat newest = {0};
	uint64_t life = 0;

	for (struct dirent *e; dir && (e = readdir(dir));) {
		uint64_t one = life_of(e->d_name);
		struct stat st;

		if (one == 0 || fstatat(f->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISDIR(st.st_mode))
			continue;
		if (life == 0 || st.st_ctim.tv_sec > newest.st_ctim.tv_sec) {
			life = one;
			newest = st;
		}
	}
	if (dir)
		closedir(dir);
	return life;
}

static int
give(const struct etcd_folder *f, int at, const char *name, struct err *err)
{
	struct stat st;

	if (fstat(at, &st) < 0)
		return err_sys(err, errno, "cannot look at %s/%s", f->path, name);
	/* Another block of uids than before (node/instance.c): all of it. */
	if (st.st_uid != f->uid && folder_chown(f->fd, name, f->uid, f->uid) < 0)
		return err_sys(err, errno, "cannot give %s/%s to etcd", f->path, name);
	if (fchmodat(f->fd, name, 0700, 0) < 0)
		return err_sys(err, errno, "cannot give %s/%s to etcd", f->path, name);
	return 0;
}

int
etcd_folder_data(const struct etcd_folder *f, uint64_t life, int *fd_out,
		 char path_out[ETCD_FOLDER_NAME], struct err *err)
{
	char *name = path_out;

	name_of(life, name);
	if (mkdirat(f->fd, name, 0700) < 0 && errno != EEXIST) {
		err_sys(err, errno, "cannot make the folder %s/%s", f->path, name);
		return err_fix(err, "let the data folder of zlayer be written to, and have room");
	}
	defer_close int fd = openat(f->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "cannot open the folder %s/%s", f->path, name);
	if (give(f, fd, name, err) < 0)
		return -1;
	*fd_out = fd_take(&fd);
	return 0;
}

/* How many files its log has. wal_out: their folder, or -1. */
static unsigned
list_logs(const struct etcd_folder *f, uint64_t life, int *wal_out)
{
	char name[LIFE_DIGITS + 1], path[LIFE_DIGITS + 16];
	unsigned count = 0;

	name_of(life, name);
	text_format(path, sizeof(path), "%s/member/wal", name);
	*wal_out = fd_open_beneath(f->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	int fd = *wal_out >= 0 ? fcntl(*wal_out, F_DUPFD_CLOEXEC, 0) : -1;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir)
		fd_close(&fd);
	for (struct dirent *e; dir && (e = readdir(dir));)
		count += text_ends(e->d_name, ".wal");
	if (dir)
		closedir(dir);
	return count;
}

bool
etcd_folder_has_log(const struct etcd_folder *f, uint64_t life)
{
	defer_close int wal = -1;

	return list_logs(f, life, &wal) > 0;
}

/* Named after its place in the log and the number of its first entry. */
static const char first_log[] = "0000000000000000-0000000000000000.wal";

/* Of all of the file: what was lost in its first part would be followed by what was promised. */
static bool
is_blank_file(int fd, uint8_t look[ETCD_WAL_LOOK])
{
	off_t at = 0;
	ssize_t bytes;

	while ((bytes = pread(fd, look, ETCD_WAL_LOOK, at)) > 0 && at < ETCD_WAL_BYTES_MAX) {
		if (at ? !etcd_wal_is_rest(look, (size_t)bytes)
		       : !etcd_wal_is_blank(look, (size_t)bytes))
			return false;
		at += bytes;
	}
	return bytes == 0 && at > 0;
}

bool
etcd_folder_is_blank(const struct etcd_folder *f, uint64_t life)
{
	defer_close int wal = -1;

	if (list_logs(f, life, &wal) != 1)
		return false;
	defer_close int fd = openat(wal, first_log, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint8_t *look = fd >= 0 ? mem_alloc(MEM_NODE, ETCD_WAL_LOOK) : NULL;
	bool blank = look && is_blank_file(fd, look);
	mem_free(look);
	return blank;
}

/* The note first: data without one is looked at again, a note without data is of what was lost. */
int
etcd_folder_empty(const struct etcd_folder *f, uint64_t life, struct err *err)
{
	char name[LIFE_DIGITS + 1];

	name_of(life, name);
	if (unlinkat(f->data, note_name, 0) < 0 && errno != ENOENT)
		return err_sys(err, errno, "cannot remove %s", note_name);
	if (fsync(f->data) < 0 || folder_remove(f->fd, name) < 0)
		return err_sys(err, errno, "cannot remove %s/%s", f->path, name);
	return 0;
}

uint64_t
etcd_folder_noted(const struct etcd_folder *f)
{
	struct err ignored = {0};
	uint64_t life = 0;
	struct buf b;

	buf_init(&b, MEM_NODE, NOTE_MAX);
	if (fd_read_file(f->data, note_name, &b, &ignored) == 0)
		life = life_of(buf_cstr(&b));
	buf_fini(&b);
	return life;
}

int
etcd_folder_note(const struct etcd_folder *f, uint64_t life, struct err *err)
{
	char name[LIFE_DIGITS + 1];

	name_of(life, name);
	return fd_replace(f->data, note_name, name, LIFE_DIGITS, 0600, err);
}

int
etcd_folder_prune(const struct etcd_folder *f, uint64_t life, struct err *err)
{
	DIR *dir = list(f);
	int rc = 0;

	if (!dir)
		return err_sys(err, errno, "cannot look into %s", f->path);
	for (struct dirent *e; (e = readdir(dir));) {
		uint64_t one = life_of(e->d_name);
		bool shown = text_equal(e->d_name, shown_name);

		if ((one == 0 || one == life) && !(shown && life == 0))
			continue;
		if (folder_remove(f->fd, e->d_name) < 0)
			rc = err_sys(err, errno, "cannot remove %s/%s", f->path, e->d_name);
	}
	closedir(dir);
	if (life == 0 && rc == 0 && unlinkat(f->data, note_name, 0) < 0 && errno != ENOENT)
		rc = err_sys(err, errno, "cannot remove %s", note_name);
	return rc;
}

static uint64_t
bytes_in(int at, const char *path)
{
	int fd = fd_open_beneath(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	uint64_t bytes = 0;

	if (!dir)
		fd_close(&fd);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		struct stat st;

		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_blocks * 512;
	}
	if (dir)
		closedir(dir);
	return bytes;
}

uint64_t
etcd_folder_bytes(const struct etcd_folder *f, uint64_t life)
{
	char name[LIFE_DIGITS + 1], path[LIFE_DIGITS + 16];

	name_of(life, name);
	text_format(path, sizeof(path), "%s/member/snap", name);
	uint64_t bytes = bytes_in(f->fd, path);
	text_format(path, sizeof(path), "%s/member/wal", name);
	return bytes + bytes_in(f->fd, path);
}

uint64_t
etcd_folder_room(const struct etcd_folder *f, uint64_t life)
{
	char name[LIFE_DIGITS + 1], path[LIFE_DIGITS + 16];
	struct statvfs v;

	if (fstatvfs(f->fd, &v) < 0)
		return UINT64_MAX;
	name_of(life, name);
	/* What a log that had no room is made in. */
	text_format(path, sizeof(path), "%s/member/wal.tmp", name);
	return (uint64_t)v.f_bavail * v.f_frsize + etcd_folder_bytes(f, life) +
	       bytes_in(f->fd, path);
}

/* ---- what it shows ---- */

static int
read_own(int folder, const char *name, uid_t owner, struct buf *out, struct err *err)
{
	defer_close int fd =
		fd_open_beneath(folder, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot read %s/%s", source, name);
	if (!S_ISREG(st.st_mode) || st.st_uid != owner || st.st_nlink != 1) {
		err_set(err, ERR_DENIED, "%s/%s is not shown to etcd", source, name);
		return err_why(err, "it is no file that the scheduler wrote");
	}
	return fd_read_all(fd, out, err);
}

static int
show_one(const struct etcd_folder *f, int from, int to, const char *name, uid_t owner,
	 struct err *err)
{
	struct buf b;

	buf_init(&b, MEM_NODE, FILE_MAX);
	int rc = read_own(from, name, owner, &b, err);
	if (rc == 0)
		rc = fd_replace(to, name, b.data, b.length, 0640, err);
	if (rc == 0 && fchownat(to, name, 0, f->uid, AT_SYMLINK_NOFOLLOW) < 0)
		rc = err_sys(err, errno, "cannot give %s to etcd", name);
	if (b.data)
		mem_wipe(b.data, b.capacity);
	buf_fini(&b);
	return rc;
}

int
etcd_folder_shown(const struct etcd_folder *f, int *fd_out, struct err *err)
{
	if (mkdirat(f->fd, shown_name, 0750) < 0 && errno != EEXIST)
		return err_sys(err, errno, "cannot make the folder %s/%s", f->path, shown_name);
	defer_close int fd =
		openat(f->fd, shown_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchown(fd, 0, f->uid) < 0 || fchmod(fd, 0750) < 0)
		return err_sys(err, errno, "cannot keep the folder %s/%s", f->path, shown_name);
	*fd_out = fd_take(&fd);
	return 0;
}

int
etcd_folder_show(const struct etcd_folder *f, uid_t owner, struct err *err)
{
	defer_close int from =
		fd_open_beneath(f->data, source, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	defer_close int to = -1;

	if (from < 0)
		return err_sys(err, errno, "cannot open %s", source);
	if (etcd_folder_shown(f, &to, err) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (show_one(f, from, to, names[i], owner, err) < 0)
			return -1;
	return 0;
}
