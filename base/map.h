/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

/*
 * Hash table from byte strings to pointers, keyed with SipHash-1-3 (per-process random key), open
 * addressing. Keys are copied. Values are the caller's. Iteration order is unspecified; cores that
 * must be deterministic give a fixed key with map_init_seeded.
 * Threading: one owner. Any add or remove invalidates an iteration, except map_remove of the
 * current item.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/mem.h"

struct map_slot;

struct map {
	struct map_slot *slots;
	size_t count;
	size_t used; /* with tombstones */
	size_t mask;
	uint64_t key[2];
	enum mem_tag tag;
};

void map_init(struct map *m, enum mem_tag tag);
void map_init_seeded(struct map *m, enum mem_tag tag, uint64_t seed);
void map_fini(struct map *m); /* frees keys and table, not values */
size_t map_count(const struct map *m);
/* NULL when absent. */
void *map_get(const struct map *m, const void *key, size_t bytes);
void *map_get_str(const struct map *m, const char *key);
void *map_get_u64(const struct map *m, uint64_t key);
/* Adds or replaces; value not NULL. 0, or -1 when out of memory (nothing changed). The previous
 * value, or NULL, goes to *old_out when that is not NULL. */
int map_put(struct map *m, const void *key, size_t bytes, void *value, void **old_out)
	__attribute__((warn_unused_result));
int map_put_str(struct map *m, const char *key, void *value) __attribute__((warn_unused_result));
int map_put_u64(struct map *m, uint64_t key, void *value) __attribute__((warn_unused_result));
/* Gives the value that was there, or NULL. */
void *map_remove(struct map *m, const void *key, size_t bytes);
void *map_remove_str(struct map *m, const char *key);
void *map_remove_u64(struct map *m, uint64_t key);

/* The value of this key, or a new one of so many zeroed bytes (mem_free), which then is in the map.
 * NULL: no memory, nothing changed. */
void *map_make(struct map *m, const void *key, size_t key_bytes, size_t value_bytes);
void *map_make_u64(struct map *m, uint64_t key, size_t value_bytes);
/* Takes out all values of which stays says no (NULL: all), and gives them to release. */
void map_sweep(struct map *m, bool (*stays)(void *value), void (*release)(void *value));

struct map_iter {
	size_t at;
	const void *key;
	size_t key_bytes;
	void *value;
};
/* struct map_iter it = {0}; while (map_next(&m, &it)) ... */
bool map_next(const struct map *m, struct map_iter *it);

uint64_t map_siphash(const uint64_t key[2], const void *data, size_t bytes);
/* SipHash-c-d, for checking against published vectors (2-4). */
uint64_t map_siphash_rounds(unsigned compress, unsigned finish, const uint64_t key[2],
			    const void *data, size_t bytes);

#endif
