/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two halves of a line do not know of each other but for what waits: frames that came are
 * written to the stream, and the channel is not read while too many of them wait there; what the
 * stream says is cut into whole frames for the channel, and the stream is not read while too much
 * waits there. So a frame is never torn, and one more can be added behind the last that came.
 *
 * The end of the stream's reading half is told (END); a stream that has gone as a whole ends the
 * line. Memory goes when libuv has let go of the handles.
 */
#include "scheduler/far_line.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"

enum {
	TICK_MS = 1000,
	READ_BYTES = 32 << 10,
	IN_MAX = FAR_DATA_MAX + READ_BYTES,
	WIRE_MAX = FAR_HEAD + FAR_ANSWER_MAX + (128 << 10),
	TO_MAX = FAR_LINE_HIGH + WIRE_MAX,
	WHO_BYTES = 64,
};

struct far_line {
	bool serves;
	char who[WHO_BYTES];
	const struct far_line_calls *calls;
	void *arg;
	uv_loop_t *loop;
	uv_timer_t timer;
	uv_pipe_t pipe;
	uv_write_t write;
	uv_shutdown_t shutdown;
	unsigned handles;
	bool has_pipe, reading, writing, shut;
	bool heard_first;        /* the other side's first frame */
	bool ended;              /* nothing is called any more */
	bool last_said;          /* nothing more of the channel goes to the stream */
	bool half;               /* the stream says nothing more, and that was told */
	bool told_half;          /* the other side says nothing more */
	struct channel *channel; /* NULL: not yet, or it has ended */
	struct buf wire;         /* of the channel, no whole frame yet */
	struct buf in;           /* of the stream, no whole frame yet */
	struct buf to, sending;  /* to the stream */
	uint64_t begun_ms, heard_ms, said_ms, first_ms;
};

/* ---- ends ---- */

static void
handle_closed(uv_handle_t *handle)
{
	struct far_line *l = handle->data;

	if (--l->handles > 0)
		return;
	buf_fini(&l->wire);
	buf_fini(&l->in);
	buf_fini(&l->to);
	buf_fini(&l->sending);
	mem_free(l);
}

static void
close_handle(uv_handle_t *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, handle_closed);
}

static void
drop_stream(struct far_line *l)
{
	if (l->has_pipe)
		close_handle((uv_handle_t *)&l->pipe);
	l->reading = false;
}

/* All of it goes; who asked is given the rest of what came first. What was to go to a command is of
 * no use to it any more. */
static void
finish(struct far_line *l)
{
	l->last_said = true;
	if (!uv_is_closing((uv_handle_t *)&l->timer)) {
		uv_timer_stop(&l->timer);
		close_handle((uv_handle_t *)&l->timer);
	}
	if (l->has_pipe && l->reading)
		uv_read_stop((uv_stream_t *)&l->pipe);
	l->reading = false;
	if (!l->writing || l->serves)
		drop_stream(l);
}

static void
tell_end(struct far_line *l, const struct err *why)
{
	if (l->ended)
		return;
	l->ended = true;
	l->calls->ended(l->arg, why);
}

static void flush(struct far_line *l);

/* To who asked. */
static void
say_last(struct far_line *l, enum msg_frame type, const char *text)
{
	if (!l->has_pipe || l->serves || l->last_said)
		return;
	buf_u8(&l->to, (uint8_t)type);
	buf_u8(&l->to, 0);
	buf_u16(&l->to, 0);
	buf_text(&l->to, text);
	flush(l);
}

/* The way broke: who reads the stream is told. */
static void
broken(struct far_line *l, const struct err *why)
{
	char text[MSG_TEXT * 2];

	channel_abort(l->channel);
	l->channel = NULL;
	text_format(text, sizeof(text), "%s%s%s", why->what, why->whys ? ": " : "",
		    why->whys ? why->why[0] : "");
	say_last(l, MSG_FRAME_LOST, text);
	finish(l);
	tell_end(l, why);
}

void
far_line_break(struct far_line *l, const struct err *why)
{
	broken(l, why);
}

static void
broken_because(struct far_line *l, enum err_kind kind, const char *why)
{
	struct err err = {0};

	err_set(&err, kind, "the connection with %s ended", l->who);
	err_why(&err, "%s", why);
	broken(l, &err);
}

