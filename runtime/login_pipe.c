/* SPDX-License-Identifier: Apache-2.0 */
/* A head of fixed size, then as many bytes as it says, then the end. It comes from a process of
 * node's, but what the program printed is read as anything from outside is. */
#include "runtime/login_pipe.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "ring/leash.h"
#include "runtime/logins.h"

struct login_pipe {
	uv_poll_t poll;
	int fd;
	struct buf data;
	login_pipe_fn done;
	void *arg;
};

static void
closed(uv_handle_t *handle)
{
	struct login_pipe *p = handle->data;

	fd_close(&p->fd);
	mem_free(p);
}

void
login_pipe_cancel(struct login_pipe *p)
{
	if (!p)
		return;
	if (p->data.data)
		mem_wipe(p->data.data, p->data.capacity);
	buf_fini(&p->data);
	uv_close((uv_handle_t *)&p->poll, closed);
}

static int
judge(const struct login_pipe *p, struct registry_login *out, struct err *err)
{
	struct leash_login head;

	if (p->data.length < sizeof(head)) {
		err_set(err, ERR_INTERNAL, "a program that keeps logins was not asked");
		return err_why(err, "the process that was to run it died");
	}
	memcpy(&head, p->data.data, sizeof(head));
	if (!buf_ok(&p->data) || head.bytes != p->data.length - sizeof(head) ||
	    head.kind >= ERR_KINDS_ || !MSG_OK(head.what) || !MSG_OK(head.why[0]) ||
	    !MSG_OK(head.why[1]) || !MSG_OK(head.fix))
		return err_set(err, ERR_CORRUPT, "node gave a login that does not hold");
	if (!head.kind)
		return logins_take((const char *)p->data.data + sizeof(head), head.bytes, out, err);
	err_set(err, (enum err_kind)head.kind, "%s", head.what);
	for (size_t i = 0; i < 2; i++) {
		if (head.why[i][0])
			err_why(err, "%s", head.why[i]);
	}
	if (head.fix[0])
		err_fix(err, "%s", head.fix);
	return -1;
}

static void
finish(struct login_pipe *p)
{
	struct registry_login *login = mem_zalloc(MEM_RUNTIME, sizeof(*login));
	struct err err = {0};
	login_pipe_fn done = p->done;
	void *arg = p->arg;
	int rc = login ? judge(p, login, &err)
		       : err_set(&err, ERR_NO_MEMORY, "no memory for a registry's login");

	login_pipe_cancel(p);
	done(arg, rc == 0 ? login : NULL, &err);
	mem_free_zero(login);
}

static void
readable(uv_poll_t *poll, int status, int events)
{
	struct login_pipe *p = poll->data;
	char piece[4096];
	ssize_t n;

	(void)events;
	do {
		n = status < 0 ? 0 : read(p->fd, piece, sizeof(piece));
		if (n > 0)
			buf_put(&p->data, piece, (size_t)n);
	} while (n > 0 || (n < 0 && errno == EINTR));
	mem_wipe(piece, sizeof(piece));
	if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
		finish(p);
}

struct login_pipe *
login_pipe_start(uv_loop_t *loop, int fd, login_pipe_fn done, void *arg, struct err *err)
{
	struct login_pipe *p = mem_zalloc(MEM_RUNTIME, sizeof(*p));

	if (!p || fd_nonblock(fd, true) < 0 || uv_poll_init(loop, &p->poll, fd) < 0) {
		mem_free(p);
		fd_close(&fd);
		err_set(err, ERR_NO_MEMORY, "no memory to wait for a registry's login");
		return NULL;
	}
	p->fd = fd;
	p->done = done;
	p->arg = arg;
	p->poll.data = p;
	/* No more is kept than may come: beyond it the buffer fails. */
	buf_init(&p->data, MEM_RUNTIME, sizeof(struct leash_login) + LEASH_LOGIN_BYTES_MAX);
	uv_poll_start(&p->poll, UV_READABLE | UV_DISCONNECT, readable);
	return p;
}
