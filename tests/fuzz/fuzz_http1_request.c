/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's worth of requests: heads and bodies. Everything is fed at once and byte by byte;
 * both must agree, and every offset must lie in the input.
 */
#include <stdlib.h>
#include <string.h>
#include "wire/http1_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_span(struct http_span s, size_t bytes)
{
	if (s.at > bytes || s.length > bytes - s.at)
		abort();
}

static void
check_head(const struct http1_head *h)
{
	check_span(h->method_name, h->head_bytes);
	check_span(h->target, h->head_bytes);
	check_span(h->authority, h->head_bytes);
	check_span(h->url.path, h->head_bytes);
	check_span(h->url.query, h->head_bytes);
	for (uint32_t i = 0; i < h->count; i++) {
		check_span((struct http_span){h->fields[i].name, h->fields[i].name_length},
			   h->head_bytes);
		check_span((struct http_span){h->fields[i].value, h->fields[i].value_length},
			   h->head_bytes);
	}
}

static enum http1_result
parse_slowly(struct http1_head *h, const char *data, size_t size)
{
	enum http1_result r = HTTP1_MORE;

	http1_head_init(h, HTTP1_REQUEST, NULL);
	for (size_t n = 1; n <= size && r == HTTP1_MORE; n++)
		r = http1_head_parse(h, data, n);
	return r;
}

static size_t
eat_body(const struct http1_head *h, const char *data, size_t size, size_t step, bool *end)
{
	struct http1_body body;
	struct buf trailers;
	size_t at = 0;

	buf_init(&trailers, MEM_WIRE, HTTP1_TRAILER_BYTES_MAX);
	http1_body_init(&body, h->framing, h->content_length, &trailers);
	*end = body.ended;
	while (at < size && !*end) {
		size_t n = size - at < step ? size - at : step, used, length;
		const char *span;
		enum http1_body_result r =
			http1_body_feed(&body, data + at, n, &used, &span, &length);

		if (used > n || length > used)
			abort();
		at += used;
		*end = body.ended;
		if (r == HTTP1_BODY_BAD)
			break;
	}
	if (*end) {
		struct http_field fields[HTTP1_TRAILERS_MAX];

		if (http1_head_trailers((const char *)trailers.data, trailers.length, fields,
					HTTP1_TRAILERS_MAX) < 0)
			abort();
	}
	buf_fini(&trailers);
	return at;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const char *data = (const char *)bytes;
	static struct http1_head h, slow;

	while (size > 0) {
		enum http1_result r;
		bool end, slow_end;
		size_t used;

		http1_head_init(&h, HTTP1_REQUEST, NULL);
		r = http1_head_parse(&h, data, size);
		if (size < 2048 && (parse_slowly(&slow, data, size) != r || slow.error != h.error ||
				    slow.head_bytes != h.head_bytes || slow.count != h.count))
			abort();
		if (r != HTTP1_DONE)
			break;
		check_head(&h);
		data += h.head_bytes;
		size -= h.head_bytes;
		used = eat_body(&h, data, size, size + 1, &end);
		if (eat_body(&h, data, size, 1, &slow_end) != used || end != slow_end) {
			if (end || slow_end)
				abort();
		}
		if (!end)
			break;
		data += used;
		size -= used;
	}
	return 0;
}
