/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of all sources become one stream, by their time: the oldest goes first, once every source
 * has one or has ended. When a stream follows, one that has been silent for a while is not waited
 * for, once the line is that old: what was written before it may still be on its way. A source
 * whose way was lost is told as a line of its own.
 */
#include "api/logs_inside.h"

#include "api/view.h"
#include "base/world.h"

enum {
	SILENT_MS = 200,
	CONNECT_MS = 1000, /* another node's are waited for so long, when it follows */
	OUT_MAX = 512 << 10,
};

/* False: no memory; nothing was sent. */
static bool
send_json(struct logs_stream *s, struct buf *b)
{
	bool good = buf_ok(b);

	if (good)
		call_write(s->call, b->data, b->length);
	buf_fini(b);
	return good;
}

static bool
send_line(struct logs_stream *s, const struct logs_source *src, const struct logs_line *line)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, OUT_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	view_time(&j, "ts", line->wall_ns);
	json_text(&j, "replica", src->name);
	json_text(&j, "stream", line->stream == 2 ? "stderr" : "stdout");
	json_u64(&j, "attempt", line->attempt);
	if (line->flags & 1)
		json_bool(&j, "cut", true);
	json_textn(&j, "text", line->text, line->bytes);
	json_end(&j);
	buf_putc(&b, '\n');
	return send_json(s, &b);
}

/* Of a replica whose lines cannot be had; in a stream that has other lines. */
static bool
send_lost(struct logs_stream *s, const char *name, const struct err *err)
{
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, OUT_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_text(&j, "replica", name);
	json_object(&j, "lost");
	json_text(&j, "what", err->what);
	json_array(&j, "why");
	for (size_t i = 0; i < err->whys; i++)
		json_text(&j, NULL, err->why[i]);
	json_end(&j);
	json_text(&j, "fix", err->fix[0] ? err->fix : NULL);
	json_bool(&j, "again", s->follow);
	json_end(&j);
	json_end(&j);
	buf_putc(&b, '\n');
	return send_json(s, &b);
}

/* One of a clock that is ahead is not. */
static bool
is_young(const struct logs_line *line)
{
	int64_t age_ns = world_wall_ns() - line->wall_ns;

	return age_ns >= 0 && age_ns < SILENT_MS * INT64_C(1000000);
}

/* The source whose line goes next; NULL: none, or one must be waited for (*wait). */
static struct logs_source *
choose(struct logs_stream *s, struct logs_line *out, bool *wait)
{
	uint64_t now = uv_now(s->timer.loop);
	struct logs_source *best = NULL;
	struct list *it, *next;
	struct logs_line line;
	bool silent = false; /* a source that is not ended */

	*wait = false;
	list_each (it, next, &s->sources) {
		struct logs_source *src = container_of(it, struct logs_source, link);

		if (logs_source_line(src, &line)) {
			if (!best || line.wall_ns < out->wall_ns) {
				best = src;
				*out = line;
			}
		} else if ((src->state == SOURCE_ASKED &&
			    (!s->follow || !src->far || now - src->heard_ms < CONNECT_MS)) ||
			   (src->state == SOURCE_OPEN &&
			    (!s->follow || now - src->heard_ms < SILENT_MS))) {
			*wait = true;
		} else if (src->state == SOURCE_OPEN) {
			silent = true;
		}
	}
	if (best && silent && is_young(out))
		*wait = true;
	return *wait ? NULL : best;
}

bool
logs_merge_open(struct logs_stream *s)
{
	if (!s->opened) {
		s->opened = true;
		call_stream(s->call, "application/x-ndjson");
	}
	return s->call != NULL;
}

static bool
all_ended(struct logs_stream *s)
{
	struct list *it, *next;

	list_each (it, next, &s->sources) {
		if (container_of(it, struct logs_source, link)->state != SOURCE_ENDED)
			return false;
	}
	return true;
}

static void
finish(struct logs_stream *s)
{
	struct call *call = s->call;

	if (!s->opened && s->first_error.kind) {
		call_problem(call, &s->first_error);
		return;
	}
	if (logs_merge_open(s))
		call_end(call);
}

/* False: the client has left over it, or there is no memory to say so now. */
static bool
lose(struct logs_stream *s, const struct logs_source *src)
{
	/* Tries that fail in turn are said once. */
	if (!src->wait_ms && (s->opened || s->count > 1)) {
		if (!logs_merge_open(s) || !send_lost(s, src->name, &src->lost) || !s->call)
			return false;
	} else if (!s->first_error.kind) {
		s->first_error = src->lost;
	}
	if (s->follow)
		logs_ask_again_later(s, src);
	return true;
}

static void
drop_ended(struct logs_stream *s)
{
	struct list *it, *next;

	list_each (it, next, &s->sources) {
		struct logs_source *src = container_of(it, struct logs_source, link);

		if (src->state != SOURCE_ENDED || src->in.length > 0)
			continue;
		if (src->far && src->opened && !src->done && !src->lost.kind)
			err_set(&src->lost, ERR_UNREACHABLE,
				"the connection with another node was lost by this one");
		if (src->lost.kind && !lose(s, src))
			return;
		logs_source_drop(src);
	}
}

void
logs_merge_pump(struct logs_stream *s)
{
	struct call *call = s->call;
	struct logs_source *src;
	struct list *it, *next;
	struct logs_line line;
	bool wait = false;

	if (!call || s->scanning)
		return;
	call_ref(call);
	while (call->conn && call->stream && (!s->opened || call_room(call)) &&
	       (src = choose(s, &line, &wait))) {
		if (!logs_merge_open(s) || !send_line(s, src, &line) || !call->stream)
			break;
		logs_source_take(src, &line);
	}
	if (call->conn && call->stream) {
		bool full = s->opened && !call_room(call);

		list_each (it, next, &s->sources) {
			logs_source_read_on(container_of(it, struct logs_source, link));
		}
		if (!full && !wait) {
			/* A half frame of a source that ended is dropped with it. */
			list_each (it, next, &s->sources) {
				src = container_of(it, struct logs_source, link);
				if (src->state == SOURCE_ENDED && !logs_source_line(src, &line))
					buf_reset(&src->in);
			}
			drop_ended(s);
			if (call->stream && list_empty(&s->losts) && !s->retry_ms && all_ended(s) &&
			    s->count == 0 && (!s->follow || s->only))
				finish(s);
		}
	}
	call_unref(call);
}
