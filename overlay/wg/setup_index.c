/* SPDX-License-Identifier: Apache-2.0 */
/* Places, not addresses: a setup that grows is another array. */
#include "overlay/wg/setup_index.h"

#include <assert.h>

static int
put(struct setup_index *x, size_t at)
{
	const uint8_t *key = x->of->peers[at].public_key;

	if (map_get(&x->places, key, SETUP_KEY))
		return 0;
	return map_put(&x->places, key, SETUP_KEY, (void *)(uintptr_t)(at + 1), NULL);
}

int
setup_index_init(struct setup_index *x, const struct setup *of)
{
	x->of = of;
	map_init(&x->places, MEM_OVERLAY);
	for (size_t i = 0; i < of->peers_count; i++)
		if (put(x, i) < 0)
			return -1;
	return 0;
}

void
setup_index_fini(struct setup_index *x)
{
	map_fini(&x->places);
}

int
setup_index_add(struct setup_index *x)
{
	assert(x->of->peers_count > 0);
	return put(x, x->of->peers_count - 1);
}

const struct setup_peer *
setup_index_find(const struct setup_index *x, const uint8_t public_key[SETUP_KEY])
{
	uintptr_t place = (uintptr_t)map_get(&x->places, public_key, SETUP_KEY);

	return place ? &x->of->peers[place - 1] : NULL;
}
