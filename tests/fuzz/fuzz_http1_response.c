/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of a replica: the first byte of the input chooses the request's method. */
#include <stdlib.h>
#include "wire/http1_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct http1_head h;
	struct http1_body body;
	enum http1_framing framing;
	const char *data;
	size_t used = 0;

	if (size == 0)
		return 0;
	data = (const char *)bytes + 1;
	size--;
	http1_head_init(&h, HTTP1_RESPONSE, NULL);
	if (http1_head_parse(&h, data, size) != HTTP1_DONE)
		return 0;
	if (h.status < 100 || h.status > 599 || h.head_bytes > size)
		abort();
	framing = http1_head_framing(&h, (enum http_method)(bytes[0] % HTTP_METHODS_));
	http1_body_init(&body, framing, h.content_length, NULL);
	data += h.head_bytes;
	size -= h.head_bytes;
	while (size > 0 && !body.ended) {
		const char *span;
		size_t length;

		if (http1_body_feed(&body, data, size, &used, &span, &length) == HTTP1_BODY_BAD)
			break;
		if (used > size || (used == 0 && !body.ended))
			abort();
		data += used;
		size -= used;
	}
	(void)http1_body_finish(&body);
	return 0;
}
