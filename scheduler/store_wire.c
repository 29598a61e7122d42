/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames, and what stands in them. Everything that is read is bounded before it is kept.
 */
#include "scheduler/store_wire.h"

#include <assert.h>
#include <string.h>
#include "base/text.h"

enum {
	LENGTH_BYTES = 4,
	KEEP_BYTES = 64 << 10,                 /* of a buffer that is empty */
	CHANGES_BYTES = STORE_CHUNK_BYTES / 2, /* a frame of several changes ends there */
};

/* ---- bytes to frames ---- */

void
store_wire_in_init(struct store_wire_in *in)
{
	buf_init(&in->bytes, MEM_SCHEDULER, 2 * STORE_WIRE_FRAME_MAX);
	in->at = 0;
}

void
store_wire_in_fini(struct store_wire_in *in)
{
	buf_fini(&in->bytes);
}

bool
store_wire_in_add(struct store_wire_in *in, const void *data, size_t bytes)
{
	if (in->at == in->bytes.length && in->bytes.capacity > KEEP_BYTES) {
		buf_fini(&in->bytes);
		store_wire_in_init(in);
	}
	buf_consume(&in->bytes, in->at);
	in->at = 0;
	buf_put(&in->bytes, data, bytes);
	return buf_ok(&in->bytes);
}

