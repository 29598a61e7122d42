/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tar reader: blocks of 512 bytes, a header and a body each. POSIX.1-2017 "pax Interchange
 * Format" with its ustar header; of GNU's extensions long names (types L and K) and base-256
 * numbers. An extra header (pax, long name) is collected whole, within a limit, and applies to the
 * next entry only; global pax headers are read over, as other image tools do.
 *
 * What is refused: a wrong checksum, a number that is none, sparse files, volume and multi-part
 * headers, a NUL inside a name of a pax header, one zero block alone, a stream without an end
 * mark. Paths are not judged here.
 */
#include "runtime/tar.h"

#include <inttypes.h>
#include <string.h>
#include "base/text.h"

enum state { HEADER, EXTRA, EXTRA_PAD, BODY, PAD, DONE, END, BAD };

/* Places of the ustar header. */
enum {
	NAME_AT = 0,
	NAME_BYTES = 100,
	MODE_AT = 100,
	UID_AT = 108,
	GID_AT = 116,
	ID_BYTES = 8,
	SIZE_AT = 124,
	MTIME_AT = 136,
	LONG_BYTES = 12,
	CHECKSUM_AT = 148,
	CHECKSUM_BYTES = 8,
	TYPE_AT = 156,
	LINK_AT = 157,
	LINK_BYTES = 100,
	MAGIC_AT = 257,
	PREFIX_AT = 345,
	PREFIX_BYTES = 155,
};

void
tar_init(struct tar *t)
{
	memset(t, 0, sizeof(*t));
	t->state = HEADER;
	buf_init(&t->extra, MEM_RUNTIME, TAR_EXTRA_BYTES_MAX + 1);
	buf_init(&t->pax, MEM_RUNTIME, TAR_EXTRA_BYTES_MAX + 1);
	buf_init(&t->long_path, MEM_RUNTIME, TAR_PATH_BYTES + 1);
	buf_init(&t->long_link, MEM_RUNTIME, TAR_PATH_BYTES + 1);
}

void
tar_fini(struct tar *t)
{
	buf_fini(&t->extra);
	buf_fini(&t->pax);
	buf_fini(&t->long_path);
	buf_fini(&t->long_link);
}

void
tar_give(struct tar *t, const void *data, size_t bytes)
{
	t->in = data;
	t->in_bytes = bytes;
}

bool
tar_complete(const struct tar *t)
{
	return t->state == END;
}

static enum tar_event
bad(struct tar *t, const char *why)
{
	text_copy(t->why, sizeof(t->why), why);
	t->state = BAD;
	return TAR_BAD;
}

/* ---- numbers ---- */

static bool
parse_octal(const uint8_t *at, size_t bytes, int64_t *out)
{
	size_t i = 0;
	uint64_t v = 0;

	while (i < bytes && at[i] == ' ')
		i++;
	for (; i < bytes && at[i] >= '0' && at[i] <= '7'; i++)
		v = v << 3 | (uint64_t)(at[i] - '0');
	for (; i < bytes; i++) {
		if (at[i] != ' ' && at[i] != '\0')
			return false;
	}
	*out = (int64_t)v; /* twelve digits are 36 bits */
	return true;
}

/* Base 256, two's complement: the first bit marks it, the second is the sign. */
static bool
parse_base256(const uint8_t *at, size_t bytes, int64_t *out)
{
	bool negative = at[0] & 0x40;
	uint64_t v = negative ? UINT64_MAX : 0;

	for (size_t i = 0; i < bytes; i++) {
		uint8_t byte = i ? at[i] : (uint8_t)(negative ? at[i] | 0x80 : at[i] & 0x3f);

		if (v >> 55 != (negative ? UINT64_C(0x1ff) : 0))
			return false;
		v = v << 8 | byte;
	}
	*out = (int64_t)v;
	return true;
}

static bool
parse_number(const uint8_t *at, size_t bytes, int64_t *out)
{
	return at[0] & 0x80 ? parse_base256(at, bytes, out) : parse_octal(at, bytes, out);
}

static bool
is_zero(const uint8_t *block)
{
	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
		if (block[i])
			return false;
	}
	return true;
}

/* Old programs summed signed characters: both are taken. */
static bool
checksum_holds(const uint8_t *block)
{
	int64_t told;
	int64_t sum = 0;
	int64_t signed_sum = 0;

	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
		bool own = i >= CHECKSUM_AT && i < CHECKSUM_AT + CHECKSUM_BYTES;

		sum += own ? ' ' : block[i];
		signed_sum += own ? ' ' : (int8_t)block[i];
	}
	return parse_octal(block + CHECKSUM_AT, CHECKSUM_BYTES, &told) &&
	       (told == sum || told == signed_sum);
}

