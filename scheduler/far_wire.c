/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames between nodes, and what stands in them. Everything that is read is bounded before it is
 * kept; texts are checked as those of another process of this machine are.
 */
#include "scheduler/far_wire.h"

#include <string.h>
#include "base/text.h"
#include "scheduler/gossip/gossip.h"
#include "scheduler/store_wire.h"

/* ---- frames ---- */

static size_t
most_of(unsigned kind)
{
	switch (kind) {
	case FAR_CALL:
		return FAR_CALL_MAX;
	case FAR_ANSWER:
		return FAR_ANSWER_MAX;
	case FAR_DATA:
		return FAR_DATA_MAX;
	default:
		return 0;
	}
}

int
far_wire_next(const void *data, size_t bytes, struct far_frame *out)
{
	struct cursor c;

	cursor_init(&c, data, bytes);
	unsigned kind = cursor_u8(&c);
	unsigned zero = cursor_u8(&c);
	zero |= cursor_u16(&c);
	uint32_t length = cursor_u32(&c);
	if (!cursor_ok(&c))
		return 0;
	if (kind < FAR_CALL || kind > FAR_ALIVE || zero || length > most_of(kind))
		return -1;
	const uint8_t *body = cursor_take(&c, length);
	if (!cursor_ok(&c))
		return 0;
	*out = (struct far_frame){(enum far_kind)kind, body, length};
	return 1;
}

static size_t
begin(struct buf *out, enum far_kind kind)
{
	size_t begun = out->length;

	buf_u8(out, (uint8_t)kind);
	buf_u8(out, 0);
	buf_u16(out, 0);
	buf_u32(out, 0);
	return begun;
}

static void
end(struct buf *out, size_t begun)
{
	if (!buf_ok(out))
		return;
	size_t length = out->length - begun - FAR_HEAD;
	for (size_t i = 0; i < 4; i++)
		out->data[begun + 4 + i] = (uint8_t)(length >> (8 * i));
}

void
far_wire_put(struct buf *out, enum far_kind kind, const void *data, size_t bytes)
{
	size_t begun = begin(out, kind);

	buf_put(out, data, bytes);
	end(out, begun);
}

/* ---- calls ---- */

static void
put_logs(struct buf *out, const struct msg_logs *l)
{
	buf_u64(out, l->replica);
	buf_u64(out, (uint64_t)l->since_wall_ns);
	buf_u64(out, (uint64_t)l->until_wall_ns);
	buf_u32(out, l->tail);
	buf_u32(out, l->attempt);
	buf_u8(out, l->follow != 0);
}

static void
put_exec(struct buf *out, const struct far_call *c)
{
	buf_u64(out, c->exec.replica);
	buf_u8(out, c->exec.tty != 0);
	buf_u32(out, c->exec.rows);
	buf_u32(out, c->exec.columns);
	buf_u32(out, c->exec.argc);
	buf_text(out, c->exec.user);
	buf_text(out, c->exec.workdir);
	buf_blob(out, c->words, c->words_bytes);
}

static void
put_run(struct buf *out, const struct far_call *c)
{
	buf_u32(out, c->target.who_uid);
	buf_u32(out, c->argc);
	buf_text(out, c->target.deployment);
	buf_text(out, c->target.service);
	buf_blob(out, c->words, c->words_bytes);
}

void
far_wire_put_call(struct buf *out, const struct far_call *c)
{
	size_t begun = begin(out, FAR_CALL);

	buf_u8(out, FAR_VERSION);
	buf_u8(out, (uint8_t)c->what);
	switch (c->what) {
	case FAR_LOGS:
		put_logs(out, &c->logs);
		break;
	case FAR_EXEC:
		put_exec(out, c);
		break;
	case FAR_WHY:
		buf_u64(out, c->service);
		break;
	case FAR_RUN:
		put_run(out, c);
		break;
	case FAR_EVENTS:
		buf_u64(out, c->events.since);
		buf_u32(out, c->events.limit);
		buf_u8(out, c->wait);
		break;
	case FAR_FLOWS:
		far_wire_put_flows_op(out, &c->flows);
		break;
	}
	end(out, begun);
}

static void
get_logs(struct cursor *in, struct msg_logs *l)
{
	l->replica = cursor_u64(in);
	l->since_wall_ns = (int64_t)cursor_u64(in);
	l->until_wall_ns = (int64_t)cursor_u64(in);
	l->tail = cursor_u32(in);
	l->attempt = cursor_u32(in);
	l->follow = cursor_u8(in) != 0;
}

