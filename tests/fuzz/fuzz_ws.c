/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket frames: first byte is role and split; all at once and in pieces give the same events.
 */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "wire/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
	uint64_t bytes, hash;
	unsigned events;
	enum ws_event end;
};

static struct sum
run(const uint8_t *data, size_t size, enum ws_role role, size_t step)
{
	struct sum sum = {0};
	struct ws ws;
	uint8_t *copy = mem_dup(MEM_WIRE, data, size);

	if (!copy)
		abort();
	ws_init(&ws, role, 4096);
	for (size_t at = 0; at < size && sum.end != WS_BAD && sum.end != WS_CLOSED;) {
		size_t n = size - at < step ? size - at : step, used;
		struct ws_piece p;

		sum.end = ws_feed(&ws, copy + at, n, &used, &p);
		if (used > n || (used == 0 && sum.end == WS_MORE))
			abort();
		at += used;
		if (sum.end == WS_DATA || sum.end == WS_PING || sum.end == WS_PONG) {
			for (size_t i = 0; i < p.length; i++)
				sum.hash = sum.hash * 31 + p.data[i];
			sum.bytes += p.length;
			sum.events += sum.end != WS_DATA || p.last;
		}
	}
	mem_free(copy);
	return sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sum whole, pieces;
	enum ws_role role;

	if (size < 2)
		return 0;
	role = data[0] & 1 ? WS_SERVER : WS_CLIENT;
	whole = run(data + 1, size - 1, role, size);
	pieces = run(data + 1, size - 1, role, 1 + data[0] / 2 % 8);
	/* Broken text may be noticed sooner in pieces; what is delivered in whole messages agrees.
	 */
	if (whole.end != WS_BAD && (whole.hash != pieces.hash || whole.bytes != pieces.bytes ||
				    whole.events != pieces.events))
		abort();
	if ((whole.end == WS_BAD) != (pieces.end == WS_BAD))
		abort();
	return 0;
}
