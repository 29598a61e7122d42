/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors and files. openat2(2) and the pidfd calls have no wrapper in the C libraries we
 * support and are called raw. Names are resolved once, by the kernel, under the restriction that
 * the function's name says; a path that was looked at as a string and then opened is a race.
 *
 * fd_replace() writes a file of a random name in the same folder and renames it. A crash can leave
 * such a file (".zl-<16 hex digits>.tmp"), never a mixture of old and new.
 */
#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/world.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

enum {
	/* How often a resolution is repeated when somebody renames folders under it (EAGAIN). */
	OPEN_ATTEMPTS_MAX = 64,
	READ_CHUNK_BYTES = 64 * 1024,
	SEALS = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL,
	/* Room for our descriptors and for credentials that the socket may add. */
	CONTROL_BYTES = CMSG_SPACE(FD_PASS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred)),
	/* What fits into that room when it is all descriptors. */
	CONTROL_FDS_MAX = CONTROL_BYTES / sizeof(int),
};

void
fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

void
fd_close_ref(int *fd)
{
	fd_close(fd);
}

int
fd_take(int *fd)
{
	int value = *fd;

	*fd = -1;
	return value;
}

static int
open_resolved(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
		.mode = creates ? mode & 07777 : 0,
		.resolve = resolve,
	};
	int fd = -1;

	for (int i = 0; i < OPEN_ATTEMPTS_MAX; i++) {
		fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd;
}

