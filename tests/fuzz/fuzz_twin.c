/* SPDX-License-Identifier: Apache-2.0 */
/* Words of nodes that may be one, and the file of an instance, from anywhere: what is taken is
 * written again as the same. */
#include <assert.h>
#include <string.h>
#include "scheduler/twin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void
file(const uint8_t *data, size_t bytes)
{
	char text[TWIN_FILE_MAX + 16] = {0}, again[TWIN_FILE_MAX];
	struct twin_instance i, same;

	memcpy(text, data, bytes < sizeof(text) - 1 ? bytes : sizeof(text) - 1);
	if (!twin_take_instance(text, &i))
		return;
	twin_put_instance(&i, again);
	assert(twin_take_instance(again, &same));
	assert(twin_is_here(&i, &same) && i.born == same.born && i.born != 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct twin_message m, same;
	uint8_t again[TWIN_BYTES];

	file(data, bytes);
	if (!twin_decode(data, bytes, &m))
		return 0;
	assert(m.node != 0 && m.session != 0);
	twin_encode(&m, again);
	assert(memcmp(again + 1, data + 1, 41) == 0);
	assert(twin_decode(again, sizeof(again), &same) && same.kind == m.kind);
	return 0;
}