/* ---- pax records: "27 path=a/b\n" ---- */

static bool
pax_decimal(const char *text, size_t bytes, uint64_t max, uint64_t *out)
{
	char copy[24];

	return bytes < sizeof(copy) && text_ncopy(copy, sizeof(copy), text, bytes) &&
	       strlen(copy) == bytes && text_u64(copy, max, out);
}

/* Seconds with a fraction of any length: "-1.5" is one and a half second before 1970. */
static bool
pax_time(const char *text, size_t bytes, struct tar_entry *e)
{
	bool negative = bytes > 0 && text[0] == '-';
	uint64_t s;
	uint32_t ns = 0;

	if (negative) {
		text++;
		bytes--;
	}
	const char *dot = memchr(text, '.', bytes);
	size_t whole = dot ? (size_t)(dot - text) : bytes;

	if (!pax_decimal(text, whole, INT64_MAX / 2, &s))
		return false;
	for (size_t i = 0; dot && whole + 1 + i < bytes; i++) {
		char c = dot[1 + i];

		if (c < '0' || c > '9')
			return false;
		if (i < 9)
			ns = ns * 10 + (uint32_t)(c - '0');
	}
	for (size_t i = dot ? bytes - whole - 1 : 9; i < 9; i++)
		ns *= 10;
	e->mtime_s = negative ? -(int64_t)s : (int64_t)s;
	e->mtime_ns = ns;
	if (negative && ns) {
		e->mtime_s--;
		e->mtime_ns = 1000000000 - ns;
	}
	return true;
}

static bool
pax_name(const char *value, size_t bytes, char *out)
{
	if (bytes >= TAR_PATH_BYTES || memchr(value, '\0', bytes))
		return false;
	if (bytes == 0)
		return true;
	memcpy(out, value, bytes);
	out[bytes] = '\0';
	return true;
}

static bool
pax_xattr(struct tar_entry *e, const char *name, const char *value, size_t bytes)
{
	if (e->xattrs_count >= TAR_XATTRS_MAX || strlen(name) > 255 || bytes > 65536)
		return false;
	e->xattrs[e->xattrs_count++] = (struct tar_xattr){name, value, bytes};
	return true;
}

static bool
pax_id(const char *value, size_t bytes, uint32_t *out)
{
	uint64_t v;

	if (!pax_decimal(value, bytes, UINT32_MAX - 1, &v))
		return false;
	*out = (uint32_t)v;
	return true;
}

/* NULL when the record is fine. */
static const char *
pax_record(struct tar *t, const char *key, const char *value, size_t bytes)
{
	static const char xattr[] = "SCHILY.xattr.";
	struct tar_entry *e = &t->entry;

	if (!strcmp(key, "path"))
		return pax_name(value, bytes, e->path) ? NULL : "a path that is no path";
	if (!strcmp(key, "linkpath"))
		return pax_name(value, bytes, e->link) ? NULL : "a link that is no path";
	if (!strcmp(key, "size"))
		return pax_decimal(value, bytes, INT64_MAX / 2, &e->size) ? NULL : "a wrong size";
	if (!strcmp(key, "uid"))
		return pax_id(value, bytes, &e->uid) ? NULL : "a wrong uid";
	if (!strcmp(key, "gid"))
		return pax_id(value, bytes, &e->gid) ? NULL : "a wrong gid";
	if (!strcmp(key, "mtime"))
		return pax_time(value, bytes, e) ? NULL : "a wrong time";
	if (text_starts(key, "GNU.sparse."))
		return "a sparse file, which is not supported";
	if (text_starts(key, xattr))
		return pax_xattr(e, key + sizeof(xattr) - 1, value, bytes)
			       ? NULL
			       : "too many or too long extended attributes";
	return NULL;
}

/* The key is ended in place of its '='; the value keeps its length. */
static const char *
pax_parse(struct tar *t)
{
	char *at = (char *)t->pax.data;
	size_t left = t->pax.length;

	while (left > 0) {
		char *space = memchr(at, ' ', left < 9 ? left : 9);
		uint64_t length;

		if (!space || !pax_decimal(at, (size_t)(space - at), left, &length) ||
		    length < (size_t)(space - at) + 4 || at[length - 1] != '\n')
			return "a pax header that does not hold";
		char *key = space + 1;
		size_t rest = (size_t)length - (size_t)(key - at) - 1;
		char *equals = memchr(key, '=', rest);

		if (!equals || equals == key || memchr(key, '\0', (size_t)(equals - key)))
			return "a pax header that does not hold";
		*equals = '\0';
		const char *why = pax_record(t, key, equals + 1, rest - (size_t)(equals - key) - 1);
		if (why)
			return why;
		at += length;
		left -= (size_t)length;
	}
	return NULL;
}

