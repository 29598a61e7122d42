/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an instance lives and what it owns. The folders of the roles are made here with their
 * owners, since no role may do it. Order: privileges, data folder and its lock, run folder and its
 * lock, a block of uids, sub-folders.
 *
 * Uids: block n of 256 begins at node.uid_base + n * 256. A file /run/zlayer/uids.n names the
 * instance that has block n and is locked while its node runs; after kill -9 the name alone keeps
 * others away until the instance has come back and left properly, because proxies with those uids
 * may still serve. The data folder remembers its block; when another one must be taken (the machine
 * was restarted and somebody was faster), the files of the roles are given to the new owners.
 */
#include "node/instance.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "node/folder.h"

#define RUNS "/run/zlayer"
#define BPFFS "/sys/fs/bpf"

enum { LOCK_TURNS = 300 };

static const struct {
	enum roles_place place;
	const char *path;
	unsigned role; /* owner; ROLE_NODE: root */
	mode_t mode;
} folders[] = {
	{ROLES_DATA, "state", ROLE_SCHEDULER, 0700},
	{ROLES_DATA, "overlay", ROLE_OVERLAY, 0700},
	{ROLES_DATA, "images", ROLE_UNPACK, 0700},
	{ROLES_DATA, "containers", ROLE_RUNTIME, 0700},
	{ROLES_DATA, "volumes", ROLE_RUNTIME, 0700},
	{ROLES_DATA, "secrets", ROLE_NODE, 0700},
	{ROLES_DATA, "secrets/sealed", ROLE_NODE, 0700},
	{ROLES_DATA, "spool", ROLE_NODE, 0700},
	{ROLES_RUN, "netns", ROLE_NODE, 0755},
	{ROLES_RUN, "containers", ROLE_RUNTIME, 0700},
};

int
instance_privileged(struct err *err)
{
	static const int needed[] = {
		CAP_SYS_ADMIN, CAP_NET_ADMIN,    CAP_SETUID,           CAP_SETGID, CAP_SETPCAP,
		CAP_CHOWN,     CAP_DAC_OVERRIDE, CAP_FOWNER,           CAP_KILL,   CAP_SYS_PTRACE,
		CAP_MKNOD,     CAP_SYS_CHROOT,   CAP_NET_BIND_SERVICE,
	};
	uint64_t have = sandbox_caps();
	char missing[400] = "";

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		size_t length = strlen(missing);

		if (!(have & UINT64_C(1) << needed[i]))
			text_format(missing + length, sizeof(missing) - length, "%s%s",
				    length ? ", " : "", sandbox_cap_name(needed[i]));
	}
	if (!missing[0])
		return 0;
	(void)err_set(err, ERR_DENIED, "cannot serve without the privileges of root");
	(void)err_why(err, "missing: %s", missing);
	return err_fix(err, "run it as root: sudo zlayer serve");
}

/* ---- locks ---- */

static void
lock_holder(int fd, char *out, size_t cap)
{
	ssize_t n = pread(fd, out, cap - 1, 0);

	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

/* Gives a locked descriptor, -1 with errno (EWOULDBLOCK: held; holder_out has the text in it). */
static int
lock_take(int dirfd, const char *name, char *holder_out, size_t cap)
{
	for (int turn = 0; turn < 16; turn++) {
		struct stat a, b;
		int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

		if (fd < 0)
			return -1;
		lock_holder(fd, holder_out, cap);
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			fd_close(&fd);
			return -1;
		}
		/* The one before may have removed the file just now. */
		if (fstat(fd, &a) == 0 && fstatat(dirfd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
		    a.st_ino == b.st_ino && a.st_dev == b.st_dev) {
			lock_holder(fd, holder_out, cap);
			return fd;
		}
		fd_close(&fd);
	}
	errno = EAGAIN;
	return -1;
}

static void
lock_write(int fd, const char *text)
{
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, strlen(text), 0) < 0)
		log_event(LOG_WARN, "cannot write a lock file", log_i("errno", errno), LOG_END);
}

/* A process that was killed while it started another: the other holds the lock until its program
 * runs. False when the holder is alive, or nobody knows who it is. */
static bool
holder_is_gone(const char *holder)
{
	char *end;
	long pid = strtol(holder, &end, 10);

	return end != holder && !*end && pid > 0 && pid <= INT32_MAX && kill((pid_t)pid, 0) < 0 &&
	       errno == ESRCH;
}

