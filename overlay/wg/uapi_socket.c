/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of the protocol. Each has one request under way: it is read on when that was
 * answered and the answer was written, so that who does not read costs one answer's memory. Idle
 * ones are closed; a long answer that is being read is not idle.
 *
 * The socket is bound through /proc/self/fd, because a path below a folder's descriptor has no
 * other form there is room for in a sockaddr_un. Connections have their places from the start: one
 * that finds none waits in the kernel until another one ends.
 */
#include "overlay/wg/uapi_socket.h"

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
#include "overlay/wg/uapi.h"

enum { BACKLOG = 16, IN_BYTES = 2048, CODE_BYTES = 64, SWEEPS_OF_IDLE = 4 };

struct conn {
	uv_pipe_t pipe;
	uv_write_t write;
	struct uapi_socket *socket; /* NULL: the place is free */
	struct uapi uapi;
	struct buf out; /* being written; without memory: nothing is */
	uint64_t active_ms;
	size_t queued; /* bytes of it that were not yet taken when last looked */
	bool ended;    /* the client sends no more */
	size_t used, have;
	char in[IN_BYTES];
};

struct uapi_socket {
	uv_pipe_t pipe;
	uv_timer_t sweep;
	struct uapi_socket_device device;
	struct conn conns[UAPI_SOCKET_CONNECTIONS_MAX];
	bool waiting;     /* a connection does, for a place */
	unsigned handles; /* not yet closed, with those of connections */
	int folder;
	char file[UAPI_SOCKET_NAME_MAX + sizeof(".sock")];
};

static void was_connected(uv_stream_t *server, int status);
static void go_on(struct conn *c);

/* ---- ends ---- */

static void
let_go(struct uapi_socket *s)
{
	if (--s->handles > 0)
		return;
	fd_close(&s->folder);
	mem_free(s);
}

static void
drop_answer(struct conn *c)
{
	if (c->out.data)
		mem_wipe(c->out.data, c->out.length);
	buf_fini(&c->out);
}

static void
conn_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;
	struct uapi_socket *s = c->socket;

	drop_answer(c);
	uapi_fini(&c->uapi);
	mem_wipe(c, sizeof(*c));
	if (s->waiting && !uv_is_closing((uv_handle_t *)&s->pipe)) {
		s->waiting = false;
		was_connected((uv_stream_t *)&s->pipe, 0);
	}
	let_go(s);
}

static void
conn_close(struct conn *c)
{
	if (!uv_is_closing((uv_handle_t *)&c->pipe))
		uv_close((uv_handle_t *)&c->pipe, conn_closed);
}

/* ---- answers ---- */

static void
written(uv_write_t *write, int status)
{
	struct conn *c = write->data;

	if (uv_is_closing((uv_handle_t *)&c->pipe))
		return;
	drop_answer(c);
	c->active_ms = uv_now(c->pipe.loop);
	if (status < 0 || c->uapi.broken) {
		conn_close(c);
		return;
	}
	uapi_next(&c->uapi);
	go_on(c);
}

static void
send_answer(struct conn *c)
{
	uv_buf_t bytes = uv_buf_init((char *)c->out.data, (unsigned)c->out.length);

	if (!buf_ok(&c->out)) {
		conn_close(c);
		return;
	}
	c->write.data = c;
	c->queued = c->out.length;
	if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &bytes, 1, written) < 0)
		conn_close(c);
}

static void
answer_get(struct conn *c)
{
	const struct uapi_socket_device *d = &c->socket->device;
	struct setup s;

	setup_init(&s);
	int code = d->get(d->arg, &s);
	buf_init(&c->out, MEM_OVERLAY, uapi_state_bytes_max(&s));
	if (code == 0 && !uapi_put_state(&c->out, &s)) {
		code = ENOMEM;
		buf_reset(&c->out);
	}
	if (code != 0)
		uapi_put_code(&c->out, code);
	setup_fini(&s);
	send_answer(c);
}

static void
answer_code(struct conn *c, int code)
{
	buf_init(&c->out, MEM_OVERLAY, CODE_BYTES);
	uapi_put_code(&c->out, code);
	send_answer(c);
}

