/* SPDX-License-Identifier: Apache-2.0 */
/* The beginning of a log of etcd's: what is blank stays so with more zeroes behind it, and is not
 * with anything else there. */
#include "node/etcd_wal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { MORE = 8 };
	uint8_t *longer;

	if (!etcd_wal_is_blank(data, size))
		return 0;
	longer = calloc(1, size + MORE);
	assert(longer);
	memcpy(longer, data, size);
	assert(etcd_wal_is_blank(longer, size + MORE));
	longer[size + MORE - 1] = 1;
	assert(!etcd_wal_is_blank(longer, size + MORE));
	free(longer);
	return 0;
}