static int
lock_patiently(int dirfd, char *holder_out, size_t cap)
{
	const struct timespec moment = {.tv_nsec = 10000000};
	int fd = lock_take(dirfd, "lock", holder_out, cap);

	for (int turn = 0; fd < 0 && errno == EWOULDBLOCK && turn < LOCK_TURNS; turn++) {
		if (!holder_is_gone(holder_out)) {
			errno = EWOULDBLOCK;
			break;
		}
		nanosleep(&moment, NULL);
		fd = lock_take(dirfd, "lock", holder_out, cap);
	}
	return fd;
}

static int
lock_folder(int dirfd, const char *what, const char *path, int *out, struct err *err)
{
	char text[64];

	*out = lock_patiently(dirfd, text, sizeof(text));
	if (*out < 0 && errno == EWOULDBLOCK) {
		(void)err_set(err, ERR_CONFLICT, "cannot serve: %s %s is in use", what, path);
		(void)err_why(err, "process %s serves it", text[0] ? text : "(unknown)");
		return err_fix(err, "stop that one, or give --instance and --data-dir others");
	}
	if (*out < 0)
		return err_sys(err, errno, "cannot lock %s", path);
	text_format(text, sizeof(text), "%d\n", (int)getpid());
	lock_write(*out, text);
	return 0;
}

/* ---- uids ---- */

static bool
slot_free(struct instance *inst, const char *holder)
{
	struct stat sb;

	if (!holder[0] || text_equal(holder, inst->name))
		return true;
	return !text_is_label(holder) ||
	       fstatat(inst->runs_fd, holder, &sb, AT_SYMLINK_NOFOLLOW) < 0;
}

static bool
slot_take(struct instance *inst, unsigned slot)
{
	char file[32], holder[MSG_NAME], text[MSG_NAME + 2];

	text_format(file, sizeof(file), "uids.%u", slot);
	int fd = lock_take(inst->runs_fd, file, holder, sizeof(holder));
	if (fd < 0)
		return false;
	if (!slot_free(inst, holder)) {
		fd_close(&fd);
		return false;
	}
	text_format(text, sizeof(text), "%s\n", inst->name);
	lock_write(fd, text);
	inst->slot = slot;
	inst->slot_lock = fd;
	return true;
}

static bool
read_number(int dirfd, const char *name, uint64_t max, uint64_t *out)
{
	char text[32];
	defer_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return false;
	lock_holder(fd, text, sizeof(text));
	return text_u64(text, max, out);
}

static int
write_number(int dirfd, const char *name, uint64_t value, struct err *err)
{
	char text[32];

	text_format(text, sizeof(text), "%llu\n", (unsigned long long)value);
	return fd_replace(dirfd, name, text, strlen(text), 0644, err);
}

static int
take_uids(struct instance *inst, uid_t base, uint64_t *before_out, struct err *err)
{
	uint64_t before = 0;
	bool taken = false;

	if (read_number(inst->data_fd, "uids", UINT32_MAX, &before) && before >= base &&
	    (before - base) % ROLES_UIDS == 0 && (before - base) / ROLES_UIDS < INSTANCE_SLOTS)
		taken = slot_take(inst, (unsigned)((before - base) / ROLES_UIDS));
	for (unsigned slot = 0; !taken && slot < INSTANCE_SLOTS; slot++)
		taken = slot_take(inst, slot);
	if (!taken)
		return err_set(err, ERR_LIMIT, "all %d blocks of user ids are taken (%s/uids.*)",
			       INSTANCE_SLOTS, RUNS);
	inst->uid_base = base + inst->slot * ROLES_UIDS;
	*before_out = before;
	return write_number(inst->data_fd, "uids", inst->uid_base, err);
}

/* ---- folders ---- */

static uid_t
owner_of(const struct instance *inst, unsigned role)
{
	const struct roles_entry *entry = roles_get(role);

	return entry ? roles_uid(entry, 0, inst->uid_base) : 0;
}