/* Both sides have said all. */
static void
done(struct far_line *l)
{
	struct channel *channel = l->channel;

	l->channel = NULL;
	if (channel)
		channel_close(channel);
	finish(l);
	tell_end(l, &(struct err){0});
}

void
far_line_end(struct far_line *l)
{
	l->ended = true;
	done(l);
}

/* ---- to the channel ---- */

static bool
send_bytes(struct far_line *l, const void *data, size_t bytes)
{
	if (!l->channel)
		return false;
	l->said_ms = uv_now(l->loop);
	return channel_write(l->channel, data, bytes) && l->channel;
}

bool
far_line_send(struct far_line *l, const struct buf *frame)
{
	if (buf_ok(frame))
		return send_bytes(l, frame->data, frame->length);
	broken_because(l, ERR_NO_MEMORY, "there is no memory for it");
	return false;
}

static bool
say(struct far_line *l, enum far_kind kind, const void *data, size_t bytes)
{
	struct buf b;

	buf_init(&b, MEM_SCHEDULER, FAR_HEAD + FAR_DATA_MAX);
	far_wire_put(&b, kind, data, bytes);
	bool good = far_line_send(l, &b);
	buf_fini(&b);
	return good;
}

static bool
may_pass(const struct far_line *l, const void *data, size_t bytes)
{
	return l->serves ? far_wire_may_come(data, bytes) : far_wire_may_go(data, bytes);
}

/* The whole frames that the stream has said; false when the line has ended. */
static bool
pass_on(struct far_line *l)
{
	while (l->in.length > 0) {
		size_t most = l->in.length < FAR_DATA_MAX ? l->in.length : FAR_DATA_MAX;
		long whole = far_wire_whole(l->in.data, most);

		if (whole < 0 || !may_pass(l, l->in.data, (size_t)whole)) {
			broken_because(l, ERR_INTERNAL, "what was to be sent is damaged");
			return false;
		}
		if (whole == 0)
			return true;
		if (!say(l, FAR_DATA, l->in.data, (size_t)whole))
			return false;
		buf_consume(&l->in, (size_t)whole);
	}
	return true;
}

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
	struct far_line *l = handle->data;
	uint8_t *at = buf_reserve(&l->in, READ_BYTES);

	(void)suggested;
	*b = at ? uv_buf_init((char *)at, READ_BYTES) : uv_buf_init(NULL, 0);
}