/* ---- headers ---- */

static void
header_path(const uint8_t *h, char *out)
{
	size_t name = strnlen((const char *)h + NAME_AT, NAME_BYTES);
	size_t prefix = 0;

	/* GNU's header of the same size keeps other things there. */
	if (!memcmp(h + MAGIC_AT, "ustar\0", 6))
		prefix = strnlen((const char *)h + PREFIX_AT, PREFIX_BYTES);
	if (prefix) {
		memcpy(out, h + PREFIX_AT, prefix);
		out[prefix++] = '/';
	}
	memcpy(out + prefix, h + NAME_AT, name);
	out[prefix + name] = '\0';
}

static bool
header_type(struct tar_entry *e, uint8_t type)
{
	size_t length = strlen(e->path);

	switch (type) {
	case '\0':
	case '0':
	case '7':
		e->type = length && e->path[length - 1] == '/' ? TAR_FOLDER : TAR_FILE;
		return true;
	case '1':
		e->type = TAR_HARDLINK;
		return true;
	case '2':
		e->type = TAR_SYMLINK;
		return true;
	case '3':
		e->type = TAR_CHAR_DEVICE;
		return true;
	case '4':
		e->type = TAR_BLOCK_DEVICE;
		return true;
	case '5':
		e->type = TAR_FOLDER;
		return true;
	case '6':
		e->type = TAR_FIFO;
		return true;
	default:
		return false;
	}
}

static bool
header_numbers(struct tar_entry *e, const uint8_t *h)
{
	int64_t mode, uid, gid, size;

	if (!parse_number(h + MODE_AT, ID_BYTES, &mode) ||
	    !parse_number(h + UID_AT, ID_BYTES, &uid) ||
	    !parse_number(h + GID_AT, ID_BYTES, &gid) ||
	    !parse_number(h + SIZE_AT, LONG_BYTES, &size) ||
	    !parse_number(h + MTIME_AT, LONG_BYTES, &e->mtime_s))
		return false;
	if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX || size < 0 ||
	    size > INT64_MAX / 2 || e->mtime_s > INT64_MAX / 2 || e->mtime_s < -(INT64_MAX / 2))
		return false;
	e->mode = (uint32_t)(mode & 07777);
	e->uid = (uint32_t)uid;
	e->gid = (uint32_t)gid;
	e->size = (uint64_t)size;
	return true;
}

static enum tar_event
begin_extra(struct tar *t, uint8_t type, uint64_t size)
{
	if (size > TAR_EXTRA_BYTES_MAX)
		return bad(t, "an extra header that is too long");
	buf_reset(&t->extra);
	t->extra_type = type;
	t->left = size;
	t->pad = (uint32_t)(-size & (TAR_BLOCK_BYTES - 1));
	t->state = EXTRA;
	return TAR_MORE;
}

static const char *
apply_extras(struct tar *t)
{
	if (t->long_path.length &&
	    !pax_name((char *)t->long_path.data, t->long_path.length, t->entry.path))
		return "a long name that is no path";
	if (t->long_link.length &&
	    !pax_name((char *)t->long_link.data, t->long_link.length, t->entry.link))
		return "a long link that is no path";
	return pax_parse(t);
}

static void
forget_extras(struct tar *t)
{
	buf_reset(&t->pax);
	buf_reset(&t->long_path);
	buf_reset(&t->long_link);
}

static enum tar_event
begin_entry(struct tar *t)
{
	struct tar_entry *e = &t->entry;
	uint8_t type = t->block[TYPE_AT];

	e->xattrs_count = 0;
	e->mtime_ns = 0;
	if (!header_numbers(e, t->block))
		return bad(t, "a number in a header that is none");
	if (type == 'x' || type == 'g' || type == 'L' || type == 'K')
		return begin_extra(t, type, e->size);
	header_path(t->block, e->path);
	size_t link = strnlen((const char *)t->block + LINK_AT, LINK_BYTES);
	memcpy(e->link, t->block + LINK_AT, link);
	e->link[link] = '\0';
	const char *why = apply_extras(t);
	if (why)
		return bad(t, why);
	if (type == 'S')
		return bad(t, "a sparse file, which is not supported");
	if (!header_type(e, type))
		return bad(t, "an entry of an unknown type");
	if (e->path[0] == '\0')
		return bad(t, "an entry without a name");
	if (e->type != TAR_FILE)
		e->size = 0;
	t->left = e->size;
	t->pad = (uint32_t)(-e->size & (TAR_BLOCK_BYTES - 1));
	t->state = BODY;
	return TAR_ENTRY;
}