/* What was read, up to the end of a request. */
static void
take_input(struct conn *c)
{
	const struct uapi_socket_device *d = &c->socket->device;
	size_t used;
	enum uapi_event event = uapi_read(&c->uapi, c->in + c->used, c->have - c->used, &used);

	mem_wipe(c->in + c->used, used);
	c->used += used;
	switch (event) {
	case UAPI_MORE:
		break;
	case UAPI_GET:
		answer_get(c);
		break;
	case UAPI_SET:
		answer_code(c, d->set(d->arg, &c->uapi.change));
		break;
	case UAPI_WRONG:
		answer_code(c, c->uapi.code);
		break;
	}
}

/* ---- reading ---- */

static void
give_memory(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct conn *c = handle->data;

	(void)suggested;
	*out = uv_buf_init(c->in, sizeof(c->in));
}

static void
was_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *c = stream->data;

	(void)buf;
	if (n == 0)
		return;
	if (n < 0) {
		c->ended = true;
		if (n != UV_EOF)
			conn_close(c);
	} else {
		c->used = 0;
		c->have = (size_t)n;
		c->active_ms = uv_now(stream->loop);
	}
	go_on(c);
}

static void
read_on(struct conn *c)
{
	int rc = uv_read_start((uv_stream_t *)&c->pipe, give_memory, was_read);

	if (rc < 0 && rc != UV_EALREADY)
		conn_close(c);
}

/* Takes what was read, or waits for an answer to be written, or reads. */
static void
go_on(struct conn *c)
{
	while (!uv_is_closing((uv_handle_t *)&c->pipe) && !c->out.data && c->used < c->have)
		take_input(c);
	if (uv_is_closing((uv_handle_t *)&c->pipe))
		return;
	if (c->out.data)
		uv_read_stop((uv_stream_t *)&c->pipe);
	else if (c->ended)
		conn_close(c);
	else
		read_on(c);
}

static struct conn *
find_place(struct uapi_socket *s)
{
	for (size_t i = 0; i < UAPI_SOCKET_CONNECTIONS_MAX; i++)
		if (!s->conns[i].socket)
			return &s->conns[i];
	return NULL;
}

static void
was_connected(uv_stream_t *server, int status)
{
	struct uapi_socket *s = server->data;
	struct conn *c = find_place(s);

	if (status < 0)
		return;
	s->waiting = !c;
	if (!c)
		return;
	uv_pipe_init(server->loop, &c->pipe, 0);
	c->pipe.data = c;
	c->socket = s;
	c->active_ms = uv_now(server->loop);
	uapi_init(&c->uapi);
	s->handles++;
	if (uv_accept(server, (uv_stream_t *)&c->pipe) < 0)
		conn_close(c);
	else
		go_on(c);
}

static void
sweep(uv_timer_t *timer)
{
	struct uapi_socket *s = timer->data;
	uint64_t now = uv_now(timer->loop);

	for (size_t i = 0; i < UAPI_SOCKET_CONNECTIONS_MAX; i++) {
		struct conn *c = &s->conns[i];

		if (!c->socket)
			continue;
		size_t queued = uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe);
		if (queued < c->queued)
			c->active_ms = now;
		c->queued = queued;
		if (now - c->active_ms > s->device.idle_ms)
			conn_close(c);
	}
}

/* ---- the socket ---- */

static bool
name_ok(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length <= UAPI_SOCKET_NAME_MAX && !strchr(name, '/') &&
	       !text_equal(name, ".") && !text_equal(name, "..");
}

static bool
answers(const struct sockaddr_un *at)
{
	defer_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 || connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 ||
	       errno != ECONNREFUSED;
}

static int
bind_file(int folder, const char *file, struct err *err)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	defer_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	text_format(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/%s", folder, file);
	/* The file gets the mode that the socket has. */
	if (fd < 0 || fchmod(fd, 0600) < 0)
		return err_sys(err, errno, "cannot make the socket %s", file);
	int rc = bind(fd, (struct sockaddr *)&at, sizeof(at));
	if (rc < 0 && errno == EADDRINUSE) {
		if (answers(&at))
			return err_set(err, ERR_CONFLICT, "somebody else answers at %s", file);
		(void)unlinkat(folder, file, 0);
		rc = bind(fd, (struct sockaddr *)&at, sizeof(at));
	}
	if (rc < 0)
		return err_sys(err, errno, "cannot bind the socket %s", file);
	return fd_take(&fd);
}