static int
make_folder(const struct instance *inst, size_t i, bool moved, struct err *err)
{
	int dirfd = folders[i].place == ROLES_DATA ? inst->data_fd : inst->run_fd;
	uid_t uid = owner_of(inst, folders[i].role);

	if (mkdirat(dirfd, folders[i].path, folders[i].mode) < 0 && errno != EEXIST)
		return err_sys(err, errno, "cannot make the folder %s", folders[i].path);
	if (moved && folders[i].role == ROLE_SCHEDULER &&
	    folder_chown(dirfd, folders[i].path, uid, uid) < 0)
		return err_sys(err, errno, "cannot give %s to its role", folders[i].path);
	if (moved && folders[i].role == ROLE_OVERLAY &&
	    folder_chown(dirfd, folders[i].path, uid, uid) < 0)
		return err_sys(err, errno, "cannot give %s to its role", folders[i].path);
	if (fchownat(dirfd, folders[i].path, uid, uid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(dirfd, folders[i].path, folders[i].mode, 0) < 0)
		return err_sys(err, errno, "cannot give %s to its role", folders[i].path);
	return 0;
}

/* Not there is no error: the data plane then says that it is off, and why. */
static void
open_bpffs(struct instance *inst)
{
	struct statfs fs;
	uid_t uid = owner_of(inst, ROLE_DATAPLANE);

	if (statfs(BPFFS, &fs) < 0 || fs.f_type != BPF_FS_MAGIC) {
		if (mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755") < 0) {
			log_event(LOG_WARN, "no bpf file system", log_i("errno", errno), LOG_END);
			return;
		}
		defer_close int mark =
			openat(inst->runs_fd, "bpffs", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	}
	defer_close int root = open(BPFFS, O_PATH | O_DIRECTORY | O_CLOEXEC);
	defer_close int ours = -1;
	if (root >= 0 && (mkdirat(root, "zlayer", 0755) == 0 || errno == EEXIST))
		ours = openat(root, "zlayer", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (ours >= 0 && (mkdirat(ours, inst->name, 0700) == 0 || errno == EEXIST))
		inst->bpf_fd =
			openat(ours, inst->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (inst->bpf_fd < 0 || fchown(inst->bpf_fd, uid, uid) < 0)
		log_event(LOG_WARN, "no folder for BPF pins", log_i("errno", errno), LOG_END);
}

static int
make_folders(struct instance *inst, uint64_t before, struct err *err)
{
	bool moved = before != 0 && before != inst->uid_base;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		if (make_folder(inst, i, moved, err) < 0)
			return -1;
	open_bpffs(inst);
	return 0;
}

static int
open_made(int dirfd, const char *path, mode_t mode, int *out, struct err *err)
{
	if (mkdirat(dirfd, path, mode) < 0 && errno != EEXIST)
		return err_sys(err, errno, "cannot make the folder %s", path);
	*out = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*out < 0)
		return err_sys(err, errno, "cannot open the folder %s", path);
	return 0;
}

static int
open_paths(struct instance *inst, struct err *err)
{
	if (open_made(AT_FDCWD, inst->data_path, 0711, &inst->data_fd, err) < 0 ||
	    open_made(AT_FDCWD, RUNS, 0755, &inst->runs_fd, err) < 0)
		return -1;
	return 0;
}

static int
open_all(struct instance *inst, uid_t uid_base, const struct instance_locks *held,
	 uint64_t *before_out, struct err *err)
{
	if (held) {
		inst->data_lock = held->data;
		inst->run_lock = held->run;
		inst->slot_lock = held->slot_fd;
		inst->slot = held->slot;
		inst->uid_base = held->uid_base;
	}
	if (open_paths(inst, err) < 0)
		return -1;
	if (!held && lock_folder(inst->data_fd, "the data folder", inst->data_path,
				 &inst->data_lock, err) < 0)
		return -1;
	if (open_made(inst->runs_fd, inst->name, 0755, &inst->run_fd, err) < 0)
		return -1;
	if (held)
		return 0;
	if (lock_folder(inst->run_fd, "the instance", inst->name, &inst->run_lock, err) < 0)
		return -1;
	return take_uids(inst, uid_base, before_out, err);
}

int
instance_open(const char *name, const char *data_path, uid_t uid_base,
	      const struct instance_locks *held, struct instance *inst, struct err *err)
{
	uint64_t before = 0;

	*inst = (struct instance){
		.data_fd = -1,
		.run_fd = -1,
		.runs_fd = -1,
		.bpf_fd = -1,
		.data_lock = -1,
		.run_lock = -1,
		.slot_lock = -1,
	};
	if (!text_is_label(name) || text_equal(name, "bpffs") || strlen(name) >= MSG_NAME)
		return err_set(err, ERR_USAGE,
			       "\"%s\" is not a name for an instance: small letters, digits and -",
			       name);
	text_copy(inst->name, sizeof(inst->name), name);
	if (!text_copy(inst->data_path, sizeof(inst->data_path), data_path) || data_path[0] != '/')
		return err_set(err, ERR_USAGE, "the data folder must be an absolute path");
	text_format(inst->run_path, sizeof(inst->run_path), "%s/%s", RUNS, name);
	if (open_all(inst, uid_base, held, &before, err) < 0 ||
	    make_folders(inst, before, err) < 0) {
		instance_close(inst);
		return -1;
	}
	return 0;
}

void
instance_close(struct instance *inst)
{
	fd_close(&inst->slot_lock);
	fd_close(&inst->run_lock);
	fd_close(&inst->data_lock);
	fd_close(&inst->bpf_fd);
	fd_close(&inst->run_fd);
	fd_close(&inst->runs_fd);
	fd_close(&inst->data_fd);
}

static void
remove_bpffs(struct instance *inst)
{
	struct stat sb;
	defer_close int root = open(BPFFS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	defer_close int ours =
		root >= 0 ? openat(root, "zlayer", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	fd_close(&inst->bpf_fd);
	if (ours >= 0 && folder_prune(ours, inst->name, true) < 0)
		log_event(LOG_WARN, "cannot remove BPF pins", log_i("errno", errno), LOG_END);
	if (root < 0)
		return;
	(void)unlinkat(root, "zlayer", AT_REMOVEDIR);
	/* Two folders, "." and "..": nobody else's. Its files are the kernel's. */
	if (fstatat(inst->runs_fd, "bpffs", &sb, AT_SYMLINK_NOFOLLOW) < 0 || fstat(root, &sb) < 0 ||
	    sb.st_nlink > 2)
		return;
	fd_close(&ours);
	fd_close(&root);
	if (umount2(BPFFS, UMOUNT_NOFOLLOW) == 0)
		(void)unlinkat(inst->runs_fd, "bpffs", 0);
}

void
instance_remove(struct instance *inst)
{
	char file[32], link[MSG_NAME + 16], target[MSG_NAME + 16];

	remove_bpffs(inst);
	text_format(target, sizeof(target), "%s/zlayer.sock", inst->name);
	ssize_t n = readlinkat(inst->runs_fd, "zlayer.sock", link, sizeof(link) - 1);
	if (n > 0) {
		link[n] = '\0';
		if (text_equal(link, target))
			(void)unlinkat(inst->runs_fd, "zlayer.sock", 0);
	}
	if (folder_remove(inst->runs_fd, inst->name) < 0)
		log_event(LOG_WARN, "cannot remove the run folder", log_s("path", inst->run_path),
			  log_i("errno", errno), LOG_END);
	text_format(file, sizeof(file), "uids.%u", inst->slot);
	(void)unlinkat(inst->runs_fd, file, 0);
	instance_close(inst);
	(void)rmdir(RUNS);
}

int
instance_folder(const struct instance *inst, const struct roles_folder *folder)
{
	static const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

	switch (folder->place) {
	case ROLES_DATA:
		return fd_open_beneath(inst->data_fd, folder->path, flags, 0);
	case ROLES_RUN:
		return fd_open_beneath(inst->run_fd, folder->path, flags, 0);
	case ROLES_BPF:
		if (inst->bpf_fd < 0)
			break;
		return openat(inst->bpf_fd, ".", flags);
	case ROLES_SYS:;
		defer_close int sys = open("/sys", flags);
		if (sys < 0)
			return -1;
		return fd_open_beneath(sys, folder->path, flags, 0);
	}
	errno = ENOENT;
	return -1;
}

int
instance_reserve(const struct instance *inst, uint32_t count, uint32_t *first_out, struct err *err)
{
	uint64_t last = 0;

	(void)read_number(inst->run_fd, "generation", UINT32_MAX - count, &last);
	*first_out = (uint32_t)last + 1;
	return write_number(inst->run_fd, "generation", last + count, err);
}
