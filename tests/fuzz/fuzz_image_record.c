/* SPDX-License-Identifier: Apache-2.0 */
/* What decodes must encode to the same bytes. */
#include "runtime/image_record.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_record *record;
	struct arena arena;
	struct err err = {0};
	struct buf again;

	arena_init(&arena, MEM_BASE, 16 << 20);
	if (image_record_decode(data, size, &arena, &record, &err) == 0) {
		buf_init(&again, MEM_BASE, IMAGE_RECORD_BYTES_MAX);
		image_record_encode(record, &again);
		assert(buf_ok(&again) && again.length == size);
		assert(memcmp(again.data, data, size) == 0);
		for (size_t i = 0; i < record->layers.count; i++)
			assert(strlen(record->layers.items[i]) == 64 &&
			       !strchr(record->layers.items[i], '/'));
		buf_fini(&again);
	} else {
		assert(err.kind == ERR_CORRUPT);
	}
	arena_fini(&arena);
	return 0;
}
