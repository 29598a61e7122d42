/* SPDX-License-Identifier: Apache-2.0 */
/* Wishes to be called back from anywhere: what is taken is written again as the same, a number is
 * told once for its node, and no more is kept than may be. */
#include <assert.h>
#include <string.h>
#include "scheduler/callback.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { MINE = 7 };

static size_t
told(const struct step_actions *out, uint32_t node)
{
	size_t count = 0;

	for (size_t i = 0; i < out->count; i++) {
		count += out->items[i].kind == STEP_TELL;
		assert(out->items[i].kind != STEP_TELL ||
		       (out->items[i].node == node && out->items[i].token != 0));
	}
	return count;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct step_actions out;
	static struct callback cb;
	struct callback_message m;
	uint8_t again[CALLBACK_BYTES];

	memset(&cb, 0, sizeof(cb));
	assert(callback_ask(&cb, 2, MINE));
	for (size_t at = 0; at < bytes; at += CALLBACK_BYTES) {
		size_t length = bytes - at < CALLBACK_BYTES ? bytes - at : CALLBACK_BYTES;
		struct step_input in = {
			.kind = STEP_DATAGRAM,
			.node = 2 + (at / CALLBACK_BYTES) % 2,
			.now_ns = 1000000000 + at,
			.data = data + at,
			.bytes = length,
		};
		bool good = callback_decode(data + at, length, &m);

		if (good) {
			const struct callback_message was = m;

			callback_encode(&m, again);
			assert(memcmp(again, data + at, CALLBACK_BYTES) == 0 ||
			       data[at] > CALLBACK_VERSION);
			assert(callback_decode(again, sizeof(again), &m));
			assert(m.kind == was.kind && m.number == was.number);
		}
		step_actions_clear(&out);
		callback_step(&cb, &in, &out);
		assert(told(&out, in.node) <= (good && m.kind == CALLBACK_ASK));
		step_actions_clear(&out);
		callback_step(&cb, &in, &out);
		assert(told(&out, in.node) == 0);
	}
	assert(cb.heard_count <= CALLBACK_HEARD_MAX && cb.asks_count == 1);
	return 0;
}
