/* SPDX-License-Identifier: Apache-2.0 */
/* Event streams in any pieces give the same events. */
#include <stdlib.h>
#include <string.h>
#include "wire/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t
run(const char *data, size_t size, size_t step)
{
	struct sse s;
	uint64_t hash = 0;
	bool lost = false;

	sse_init(&s, MEM_WIRE, 512);
	for (size_t at = 0; at < size && !lost;) {
		size_t n = size - at < step ? size - at : step, used;
		enum sse_result r = sse_feed(&s, data + at, n, &used);

		lost = r == SSE_TOO_LONG;
		if (r == SSE_EVENT) {
			hash = hash * 31 + s.data.length + strlen(s.event) * 7 + strlen(s.id);
			for (size_t i = 0; i < s.data.length; i++)
				hash = hash * 31 + s.data.data[i];
		}
		at += used;
	}
	sse_fini(&s);
	return lost ? hash + 1 : hash;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (run((const char *)data, size, size) != run((const char *)data, size, 1 + data[0] % 7u))
		abort();
	return 0;
}
