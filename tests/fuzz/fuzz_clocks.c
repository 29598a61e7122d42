/* SPDX-License-Identifier: Apache-2.0 */
/* Words about clocks from anywhere: what is taken is written again as the same, each question has
 * one answer, and no answer moves anything but the clock of who was asked. */
#include <assert.h>
#include <string.h>
#include "scheduler/clocks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct step_actions out;
	struct clocks cl;

	clocks_init(&cl);
	clocks_ask(&cl, 2, 1000000000);
	step_actions_clear(&out);
	clocks_step(&cl,
		    &(struct step_input){.kind = STEP_LOCAL,
					 .now_ns = 1000000000,
					 .wall_ns = INT64_C(1800000000000000000)},
		    &out);
	assert(out.count == 1);
	for (size_t at = 0; at < bytes; at += CLOCKS_BYTES) {
		size_t length = bytes - at < CLOCKS_BYTES ? bytes - at : CLOCKS_BYTES;
		uint8_t kind, again[CLOCKS_BYTES];
		uint32_t number;
		int64_t wall_ns;
		bool good = clocks_decode(data + at, length, &kind, &number, &wall_ns);

		if (good) {
			clocks_encode(kind, number, wall_ns, again);
			assert(memcmp(again + 1, data + at + 1, CLOCKS_BYTES - 1) == 0);
		}
		step_actions_clear(&out);
		clocks_step(
			&cl,
			&(struct step_input){.kind = STEP_DATAGRAM,
					     .node = 2 + (at / CLOCKS_BYTES) % 2,
					     .now_ns = 1000000000 + at,
					     .wall_ns = INT64_C(1800000000000000000) + (int64_t)at,
					     .data = data + at,
					     .bytes = length},
			&out);
		assert(out.count == (good && kind == CLOCKS_ASK));
		clocks_look(&cl);
		assert(clocks_base(&cl) == 0 && clocks_wrong(&cl, 3) == 0);
	}
	assert(map_count(&cl.nodes) == 1);
	clocks_fini(&cl);
	return 0;
}
