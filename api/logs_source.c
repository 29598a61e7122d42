/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One replica's log: a pipe that the runtime writes, or the scheduler for another node. It holds a
 * frame or two; while that is full, or nobody asks for lines, it is not read. What lies ends it.
 */
#include "api/logs_inside.h"

#include <sys/socket.h>
#include <unistd.h>
#include "base/text.h"

enum { IN_MAX = 2 * (MSG_FRAME_MAX + MSG_FRAME_HEAD), READ_BYTES = 16384, LINE_HEAD = 16 };

/* ---- life ---- */

void
logs_source_free_if_done(struct logs_source *src)
{
	if (src->asked || src->has_pipe || src->stream)
		return;
	buf_fini(&src->in);
	mem_free(src);
}

static void
on_pipe_closed(uv_handle_t *handle)
{
	struct logs_source *src = handle->data;

	src->has_pipe = false;
	logs_source_free_if_done(src);
}

static void
source_close_pipe(struct logs_source *src)
{
	if (src->has_pipe && !src->closing) {
		src->closing = true;
		uv_close((uv_handle_t *)&src->pipe, on_pipe_closed);
	}
}

void
logs_source_drop(struct logs_source *src)
{
	src->stream->count--;
	src->stream = NULL;
	list_remove(&src->link);
	source_close_pipe(src);
	logs_source_free_if_done(src);
}

struct logs_source *
logs_source_new(struct logs_stream *s, uint64_t replica)
{
	struct logs_source *src = mem_zalloc(MEM_API, sizeof(*src));

	if (!src)
		return NULL;
	src->stream = s;
	src->replica = replica;
	src->heard_ms = uv_now(s->timer.loop);
	buf_init(&src->in, MEM_API, IN_MAX + READ_BYTES);
	list_push(&s->sources, &src->link);
	s->count++;
	return src;
}

bool
logs_source_open(struct logs_source *src, int *far_end)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return false;
	uv_pipe_init(src->stream->timer.loop, &src->pipe, 0);
	src->pipe.data = src;
	src->has_pipe = true;
	if (uv_pipe_open(&src->pipe, pair[0]) == 0) {
		*far_end = pair[1];
		return true;
	}
	close(pair[0]);
	close(pair[1]);
	source_close_pipe(src);
	return false;
}

/* ---- bytes ---- */

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
	struct logs_source *src = handle->data;
	size_t room = IN_MAX - src->in.length;
	uint8_t *at = buf_reserve(&src->in, room < READ_BYTES ? room : READ_BYTES);

	(void)suggested;
	*b = at && room ? uv_buf_init((char *)at, (unsigned)(room < READ_BYTES ? room : READ_BYTES))
			: uv_buf_init(NULL, 0);
}

void
logs_source_end(struct logs_source *src)
{
	if (src->state == SOURCE_ENDED)
		return;
	src->state = SOURCE_ENDED;
	source_close_pipe(src);
}

static void
on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *b)
{
	struct logs_source *src = handle->data;

	(void)b;
	if (n == 0 || !src->stream)
		return;
	if (n < 0) {
		if (n == UV_ENOBUFS)
			err_set(&src->lost, ERR_NO_MEMORY, "no memory to read this log");
		logs_source_end(src);
	} else if (n > 0) {
		buf_commit(&src->in, (size_t)n);
		src->heard_ms = uv_now(handle->loop);
	}
	if (src->in.length >= IN_MAX / 2 && src->state == SOURCE_OPEN) {
		uv_read_stop(handle);
		src->reading = false;
	}
	logs_merge_pump(src->stream);
}

void
logs_source_read_on(struct logs_source *src)
{
	if (src->state != SOURCE_OPEN || src->reading || src->in.length >= IN_MAX / 2)
		return;
	src->reading = uv_read_start((uv_stream_t *)&src->pipe, on_alloc, on_read) == 0;
	if (!src->reading)
		logs_source_end(src);
}

static void
take_lost(struct logs_source *src, const char *text, size_t bytes)
{
	char why[MSG_TEXT * 2];

	text_printable(text, bytes, why, sizeof(why));
	err_set(&src->lost, ERR_UNREACHABLE, "%s", why);
}

/* After a loss the log is read again from the last line that came. */
static bool
is_new(struct logs_source *src, int64_t wall_ns)
{
	if (!src->skip || wall_ns > src->last_ns) {
		src->skip = 0;
		return true;
	}
	if (wall_ns == src->last_ns)
		src->skip--;
	return false;
}

bool
logs_source_line(struct logs_source *src, struct logs_line *out)
{
	for (;;) {
		struct cursor c;

		cursor_init(&c, src->in.data, src->in.length);
		uint8_t type = cursor_u8(&c);
		cursor_u8(&c);
		cursor_u16(&c);
		uint32_t bytes = cursor_u32(&c);
		if (!cursor_ok(&c))
			return false;
		if (bytes > MSG_FRAME_MAX) {
			buf_reset(&src->in);
			logs_source_end(src);
			return false;
		}
		const uint8_t *data = cursor_take(&c, bytes);
		if (!cursor_ok(&c))
			return false;
		out->frame_bytes = MSG_FRAME_HEAD + bytes;
		src->done |= type == MSG_FRAME_DONE;
		if (type == MSG_FRAME_LOST)
			take_lost(src, (const char *)data, bytes);
		if (type != MSG_FRAME_LINE || bytes < LINE_HEAD) {
			buf_consume(&src->in, out->frame_bytes);
			continue;
		}
		cursor_init(&c, data, bytes);
		out->wall_ns = (int64_t)cursor_u64(&c);
		out->attempt = cursor_u32(&c);
		out->stream = cursor_u8(&c);
		out->flags = cursor_u8(&c);
		cursor_u16(&c);
		out->text = (const char *)c.at;
		out->bytes = cursor_left(&c);
		if (!is_new(src, out->wall_ns)) {
			buf_consume(&src->in, out->frame_bytes);
			continue;
		}
		return true;
	}
}

void
logs_source_take(struct logs_source *src, const struct logs_line *line)
{
	src->same = line->wall_ns == src->last_ns ? src->same + 1 : 1;
	src->last_ns = line->wall_ns;
	src->wait_ms = 0;
	buf_consume(&src->in, line->frame_bytes);
	logs_source_read_on(src);
}
