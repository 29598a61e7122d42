/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks are hashes of the pair and the relay (rendezvous hashing): when a relay goes, only the
 * pairs that it served look for another.
 */
#include "overlay/relay_choice.h"

#include "base/map.h"

static uint64_t
rank(uint64_t self, uint64_t peer, uint64_t relay)
{
	static const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 6};
	const uint64_t said[3] = {self < peer ? self : peer, self < peer ? peer : self, relay};

	return map_siphash(key, said, sizeof(said));
}

struct ranked {
	uint64_t rank, id;
};

static bool
before(const struct ranked *a, const struct ranked *b)
{
	return a->rank != b->rank ? a->rank > b->rank : a->id > b->id;
}

static bool
is_present(const struct relay_candidate *list, size_t count, uint64_t id)
{
	for (size_t i = 0; i < count; i++) {
		if (list[i].id == id)
			return list[i].present;
	}
	return false;
}

uint64_t
relay_choice_take(struct relay_choice *c, uint64_t self, uint64_t peer,
		  const struct relay_candidate *list, size_t count, uint64_t heard_ns,
		  uint64_t now_ns)
{
	bool there = c->relay && is_present(list, count, c->relay);
	uint64_t alive_ns = heard_ns > c->since_ns ? heard_ns : c->since_ns;
	struct ranked now = {0}, first = {0}, next = {0};

	if (there && now_ns - alive_ns < RELAY_CHOICE_SILENT_MS * UINT64_C(1000000))
		return c->relay;
	if (there)
		now = (struct ranked){rank(self, peer, c->relay), c->relay};
	for (size_t i = 0; i < count; i++) {
		const struct ranked r = {rank(self, peer, list[i].id), list[i].id};

		if (!list[i].present)
			continue;
		if (!first.id || before(&r, &first))
			first = r;
		if (there && before(&now, &r) && (!next.id || before(&r, &next)))
			next = r;
	}
	/* One that is gone says nothing about the others; one that is silent was tried. */
	c->relay = next.id ? next.id : first.id;
	c->since_ns = now_ns;
	return c->relay;
}
