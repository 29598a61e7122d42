/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record as bytes: u32 magic, u32 version, then the fields in the order of the struct, texts
 * and lists as base/buf.h writes them. Decoding believes nothing: lengths against the rest of the
 * input, counts against limits, digests and layer names must be hex (a layer's name becomes a
 * folder's name), and nothing may follow.
 */
#include "runtime/image_record.h"

#include <string.h>
#include "base/text.h"

enum { TEXT_MAX = 65536, HEX_DIGITS = 64 };

static void
put_list(struct buf *out, const struct image_list *list)
{
	buf_u32(out, (uint32_t)list->count);
	for (size_t i = 0; i < list->count; i++)
		buf_text(out, list->items[i]);
}

static void
put_text(struct buf *out, const char *text)
{
	buf_text(out, text ? text : "");
}

void
image_record_encode(const struct image_record *r, struct buf *out)
{
	buf_u32(out, IMAGE_RECORD_MAGIC);
	buf_u32(out, IMAGE_RECORD_VERSION);
	put_text(out, r->digest);
	put_text(out, r->config_digest);
	put_text(out, r->name);
	put_text(out, r->architecture);
	put_text(out, r->os);
	put_text(out, r->variant);
	put_list(out, &r->entrypoint);
	put_list(out, &r->cmd);
	put_list(out, &r->env);
	put_text(out, r->workdir);
	put_text(out, r->user);
	put_text(out, r->stop_signal);
	put_list(out, &r->volumes);
	put_list(out, &r->ports);
	put_list(out, &r->layers);
	buf_u64(out, r->bytes);
	buf_u64(out, (uint64_t)r->created_s);
}

static char *
get_text(struct cursor *c, struct arena *arena)
{
	char *text = cursor_text(c, TEXT_MAX, arena);

	if (!text)
		c->failed = true;
	return text;
}

static void
get_list(struct cursor *c, size_t max, struct arena *arena, struct image_list *out)
{
	size_t count = cursor_u32(c);

	/* Each item has at least its length: a large count in a small input is refused here. */
	if (c->failed || count > max || count * 4 > cursor_left(c)) {
		c->failed = true;
		return;
	}
	out->items = arena_array(arena, count + 1, sizeof(*out->items));
	if (!out->items) {
		c->failed = true;
		return;
	}
	for (size_t i = 0; i < count && !c->failed; i++)
		out->items[i] = get_text(c, arena);
	out->count = c->failed ? 0 : count;
}

static bool
is_hex(const char *text)
{
	return strspn(text, "0123456789abcdef") == HEX_DIGITS && text[HEX_DIGITS] == '\0';
}

static bool
is_digest(const char *text)
{
	return text_starts(text, "sha256:") && is_hex(text + 7);
}

static bool
holds(const struct image_record *r)
{
	if (!is_digest(r->digest) || !is_digest(r->config_digest))
		return false;
	for (size_t i = 0; i < r->layers.count; i++) {
		if (!is_hex(r->layers.items[i]))
			return false;
	}
	return true;
}

static void
get_fields(struct cursor *c, struct arena *arena, struct image_record *r)
{
	r->digest = get_text(c, arena);
	r->config_digest = get_text(c, arena);
	r->name = get_text(c, arena);
	r->architecture = get_text(c, arena);
	r->os = get_text(c, arena);
	r->variant = get_text(c, arena);
	get_list(c, IMAGE_LIST_MAX, arena, &r->entrypoint);
	get_list(c, IMAGE_LIST_MAX, arena, &r->cmd);
	get_list(c, IMAGE_LIST_MAX, arena, &r->env);
	r->workdir = get_text(c, arena);
	r->user = get_text(c, arena);
	r->stop_signal = get_text(c, arena);
	get_list(c, IMAGE_LIST_MAX, arena, &r->volumes);
	get_list(c, IMAGE_LIST_MAX, arena, &r->ports);
	get_list(c, IMAGE_LAYERS_MAX, arena, &r->layers);
	r->bytes = cursor_u64(c);
	r->created_s = (int64_t)cursor_u64(c);
}

int
image_record_decode(const void *data, size_t bytes, struct arena *arena, struct image_record **out,
		    struct err *err)
{
	struct image_record *r = arena_new(arena, struct image_record);
	struct cursor c;

	if (!r)
		return err_set(err, ERR_NO_MEMORY, "no memory for an image's record");
	cursor_init(&c, data, bytes <= IMAGE_RECORD_BYTES_MAX ? bytes : 0);
	if (cursor_u32(&c) == IMAGE_RECORD_MAGIC && cursor_u32(&c) == IMAGE_RECORD_VERSION)
		get_fields(&c, arena, r);
	else
		c.failed = true;
	if (!arena_ok(arena))
		return err_set(err, ERR_NO_MEMORY, "no memory for an image's record");
	if (!cursor_done(&c) || !holds(r))
		return err_set(err, ERR_CORRUPT, "an image's record does not hold");
	*out = r;
	return 0;
}
