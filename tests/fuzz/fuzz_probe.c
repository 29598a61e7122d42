/* SPDX-License-Identifier: Apache-2.0 */
/* Any datagram at the port of probes: what is taken is written again as it came, and no answer is
 * longer than its question. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "overlay/probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t headers[] = {28, 48};
	uint8_t again[PROBE_BYTES];

	for (size_t i = 0; i < 2; i++) {
		struct probe_message m = {0};

		if (!probe_take(data, size, headers[i], &m))
			continue;
		if (size < PROBE_BYTES || (m.kind == PROBE_ASKS && m.size != size + headers[i]))
			abort();
		probe_put(&m, again);
		if (memcmp(again, data, sizeof(again)) != 0)
			abort();
	}
	return 0;
}