/* As many texts as argc says, each with its end. */
static bool
words_hold(const struct far_call *c, uint32_t argc)
{
	const uint8_t *words = c->words;
	uint32_t count = 0;

	for (size_t i = 0; i < c->words_bytes; i++)
		count += words[i] == 0;
	return c->words_bytes > 0 && words[c->words_bytes - 1] == 0 && count == argc &&
	       count <= WORDS_MAX;
}

static bool
get_exec(struct cursor *in, struct far_call *c)
{
	c->exec.replica = cursor_u64(in);
	c->exec.tty = cursor_u8(in) != 0;
	c->exec.rows = cursor_u32(in);
	c->exec.columns = cursor_u32(in);
	c->exec.argc = cursor_u32(in);
	if (!store_wire_get_text(in, c->exec.user, sizeof(c->exec.user)) ||
	    !store_wire_get_text(in, c->exec.workdir, sizeof(c->exec.workdir)))
		return false;
	c->words = cursor_blob(in, WORDS_BYTES_MAX, &c->words_bytes);
	return c->words && words_hold(c, c->exec.argc) && c->exec.rows <= UINT16_MAX &&
	       c->exec.columns <= UINT16_MAX;
}

static bool
get_run(struct cursor *in, struct far_call *c)
{
	c->target.who_uid = cursor_u32(in);
	c->argc = cursor_u32(in);
	if (!store_wire_get_text(in, c->target.deployment, sizeof(c->target.deployment)) ||
	    !store_wire_get_text(in, c->target.service, sizeof(c->target.service)))
		return false;
	c->words = cursor_blob(in, WORDS_BYTES_MAX, &c->words_bytes);
	return cursor_ok(in) && (c->argc > 0 ? words_hold(c, c->argc) : c->words_bytes == 0);
}

bool
far_wire_get_call(const void *data, size_t bytes, struct far_call *out)
{
	struct cursor in;

	cursor_init(&in, data, bytes);
	*out = (struct far_call){0};
	unsigned version = cursor_u8(&in);
	out->what = (enum far_what)cursor_u8(&in);
	if (!cursor_ok(&in) || version == 0)
		return false;
	switch (out->what) {
	case FAR_LOGS:
		get_logs(&in, &out->logs);
		break;
	case FAR_EXEC:
		if (!get_exec(&in, out))
			return false;
		break;
	case FAR_WHY:
		out->service = cursor_u64(&in);
		break;
	case FAR_RUN:
		if (!get_run(&in, out))
			return false;
		break;
	case FAR_EVENTS:
		out->events.since = cursor_u64(&in);
		out->events.limit = cursor_u32(&in);
		out->wait = cursor_u8(&in) != 0;
		break;
	case FAR_FLOWS:
		if (!far_wire_get_flows_op(&in, &out->flows))
			return false;
		break;
	default:
		return true;
	}
	return cursor_ok(&in) && (version > FAR_VERSION || cursor_done(&in));
}

/* ---- answers ---- */

void
far_wire_put_answer(struct buf *out, const struct err *err, const void *rest, size_t bytes)
{
	size_t begun = begin(out, FAR_ANSWER);

	store_wire_put_err(out, err);
	buf_put(out, rest, bytes);
	end(out, begun);
}

bool
far_wire_get_answer(const void *data, size_t bytes, struct err *err_out, const void **rest_out,
		    size_t *rest_bytes_out)
{
	struct cursor in;

	cursor_init(&in, data, bytes);
	if (!store_wire_get_err(&in, err_out))
		return false;
	*rest_bytes_out = cursor_left(&in);
	*rest_out = cursor_take(&in, *rest_bytes_out);
	return cursor_ok(&in);
}

void
far_wire_put_why(struct buf *out, const struct msg_why *row)
{
	buf_text(out, row->node);
	buf_u32(out, row->id);
	buf_u8(out, (uint8_t)row->flags);
	buf_u32(out, row->cpu_free_milli);
	buf_u64(out, row->memory_free_bytes);
	buf_text(out, row->text);
}

bool
far_wire_next_why(struct cursor *in, struct msg_why *out, bool *bad)
{
	*out = (struct msg_why){0};
	*bad = false;
	if (cursor_left(in) == 0)
		return false;
	bool good = store_wire_get_text(in, out->node, sizeof(out->node));
	out->id = cursor_u32(in);
	out->flags = cursor_u8(in);
	out->cpu_free_milli = cursor_u32(in);
	out->memory_free_bytes = cursor_u64(in);
	*bad = !good || !store_wire_get_text(in, out->text, sizeof(out->text)) || !cursor_ok(in);
	return !*bad;
}

