/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `exec`: a socketpair whose far end goes to the runtime, or, for a replica of another node, to the
 * scheduler, which passes it on; frames of ring/msg.h pass through, each as one binary WebSocket
 * message. From the client only input, size and signals are taken. When either side is slow the
 * other is not read.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/nodes.h"
#include "api/replicas.h"
#include "api/route.h"
#include "api/target.h"
#include "base/fd.h"
#include "base/text.h"
#include "wire/json_read.h"
#include "wire/url.h"
#include "wire/ws.h"

enum {
	SESSIONS_MAX = 64,
	FRAME_MAX = MSG_FRAME_MAX + MSG_FRAME_HEAD,
	IN_MAX = 2 * FRAME_MAX,
	TO_HIGH = 256 << 10,
};

struct session {
	struct call *call; /* NULL: the client has left */
	uv_pipe_t pipe;
	bool has_pipe, closing, reading, opened;
	struct ws ws;
	struct buf in;      /* from the runtime */
	struct buf message; /* from the client */
	struct buf to, sending;
	uv_write_t write;
	bool writing, exited;
};

static size_t sessions;

static void
session_free_if_done(struct session *s)
{
	if (s->call || s->has_pipe)
		return;
	buf_fini(&s->in);
	buf_fini(&s->message);
	buf_fini(&s->to);
	buf_fini(&s->sending);
	mem_free(s);
	sessions--;
}

static void
on_closed(uv_handle_t *handle)
{
	struct session *s = handle->data;

	s->has_pipe = false;
	session_free_if_done(s);
}

static void
close_pipe(struct session *s)
{
	if (s->has_pipe && !s->closing) {
		s->closing = true;
		uv_close((uv_handle_t *)&s->pipe, on_closed);
	}
}

static void
session_free(struct call *call)
{
	struct session *s = call->stream;

	call->stream = NULL;
	s->call = NULL;
	close_pipe(s);
	session_free_if_done(s);
}

/* ---- to the client ---- */

static void
send_message(struct call *call, enum ws_opcode opcode, const void *data, size_t bytes)
{
	uint8_t head[WS_HEAD_MAX];

	call_write(call, head, ws_put_head(head, opcode, true, bytes, NULL));
	call_write(call, data, bytes);
}

static void
end(struct session *s, uint16_t code, const char *why)
{
	uint8_t body[WS_CONTROL_MAX];
	struct call *call = s->call;

	if (!call)
		return;
	send_message(call, WS_OP_CLOSE, body, ws_put_close(body, code, why));
	call_end(call);
}

/* A frame says why, since a close has room for few words. */
static void
end_lost(struct session *s, const uint8_t *text, size_t bytes)
{
	struct buf b;

	buf_init(&b, MEM_API, FRAME_MAX);
	buf_u8(&b, MSG_FRAME_LOST);
	buf_u8(&b, 0);
	buf_u16(&b, 0);
	buf_blob(&b, text, bytes);
	if (buf_ok(&b))
		send_message(s->call, WS_OP_BINARY, b.data, b.length);
	buf_fini(&b);
	end(s, WS_INTERNAL_ERROR, "the way to the other node was lost");
}

static void
pass_frames(struct session *s)
{
	struct call *call = s->call;

	while (call && call->conn && call->stream && s->in.length >= MSG_FRAME_HEAD) {
		struct cursor c;

		cursor_init(&c, s->in.data + 4, 4);
		size_t bytes = MSG_FRAME_HEAD + (size_t)cursor_u32(&c);
		if (bytes > FRAME_MAX) {
			end(s, WS_INTERNAL_ERROR, "a frame is too long");
			return;
		}
		if (s->in.length < bytes)
			return;
		if (s->in.data[0] == MSG_FRAME_LOST) {
			end_lost(s, s->in.data + MSG_FRAME_HEAD, bytes - MSG_FRAME_HEAD);
			return;
		}
		s->exited = s->in.data[0] == MSG_FRAME_EXIT;
		send_message(call, WS_OP_BINARY, s->in.data, bytes);
		if (!call->conn)
			return;
		buf_consume(&s->in, bytes);
		if (s->exited) {
			end(s, WS_NORMAL, NULL);
			return;
		}
	}
}

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
	struct session *s = handle->data;
	uint8_t *at = buf_reserve(&s->in, 16384);

	(void)suggested;
	*b = at ? uv_buf_init((char *)at, 16384) : uv_buf_init(NULL, 0);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct session *s = stream->data;
	struct call *call = s->call;

	(void)b;
	if (n == 0 || !call)
		return;
	call_ref(call);
	if (n < 0) {
		end(s, WS_INTERNAL_ERROR, "the container's side was lost");
	} else {
		buf_commit(&s->in, (size_t)n);
		pass_frames(s);
		if (call->conn && call->stream && !call_room(call)) {
			uv_read_stop(stream);
			s->reading = false;
		}
	}
	call_unref(call);
}

