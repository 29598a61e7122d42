/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fixed table in buckets of a few places, by a keyed hash of the source. A source whose tokens
 * are whole again is as good as unknown, so its place is free: nothing has to be swept.
 */
#include "overlay/wg/limiter.h"

#include <string.h>
#include "base/map.h"
#include "base/mem.h"

enum { WAYS = 8, BUCKETS = LIMITER_SOURCES_MAX / WAYS };

static const uint64_t cost_ns = UINT64_C(1000000000) / LIMITER_RATE;
static const uint64_t full_ns = UINT64_C(1000000000) / LIMITER_RATE * LIMITER_BURST;

struct source {
	uint64_t key[2];
	uint64_t tokens_ns, at_ns;
	bool used;
};

struct limiter {
	uint64_t seed[2];
	struct source sources[BUCKETS][WAYS];
	uint64_t now_ns;
};

struct limiter *
limiter_new(uint64_t seed)
{
	struct limiter *l = mem_zalloc(MEM_OVERLAY, sizeof(*l));

	if (l) {
		l->seed[0] = seed;
		l->seed[1] = ~seed;
	}
	return l;
}

void
limiter_free(struct limiter *l)
{
	mem_free(l);
}

static uint64_t
tokens(const struct source *s, uint64_t now_ns)
{
	uint64_t have = s->tokens_ns + (now_ns - s->at_ns);

	return have < full_ns ? have : full_ns;
}

static bool
is_free(const struct source *s, uint64_t now_ns)
{
	return !s->used || now_ns - s->at_ns >= full_ns;
}

/* Its own place, or one that is free; NULL: neither. */
static struct source *
place(struct limiter *l, const uint64_t key[2], uint64_t now_ns)
{
	struct source *bucket = l->sources[map_siphash(l->seed, key, 16) % BUCKETS], *room = NULL;

	for (unsigned i = 0; i < WAYS; i++) {
		struct source *s = &bucket[i];

		if (is_free(s, now_ns))
			room = s;
		else if (memcmp(s->key, key, sizeof(s->key)) == 0)
			return s;
	}
	if (room) {
		*room = (struct source){.tokens_ns = full_ns, .at_ns = now_ns, .used = true};
		memcpy(room->key, key, sizeof(room->key));
	}
	return room;
}

bool
limiter_take(struct limiter *l, const struct addr *from, uint64_t now_ns)
{
	uint64_t key[2] = {0};

	memcpy(key, from->ip, addr_is_v4(from) ? 16 : 8);
	l->now_ns = now_ns;
	struct source *s = place(l, key, now_ns);
	if (!s)
		return false;
	uint64_t have = tokens(s, now_ns);
	s->at_ns = now_ns;
	s->tokens_ns = have >= cost_ns ? have - cost_ns : have;
	return have >= cost_ns;
}

size_t
limiter_count(const struct limiter *l)
{
	size_t count = 0;

	for (size_t i = 0; i < BUCKETS; i++)
		for (size_t k = 0; k < WAYS; k++)
			count += !is_free(&l->sources[i][k], l->now_ns);
	return count;
}
