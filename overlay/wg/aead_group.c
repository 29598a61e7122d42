/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing: keystream over everything, keys first among it, then the tags. Opening: keys, tags, and
 * keystream only over what was not forged; where keys and keystream fit into one vector, both at
 * once into pads. Which packets were forged is no secret: their sender sees that nothing happens.
 *
 * Nothing here has the order of blocks depend on anything but lengths and verdicts.
 */
#include "overlay/wg/aead_group.h"

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include "base/mem.h"
#include "overlay/wg/primitive.h"

enum {
	STACK_BYTES = 4 << 10, /* more than the frames of any way's functions */
	BLOCK = AEAD_GROUP_BLOCK,
	PADS = 16, /* more are no gain */
};

enum part { PART_KEYS, PART_TEXT, PART_ALL };

struct run {
	const struct aead_group_way *way;
	uint32_t key[8];
	struct aead_group group;
	bool padded; /* keystream goes to pads, not over the text */
	/* no secrets; pads are wiped where they are used */
	struct aead_group_lanes lanes;
	alignas(64) uint8_t pads[PADS][BLOCK];
};

static __attribute__((target("xsave"))) uint64_t
states(void)
{
	return (uint64_t)_xgetbv(0);
}

bool
aead_group_state(uint64_t bits)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE) && (states() & bits) == bits;
}

static uint32_t
blocks_of(const struct aead_job *j)
{
	return (j->length + BLOCK - 1) / BLOCK;
}

/* Of the lanes that are left, those that a way looks at are nobody's. */
static void
flush(struct run *r)
{
	struct aead_group_lanes *l = &r->lanes;
	unsigned vector = l->count <= 8 ? 8 : l->count <= 16 ? 16 : AEAD_GROUP_LANES;

	for (unsigned i = l->count; i < vector; i++) {
		l->block[i] = l->low[i] = l->high[i] = l->bytes[i] = 0;
		l->data[i] = NULL;
	}
	if (l->count)
		r->way->mix(r->key, l);
	l->count = 0;
}

static void
add_lane(struct run *r, const struct aead_job *j, uint32_t block, uint8_t *data, uint32_t bytes)
{
	struct aead_group_lanes *l = &r->lanes;
	unsigned i = l->count++;

	l->block[i] = block;
	l->low[i] = (uint32_t)j->counter;
	l->high[i] = (uint32_t)(j->counter >> 32);
	l->data[i] = data;
	l->bytes[i] = bytes;
	if (l->count == r->way->lanes)
		flush(r);
}

/* Whole blocks that lie one behind the other, up to the end of a vector: gives how many. */
static uint32_t
add_lanes(struct run *r, const struct aead_job *j, uint32_t block, uint8_t *data, uint32_t count)
{
	struct aead_group_lanes *l = &r->lanes;
	unsigned first = l->count, room = r->way->lanes - first;

	if (count > room)
		count = room;
	for (unsigned i = 0; i < count; i++) {
		l->block[first + i] = block + i;
		l->low[first + i] = (uint32_t)j->counter;
		l->high[first + i] = (uint32_t)(j->counter >> 32);
		l->data[first + i] = data + (size_t)i * BLOCK;
		l->bytes[first + i] = BLOCK;
	}
	l->count += count;
	if (l->count == r->way->lanes)
		flush(r);
	return count;
}

static void
mix_text(struct run *r, const struct aead_job *j)
{
	/* Pads are for what fits into one vector. */
	uint8_t *to = r->padded ? r->pads[r->lanes.count] : j->data;
	uint32_t whole = j->length / BLOCK, rest = j->length % BLOCK;

	for (uint32_t at = 0; at < whole;)
		at += add_lanes(r, j, 1 + at, to + (size_t)at * BLOCK, whole - at);
	if (rest)
		add_lane(r, j, 1 + whole, to + (size_t)whole * BLOCK, rest);
}