static bool
is_gone(struct far_line *l)
{
	uv_os_fd_t fd;
	struct pollfd p = {0};

	if (uv_fileno((uv_handle_t *)&l->pipe, &fd) < 0)
		return true;
	p.fd = fd;
	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

/* Nothing more comes of the stream. */
static void
stream_ended(struct far_line *l)
{
	uv_read_stop((uv_stream_t *)&l->pipe);
	l->reading = false;
	if (l->half)
		return;
	l->half = true;
	if (!l->serves && is_gone(l)) {
		/* Nobody is there any more: the other side is to see that at once. */
		channel_abort(l->channel);
		l->channel = NULL;
		finish(l);
		tell_end(l, &(struct err){0});
		return;
	}
	if (say(l, FAR_END, NULL, 0) && l->serves)
		done(l);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct far_line *l = stream->data;

	(void)b;
	if (n == 0 || l->last_said)
		return;
	if (n == UV_ENOBUFS) {
		broken_because(l, ERR_NO_MEMORY, "there is no memory for it");
		return;
	}
	if (n < 0) {
		stream_ended(l);
		return;
	}
	buf_commit(&l->in, (size_t)n);
	if (pass_on(l) && l->reading && channel_pending(l->channel) > FAR_LINE_HIGH) {
		uv_read_stop(stream);
		l->reading = false;
	}
}

static void
read_on(struct far_line *l)
{
	if (!l->has_pipe || l->reading || l->half || l->last_said || !l->channel)
		return;
	l->reading = uv_read_start((uv_stream_t *)&l->pipe, on_alloc, on_read) == 0;
	if (!l->reading)
		broken_because(l, ERR_SYSTEM, "the stream cannot be read");
}

/* ---- to the stream ---- */

static void
shut(uv_shutdown_t *shutdown, int status)
{
	(void)shutdown;
	(void)status;
}

static void
all_written(struct far_line *l)
{
	if (l->last_said) {
		drop_stream(l);
		return;
	}
	if (l->told_half && !l->shut) {
		l->shut = true;
		uv_shutdown(&l->shutdown, (uv_stream_t *)&l->pipe, shut);
	}
}

static void
on_written(uv_write_t *write, int status)
{
	struct far_line *l = write->data;

	l->writing = false;
	buf_reset(&l->sending);
	if (uv_is_closing((uv_handle_t *)&l->pipe))
		return;
	if (status < 0) {
		/* Who read it has left; a command may go on writing for nobody. */
		buf_reset(&l->to);
		if (l->last_said) {
			drop_stream(l);
		} else if (!l->serves) {
			channel_abort(l->channel);
			l->channel = NULL;
			finish(l);
			tell_end(l, &(struct err){0});
		}
		return;
	}
	flush(l);
	if (l->channel && l->to.length + l->sending.length < FAR_LINE_HIGH / 2)
		channel_pause(l->channel, false);
}

static void
flush(struct far_line *l)
{
	struct buf empty = l->sending;

	if (l->writing || !l->has_pipe || uv_is_closing((uv_handle_t *)&l->pipe))
		return;
	if (l->to.length == 0) {
		all_written(l);
		return;
	}
	l->sending = l->to;
	l->to = empty;
	uv_buf_t b = uv_buf_init((char *)l->sending.data, (unsigned)l->sending.length);
	l->write.data = l;
	l->writing = uv_write(&l->write, (uv_stream_t *)&l->pipe, &b, 1, on_written) == 0;
	if (!l->writing)
		buf_reset(&l->sending);
}

/* ---- of the channel ---- */

static bool
is_first(const struct far_line *l, const struct far_frame *f)
{
	return f->kind == (l->serves ? FAR_CALL : FAR_ANSWER);
}

static bool
take_data(struct far_line *l, const struct far_frame *f)
{
	bool may = l->serves ? far_wire_may_go(f->data, f->bytes)
			     : far_wire_may_come(f->data, f->bytes);

	if (!may || !l->has_pipe || l->told_half) {
		broken_because(l, ERR_CORRUPT, "it said what nobody asked for");
		return false;
	}
	buf_put(&l->to, f->data, f->bytes);
	if (!buf_ok(&l->to)) {
		broken_because(l, ERR_NO_MEMORY, "there is no memory for it");
		return false;
	}
	flush(l);
	return l->channel != NULL;
}

/* False when the line has ended. */
static bool
take_frame(struct far_line *l, const struct far_frame *f)
{
	if (f->kind == FAR_ALIVE)
		return true;
	if (!l->heard_first) {
		if (!is_first(l, f)) {
			broken_because(l, ERR_CORRUPT, "it begins with what it should not");
			return false;
		}
		l->heard_first = true;
		l->calls->first(l->arg, f);
		return l->channel != NULL;
	}
	if (f->kind == FAR_DATA)
		return take_data(l, f);
	if (f->kind != FAR_END || l->told_half) {
		broken_because(l, ERR_CORRUPT, "it said what nobody asked for");
		return false;
	}
	l->told_half = true;
	if (!l->serves) {
		say_last(l, MSG_FRAME_DONE, "");
		done(l);
		return false;
	}
	flush(l);
	return l->channel != NULL;
}

static void
on_up(void *arg, struct channel *c)
{
	struct far_line *l = arg;

	(void)c;
	l->heard_ms = l->said_ms = uv_now(l->loop);
	if (l->calls->up)
		l->calls->up(l->arg);
}

/* The frames that are there. */
static void
take_wire(struct far_line *l)
{
	struct far_frame f;
	size_t at = 0;
	int rc;

	while ((rc = far_wire_next(l->wire.data + at, l->wire.length - at, &f)) > 0) {
		at += FAR_HEAD + f.bytes;
		if (!take_frame(l, &f))
			return;
	}
	if (rc < 0) {
		broken_because(l, ERR_CORRUPT, "what it said is damaged");
		return;
	}
	buf_consume(&l->wire, at);
	if (l->to.length + l->sending.length > FAR_LINE_HIGH)
		channel_pause(l->channel, true);
}

static void
on_data(void *arg, struct channel *c, const void *data, size_t bytes)
{
	struct far_line *l = arg;

	(void)c;
	l->heard_ms = uv_now(l->loop);
	buf_put(&l->wire, data, bytes);
	if (buf_ok(&l->wire))
		take_wire(l);
	else
		broken_because(l, ERR_NO_MEMORY, "there is no memory for it");
}

static void
on_room(void *arg, struct channel *c)
{
	(void)c;
	read_on(arg);
}

static void
on_down(void *arg, struct channel *c, const struct err *why)
{
	struct far_line *l = arg;
	struct err err = {0};

	(void)c;
	l->channel = NULL;
	err_set(&err, why->kind ? (enum err_kind)why->kind : ERR_UNREACHABLE,
		"the connection with %s ended", l->who);
	if (why->whys)
		err_why(&err, "%s", why->why[0]);
	broken(l, &err);
}

const struct channel_calls far_line_channel_calls = {on_up, on_data, on_room, on_down};

/* ---- time ---- */

static void
tick(uv_timer_t *timer)
{
	struct far_line *l = timer->data;
	uint64_t now = uv_now(l->loop);
	bool paused = l->to.length + l->sending.length > FAR_LINE_HIGH / 2;

	if (!l->heard_first && now - l->begun_ms > l->first_ms) {
		broken_because(l, ERR_TIMEOUT,
			       l->channel ? "it did not answer in time"
					  : "it was asked to call back, and did not in time");
		return;
	}
	if (!l->heard_first)
		return;
	/* What is not read cannot be heard. */
	if (paused)
		l->heard_ms = now;
	if (now - l->heard_ms > FAR_LINE_SILENT_MS)
		broken_because(l, ERR_TIMEOUT, "nothing was heard of it any more");
	else if (now - l->said_ms > FAR_LINE_ALIVE_MS && channel_pending(l->channel) == 0)
		say(l, FAR_ALIVE, NULL, 0);
}

/* ---- begins ---- */

int
far_line_new(uv_loop_t *loop, bool serves, const char *who, const struct far_line_calls *calls,
	     void *arg, struct far_line **out, struct err *err)
{
	struct far_line *l = mem_zalloc(MEM_SCHEDULER, sizeof(*l));

	if (!l)
		return err_set(err, ERR_NO_MEMORY, "no memory for a connection with %s", who);
	l->loop = loop;
	l->serves = serves;
	l->calls = calls;
	l->arg = arg;
	text_copy(l->who, sizeof(l->who), who);
	buf_init(&l->wire, MEM_SCHEDULER, WIRE_MAX);
	buf_init(&l->in, MEM_SCHEDULER, IN_MAX);
	buf_init(&l->to, MEM_SCHEDULER, TO_MAX);
	buf_init(&l->sending, MEM_SCHEDULER, TO_MAX);
	uv_timer_init(loop, &l->timer);
	l->timer.data = l;
	l->handles = 1;
	l->first_ms = FAR_LINE_FIRST_MS;
	l->begun_ms = l->heard_ms = l->said_ms = uv_now(loop);
	uv_timer_start(&l->timer, tick, TICK_MS, TICK_MS);
	*out = l;
	return 0;
}

void
far_line_patience(struct far_line *l, uint64_t first_ms)
{
	l->first_ms = first_ms;
}

void
far_line_channel(struct far_line *l, struct channel *c)
{
	l->channel = c;
}

void
far_line_take(struct far_line *l, struct channel *c)
{
	l->channel = c;
	channel_give(c, &far_line_channel_calls, l);
	on_up(l, c);
}

int
far_line_open(struct far_line *l, int fd, struct err *err)
{
	if (l->has_pipe || l->last_said || fd_nonblock(fd, true) < 0) {
		close(fd);
		return err_set(err, ERR_INTERNAL, "this stream cannot be used");
	}
	uv_pipe_init(l->loop, &l->pipe, 0);
	l->pipe.data = l;
	int rc = uv_pipe_open(&l->pipe, fd);
	if (rc < 0) {
		close(fd);
		l->has_pipe = true;
		l->handles++;
		drop_stream(l);
		return err_sys(err, -rc, "this stream cannot be used");
	}
	l->has_pipe = true;
	l->handles++;
	read_on(l);
	return 0;
}
