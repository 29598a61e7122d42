/* SPDX-License-Identifier: Apache-2.0 */
#include "node/etcd_wal.h"

#include "base/le.h"

enum {
	LENGTH_BYTES = 8,
	FILL_AT = 56, /* in the length: bits */
	TAG_TYPE = 0x08,
	/* Types of records. Others are entries, and what was voted. */
	METADATA = 1,
	CHECKSUM = 4,
	SNAPSHOT = 5,
};

#define FILL UINT64_C(0x8000000000000000)

bool
etcd_wal_is_rest(const uint8_t *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (data[i])
			return false;
	return true;
}

static bool
says_nothing(const uint8_t *record, uint64_t length, bool *named)
{
	if (length < 2 || record[0] != TAG_TYPE)
		return false;
	*named |= record[1] == METADATA;
	return record[1] == METADATA || record[1] == CHECKSUM || record[1] == SNAPSHOT;
}

bool
etcd_wal_is_blank(const uint8_t *data, size_t bytes)
{
	bool named = false;
	size_t at = 0;

	while (bytes - at >= LENGTH_BYTES) {
		uint64_t head = le_get(data + at, LENGTH_BYTES);
		uint64_t length = head & ((UINT64_C(1) << FILL_AT) - 1);
		uint64_t fill = head & FILL ? head >> FILL_AT & 7 : 0;

		if (head == 0)
			return named && etcd_wal_is_rest(data + at, bytes - at);
		at += LENGTH_BYTES;
		if (length > bytes - at || !says_nothing(data + at, length, &named))
			return false;
		at += length;
		if (fill > bytes - at)
			return false;
		at += fill;
	}
	return false;
}
