/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_CLAIMLOG_H
#define SCHEDULER_PLACE_CLAIMLOG_H

/*
 * The node's journal of claims: records one after the other, each with a check sum, so that a torn
 * one is seen and the next good one is found behind it. Little endian:
 *
 *   0 magic u32   4 bytes u16 (of the whole record)   6 kind u8   7 version u8   8 check u64
 *   CLAIM  16 claim (40)  56 cpu_milli u32  60 mode u8  61 zero u8  62 takes u16  64 memory u64
 *          72 takes u64 each
 *   ENDED  16 number u64
 *   NEXT   16 number u64: the first that was never used
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "scheduler/place/claim.h"

enum {
	CLAIMLOG_TAKES_MAX = 64,
	CLAIMLOG_BYTES_MAX = 72 + 8 * CLAIMLOG_TAKES_MAX, /* of one record */
	CLAIMLOG_SMALL_BYTES = 24,                        /* ENDED, NEXT */
};

enum claimlog_kind { CLAIMLOG_CLAIM = 1, CLAIMLOG_ENDED, CLAIMLOG_NEXT };

struct claimlog_record {
	enum claimlog_kind kind;
	uint64_t number; /* ENDED, NEXT */
	struct claim claim;
	uint32_t cpu_milli;
	uint64_t memory_bytes;
	uint8_t mode;
	size_t takes_count;
	uint64_t takes[CLAIMLOG_TAKES_MAX];
};

size_t claimlog_size(const struct claimlog_record *r);
/* Gives claimlog_size() bytes. */
size_t claimlog_encode(const struct claimlog_record *r, uint8_t *out);

struct claimlog_reader {
	const uint8_t *at;
	const uint8_t *end;
	bool damaged; /* bytes were passed over */
};

void claimlog_open(struct claimlog_reader *r, const void *data, size_t bytes);
/* The next good record; false at the end. */
bool claimlog_next(struct claimlog_reader *r, struct claimlog_record *out);

#endif
