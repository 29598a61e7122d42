/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and keeping the fabric's network namespace. node itself never enters it: a short-lived
 * child does, and binds its own /proc/self/ns/net over a file, or opens a socket in it.
 */
#include "node/fabric.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"

#define FABRIC "netns/fabric"

/* Runs fn in a child; gives its exit status (an errno, 0 for success). */
static int
in_child(int (*fn)(int fd), int fd)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn(fd) & 0x7f);
	int status = 0;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid < 0)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static int
put(const char *path, const char *text)
{
	defer_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -1;
	return 0;
}

static int
lo_up(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	defer_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (sock < 0 || ioctl(sock, SIOCGIFFLAGS, &request) < 0)
		return -1;
	request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
	return ioctl(sock, SIOCSIFFLAGS, &request);
}

static int
make(int run_fd)
{
	if (unshare(CLONE_NEWNET) < 0 || lo_up() < 0 ||
	    put("/proc/sys/net/ipv4/ip_forward", "1") < 0)
		return errno;
	/* A kernel without IPv6 is served with what it has. */
	if (put("/proc/sys/net/ipv6/conf/all/forwarding", "1") < 0 && errno != ENOENT)
		return errno;
	if (fchdir(run_fd) < 0 || mount("/proc/self/ns/net", FABRIC, NULL, MS_BIND, NULL) < 0)
		return errno;
	return 0;
}

static int
open_namespace(int run_fd)
{
	struct statfs fs;
	int fd = openat(run_fd, FABRIC, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd >= 0 && (fstatfs(fd, &fs) < 0 || fs.f_type != NSFS_MAGIC))
		fd_close(&fd);
	return fd;
}

int
fabric_open(int run_fd, int *fd_out, struct err *err)
{
	*fd_out = open_namespace(run_fd);
	if (*fd_out >= 0)
		return 0;
	defer_close int file = openat(run_fd, FABRIC, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0)
		return err_sys(err, errno, "cannot make the fabric's file");
	int code = in_child(make, run_fd);
	if (code)
		return err_sys(err, code, "cannot make the fabric's network namespace");
	*fd_out = open_namespace(run_fd);
	if (*fd_out < 0)
		return err_set(err, ERR_INTERNAL, "the fabric's network namespace is not there");
	return 0;
}

/* ---- sockets inside ---- */

enum { BACKLOG = 256 };

static int
bound_socket(int type, const struct addr *addr)
{
	struct sockaddr_storage ss;
	socklen_t length = addr_to_sockaddr(addr, &ss);
	static const int one = 1;
	defer_close int fd = socket(ss.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&ss, length) < 0 ||
	    (type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
		return -1;
	return fd_take(&fd);
}

/* In the child: the answer is an errno, with the socket when that is 0. */
static void
send_socket(int link, int fabric, int type, const struct addr *addr)
{
	int fd = setns(fabric, CLONE_NEWNET) < 0 ? -1 : bound_socket(type, addr);
	int code = fd < 0 ? errno : 0;

	(void)fd_send(link, &code, sizeof(code), &fd, fd >= 0 ? 1 : 0);
	_exit(0);
}

int
fabric_socket(int fabric, int type, const struct addr *addr)
{
	int ends[2], fd = -1, code = EIO, status;
	size_t count = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0)
		send_socket(ends[1], fabric, type, addr);
	fd_close(&ends[1]);
	if (pid < 0)
		code = errno;
	else if (fd_recv(ends[0], &code, sizeof(code), &fd, 1, &count) != sizeof(code))
		code = EIO;
	fd_close(&ends[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (code == 0 && count == 1)
		return fd;
	if (count == 1)
		fd_close(&fd);
	errno = code ? code : EIO;
	return -1;
}

static int
unmount(int run_fd)
{
	if (fchdir(run_fd) < 0)
		return errno;
	if (umount2(FABRIC, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
		return errno;
	return 0;
}

int
fabric_remove(int run_fd)
{
	int code = in_child(unmount, run_fd);

	if (code == 0 && unlinkat(run_fd, FABRIC, 0) < 0 && errno != ENOENT)
		code = errno;
	errno = code;
	return code ? -1 : 0;
}
