/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FD_H
#define BASE_FD_H

/*
 * Descriptors and files. Everything is close-on-exec. Paths below a folder are resolved with
 * openat2(2) RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS (or IN_ROOT), never twice, never by string.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/err.h"

void fd_close_ref(int *fd);
#define defer_close __attribute__((cleanup(fd_close_ref)))
/* Closes when >= 0 and sets to -1; keeps errno. */
void fd_close(int *fd);
/* Gives the value and sets the variable to -1 (moves ownership out of a defer_close). */
int fd_take(int *fd);

/* openat2 with RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS below dirfd; errno is set on -1. */
int fd_open_beneath(int dirfd, const char *path, int flags, mode_t mode);
/* openat2 with RESOLVE_IN_ROOT | NO_MAGICLINKS: symlinks are followed inside the root. */
int fd_open_in_root(int rootfd, const char *path, int flags, mode_t mode);
/* mkdir -p below dirfd without following symlinks; gives an O_PATH|O_DIRECTORY descriptor of the
 * last folder, or -1 with errno. */
int fd_make_dirs(int dirfd, const char *path, mode_t mode);

/* Whole file to a buffer, at most the buffer's cap; ERR_LIMIT when larger. */
int fd_read_all(int fd, struct buf *out, struct err *err) MUST_CHECK;
/* As fd_open_beneath, or, with AT_FDCWD, any path as the system resolves it (files that the
 * operator named). Regular files only. */
int fd_read_file(int dirfd, const char *path, struct buf *out, struct err *err) MUST_CHECK;
int fd_write_all(int fd, const void *data, size_t bytes, struct err *err) MUST_CHECK;
/* Writes a temporary name beside it, fsyncs, renames over, fsyncs the folder: after a crash the old
 * or the new content is there, never a mixture; a full disk leaves the old. `name` has no slash;
 * `mode` is set as it is, whatever the umask. */
int fd_replace(int dirfd, const char *name, const void *data, size_t bytes, mode_t mode,
	       struct err *err) MUST_CHECK;

int fd_nonblock(int fd, bool on);
int fd_cloexec(int fd, bool on);

/* An anonymous file sealed against writing, growing, shrinking and further seals. -1 with errno. */
int fd_memfd_sealed(const char *name, const void *data, size_t bytes);
/* In two steps: one that can be written, then its seals. -1 with errno. */
int fd_memfd(const char *name);
int fd_memfd_seal(int fd);
/* True when fd is a memfd with exactly those seals (F_SEAL_WRITE | GROW | SHRINK | SEAL). */
bool fd_is_sealed(int fd);

enum { FD_PASS_MAX = 8 };
/* One message with descriptors over a unix socket; count <= FD_PASS_MAX, max <= FD_PASS_MAX. Gives
 * bytes, 0 at the end, -1 with errno. fd_recv sets *count_out and fills fds (all close-on-exec);
 * more than max closes the surplus and gives -1/EMSGSIZE; a truncated message gives -1/EMSGSIZE. */
ssize_t fd_send(int sock, const void *data, size_t bytes, const int *fds, size_t count);
ssize_t fd_recv(int sock, void *data, size_t cap, int *fds, size_t max, size_t *count_out);
/* Credentials of a connected unix socket's peer. */
int fd_peer(int sock, pid_t *pid_out, uid_t *uid_out, gid_t *gid_out);

int fd_pidfd_open(pid_t pid);
int fd_pidfd_signal(int pidfd, int sig);

#endif