static void
put_reason(struct buf *out, const struct msg_reason *r)
{
	buf_u32(out, r->kind);
	if (!r->kind)
		return;
	buf_u32(out, r->code);
	buf_text(out, r->what);
	buf_text(out, r->why);
	buf_text(out, r->why2);
	buf_text(out, r->fix);
}

void
far_wire_put_event(struct buf *out, const struct msg_event *e)
{
	buf_u64(out, e->id);
	buf_u64(out, (uint64_t)e->wall_ns);
	buf_text(out, e->type);
	buf_text(out, e->deployment);
	buf_text(out, e->service);
	buf_u32(out, e->index);
	buf_u32(out, e->revision);
	buf_u64(out, e->replica);
	buf_u64(out, e->operation);
	buf_u32(out, e->severity);
	buf_text(out, e->text);
	put_reason(out, &e->reason);
}

#define GET_TEXT(in, field) store_wire_get_text((in), (field), sizeof(field))

static bool
get_reason(struct cursor *in, struct msg_reason *r)
{
	r->kind = cursor_u32(in);
	if (!r->kind)
		return true;
	r->code = cursor_u32(in);
	return r->kind < ERR_KINDS_ && GET_TEXT(in, r->what) && GET_TEXT(in, r->why) &&
	       GET_TEXT(in, r->why2) && GET_TEXT(in, r->fix);
}

static bool
get_event(struct cursor *in, struct msg_event *out)
{
	out->id = cursor_u64(in);
	out->wall_ns = (int64_t)cursor_u64(in);
	if (!GET_TEXT(in, out->type) || !GET_TEXT(in, out->deployment) ||
	    !GET_TEXT(in, out->service))
		return false;
	out->index = cursor_u32(in);
	out->revision = cursor_u32(in);
	out->replica = cursor_u64(in);
	out->operation = cursor_u64(in);
	out->severity = cursor_u32(in);
	return GET_TEXT(in, out->text) && get_reason(in, &out->reason) && cursor_ok(in) && out->id;
}

bool
far_wire_next_event(struct cursor *in, struct msg_event *out, bool *bad)
{
	*out = (struct msg_event){0};
	*bad = cursor_left(in) > 0 && !get_event(in, out);
	return !*bad && out->id;
}

void
far_wire_put_run(struct buf *out, const struct msg_run_answer *run, const void *tidings,
		 size_t bytes)
{
	buf_u64(out, run->replica);
	buf_u32(out, run->index);
	buf_blob(out, tidings, bytes);
}

bool
far_wire_get_run(const void *data, size_t bytes, struct msg_run_answer *out,
		 const void **tidings_out, size_t *bytes_out)
{
	struct cursor in;

	cursor_init(&in, data, bytes);
	*out = (struct msg_run_answer){.replica = cursor_u64(&in), .index = cursor_u32(&in)};
	*tidings_out = cursor_blob(&in, GOSSIP_VALUE_MAX, bytes_out);
	return cursor_ok(&in) && out->replica && out->index;
}

/* ---- what passes ---- */

static size_t
frame_bytes(const uint8_t *at)
{
	struct cursor c;

	cursor_init(&c, at + 4, 4);
	return MSG_FRAME_HEAD + (size_t)cursor_u32(&c);
}

long
far_wire_whole(const void *data, size_t bytes)
{
	const uint8_t *at = data;
	size_t whole = 0;

	while (bytes - whole >= MSG_FRAME_HEAD) {
		size_t length = frame_bytes(at + whole);

		if (length > MSG_FRAME_MAX + MSG_FRAME_HEAD)
			return -1;
		if (length > bytes - whole)
			break;
		whole += length;
	}
	return (long)whole;
}

static bool
are_of(const void *data, size_t bytes, uint32_t kinds)
{
	const uint8_t *at = data;

	if (far_wire_whole(data, bytes) != (long)bytes)
		return false;
	for (size_t i = 0; i < bytes; i += frame_bytes(at + i)) {
		if (at[i] >= 32 || !(kinds & UINT32_C(1) << at[i]))
			return false;
	}
	return true;
}

#define BIT(frame) (UINT32_C(1) << (MSG_FRAME_##frame))

bool
far_wire_may_go(const void *data, size_t bytes)
{
	return are_of(data, bytes, BIT(STDIN) | BIT(RESIZE) | BIT(SIGNAL));
}

bool
far_wire_may_come(const void *data, size_t bytes)
{
	return are_of(data, bytes, BIT(STDOUT) | BIT(STDERR) | BIT(EXIT) | BIT(ERROR) | BIT(LINE));
}
