/* SPDX-License-Identifier: Apache-2.0 */
/* A datagram socket at a path; who sends is told by the kernel (SCM_CREDENTIALS, unix(7)). */
#include "node/etcd_ready.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "node/watch.h"

enum { MESSAGES_MAX = 32 };

static const char socket_name[] = "etcd.ready";

struct etcd_ready {
	int fd;
	uid_t uid;
	struct watch *watch;
	void (*ready)(void *arg);
	void *arg;
	char path[ETCD_READY_PATH];
};

static bool
is_line(const char *text, const char *line)
{
	size_t length = strlen(line);

	for (const char *at = text; at && *at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, line, length) == 0 && (at[length] == '\n' || !at[length]))
			return true;
	}
	return false;
}

/* 1: it is ready; 0: something else; -1: nothing is there. */
static int
hear(struct etcd_ready *r)
{
	char text[512];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec io = {.iov_base = text, .iov_len = sizeof(text) - 1};
	struct msghdr m = {.msg_iov = &io,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(r->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *head = n >= 0 ? CMSG_FIRSTHDR(&m) : NULL;
	struct ucred who = {.uid = (uid_t)-1};

	if (n < 0)
		return errno == EINTR ? 0 : -1;
	if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_CREDENTIALS &&
	    head->cmsg_len == CMSG_LEN(sizeof(who)))
		memcpy(&who, CMSG_DATA(head), sizeof(who));
	text[n] = '\0';
	return who.uid == r->uid && is_line(text, "READY=1");
}

static void
readable(void *arg, bool can_read, bool can_write)
{
	struct etcd_ready *r = arg;
	int said = 0;
	bool ready = false;

	(void)can_read;
	(void)can_write;
	for (int i = 0; i < MESSAGES_MAX && said >= 0; i++) {
		said = hear(r);
		ready |= said == 1;
	}
	if (ready)
		r->ready(r->arg);
}

static int
open_socket(struct etcd_ready *r, int run)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	const int on = 1;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	text_copy(at.sun_path, sizeof(at.sun_path), r->path);
	(void)unlinkat(run, socket_name, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    fchmodat(run, socket_name, 0600, 0) < 0 ||
	    fchownat(run, socket_name, r->uid, r->uid, AT_SYMLINK_NOFOLLOW) < 0)
		fd_close(&fd);
	return fd;
}

int
etcd_ready_new(uv_loop_t *loop, int run, const char *run_path, uid_t uid, void (*ready)(void *arg),
	       void *arg, struct etcd_ready **out, struct err *err)
{
	struct etcd_ready *r = mem_zalloc(MEM_NODE, sizeof(*r));

	if (!r)
		return err_set(err, ERR_NO_MEMORY, "no memory to hear etcd");
	r->uid = uid;
	r->ready = ready;
	r->arg = arg;
	if (!text_format(r->path, sizeof(r->path), "%s/%s", run_path, socket_name)) {
		mem_free(r);
		return err_set(err, ERR_LIMIT, "the path of the run folder is too long");
	}
	r->fd = open_socket(r, run);
	if (r->fd < 0) {
		err_sys(err, errno, "cannot make the socket at which etcd says that it serves");
		mem_free(r);
		return -1;
	}
	r->watch = watch_new(loop, r->fd, readable, r);
	if (!r->watch) {
		fd_close(&r->fd);
		mem_free(r);
		return err_set(err, ERR_NO_MEMORY, "no memory to hear etcd");
	}
	*out = r;
	return 0;
}

void
etcd_ready_free(struct etcd_ready *r)
{
	if (!r)
		return;
	watch_free(r->watch);
	fd_close(&r->fd);
	mem_free(r);
}

const char *
etcd_ready_path(const struct etcd_ready *r)
{
	return r->path;
}

void
etcd_ready_remove(int run)
{
	(void)unlinkat(run, socket_name, 0);
}