int
fd_open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
	return open_resolved(dirfd, path, flags, mode,
			     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

int
fd_open_in_root(int rootfd, const char *path, int flags, mode_t mode)
{
	return open_resolved(rootfd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/* Copies the first component of *path, moves *path behind it and its slashes. */
static int
next_component(const char **path, char name[NAME_MAX + 1])
{
	size_t length = strcspn(*path, "/");

	if (length > NAME_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(name, *path, length);
	name[length] = '\0';
	*path += length;
	*path += strspn(*path, "/");
	return 0;
}

int
fd_make_dirs(int dirfd, const char *path, mode_t mode)
{
	char name[NAME_MAX + 1];
	defer_close int at = fd_open_beneath(dirfd, ".", O_PATH | O_DIRECTORY, 0);

	if (at < 0)
		return -1;
	if (*path == '/') {
		errno = EXDEV;
		return -1;
	}
	while (*path != '\0') {
		if (next_component(&path, name) < 0)
			return -1;
		if (mkdirat(at, name, mode) < 0 && errno != EEXIST)
			return -1;
		int below = fd_open_beneath(at, name, O_PATH | O_DIRECTORY, 0);
		if (below < 0)
			return -1;
		fd_close(&at);
		at = below;
	}
	return fd_take(&at);
}

static ssize_t
read_some(int fd, void *out, size_t bytes)
{
	ssize_t n;

	do
		n = read(fd, out, bytes);
	while (n < 0 && errno == EINTR);
	return n;
}

/* The buffer is full: right only when the file ends here too. */
static int
expect_end(int fd, size_t cap_bytes, struct err *err)
{
	char extra;
	ssize_t n = read_some(fd, &extra, 1);

	if (n < 0)
		return err_sys(err, errno, "cannot read");
	if (n > 0)
		return err_set(err, ERR_LIMIT, "larger than %zu bytes", cap_bytes);
	return 0;
}

int
fd_read_all(int fd, struct buf *out, struct err *err)
{
	for (;;) {
		size_t room = out->cap_bytes - out->length;
		if (room == 0)
			return expect_end(fd, out->cap_bytes, err);
		if (room > READ_CHUNK_BYTES)
			room = READ_CHUNK_BYTES;
		uint8_t *at = buf_reserve(out, room);
		if (at == NULL)
			return err_set(err, ERR_NO_MEMORY, "no memory to read into");
		ssize_t n = read_some(fd, at, room);
		if (n < 0)
			return err_sys(err, errno, "cannot read");
		if (n == 0)
			return 0;
		buf_commit(out, (size_t)n);
	}
}

int
fd_read_file(int dirfd, const char *path, struct buf *out, struct err *err)
{
	struct stat st;
	/* Without O_NONBLOCK a FIFO in place of the file would stop us in open. */
	int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY;
	defer_close int fd = dirfd == AT_FDCWD ? open(path, flags | O_CLOEXEC)
					       : fd_open_beneath(dirfd, path, flags, 0);

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, errno, "cannot read the file %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "%s is not a regular file", path);
	if (fd_read_all(fd, out, err) < 0)
		return err_where(err, "file %s", path);
	return 0;
}

int
fd_write_all(int fd, const void *data, size_t bytes, struct err *err)
{
	const uint8_t *at = data;

	while (bytes > 0) {
		ssize_t n = write(fd, at, bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot write");
		at += n;
		bytes -= (size_t)n;
	}
	return 0;
}

/* Makes the temporary file; on success *name is its name. */
static int
create_temporary(int dirfd, char *name, size_t cap)
{
	struct world w;

	world_real(&w);
	snprintf(name, cap, ".zl-%016llx.tmp", (unsigned long long)world_random_u64(&w));
	return openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static int
write_temporary(int fd, const void *data, size_t bytes, mode_t mode, struct err *err)
{
	if (fd_write_all(fd, data, bytes, err) < 0)
		return -1;
	if (fchmod(fd, mode) < 0)
		return err_sys(err, errno, "cannot set the mode");
	if (fsync(fd) < 0)
		return err_sys(err, errno, "cannot write to the disk");
	return 0;
}

int
fd_replace(int dirfd, const char *name, const void *data, size_t bytes, mode_t mode,
	   struct err *err)
{
	char temporary[32];

	assert(strchr(name, '/') == NULL && *name != '\0');
	/* dirfd may be O_PATH, which cannot be synced. */
	defer_close int folder = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return err_sys(err, errno, "cannot open the folder of %s", name);
	defer_close int fd = create_temporary(folder, temporary, sizeof(temporary));
	if (fd < 0)
		return err_sys(err, errno, "cannot replace the file %s", name);

	if (write_temporary(fd, data, bytes, mode, err) < 0) {
		unlinkat(folder, temporary, 0);
		return err_where(err, "replacing the file %s", name);
	}
	if (renameat(folder, temporary, folder, name) < 0) {
		int code = errno;
		unlinkat(folder, temporary, 0);
		return err_sys(err, code, "cannot replace the file %s", name);
	}
	if (fsync(folder) < 0)
		return err_sys(err, errno, "cannot write the folder of %s to the disk", name);
	return 0;
}

int
fd_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -1;
	return fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

int
fd_cloexec(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0)
		return -1;
	return fcntl(fd, F_SETFD, on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC);
}

static int
fill_at_start(int fd, const void *data, size_t bytes)
{
	size_t done = 0;

	while (done < bytes) {
		/* pwrite leaves the shared file offset at 0 for whoever reads it. */
		ssize_t n = pwrite(fd, (const char *)data + done, bytes - done, (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

int
fd_memfd(const char *name)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create(name, flags);
	return fd;
}

int
fd_memfd_seal(int fd)
{
	return fcntl(fd, F_ADD_SEALS, SEALS);
}

int
fd_memfd_sealed(const char *name, const void *data, size_t bytes)
{
	defer_close int fd = fd_memfd(name);

	if (fd < 0 || fill_at_start(fd, data, bytes) < 0 || fd_memfd_seal(fd) < 0)
		return -1;
	return fd_take(&fd);
}

bool
fd_is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & ~F_SEAL_EXEC) == SEALS;
}

ssize_t
fd_send(int sock, const void *data, size_t bytes, const int *fds, size_t count)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(FD_PASS_MAX * sizeof(int))] = {0};
	struct iovec iov = {.iov_len = bytes};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	assert(count <= FD_PASS_MAX);
	memcpy(&iov.iov_base, &data, sizeof(data)); /* sendmsg does not write to it */
	if (count > 0) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n;
}

static size_t
collect_fds(struct msghdr *msg, int got[CONTROL_FDS_MAX])
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t bytes = c->cmsg_len - CMSG_LEN(0);
		assert(count * sizeof(int) + bytes <= CONTROL_FDS_MAX * sizeof(int));
		memcpy(got + count, CMSG_DATA(c), bytes);
		count += bytes / sizeof(int);
	}
	return count;
}

ssize_t
fd_recv(int sock, void *data, size_t cap, int *fds, size_t max, size_t *count_out)
{
	_Alignas(struct cmsghdr) char control[CONTROL_BYTES];
	int got[CONTROL_FDS_MAX];
	struct iovec iov = {.iov_base = data, .iov_len = cap};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	*count_out = 0;
	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -1;
	size_t count = collect_fds(&msg, got);
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || count > max) {
		for (size_t i = 0; i < count; i++)
			close(got[i]);
		errno = EMSGSIZE;
		return -1;
	}
	if (count > 0)
		memcpy(fds, got, count * sizeof(int));
	*count_out = count;
	return n;
}

int
fd_peer(int sock, pid_t *pid_out, uid_t *uid_out, gid_t *gid_out)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return -1;
	*pid_out = peer.pid;
	*uid_out = peer.uid;
	*gid_out = peer.gid;
	return 0;
}

int
fd_pidfd_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec always */
}

int
fd_pidfd_signal(int pidfd, int sig)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}
