/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handing listening sockets from a proxy without a node to the next node. The socket is made by
 * node for root alone; the peer's uid is looked at all the same. Nothing here waits: a node that
 * does not read is dropped and may connect again.
 */
#include "ring/handover.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

struct handover {
	struct station *st;
	const struct handover_events *events;
	void *arg;
	int listen_fd, conn_fd;
	uv_poll_t listen_poll, conn_poll;
	bool conn_closing;
};

void
handover_init(struct handover_message *m, enum handover_kind kind)
{
	memset(m, 0, sizeof(*m));
	m->magic = HANDOVER_MAGIC;
	m->version = HANDOVER_VERSION;
	m->kind = (uint16_t)kind;
}

int
handover_send(int sock, const struct handover_message *m, const int *fds)
{
	ssize_t n = fd_send(sock, m, sizeof(*m), fds, m->count);

	if (n == (ssize_t)sizeof(*m))
		return 0;
	if (n >= 0)
		errno = EIO;
	return -1;
}

static bool
message_holds(const struct handover_message *m, ssize_t bytes, size_t count)
{
	if (bytes != (ssize_t)sizeof(*m) || m->magic != HANDOVER_MAGIC ||
	    m->version != HANDOVER_VERSION || m->count != count)
		return false;
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		if (!msg_text_ok(m->names[i], HANDOVER_NAME))
			return false;
	switch ((enum handover_kind)m->kind) {
	case HANDOVER_COLLECT:
	case HANDOVER_DRAIN:
		return count == 0;
	case HANDOVER_SEGMENT:
		return count == 1;
	case HANDOVER_LISTENERS:
		return true;
	}
	return false;
}

int
handover_recv(int sock, struct handover_message *m, int *fds)
{
	size_t count = 0;
	ssize_t n = fd_recv(sock, m, sizeof(*m), fds, FD_PASS_MAX, &count);

	if (n < 0)
		return -1;
	if (n > 0 && message_holds(m, n, count))
		return 0;
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
	errno = n == 0 ? ECONNRESET : EBADMSG;
	return -1;
}

/* ---- the proxy's side ---- */

static void
conn_closed(uv_handle_t *handle)
{
	struct handover *h = handle->data;

	fd_close(&h->conn_fd);
	h->conn_closing = false;
}

static void
conn_drop(struct handover *h)
{
	if (h->conn_fd < 0 || h->conn_closing)
		return;
	h->conn_closing = true;
	uv_close((uv_handle_t *)&h->conn_poll, conn_closed);
}

static void
describe(const struct handover *h, struct handover_message *m, enum handover_kind kind)
{
	const struct leash_welcome *w = station_welcome(h->st);

	handover_init(m, kind);
	m->role = w->role;
	m->index = w->index;
	m->generation = w->generation;
	m->pid = (uint32_t)getpid();
}

static int
give_listeners(struct handover *h)
{
	size_t i = 0;
	bool more = true;

	while (more) {
		struct handover_message m;
		int fds[FD_PASS_MAX];

		describe(h, &m, HANDOVER_LISTENERS);
		while (more && m.count < FD_PASS_MAX) {
			const char *name = "";

			more = h->events->listener(h->arg, i, &fds[m.count], &name);
			if (!more)
				break;
			text_copy(m.names[m.count], HANDOVER_NAME, name);
			m.count++;
			i++;
		}
		m.last = !more;
		if (handover_send(h->conn_fd, &m, fds) < 0)
			return -1;
	}
	return 0;
}

static int
give(struct handover *h)
{
	struct handover_message m;
	int segment = ring_writer_fd(station_writer(h->st));

	describe(h, &m, HANDOVER_SEGMENT);
	m.count = 1;
	if (handover_send(h->conn_fd, &m, &segment) < 0)
		return -1;
	return give_listeners(h);
}

static void
conn_event(uv_poll_t *poll, int status, int events)
{
	struct handover *h = poll->data;
	struct handover_message m;
	int fds[FD_PASS_MAX];

	(void)events;
	if (h->conn_closing)
		return;
	if (status < 0 || handover_recv(h->conn_fd, &m, fds) < 0) {
		if (status < 0 || errno != EAGAIN)
			conn_drop(h);
		return;
	}
	for (size_t i = 0; i < m.count; i++)
		fd_close(&fds[i]);
	if (m.kind == HANDOVER_DRAIN)
		h->events->drain(h->arg, m.grace_ms);
	else if (m.kind != HANDOVER_COLLECT || give(h) < 0)
		conn_drop(h);
}

static void
listen_event(uv_poll_t *poll, int status, int events)
{
	struct handover *h = poll->data;
	pid_t pid;
	uid_t uid;
	gid_t gid;

	(void)events;
	if (status < 0)
		return;
	int fd = accept4(h->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	if (h->conn_fd >= 0 || fd_peer(fd, &pid, &uid, &gid) < 0 || uid != 0 ||
	    uv_poll_init(station_loop(h->st), &h->conn_poll, fd) < 0) {
		fd_close(&fd);
		return;
	}
	h->conn_fd = fd;
	h->conn_poll.data = h;
	uv_poll_start(&h->conn_poll, UV_READABLE, conn_event);
}

int
handover_new(struct station *st, int listen_fd, const struct handover_events *events, void *arg,
	     struct handover **out, struct err *err)
{
	struct handover *h = mem_zalloc(MEM_RING, sizeof(*h));

	if (!h) {
		fd_close(&listen_fd);
		return err_set(err, ERR_NO_MEMORY, "no memory for the handover socket");
	}
	*h = (struct handover){
		.st = st,
		.events = events,
		.arg = arg,
		.listen_fd = listen_fd,
		.conn_fd = -1,
	};
	fd_nonblock(listen_fd, true);
	int rc = uv_poll_init(station_loop(st), &h->listen_poll, listen_fd);
	if (rc < 0) {
		fd_close(&h->listen_fd);
		mem_free(h);
		return err_sys(err, -rc, "cannot watch the handover socket");
	}
	h->listen_poll.data = h;
	uv_poll_start(&h->listen_poll, UV_READABLE, listen_event);
	/* It alone does not keep a process alive. */
	uv_unref((uv_handle_t *)&h->listen_poll);
	*out = h;
	return 0;
}
