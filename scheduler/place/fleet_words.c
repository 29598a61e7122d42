/* SPDX-License-Identifier: Apache-2.0 */
/* Words and labels: what is compared are hashes, the texts are for people. */
#include "scheduler/place/fleet.h"

#include <string.h>

bool
fleet_words_have(const struct fleet_words *w, uint64_t hash)
{
	for (size_t i = 0; i < w->count; i++) {
		if (w->items[i].hash == hash)
			return true;
	}
	return false;
}

const char *
fleet_words_value(const struct fleet_words *w, const char *key)
{
	for (size_t i = 0; i < w->count; i++) {
		if (w->items[i].value && strcmp(w->items[i].text, key) == 0)
			return w->items[i].value;
	}
	return NULL;
}

struct fleet_words
fleet_words_copy(struct arena *a, const char *const *texts, size_t count)
{
	struct fleet_words w = {arena_array(a, count, sizeof(struct fleet_word)), count};

	for (size_t i = 0; w.items && i < count; i++) {
		w.items[i].hash = rendezvous_text(texts[i]);
		w.items[i].text = arena_strdup(a, texts[i]);
	}
	return w;
}

struct fleet_words
fleet_pairs_copy(struct arena *a, const struct fleet_pair *pairs, size_t count)
{
	struct fleet_words w = {arena_array(a, count, sizeof(struct fleet_word)), count};

	for (size_t i = 0; w.items && i < count; i++) {
		w.items[i].hash = rendezvous_mix(rendezvous_text(pairs[i].key),
						 rendezvous_text(pairs[i].value));
		w.items[i].text = arena_strdup(a, pairs[i].key);
		w.items[i].value = arena_strdup(a, pairs[i].value);
	}
	return w;
}

uint64_t
fleet_words_bits(const struct fleet_words *w)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < w->count; i++)
		bits |= (uint64_t)1 << (w->items[i].hash & 63) |
			(uint64_t)1 << (w->items[i].hash >> 6 & 63);
	return bits;
}
