/* SPDX-License-Identifier: Apache-2.0 */
/* Questions and answers about drains from anywhere: what is taken in is written again as the same,
 * and a node that waits for two others believes neither of them for the other one. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "scheduler/drains.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { REPLICA = 7, SINCE = 1 };

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct step_actions out;
	struct drains_message m;
	struct drains d;
	uint8_t again[DRAINS_BYTES];

	drains_init(&d);
	(void)drains_is_free(&d, REPLICA, SINCE, 2);
	(void)drains_is_free(&d, REPLICA, SINCE, 3);
	for (size_t at = 0; at < bytes; at += DRAINS_BYTES) {
		size_t length = bytes - at < DRAINS_BYTES ? bytes - at : DRAINS_BYTES;
		struct step_input in = {
			.kind = STEP_DATAGRAM,
			.node = 2,
			.now_ns = 1000000000 + at,
			.data = data + at,
			.bytes = length,
		};

		if (drains_decode(data + at, length, &m)) {
			drains_encode(&m, again);
			assert(memcmp(again, data + at, DRAINS_BYTES) == 0);
		}
		step_actions_clear(&out);
		drains_step(&d, &in, &out);
	}
	assert(!drains_is_free(&d, REPLICA, SINCE, 3));
	drains_fini(&d);
	return 0;
}
