/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Header blocks as the library decodes them, field by field. The library has checked the order and
 * number of pseudo-fields, lower case, forbidden connection fields and Content-Length's digits
 * (RFC 9113 8.2, 8.3); what it does not know is checked here: that :authority and Host agree, that
 * the path is a path, that the authority is one. Host is not kept as a field: whoever forwards
 * writes it anew.
 */

#include "wire/h2_block.h"

#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "wire/url.h"

enum { FIELD_OVERHEAD = 32 }; /* RFC 9113 6.5.2 */

struct h2_block *
h2_block_new(void)
{
	struct h2_block *b = mem_alloc(MEM_WIRE, sizeof(*b));

	if (!b)
		return NULL;
	memset(b, 0, offsetof(struct h2_block, fields));
	buf_init(&b->text, MEM_WIRE, H2_BLOCK_BYTES_MAX);
	return b;
}

void
h2_block_free(struct h2_block *b)
{
	if (!b)
		return;
	buf_fini(&b->text);
	mem_free(b);
}

void
h2_block_reset(struct h2_block *b)
{
	struct buf text = b->text;

	memset(b, 0, offsetof(struct h2_block, fields));
	b->text = text;
	buf_reset(&b->text);
}

static int
keep(struct h2_block *b, const char *data, size_t length, struct http_span *out)
{
	*out = (struct http_span){(uint32_t)b->text.length, (uint32_t)length};
	buf_put(&b->text, data, length);
	return buf_ok(&b->text) ? 0 : -1;
}

static struct http_span *
pseudo(struct h2_block *b, const char *name, size_t length)
{
	if (header_equal(name, length, ":method"))
		return &b->method;
	if (header_equal(name, length, ":scheme"))
		return &b->scheme;
	if (header_equal(name, length, ":authority"))
		return &b->authority;
	if (header_equal(name, length, ":path"))
		return &b->path;
	if (header_equal(name, length, ":protocol"))
		return &b->protocol;
	return NULL;
}

static void
note_length(struct h2_block *b, const char *value, size_t length)
{
	if (length == 0 || length > 18 || b->has_length) {
		b->bad = true;
		return;
	}
	for (size_t i = 0; i < length; i++) {
		if (value[i] < '0' || value[i] > '9')
			b->bad = true;
		b->content_length = b->content_length * 10 + (uint64_t)(value[i] - '0');
	}
	b->has_length = true;
}

static int
add_field(struct h2_block *b, const char *name, size_t name_length, const char *value,
	  size_t value_length)
{
	struct http_field *f = &b->fields[b->count];
	enum header_id id = header_lookup(name, name_length);
	struct http_span n, v;

	if (id == HEADER_HOST) {
		if (b->host.length > 0)
			b->bad = true;
		return keep(b, value, value_length, &b->host);
	}
	if (id == HEADER_CONTENT_LENGTH)
		note_length(b, value, value_length);
	if (b->count == H2_FIELDS_MAX) {
		b->too_long = true;
		return 0;
	}
	if (!header_is_token(name, name_length) || !header_is_value(value, value_length))
		b->bad = true;
	if (keep(b, name, name_length, &n) || keep(b, value, value_length, &v))
		return -1;
	*f = (struct http_field){.name = n.at,
				 .name_length = (uint16_t)name_length,
				 .value = v.at,
				 .value_length = v.length,
				 .id = (uint16_t)id};
	b->count++;
	return 0;
}

int
h2_block_add(struct h2_block *b, const char *name, size_t name_length, const char *value,
	     size_t value_length)
{
	struct http_span *span;

	b->list_bytes += name_length + value_length + FIELD_OVERHEAD;
	if (b->list_bytes > H2_BLOCK_BYTES_MAX || b->too_long) {
		b->too_long = true;
		return 0;
	}
	if (name_length == 0 || name[0] != ':')
		return add_field(b, name, name_length, value, value_length);
	span = pseudo(b, name, name_length);
	if (!span) {
		b->bad = true;
		return 0;
	}
	return keep(b, value, value_length, span);
}

static bool
authority_fits(struct h2_block *b, const char *text)
{
	struct url_authority ignored;

	if (b->host.length > 0 && b->authority.length > 0 &&
	    (b->host.length != b->authority.length ||
	     strncasecmp(text + b->host.at, text + b->authority.at, b->host.length) != 0))
		return false;
	if (b->authority.length == 0)
		b->authority = b->host;
	return b->authority.length == 0 ||
	       url_authority_parse(text + b->authority.at, b->authority.length, &ignored);
}

static bool
path_fits(const struct h2_block *b, const char *text, enum http_method method)
{
	struct url_target target;

	if (method == HTTP_CONNECT && b->protocol.length == 0)
		return b->path.length == 0;
	/* With :protocol the target is an ordinary one (RFC 8441 4). */
	return url_target_parse(text + b->path.at, b->path.length,
				method == HTTP_CONNECT ? HTTP_GET : method, &target) &&
	       (target.form == URL_ORIGIN || target.form == URL_ASTERISK);
}

bool
h2_block_request(struct h2_block *b, struct h2_request *out)
{
	const char *text = b->text.data ? (const char *)b->text.data : "";
	const char *method_text = text + b->method.at;

	memset(out, 0, sizeof(*out));
	out->method = http_method_of(method_text, b->method.length);
	if (!b->too_long && (b->bad || !header_is_token(method_text, b->method.length) ||
			     !authority_fits(b, text) || !path_fits(b, text, out->method)))
		return false;
	out->text = text;
	out->method_name = b->method;
	out->scheme = b->scheme;
	out->authority = b->authority;
	out->path = b->path;
	out->protocol = b->protocol;
	out->fields = b->fields;
	out->count = b->count;
	out->too_long = b->too_long;
	out->has_length = b->has_length;
	out->content_length = b->content_length;
	return true;
}
