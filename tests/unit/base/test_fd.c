/* SPDX-License-Identifier: Apache-2.0 */
/* Files below a folder of its own, memfds, descriptors over a socket pair, a full disk (root: a
 * tiny tmpfs in a private mount namespace of a child). */
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64];
static int dir = -1;

static int
open_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/zl-test-fd-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static void
remove_below(int at)
{
	DIR *d = fdopendir(dup(at));
	struct dirent *e;

	assert_non_null(d);
	rewinddir(d);
	while ((e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(at, e->d_name, 0) == 0)
			continue;
		defer_close int below = openat(at, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
		if (below >= 0)
			remove_below(below);
		unlinkat(at, e->d_name, AT_REMOVEDIR);
	}
	closedir(d);
}

static int
close_folder(void **state)
{
	(void)state;
	remove_below(dir);
	fd_close(&dir);
	return rmdir(folder);
}

static void
put_file(const char *name, const char *text)
{
	struct err err;

	assert_int_equal(fd_replace(dir, name, text, strlen(text), 0644, &err), 0);
}

static bool
holds(int at, const char *name, const char *text)
{
	struct buf b;
	struct err err;

	buf_init(&b, MEM_BASE, 1 << 20);
	bool same = fd_read_file(at, name, &b, &err) == 0 && strcmp(buf_cstr(&b), text) == 0;
	buf_fini(&b);
	return same;
}

/* Entries of the folder, without "." and "..". */
static int
entries(int at)
{
	defer_close int again = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd_take(&again));
	int n = -2;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void
close_and_take(void **state)
{
	(void)state;
	int a = dup(0), none = -1;

	errno = ENOTTY;
	fd_close(&none);
	int moved = fd_take(&a);
	assert_int_equal(a, -1);
	assert_true(moved >= 0);
	int number = moved;
	fd_close(&moved);
	assert_int_equal(moved, -1);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(fcntl(number, F_GETFD), -1);
}

static void
beneath_stays_beneath(void **state)
{
	(void)state;
	put_file("file", "x");
	assert_int_equal(mkdirat(dir, "sub", 0755), 0);
	assert_int_equal(symlinkat("file", dir, "link"), 0);
	assert_int_equal(symlinkat("sub", dir, "sublink"), 0);

	defer_close int fd = fd_open_beneath(dir, "sub/../file", O_RDONLY, 0);
	assert_true(fd >= 0);
	assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	assert_int_equal(fd_open_beneath(dir, "../passwd", O_RDONLY, 0), -1);
	assert_int_equal(errno, EXDEV);
	assert_int_equal(fd_open_beneath(dir, "/etc/passwd", O_RDONLY, 0), -1);
	assert_int_equal(errno, EXDEV);
	assert_int_equal(fd_open_beneath(dir, "link", O_RDONLY, 0), -1);
	assert_int_equal(errno, ELOOP);
	assert_int_equal(fd_open_beneath(dir, "sublink/x", O_CREAT | O_WRONLY, 0600), -1);
	assert_int_equal(errno, ELOOP);
	assert_int_equal(fd_open_beneath(dir, "none", O_RDONLY, 0), -1);
	assert_int_equal(errno, ENOENT);
	defer_close int made = fd_open_beneath(dir, "made", O_CREAT | O_EXCL | O_WRONLY, 0600);
	assert_true(made >= 0);
}

static void
in_root_follows_inside(void **state)
{
	(void)state;
	put_file("file", "x");
	assert_int_equal(symlinkat("/file", dir, "absolute"), 0);
	assert_int_equal(symlinkat("../../../../file", dir, "up"), 0);
	assert_int_equal(symlinkat("/etc/passwd", dir, "out"), 0);

	defer_close int a = fd_open_in_root(dir, "absolute", O_RDONLY, 0);
	assert_true(a >= 0);
	defer_close int b = fd_open_in_root(dir, "up", O_RDONLY, 0);
	assert_true(b >= 0);
	assert_int_equal(fd_open_in_root(dir, "out", O_RDONLY, 0), -1);
	assert_int_equal(errno, ENOENT);
}

static void
folders_are_made(void **state)
{
	(void)state;
	struct stat st;
	char long_name[400];

	for (int i = 0; i < 2; i++) {
		defer_close int fd = fd_make_dirs(dir, "a/b//c/", 0700);
		assert_true(fd >= 0);
		assert_int_equal(fstatat(dir, "a/b/c", &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, 0700);
		put_file("f", "");
	}
	defer_close int self = fd_make_dirs(dir, "", 0700);
	assert_true(self >= 0);
	assert_int_equal(symlinkat("a", dir, "l"), 0);
	assert_int_equal(fd_make_dirs(dir, "l/x", 0700), -1);
	assert_int_equal(fd_make_dirs(dir, "../x", 0700), -1);
	assert_int_equal(errno, EXDEV);
	assert_int_equal(fd_make_dirs(dir, "/x", 0700), -1);
	assert_int_equal(errno, EXDEV);
	assert_int_equal(fd_make_dirs(dir, "f/x", 0700), -1);
	assert_int_equal(errno, ENOTDIR);
	memset(long_name, 'n', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(fd_make_dirs(dir, long_name, 0700), -1);
	assert_int_equal(errno, ENAMETOOLONG);
}

static void
reading_respects_the_cap(void **state)
{
	(void)state;
	struct buf b;
	struct err err;

	put_file("ten", "0123456789");
	for (size_t cap = 8; cap < 13; cap++) {
		buf_init(&b, MEM_BASE, cap);
		int r = fd_read_file(dir, "ten", &b, &err);
		assert_int_equal(r, cap < 10 ? -1 : 0);
		if (r < 0)
			assert_int_equal(err.kind, ERR_LIMIT);
		else
			assert_int_equal(b.length, 10);
		buf_fini(&b);
	}
	put_file("empty", "");
	assert_true(holds(dir, "empty", ""));
}

static void
only_regular_files_are_read(void **state)
{
	(void)state;
	struct buf b;
	struct err err;

	buf_init(&b, MEM_BASE, 100);
	assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
	assert_int_equal(fd_read_file(dir, "fifo", &b, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(fd_read_file(dir, ".", &b, &err), -1);
	assert_int_equal(fd_read_file(dir, "none", &b, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(fd_read_file(AT_FDCWD, "/proc/self/comm", &b, &err), 0);
	assert_true(b.length > 0);
	buf_fini(&b);
}

static void
reading_survives_no_memory(void **state)
{
	(void)state;
	struct buf b;
	struct err err;

	put_file("ten", "0123456789");
	buf_init(&b, MEM_BASE, 100);
	mem_fail_after(0);
	assert_int_equal(fd_read_file(dir, "ten", &b, &err), -1);
	mem_fail_after(-1);
	assert_int_equal(err.kind, ERR_NO_MEMORY);
	buf_fini(&b);
}

static void
writing_tells_of_failure(void **state)
{
	(void)state;
	struct err err;
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(fd_write_all(ends[1], "abc", 3, &err), 0);
	fd_close(&ends[0]);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(fd_write_all(ends[1], "abc", 3, &err), -1);
	assert_int_equal(err.code, EPIPE);
	assert_int_equal(fd_write_all(ends[1], NULL, 0, &err), 0);
	fd_close(&ends[1]);
}

static void
replace_swaps_content_and_mode(void **state)
{
	(void)state;
	struct stat st;
	struct err err;
	mode_t mask = umask(077);

	put_file("f", "old");
	assert_int_equal(fd_replace(dir, "f", "new", 3, 0640, &err), 0);
	umask(mask);
	assert_true(holds(dir, "f", "new"));
	assert_int_equal(fstatat(dir, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(entries(dir), 1);

	/* by an O_PATH descriptor too, and over a link without following it */
	defer_close int path = fd_make_dirs(dir, "sub", 0755);
	assert_int_equal(symlinkat("../f", path, "g"), 0);
	assert_int_equal(fd_replace(path, "g", "own", 3, 0600, &err), 0);
	assert_true(holds(dir, "sub/g", "own"));
	assert_true(holds(dir, "f", "new"));

	/* a folder in the place of the file: refused, nothing left behind */
	assert_int_equal(fd_replace(dir, "sub", "x", 1, 0600, &err), -1);
	assert_int_equal(entries(dir), 2);
	assert_int_equal(fd_replace(-1, "f", "x", 1, 0600, &err), -1);
}

static int
fill_tiny_disk(void)
{
	static char large[256 * 1024];
	struct err err;

	if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	if (mount("tmpfs", folder, "tmpfs", 0, "size=64k") < 0)
		return 77;
	int at = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at < 0 || fd_replace(at, "f", "old", 3, 0600, &err) < 0)
		return 1;
	if (fd_replace(at, "f", large, sizeof(large), 0600, &err) == 0)
		return 2;
	if (err.kind != ERR_NO_SPACE)
		return 3;
	if (!holds(at, "f", "old"))
		return 4;
	if (entries(at) != 1)
		return 5;
	return fd_replace(at, "f", "new", 3, 0600, &err) == 0 && holds(at, "f", "new") ? 0 : 6;
}

static void
full_disk_leaves_the_old(void **state)
{
	(void)state;
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fill_tiny_disk());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("not root: the full disk was not tried\n");
		return;
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void
flags_switch(void **state)
{
	(void)state;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(fd_nonblock(ends[0], true), 0);
	assert_true((fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0);
	assert_int_equal(fd_nonblock(ends[0], false), 0);
	assert_true((fcntl(ends[0], F_GETFL) & O_NONBLOCK) == 0);
	assert_int_equal(fd_cloexec(ends[0], true), 0);
	assert_int_equal(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(fd_cloexec(ends[0], false), 0);
	assert_int_equal(fcntl(ends[0], F_GETFD), 0);
	fd_close(&ends[0]);
	fd_close(&ends[1]);
	assert_int_equal(fd_nonblock(-1, true), -1);
	assert_int_equal(fd_cloexec(-1, true), -1);
}

static void
sealed_memfd(void **state)
{
	(void)state;
	char text[8] = {0};
	defer_close int fd = fd_memfd_sealed("doc", "content", 7);

	assert_true(fd >= 0);
	assert_true(fd_is_sealed(fd));
	assert_int_equal(read(fd, text, sizeof(text)), 7); /* from the start */
	assert_string_equal(text, "content");
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(ftruncate(fd, 3), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	defer_close int plain = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_false(fd_is_sealed(plain));
	assert_int_equal(fcntl(plain, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK), 0);
	assert_false(fd_is_sealed(plain));
	assert_false(fd_is_sealed(dir));
	defer_close int empty = fd_memfd_sealed("empty", NULL, 0);
	assert_true(fd_is_sealed(empty));
}

static int
open_fds(void)
{
	defer_close int self = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return entries(self);
}

static void
descriptors_pass(void **state)
{
	(void)state;
	int pair[2], got[FD_PASS_MAX], many[FD_PASS_MAX];
	char data[16];
	size_t count;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		many[i] = dir;
	int before = open_fds();

	assert_int_equal(fd_send(pair[0], "hi", 2, many, FD_PASS_MAX), 2);
	assert_int_equal(fd_recv(pair[1], data, sizeof(data), got, FD_PASS_MAX, &count), 2);
	assert_int_equal(count, FD_PASS_MAX);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
		fd_close(&got[i]);
	}
	/* more than the receiver wants, with and without credentials beside them */
	for (int on = 0; on < 2; on++) {
		assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
		assert_int_equal(fd_send(pair[0], "hi", 2, many, 3), 2);
		assert_int_equal(fd_recv(pair[1], data, sizeof(data), got, 2, &count), -1);
		assert_int_equal(errno, EMSGSIZE);
		assert_int_equal(count, 0);
		assert_int_equal(fd_send(pair[0], "hi", 2, many, FD_PASS_MAX), 2);
		assert_int_equal(fd_recv(pair[1], data, 16, got, FD_PASS_MAX, &count), 2);
		assert_int_equal(count, FD_PASS_MAX);
		for (size_t i = 0; i < count; i++)
			fd_close(&got[i]);
	}
	/* a message longer than the buffer loses its descriptors too */
	assert_int_equal(fd_send(pair[0], "a long message, longer", 22, many, 1), 22);
	assert_int_equal(fd_recv(pair[1], data, sizeof(data), got, 1, &count), -1);
	assert_int_equal(errno, EMSGSIZE);
	assert_int_equal(open_fds(), before);

	assert_int_equal(fd_send(pair[0], "no", 2, NULL, 0), 2);
	assert_int_equal(fd_recv(pair[1], data, sizeof(data), NULL, 0, &count), 2);
	fd_close(&pair[0]);
	assert_int_equal(fd_recv(pair[1], data, sizeof(data), got, 1, &count), 0);
	assert_int_equal(fd_send(pair[1], "x", 1, NULL, 0), -1); /* and no SIGPIPE */
	assert_int_equal(errno, EPIPE);
	fd_close(&pair[1]);
}

/* 60 descriptors in one message, far more than any control buffer here. */
static void
a_flood_of_descriptors_leaks_none(void **state)
{
	(void)state;
	enum { FLOOD = 60 };
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(FLOOD * sizeof(int))] = {0};
	char byte = 'x';
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int pair[2], got[FD_PASS_MAX];
	size_t count;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(FLOOD * sizeof(int));
	for (size_t i = 0; i < FLOOD; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &dir, sizeof(int));
	int before = open_fds();
	assert_int_equal(sendmsg(pair[0], &msg, 0), 1);
	assert_int_equal(fd_recv(pair[1], &byte, 1, got, FD_PASS_MAX, &count), -1);
	assert_int_equal(errno, EMSGSIZE);
	assert_int_equal(open_fds(), before);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
}

static void
peer_and_pidfd(void **state)
{
	(void)state;
	int pair[2], status;
	pid_t pid;
	uid_t uid;
	gid_t gid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fd_peer(pair[0], &pid, &uid, &gid), 0);
	assert_int_equal(pid, getpid());
	assert_int_equal(uid, getuid());
	assert_int_equal(gid, getgid());
	assert_int_equal(fd_peer(dir, &pid, &uid, &gid), -1);

	pid = fork();
	if (pid == 0) {
		char byte;
		fd_close(&pair[0]);
		_exit((int)read(pair[1], &byte, 1));
	}
	defer_close int pidfd = fd_pidfd_open(pid);
	assert_true(pidfd >= 0);
	assert_int_equal(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fd_pidfd_signal(pidfd, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(fd_pidfd_signal(pidfd, 0), -1);
	assert_int_equal(errno, ESRCH);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
}

#define in_folder(f) cmocka_unit_test_setup_teardown(f, open_folder, close_folder)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		in_folder(close_and_take),
		in_folder(beneath_stays_beneath),
		in_folder(in_root_follows_inside),
		in_folder(folders_are_made),
		in_folder(reading_respects_the_cap),
		in_folder(only_regular_files_are_read),
		in_folder(reading_survives_no_memory),
		in_folder(writing_tells_of_failure),
		in_folder(replace_swaps_content_and_mode),
		in_folder(full_disk_leaves_the_old),
		in_folder(flags_switch),
		in_folder(sealed_memfd),
		in_folder(descriptors_pass),
		in_folder(a_flood_of_descriptors_leaks_none),
		in_folder(peer_and_pidfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
