/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the journal. The check sum is a keyed hash with a fixed key: it tells torn from whole,
 * not friend from foe (only this node writes its own disk). */
#include "scheduler/place/claimlog.h"

#include <assert.h>
#include <string.h>
#include "base/buf.h"
#include "base/le.h"
#include "base/map.h"

enum { MAGIC = 0x67634c5a, VERSION = 1, CHECK_AT = 8, BODY_AT = 16, CLAIM_FIXED = 72 };

_Static_assert(CLAIMLOG_SMALL_BYTES == BODY_AT + 8, "as the header says");

static uint64_t
check(const uint8_t *record, size_t bytes)
{
	static const uint64_t key[2] = {0x7a6c61796572, 0x636c61696d};
	uint64_t head = map_siphash(key, record, CHECK_AT);

	return head ^ map_siphash(key, record + BODY_AT, bytes - BODY_AT);
}

size_t
claimlog_size(const struct claimlog_record *r)
{
	return r->kind == CLAIMLOG_CLAIM ? CLAIM_FIXED + 8 * r->takes_count : CLAIMLOG_SMALL_BYTES;
}

size_t
claimlog_encode(const struct claimlog_record *r, uint8_t *out)
{
	size_t bytes = claimlog_size(r);

	assert(r->takes_count <= CLAIMLOG_TAKES_MAX);
	memset(out, 0, bytes);
	le_put(out, MAGIC, 4);
	le_put(out + 4, bytes, 2);
	out[6] = (uint8_t)r->kind;
	out[7] = VERSION;
	if (r->kind == CLAIMLOG_CLAIM) {
		claim_encode(&r->claim, out + BODY_AT);
		le_put(out + 56, r->cpu_milli, 4);
		out[60] = r->mode;
		le_put(out + 62, r->takes_count, 2);
		le_put(out + 64, r->memory_bytes, 8);
		for (size_t i = 0; i < r->takes_count; i++)
			le_put(out + CLAIM_FIXED + 8 * i, r->takes[i], 8);
	} else {
		le_put(out + BODY_AT, r->number, 8);
	}
	le_put(out + CHECK_AT, check(out, bytes), 8);
	return bytes;
}

static bool
read_claim(struct cursor *c, struct claimlog_record *out)
{
	const void *claim = cursor_take(c, CLAIM_BYTES);
	uint8_t zero;

	out->cpu_milli = cursor_u32(c);
	out->mode = cursor_u8(c);
	zero = cursor_u8(c);
	out->takes_count = cursor_u16(c);
	out->memory_bytes = cursor_u64(c);
	if (!claim || !claim_decode(claim, &out->claim) || zero || out->mode > 2 ||
	    out->takes_count > CLAIMLOG_TAKES_MAX)
		return false;
	for (size_t i = 0; i < out->takes_count; i++)
		out->takes[i] = cursor_u64(c);
	return cursor_done(c);
}

/* Bytes of the good record that begins here; 0: none does. */
static size_t
read_record(const uint8_t *at, size_t left, struct claimlog_record *out)
{
	struct cursor c;
	size_t bytes;
	uint64_t sum;
	uint8_t kind, version;

	memset(out, 0, sizeof(*out));
	cursor_init(&c, at, left);
	if (left < CLAIMLOG_SMALL_BYTES || cursor_u32(&c) != MAGIC)
		return 0;
	bytes = cursor_u16(&c);
	kind = cursor_u8(&c);
	version = cursor_u8(&c);
	sum = cursor_u64(&c);
	if (bytes < CLAIMLOG_SMALL_BYTES || bytes > left || version != VERSION ||
	    sum != check(at, bytes))
		return 0;
	cursor_init(&c, at + BODY_AT, bytes - BODY_AT);
	out->kind = (enum claimlog_kind)kind;
	if (kind == CLAIMLOG_CLAIM)
		return read_claim(&c, out) ? bytes : 0;
	out->number = cursor_u64(&c);
	return (kind == CLAIMLOG_ENDED || kind == CLAIMLOG_NEXT) && cursor_done(&c) ? bytes : 0;
}

void
claimlog_open(struct claimlog_reader *r, const void *data, size_t bytes)
{
	*r = (struct claimlog_reader){.at = data, .end = (const uint8_t *)data + bytes};
}

bool
claimlog_next(struct claimlog_reader *r, struct claimlog_record *out)
{
	for (; r->at < r->end; r->at++) {
		size_t bytes = read_record(r->at, (size_t)(r->end - r->at), out);

		if (bytes) {
			r->at += bytes;
			return true;
		}
		r->damaged = true;
	}
	return false;
}