static void
read_on(struct session *s)
{
	if (s->reading || !s->opened || s->closing)
		return;
	s->reading = uv_read_start((uv_stream_t *)&s->pipe, on_alloc, on_read) == 0;
}

static void
on_drained(struct call *call)
{
	if (call->stream)
		read_on(call->stream);
}

/* ---- from the client ---- */

static void send_more(struct session *s);

static void
on_written(uv_write_t *write, int status)
{
	struct session *s = write->data;

	s->writing = false;
	buf_reset(&s->sending);
	if (!s->call || status < 0)
		return; /* the reading side tells the end */
	send_more(s);
	if (s->to.length + s->sending.length < TO_HIGH / 2)
		call_pause(s->call, false);
}

static void
send_more(struct session *s)
{
	struct buf empty = s->sending;

	if (s->writing || s->closing || s->to.length == 0)
		return;
	s->sending = s->to;
	s->to = empty;
	uv_buf_t b = uv_buf_init((char *)s->sending.data, (unsigned)s->sending.length);
	s->write.data = s;
	s->writing = uv_write(&s->write, (uv_stream_t *)&s->pipe, &b, 1, on_written) == 0;
}

/* One message is one frame. */
static bool
take_message(struct session *s)
{
	struct cursor c;

	cursor_init(&c, s->message.data, s->message.length);
	uint8_t type = cursor_u8(&c);
	uint8_t flags = cursor_u8(&c);
	uint16_t zero = cursor_u16(&c);
	uint32_t bytes = cursor_u32(&c);
	if (!cursor_ok(&c) || bytes != cursor_left(&c) || flags || zero)
		return false;
	if (type != MSG_FRAME_STDIN && !(type == MSG_FRAME_RESIZE && bytes == 4) &&
	    !(type == MSG_FRAME_SIGNAL && bytes == 4))
		return false;
	buf_put(&s->to, s->message.data, s->message.length);
	buf_reset(&s->message);
	send_more(s);
	if (s->to.length + s->sending.length > TO_HIGH)
		call_pause(s->call, true);
	return buf_ok(&s->to);
}

/* False when the session is over. */
static bool
take_piece(struct session *s, enum ws_event event, const struct ws_piece *piece)
{
	switch (event) {
	case WS_DATA:
		buf_put(&s->message, piece->data, piece->length);
		if (piece->opcode == WS_OP_BINARY && buf_ok(&s->message) &&
		    (!piece->last || take_message(s)))
			return true;
		end(s, WS_UNSUPPORTED_DATA, "only frames of exec are taken");
		return false;
	case WS_PING:
		send_message(s->call, WS_OP_PONG, piece->data, piece->length);
		return s->call != NULL;
	case WS_CLOSED:
		end(s, piece->code, NULL);
		return false;
	case WS_BAD:
		end(s, s->ws.error, NULL);
		return false;
	default:
		return true;
	}
}

static size_t
on_raw(struct call *call, uint8_t *data, size_t bytes)
{
	struct session *s = call->stream;
	struct ws_piece piece;
	size_t at = 0, used;

	call_ref(call);
	while (at < bytes && call->stream && !call->conn->paused) {
		enum ws_event event = ws_feed(&s->ws, data + at, bytes - at, &used, &piece);

		at += used;
		if (!take_piece(s, event, &piece)) {
			at = bytes;
			break;
		}
	}
	call_unref(call);
	return at;
}

/* ---- begin ---- */

static int
query_args(struct call *call, struct words *args, struct err *err)
{
	char text[CALL_QUERY_BYTES];
	struct url_pair pair;
	size_t at = 0;

	while (url_query_next(call->query, call->query_length, &at, &pair)) {
		if (pair.name_length != 7 || memcmp(pair.name, "command", 7) != 0)
			continue;
		if (!pair.value ||
		    url_decode(pair.value, pair.value_length, true, text, sizeof(text)) < 0)
			return err_set(err, ERR_INVALID, "the query's \"command\" is wrong");
		if (words_add(args, text, err) < 0)
			return -1;
	}
	return 0;
}

static int
body_args(struct call *call, struct msg_exec *op, struct words *args, struct err *err)
{
	json_t *root = json_read_parse(buf_cstr(&call->body), call->body.length, err);
	const json_t *list = json_read_get(root, "command");
	int rc = !root ? -1 : list ? target_words(list, "command", args, err) : 0;

	op->tty = json_read_bool(root, "tty");
	if (rc == 0 &&
	    (!text_copy(op->user, sizeof(op->user), json_read_text(root, "user")) ||
	     !text_copy(op->workdir, sizeof(op->workdir), json_read_text(root, "workdir"))))
		rc = err_set(err, ERR_INVALID, "the user or workdir is too long");
	json_read_free(root);
	return rc;
}