static void
handle_closed(uv_handle_t *handle)
{
	let_go(handle->data);
}

static int
start(struct uapi_socket *s, uv_loop_t *loop, int fd, struct err *err)
{
	uint64_t every_ms = s->device.idle_ms / SWEEPS_OF_IDLE + 1;

	uv_pipe_init(loop, &s->pipe, 0);
	uv_timer_init(loop, &s->sweep);
	s->pipe.data = s->sweep.data = s;
	s->handles = 2;
	int rc = uv_pipe_open(&s->pipe, fd);
	if (rc < 0)
		fd_close(&fd);
	else
		rc = uv_listen((uv_stream_t *)&s->pipe, BACKLOG, was_connected);
	if (rc < 0) {
		(void)err_sys(err, -rc, "cannot listen at %s", s->file);
		uapi_socket_close(s);
		return -1;
	}
	uv_timer_start(&s->sweep, sweep, every_ms, every_ms);
	return 0;
}

static struct uapi_socket *
socket_new(const struct uapi_socket_device *device, const char *name, struct err *err)
{
	struct uapi_socket *s = mem_zalloc(MEM_OVERLAY, sizeof(*s));

	if (!s) {
		(void)err_set(err, ERR_NO_MEMORY, "no memory for the socket of %s", name);
		return NULL;
	}
	text_format(s->file, sizeof(s->file), "%s.sock", name);
	s->device = *device;
	if (s->device.idle_ms == 0)
		s->device.idle_ms = UAPI_SOCKET_IDLE_MS;
	s->folder = -1;
	return s;
}

static int
check_name(const char *name, struct err *err)
{
	return name_ok(name) ? 0
			     : err_set(err, ERR_INVALID, "\"%s\" is no name of an interface", name);
}

struct uapi_socket *
uapi_socket_open(uv_loop_t *loop, int folder, const char *name,
		 const struct uapi_socket_device *device, struct err *err)
{
	struct uapi_socket *s = check_name(name, err) == 0 ? socket_new(device, name, err) : NULL;

	if (!s)
		return NULL;
	s->folder = fcntl(folder, F_DUPFD_CLOEXEC, 0);
	int fd = s->folder < 0 ? err_sys(err, errno, "cannot keep the folder of %s", s->file)
			       : bind_file(s->folder, s->file, err);
	if (fd < 0) {
		fd_close(&s->folder);
		mem_free(s);
		return NULL;
	}
	return start(s, loop, fd, err) == 0 ? s : NULL;
}

/* The folder is as wireguard-go and wg-quick make it. */
int
uapi_socket_bind(const char *name, struct err *err)
{
	char file[UAPI_SOCKET_NAME_MAX + sizeof(".sock")];

	if (check_name(name, err) < 0)
		return -1;
	if (mkdir(UAPI_SOCKET_FOLDER, 0755) < 0 && errno != EEXIST)
		return err_sys(err, errno, "cannot make the folder %s", UAPI_SOCKET_FOLDER);
	defer_close int folder = open(UAPI_SOCKET_FOLDER, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return err_sys(err, errno, "cannot open the folder %s", UAPI_SOCKET_FOLDER);
	text_format(file, sizeof(file), "%s.sock", name);
	defer_close int fd = bind_file(folder, file, err);
	if (fd < 0)
		return -1;
	if (listen(fd, BACKLOG) < 0)
		return err_sys(err, errno, "cannot listen at %s", file);
	return fd_take(&fd);
}

struct uapi_socket *
uapi_socket_adopt(uv_loop_t *loop, int fd, const struct uapi_socket_device *device, struct err *err)
{
	struct uapi_socket *s = socket_new(device, "wg", err);

	if (!s) {
		fd_close(&fd);
		return NULL;
	}
	return start(s, loop, fd, err) == 0 ? s : NULL;
}

void
uapi_socket_close(struct uapi_socket *s)
{
	if (!s)
		return;
	if (s->folder >= 0)
		(void)unlinkat(s->folder, s->file, 0);
	for (size_t i = 0; i < UAPI_SOCKET_CONNECTIONS_MAX; i++)
		if (s->conns[i].socket)
			conn_close(&s->conns[i]);
	uv_close((uv_handle_t *)&s->sweep, handle_closed);
	uv_close((uv_handle_t *)&s->pipe, handle_closed);
}
