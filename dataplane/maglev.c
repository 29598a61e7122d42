/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The permutation of a member is offset, offset + skip, ... modulo the number of slots. That is a
 * power of two, so that the programs need a mask and no division; every odd skip then visits all
 * slots. Members are served in the order of their ids.
 */
#include "dataplane/maglev.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/map.h"

struct member {
	uint64_t id;
	uint32_t at, skip;
	uint16_t index; /* of the caller */
};

static int
compare(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static void
prepare(struct member *members, const uint64_t *ids, size_t count, size_t slots)
{
	static const uint64_t offset_key[2] = {UINT64_C(0x6d61676c6576), 1};
	static const uint64_t skip_key[2] = {UINT64_C(0x6d61676c6576), 2};

	for (size_t i = 0; i < count; i++) {
		members[i].id = ids[i];
		members[i].index = (uint16_t)i;
		members[i].at =
			(uint32_t)(map_siphash(offset_key, &ids[i], sizeof(ids[i])) & (slots - 1));
		members[i].skip =
			(uint32_t)(map_siphash(skip_key, &ids[i], sizeof(ids[i])) & (slots - 1)) |
			1;
	}
	qsort(members, count, sizeof(members[0]), compare);
}

void
maglev_build(const uint64_t *ids, size_t count, uint16_t *owners_out, size_t slots)
{
	struct member members[MAGLEV_MEMBERS_MAX];
	size_t taken = 0;

	assert(count > 0 && count <= MAGLEV_MEMBERS_MAX && count <= slots);
	assert((slots & (slots - 1)) == 0 && slots <= UINT32_MAX);
	prepare(members, ids, count, slots);
	memset(owners_out, 0xff, slots * sizeof(owners_out[0]));
	for (size_t i = 0; taken < slots; i = i + 1 < count ? i + 1 : 0) {
		struct member *m = &members[i];

		while (owners_out[m->at] != UINT16_MAX)
			m->at = (uint32_t)((m->at + m->skip) & (slots - 1));
		owners_out[m->at] = m->index;
		taken++;
	}
}