/* False: it was answered. */
static bool
take_options(struct call *call, struct msg_exec *op, struct words *args)
{
	uint64_t rows = 24, columns = 80;
	struct err err = {0};
	bool tty = false;

	if (call->body.length > 0) {
		if (body_args(call, op, args, &err) < 0) {
			call_problem(call, &err);
			return false;
		}
		tty = op->tty;
	} else {
		call_query(call, "user", op->user, sizeof(op->user));
		if (!call->answered)
			call_query(call, "workdir", op->workdir, sizeof(op->workdir));
		if (call->answered)
			return false;
	}
	if (!call_query_bool(call, "tty", &tty) ||
	    !call_query_u64(call, "rows", UINT16_MAX, &rows) ||
	    !call_query_u64(call, "columns", UINT16_MAX, &columns))
		return false;
	op->tty = tty;
	op->rows = (uint32_t)rows;
	op->columns = (uint32_t)columns;
	if (args->count == 0 && query_args(call, args, &err) < 0) {
		call_problem(call, &err);
		return false;
	}
	op->argc = (uint32_t)args->count;
	if (args->count > 0 && args->text.data[0])
		return true;
	err_set(&err, ERR_INVALID, "there is no command to run");
	err_fix(&err, "?command=sh&command=-c&command=...");
	call_problem(call, &err);
	return false;
}

static void
on_stop(struct call *call)
{
	if (call->stream)
		end(call->stream, WS_GOING_AWAY, "this process of the node is about to leave");
}

static void
started(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	struct session *s = call->stream;

	(void)body, (void)bytes, (void)fds, (void)count;
	if (!s)
		return;
	s->opened = true;
	call->on_raw = on_raw;
	call->on_stop = on_stop;
	call->on_drained = on_drained;
	call_ref(call);
	call_upgrade(call);
	if (call->stream)
		read_on(s);
	call_unref(call);
}

static struct session *
session_new(struct call *call, int *far_end)
{
	int pair[2];

	if (sessions >= SESSIONS_MAX ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return NULL;
	struct session *s = mem_zalloc(MEM_API, sizeof(*s));
	if (!s) {
		close(pair[0]);
		close(pair[1]);
		return NULL;
	}
	sessions++;
	s->call = call;
	buf_init(&s->in, MEM_API, IN_MAX + 16384);
	buf_init(&s->message, MEM_API, FRAME_MAX);
	buf_init(&s->to, MEM_API, TO_HIGH + 2 * FRAME_MAX);
	buf_init(&s->sending, MEM_API, TO_HIGH + 2 * FRAME_MAX);
	ws_init(&s->ws, WS_SERVER, FRAME_MAX);
	call->stream = s;
	call->stream_free = session_free;
	uv_pipe_init(station_loop(call->server->station), &s->pipe, 0);
	s->pipe.data = s;
	s->has_pipe = true;
	*far_end = pair[1];
	if (uv_pipe_open(&s->pipe, pair[0]) < 0)
		close(pair[0]); /* the far end sees its end at once */
	return s;
}

/* far: the node that has it; 0: this one. */
static void
begin(struct call *call, uint32_t far, struct msg_exec *op, const struct words *args)
{
	const struct msg_far_exec there = {.node = far, .exec = *op};
	struct err err = {0};
	int fds[2] = {-1, -1};

	fds[1] = words_fd(args);
	if (fds[1] < 0 || !session_new(call, &fds[0])) {
		err_set(&err, ERR_LIMIT, "too many sessions");
		call_problem_status(call, &err, 503);
	} else if (far) {
		call_ask(call, ROLE_SCHEDULER, MSG_OP_FAR_EXEC, &there, sizeof(there), fds, 2,
			 CALL_ASK_MS, started);
	} else {
		call_ask(call, ROLE_RUNTIME, MSG_OP_EXEC, op, sizeof(*op), fds, 2, CALL_ASK_MS,
			 started);
	}
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

void
exec_open(struct call *call)
{
	const struct msg_replica *r = replicas_find(call);
	char accept[WS_ACCEPT_BYTES];
	struct msg_exec op = {0};
	struct err err = {0};
	struct words args;

	if (!r)
		return;
	op.replica = r->id;
	uint32_t far = nodes_far(call->server, r);
	if (!call->is_websocket ||
	    !ws_accept(call->websocket_key, strlen(call->websocket_key), accept)) {
		err_set(&err, ERR_INVALID, "exec needs a WebSocket");
		err_fix(&err, "Connection: Upgrade, Upgrade: websocket, Sec-WebSocket-Key");
		call_problem_status(call, &err, 426);
		return;
	}
	words_init(&args, MEM_API);
	if (take_options(call, &op, &args))
		begin(call, far, &op, &args);
	words_fini(&args);
}
