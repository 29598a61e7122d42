/* SPDX-License-Identifier: Apache-2.0 */
/* A server session fed with anything: answers what it understands, and must end clean. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "wire/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct h2_engine *engine;

static void
on_request(void *arg, struct h2_stream *s, const struct h2_request *r)
{
	static const struct h2_header fields[] = {{"server", 6, "zlayer", 6}};

	(void)arg;
	if (h2_respond(s, r->too_long ? 431 : 200, fields, 1, true) == 0)
		h2_offer(s, r->path.length * 1000, r->method != HTTP_POST);
}

static void
on_data(void *arg, struct h2_stream *s, const uint8_t *data, size_t length)
{
	(void)arg;
	(void)data;
	h2_consume(s, length / 2 + length % 2);
}

static void
on_trailers(void *arg, struct h2_stream *s, const char *text, const struct http_field *f,
	    size_t count)
{
	(void)arg;
	(void)s;
	for (size_t i = 0; i < count; i++) {
		if (memchr(text + f[i].value, '\n', f[i].value_length))
			abort();
	}
}

static void
on_end(void *arg, struct h2_stream *s)
{
	(void)arg;
	if (!h2_stream_answered(s))
		h2_offer(s, 100, true);
}

static void
on_pull(void *arg, struct h2_stream *s, uint8_t *out, size_t length)
{
	(void)arg;
	(void)s;
	memset(out, 'x', length);
}

static void
on_closed(void *arg, struct h2_stream *s, uint32_t code, bool by_peer)
{
	(void)arg;
	(void)s;
	(void)code;
	(void)by_peer;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct h2_handler handler = {on_request, on_data, on_trailers,
						  on_end,     on_pull, on_closed};
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	static uint8_t out[65536];
	struct err err = {0};
	struct h2 *h;
	size_t step = size > 0 ? 1 + data[0] : 1;

	if (!engine && h2_engine_new(&engine, &err))
		abort();
	h = h2_new(engine, &handler, NULL, NULL, 0);
	if (!h)
		abort();
	(void)h2_feed(h, (const uint8_t *)preface, sizeof(preface) - 1, 0);
	for (size_t at = 1; at < size; at += step) {
		size_t n = size - at < step ? size - at : step;
		bool ok = h2_feed(h, data + at, n, at);

		while (h2_pull(h, out, sizeof(out)) > 0)
			;
		if (!ok)
			break;
	}
	h2_free(h);
	return 0;
}