static enum tar_event
take_header(struct tar *t)
{
	size_t want = TAR_BLOCK_BYTES - t->block_bytes;
	size_t take = t->in_bytes < want ? t->in_bytes : want;

	if (take)
		memcpy(t->block + t->block_bytes, t->in, take);
	t->in += take;
	t->in_bytes -= take;
	t->block_bytes += take;
	if (t->block_bytes < TAR_BLOCK_BYTES)
		return TAR_MORE;
	t->block_bytes = 0;
	if (is_zero(t->block)) {
		if (t->pax.length || t->long_path.length || t->long_link.length)
			return bad(t, "an extra header without an entry");
		if (t->zero_seen)
			t->state = END;
		t->zero_seen = true;
		return t->state == END ? TAR_END : TAR_MORE;
	}
	if (t->zero_seen)
		return bad(t, "one zero block in the middle");
	if (!checksum_holds(t->block))
		return bad(t, "a header whose checksum is wrong");
	return begin_entry(t);
}

/* ---- bodies ---- */

static enum tar_event
end_extra(struct tar *t)
{
	struct buf *to = t->extra_type == 'x'   ? &t->pax
			 : t->extra_type == 'L' ? &t->long_path
			 : t->extra_type == 'K' ? &t->long_link
						: NULL;
	size_t length = t->extra.length;

	t->state = HEADER;
	if (!to || !length)
		return TAR_MORE;
	if (to->length)
		return bad(t, "two extra headers for one entry");
	if (to != &t->pax)
		length = strnlen((const char *)t->extra.data, length);
	buf_put(to, t->extra.data, length);
	if (!buf_ok(to))
		return bad(t, to == &t->pax ? "no memory for an extra header"
					    : "a name that is too long");
	return TAR_MORE;
}

static enum tar_event
take_extra(struct tar *t)
{
	size_t take = t->left < t->in_bytes ? (size_t)t->left : t->in_bytes;

	buf_put(&t->extra, t->in, take);
	if (!buf_ok(&t->extra))
		return bad(t, "no memory for an extra header");
	t->in += take;
	t->in_bytes -= take;
	t->left -= take;
	if (!t->left)
		t->state = EXTRA_PAD;
	return TAR_MORE;
}

static bool
take_pad(struct tar *t)
{
	size_t take = t->pad < t->in_bytes ? t->pad : t->in_bytes;

	t->in += take;
	t->in_bytes -= take;
	t->pad -= (uint32_t)take;
	return t->pad == 0;
}

static enum tar_event
take_body(struct tar *t)
{
	if (!t->left) {
		t->state = PAD;
		return TAR_MORE;
	}
	t->chunk = t->in;
	t->chunk_bytes = t->left < t->in_bytes ? (size_t)t->left : t->in_bytes;
	t->in += t->chunk_bytes;
	t->in_bytes -= t->chunk_bytes;
	t->left -= t->chunk_bytes;
	return TAR_DATA;
}

uint64_t
tar_skip(struct tar *t)
{
	uint64_t skip = t->left + t->pad;
	uint64_t here = skip < t->in_bytes ? skip : t->in_bytes;

	t->in += here;
	t->in_bytes -= (size_t)here;
	t->left = 0;
	t->pad = 0;
	return skip - here;
}

/* TAR_MORE from a step means: nothing to tell; go on while there is input or a state that needs
 * none. */
static enum tar_event
step(struct tar *t)
{
	switch ((enum state)t->state) {
	case HEADER:
		return take_header(t);
	case EXTRA:
		return take_extra(t);
	case EXTRA_PAD:
		return take_pad(t) ? end_extra(t) : TAR_MORE;
	case BODY:
		return take_body(t);
	case PAD:
		if (take_pad(t))
			t->state = DONE;
		return TAR_MORE;
	case DONE:
		forget_extras(t);
		t->state = HEADER;
		return TAR_DONE;
	case END:
		t->in_bytes = 0;
		return TAR_MORE;
	case BAD:
		return TAR_BAD;
	}
	return TAR_BAD;
}

static bool
needs_input(const struct tar *t)
{
	switch ((enum state)t->state) {
	case HEADER:
	case END:
		return true;
	case EXTRA:
	case BODY:
		return t->left > 0;
	case EXTRA_PAD:
	case PAD:
		return t->pad > 0;
	case DONE:
	case BAD:
		return false;
	}
	return false;
}

enum tar_event
tar_next(struct tar *t)
{
	while (t->in_bytes > 0 || !needs_input(t)) {
		enum tar_event event = step(t);

		if (event != TAR_MORE)
			return event;
	}
	return TAR_MORE;
}