static uint32_t
read_length(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

int
store_wire_in_next(struct store_wire_in *in, struct store_wire_frame *out)
{
	size_t left = in->bytes.length - in->at;

	if (left < LENGTH_BYTES)
		return 0;
	uint32_t length = read_length(in->bytes.data + in->at);
	if (length < 1 || length > STORE_WIRE_FRAME_MAX)
		return -1;
	if (left - LENGTH_BYTES < length)
		return 0;
	cursor_init(&out->body, in->bytes.data + in->at + LENGTH_BYTES, length);
	out->type = cursor_u8(&out->body);
	in->at += LENGTH_BYTES + length;
	return 1;
}

/* ---- frames to bytes ---- */

size_t
store_wire_begin(struct buf *out, enum store_wire_type type)
{
	size_t begun = out->length;

	buf_u32(out, 0);
	buf_u8(out, (uint8_t)type);
	return begun;
}

void
store_wire_end(struct buf *out, size_t begun)
{
	if (!buf_ok(out))
		return;
	size_t length = out->length - begun - LENGTH_BYTES;
	assert(length <= STORE_WIRE_FRAME_MAX);
	for (int i = 0; i < LENGTH_BYTES; i++)
		out->data[begun + (size_t)i] = (uint8_t)(length >> (8 * i));
}

void
store_wire_put_changes(struct buf *out, const struct store_change *changes, size_t count)
{
	for (size_t i = 0; i < count;) {
		size_t begun = store_wire_begin(out, STORE_WIRE_CHANGES);
		size_t bytes = 0;

		do {
			store_change_put(out, &changes[i]);
			bytes += changes[i++].bytes + STORE_KEY_BYTES;
		} while (i < count && bytes + changes[i].bytes < CHANGES_BYTES);
		store_wire_end(out, begun);
	}
}

size_t
store_wire_frame_bytes(const uint8_t *at)
{
	return LENGTH_BYTES + read_length(at);
}

/* ---- what stands in them ---- */

void
store_wire_put_entry(struct buf *out, const struct store_entry *entry)
{
	struct store_entry spread = *entry;
	char text[STORE_ENTRY_BYTES];

	spread.parts = 0;
	store_entry_put(&spread, text);
	buf_text(out, text);
}

bool
store_wire_get_entry(struct cursor *in, struct store_entry *out, struct err *err)
{
	size_t bytes = 0;
	const char *text = cursor_blob(in, STORE_ENTRY_BYTES, &bytes);

	if (!text) {
		err_set(err, ERR_CORRUPT, "an entry of the store's log is cut");
		return false;
	}
	return store_entry_get(text, bytes, out, err) == 0 && !out->parts;
}

bool
store_wire_get_text(struct cursor *in, char *out, size_t cap)
{
	size_t bytes = 0;
	const char *text = cursor_blob(in, cap - 1, &bytes);

	return text && !memchr(text, 0, bytes) && text_ncopy(out, cap, text, bytes);
}

void
store_wire_put_err(struct buf *out, const struct err *err)
{
	buf_u8(out, err ? (uint8_t)err->kind : ERR_NONE);
	if (!err)
		return;
	buf_text(out, err->what);
	buf_text(out, err->fix);
	buf_u8(out, (uint8_t)err->whys);
	for (unsigned i = 0; i < err->whys; i++)
		buf_text(out, err->why[i]);
}

bool
store_wire_get_err(struct cursor *in, struct err *out)
{
	unsigned kind = cursor_u8(in);

	err_clear(out);
	if (kind == ERR_NONE || kind >= ERR_KINDS_)
		return kind == ERR_NONE && cursor_ok(in);
	out->kind = kind;
	if (!store_wire_get_text(in, out->what, sizeof(out->what)) ||
	    !store_wire_get_text(in, out->fix, sizeof(out->fix)))
		return false;
	out->whys = cursor_u8(in);
	if (out->whys > ERR_WHYS_MAX)
		return false;
	for (unsigned i = 0; i < out->whys; i++) {
		if (!store_wire_get_text(in, out->why[i], sizeof(out->why[i])))
			return false;
	}
	return true;
}

void
store_wire_put_lease(struct buf *out, const struct store_wire_lease *lease)
{
	size_t begun = store_wire_begin(out, STORE_WIRE_LEASE);

	buf_u64(out, lease->question);
	buf_u8(out, (uint8_t)lease->verb);
	buf_text(out, lease->name);
	buf_text(out, lease->holder);
	buf_u32(out, lease->ttl_s);
	buf_u64(out, lease->epoch);
	store_wire_end(out, begun);
}

bool
store_wire_get_lease(struct cursor *in, struct store_wire_lease *out)
{
	out->question = cursor_u64(in);
	unsigned verb = cursor_u8(in);
	bool texts = store_wire_get_text(in, out->name, sizeof(out->name)) &&
		     store_wire_get_text(in, out->holder, sizeof(out->holder));
	out->verb = verb;
	out->ttl_s = cursor_u32(in);
	out->epoch = cursor_u64(in);
	return texts && cursor_done(in) && verb <= STORE_LEASE_DROP;
}

void
store_wire_put_result(struct buf *out, const struct store_wire_result *result)
{
	size_t begun = store_wire_begin(out, STORE_WIRE_RESULT);

	buf_u64(out, result->question);
	buf_u8(out, (uint8_t)result->outcome);
	buf_u64(out, result->sequence);
	store_wire_put_err(out, result->err.kind ? &result->err : NULL);
	store_wire_end(out, begun);
}

bool
store_wire_get_result(struct cursor *in, struct store_wire_result *out)
{
	out->question = cursor_u64(in);
	unsigned outcome = cursor_u8(in);
	out->sequence = cursor_u64(in);
	if (!store_wire_get_err(in, &out->err) || !cursor_done(in))
		return false;
	out->outcome = outcome;
	return outcome >= STORE_WIRE_KEPT && outcome <= STORE_WIRE_UNKNOWN &&
	       (outcome == STORE_WIRE_REJECTED) == (out->err.kind != ERR_NONE);
}

static size_t
count_changes(const struct buf *bytes)
{
	struct store_change change;
	struct cursor in;
	size_t n = 0;

	cursor_init(&in, bytes->data, bytes->length);
	while (cursor_left(&in)) {
		if (!store_change_get(&in, &change))
			return SIZE_MAX;
		n++;
	}
	return n;
}

bool
store_wire_read_changes(const struct buf *bytes, struct arena *arena, struct store_change **out,
			size_t *count_out)
{
	size_t count = count_changes(bytes);
	struct cursor in;

	*out = count < SIZE_MAX ? arena_array(arena, count + 1, sizeof(**out)) : NULL;
	if (!*out)
		return false;
	cursor_init(&in, bytes->data, bytes->length);
	for (size_t i = 0; i < count; i++) {
		if (!store_change_get(&in, &(*out)[i]) ||
		    (i > 0 && store_key_compare(&(*out)[i - 1].key, &(*out)[i].key) >= 0))
			return false;
	}
	*count_out = count;
	return true;
}
