/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash map against an array: keys of all lengths around the in-slot limit, many of them absent,
 * with removal during iteration.
 */
#include <string.h>
#include "base/map.h"
#include "tests/support/prop.h"

enum { KEYS = 600, ROUNDS = 60000, KEY_BYTES_MAX = 40 };

struct model {
	uint8_t key[KEY_BYTES_MAX];
	size_t key_bytes;
	void *value; /* NULL: not in the map */
	bool seen;
};

static struct model keys[KEYS];
static size_t present;

/* Distinct by their first two bytes, or by being empty. */
static void
make_keys(struct prop *p)
{
	for (size_t i = 0; i < KEYS; i++) {
		prop_bytes(p, keys[i].key, KEY_BYTES_MAX);
		keys[i].key_bytes = i == 0 ? 0 : 2 + prop_below(p, KEY_BYTES_MAX - 1);
		keys[i].key[0] = (uint8_t)i;
		keys[i].key[1] = (uint8_t)(i >> 8);
	}
}

static void
put(struct prop *p, struct map *m, struct model *k)
{
	void *value = &keys[prop_below(p, KEYS)];
	void *old = m;

	prop_check(map_put(m, k->key, k->key_bytes, value, &old) == 0);
	prop_check(old == k->value);
	present += k->value == NULL;
	k->value = value;
}

static void
take(struct map *m, struct model *k)
{
	prop_check(map_remove(m, k->key, k->key_bytes) == k->value);
	present -= k->value != NULL;
	k->value = NULL;
}

/* Visits each once; removes every `drop`th on the way. */
static void
walk(struct map *m, size_t drop)
{
	struct map_iter it = {0};
	size_t visited = 0;
	size_t expected = present;

	for (size_t i = 0; i < KEYS; i++)
		keys[i].seen = false;
	while (map_next(m, &it)) {
		const uint8_t *key = it.key;
		struct model *k = it.key_bytes ? &keys[key[0] | key[1] << 8] : &keys[0];

		prop_check(!k->seen && k->value == it.value);
		prop_check(k->key_bytes == it.key_bytes);
		prop_check(memcmp(k->key, key, it.key_bytes) == 0);
		k->seen = true;
		if (++visited % drop == 0)
			take(m, k);
	}
	prop_check(visited == expected);
}

int
main(int argc, char **argv)
{
	struct prop p;
	struct map m;
	uint64_t bias = 0;

	prop_init(&p, argc, argv);
	make_keys(&p);
	if (prop_below(&p, 2))
		map_init(&m, MEM_BASE);
	else
		map_init_seeded(&m, MEM_BASE, prop_u64(&p));
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct model *k = &keys[prop_below(&p, KEYS)];

		/* Phases that mostly fill and phases that mostly empty. */
		if (i % 2000 == 0)
			bias = 1 + prop_below(&p, 9);
		if (prop_below(&p, 10) < bias)
			put(&p, &m, k);
		else
			take(&m, k);
		k = &keys[prop_below(&p, KEYS)];
		prop_check(map_get(&m, k->key, k->key_bytes) == k->value);
		prop_check(map_count(&m) == present);
		if (prop_below(&p, 1000) == 0)
			walk(&m, 2 + prop_below(&p, 50));
	}
	map_fini(&m);
	prop_check(mem_used_all() == 0);
	return 0;
}
