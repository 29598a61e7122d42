/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a buf wrote, a cursor reads back: a random list of values, consumed in pieces or read at
 * once; then the same bytes cut short, which must fail and never read outside.
 */
#include <string.h>
#include "base/arena.h"
#include "base/buf.h"
#include "tests/support/prop.h"

enum { ROUNDS = 2000, VALUES_MAX = 40, BYTES_MAX = 300, CAP_BYTES = 1 << 16 };

enum kind { U8, U16, U32, U64, BLOB, TEXT, NO_TEXT, KINDS };

struct value {
	enum kind kind;
	uint64_t number;
	char bytes[BYTES_MAX + 1];
	size_t length;
};

static struct value values[VALUES_MAX];

static void
make(struct prop *p, struct value *v)
{
	v->kind = (enum kind)prop_below(p, KINDS);
	v->number = prop_u64(p) >> prop_below(p, 64);
	v->length = prop_below(p, BYTES_MAX + 1);
	prop_bytes(p, v->bytes, v->length);
	for (size_t i = 0; v->kind == TEXT && i < v->length; i++)
		if (!v->bytes[i])
			v->bytes[i] = 'x';
	v->bytes[v->length] = '\0';
}

static void
put(struct buf *b, const struct value *v)
{
	switch (v->kind) {
	case U8:
		buf_u8(b, (uint8_t)v->number);
		break;
	case U16:
		buf_u16(b, (uint16_t)v->number);
		break;
	case U32:
		buf_u32(b, (uint32_t)v->number);
		break;
	case U64:
		buf_u64(b, v->number);
		break;
	case BLOB:
		buf_blob(b, v->bytes, v->length);
		break;
	case TEXT:
		buf_text(b, v->bytes);
		break;
	default:
		buf_text(b, NULL);
	}
}

/* False when the cursor failed; a value that was read is the one that was written. */
static bool
check(struct cursor *c, const struct value *v, struct arena *a)
{
	uint64_t number = v->number;
	const void *blob = NULL;
	char *text = NULL;
	size_t bytes;

	switch (v->kind) {
	case U8:
		number = cursor_u8(c);
		prop_check(!cursor_ok(c) || number == (uint8_t)v->number);
		break;
	case U16:
		number = cursor_u16(c);
		prop_check(!cursor_ok(c) || number == (uint16_t)v->number);
		break;
	case U32:
		number = cursor_u32(c);
		prop_check(!cursor_ok(c) || number == (uint32_t)v->number);
		break;
	case U64:
		number = cursor_u64(c);
		prop_check(!cursor_ok(c) || number == v->number);
		break;
	case BLOB:
		blob = cursor_blob(c, BYTES_MAX, &bytes);
		prop_check(cursor_ok(c) == (blob != NULL));
		prop_check(!blob || bytes == v->length);
		prop_check(!blob || memcmp(blob, v->bytes, bytes) == 0);
		break;
	default:
		text = cursor_text(c, BYTES_MAX, a);
		prop_check(!cursor_ok(c) || (text != NULL) == (v->kind == TEXT));
		prop_check(!text || strcmp(text, v->bytes) == 0);
	}
	prop_check(cursor_ok(c) || number == 0 || number == v->number);
	return cursor_ok(c);
}

static size_t
read_all(const void *data, size_t bytes, size_t count, bool *done_out)
{
	uint8_t *exact = mem_dup(MEM_BASE, data, bytes);
	struct arena a;
	struct cursor c;
	size_t good = 0;

	prop_check(exact);
	arena_init(&a, MEM_BASE, CAP_BYTES);
	cursor_init(&c, exact, bytes);
	while (good < count && check(&c, &values[good], &a))
		good++;
	*done_out = cursor_done(&c);
	if (!cursor_ok(&c))
		prop_check(cursor_left(&c) == 0 && cursor_u64(&c) == 0 && !cursor_take(&c, 0));
	arena_fini(&a);
	mem_free(exact);
	return good;
}

static void
round_trip(struct prop *p)
{
	size_t count = 1 + prop_below(p, VALUES_MAX);
	size_t ahead = prop_below(p, 50);
	struct buf b;
	bool done;
	size_t cut;

	buf_init(&b, MEM_BASE, CAP_BYTES);
	for (size_t i = 0; i < ahead; i++)
		buf_putc(&b, '?');
	for (size_t i = 0; i < count; i++) {
		make(p, &values[i]);
		put(&b, &values[i]);
	}
	prop_check(buf_ok(&b));
	buf_consume(&b, ahead);
	prop_check(read_all(b.data, b.length, count, &done) == count && done);
	cut = prop_below(p, b.length);
	prop_check(read_all(b.data, cut, count, &done) < count && !done);
	buf_fini(&b);
}

/* Below the cap all is kept; the first write that goes past it and all later ones change nothing.
 */
static void
overflow(struct prop *p)
{
	size_t cap = prop_below(p, 500);
	size_t length = 0;
	bool failed = false;
	struct buf b;

	buf_init(&b, MEM_BASE, cap);
	for (unsigned i = 0; i < 20; i++) {
		char bytes[64];
		size_t n = prop_below(p, sizeof(bytes));

		memset(bytes, 'a' + (int)(i % 26), sizeof(bytes));
		if (prop_below(p, 2))
			buf_put(&b, bytes, n);
		else
			buf_printf(&b, "%.*s", (int)n, bytes);
		failed |= length + n > cap;
		length += failed ? 0 : n;
		prop_check(b.length == length && buf_ok(&b) == !failed);
		prop_check(strlen(buf_cstr(&b)) == (failed ? 0 : length));
	}
	buf_fini(&b);
}

int
main(int argc, char **argv)
{
	struct prop p;

	prop_init(&p, argc, argv);
	for (unsigned i = 0; i < ROUNDS; i++) {
		round_trip(&p);
		overflow(&p);
	}
	prop_check(mem_used_all() == 0);
	return 0;
}