static void
mix(struct run *r, enum part part)
{
	for (unsigned i = 0; i < r->group.count; i++) {
		const struct aead_job *j = &r->group.jobs[i];

		if (part != PART_TEXT)
			add_lane(r, j, 0, r->group.keys[i], BLOCK);
		if (part == PART_ALL || (part == PART_TEXT && j->ok))
			mix_text(r, j);
	}
	flush(r);
}

/* What is left of a batch, as much as a group takes. */
static void
take(struct run *r, struct aead_job *jobs, size_t count)
{
	uint32_t bytes = 0;
	struct aead_group *g = &r->group;

	g->jobs = jobs;
	g->count = 0;
	while (g->count < AEAD_GROUP_JOBS && g->count < count) {
		bytes += jobs[g->count].length;
		if (g->count > 0 && bytes > AEAD_GROUP_BYTES)
			break;
		g->count++;
	}
	memset(g->keys, 0, g->count * sizeof(g->keys[0]));
}

static void
start(struct run *r, const struct aead_group_way *w, const uint8_t key[AEAD_KEY])
{
	r->way = w;
	r->padded = false;
	r->lanes.count = 0;
	memcpy(r->key, key, AEAD_KEY);
}

/* What the compiler kept below this frame while it ran out of registers. */
static __attribute__((noinline)) void
wipe_below(void)
{
	uint8_t stack[STACK_BYTES] __attribute__((uninitialized));

	mem_wipe(stack, sizeof(stack));
}

static void
finish(struct run *r)
{
	mem_wipe(r, offsetof(struct run, lanes));
	wipe_below();
}

void
aead_group_seal(const struct aead_group_way *w, const uint8_t key[AEAD_KEY], struct aead_job *jobs,
		size_t count)
{
	struct run r __attribute__((uninitialized));

	start(&r, w, key);
	for (size_t done = 0; done < count; done += r.group.count) {
		take(&r, jobs + done, count - done);
		mix(&r, PART_ALL);
		w->tag(&r.group);
		for (unsigned i = 0; i < r.group.count; i++) {
			struct aead_job *j = &r.group.jobs[i];

			memcpy(j->data + j->length, r.group.tags[i], AEAD_TAG);
			j->ok = true;
		}
	}
	finish(&r);
}

static void
judge(struct aead_group *g)
{
	for (unsigned i = 0; i < g->count; i++) {
		struct aead_job *j = &g->jobs[i];

		j->ok = primitive_equal(j->data + j->length, g->tags[i], AEAD_TAG);
		if (!j->ok)
			memset(j->data, 0, j->length + AEAD_TAG);
	}
}

static bool
is_short(const struct run *r)
{
	uint32_t blocks = r->group.count;

	for (unsigned i = 0; i < r->group.count; i++)
		blocks += blocks_of(&r->group.jobs[i]);
	return blocks <= PADS && blocks <= r->way->lanes;
}

/* Lanes were filled in order: each packet's key, then its text, which takes the pads behind it. */
static void
use_pads(struct run *r)
{
	unsigned lane = 0;

	for (unsigned i = 0; i < r->group.count; i++) {
		const struct aead_job *j = &r->group.jobs[i];
		const uint8_t *pad = r->pads[lane + 1];

		for (uint32_t at = 0; j->ok && at < j->length; at++)
			j->data[at] ^= pad[at];
		lane += 1 + blocks_of(j);
	}
	mem_wipe(r->pads, sizeof(r->pads));
}

void
aead_group_open(const struct aead_group_way *w, const uint8_t key[AEAD_KEY], struct aead_job *jobs,
		size_t count)
{
	struct run r __attribute__((uninitialized));

	start(&r, w, key);
	for (size_t done = 0; done < count; done += r.group.count) {
		take(&r, jobs + done, count - done);
		r.padded = is_short(&r);
		if (r.padded)
			memset(r.pads, 0, sizeof(r.pads));
		mix(&r, r.padded ? PART_ALL : PART_KEYS);
		w->tag(&r.group);
		judge(&r.group);
		if (r.padded)
			use_pads(&r);
		else
			mix(&r, PART_TEXT);
	}
	finish(&r);
}
