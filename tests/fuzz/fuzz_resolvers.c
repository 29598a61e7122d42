/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as resolv.conf: few addresses come out, each once and with a port. */
#include <stdint.h>
#include <stdlib.h>
#include "overlay/resolvers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct resolvers r;

	resolvers_parse((const char *)data, size, &r);
	if (r.count > RESOLVERS_MAX)
		abort();
	for (size_t i = 0; i < r.count; i++)
		if (r.at[i].port != 53 || addr_is_zero(&r.at[i]) ||
		    (i > 0 && addr_equal(&r.at[i], &r.at[i - 1])))
			abort();
	return 0;
}
