/* SPDX-License-Identifier: Apache-2.0 */
/* A launch description from anywhere: decoded or refused; what was decoded encodes to the same. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "runtime/launch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct arena arena;
	struct launch *launch;
	struct err err = {0};
	struct buf again;
	arena_init(&arena, MEM_RUNTIME, 4 << 20);
	buf_init(&again, MEM_RUNTIME, LAUNCH_BYTES_MAX);
	if (launch_decode(data, bytes, &arena, &launch, &err) == 0) {
		launch_encode(launch, &again);
		assert(buf_ok(&again) && again.length == bytes);
		assert(memcmp(again.data, data, bytes) == 0);
	}
	buf_fini(&again);
	arena_fini(&arena);
	return 0;
}
