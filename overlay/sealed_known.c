/* SPDX-License-Identifier: Apache-2.0 */
/* Who lives is whom there was a handshake with: with such a one packets are lost when it does not
 * know the key, with others there is nothing to lose. */
#include "overlay/sealed_known.h"

#include "base/mem.h"

void
sealed_known_init(struct sealed_known *k)
{
	k->token = 0;
	map_init(&k->says, MEM_OVERLAY);
}

void
sealed_known_fini(struct sealed_known *k)
{
	map_fini(&k->says);
	k->token = 0;
}

uint64_t
sealed_known_token(const uint8_t key[SETUP_KEY])
{
	uint64_t token = 0;

	for (unsigned i = 0; i < 8; i++)
		token = token << 8 | key[i];
	return token;
}

static void
begin(struct sealed_known *k, uint64_t token)
{
	struct map_iter it = {0};

	if (k->token == token)
		return;
	while (map_next(&k->says, &it))
		map_remove(&k->says, it.key, it.key_bytes);
	k->token = token;
}

void
sealed_known_take(struct sealed_known *k, uint64_t id, uint64_t token)
{
	/* Without memory it is asked again. */
	if (token && token == k->token)
		(void)!map_put_u64(&k->says, id, k);
}

static bool
lives(const struct sealed_known_in *in, const uint8_t key[SETUP_KEY])
{
	const struct setup_peer *p = setup_key_is_zero(key) ? NULL : setup_find(in->is, key);

	return p && p->handshake_s && in->wall_s - p->handshake_s < SEALED_KNOWN_LIVE_S;
}

bool
sealed_known_by_all(struct sealed_known *k, const struct sealed_known_in *in)
{
	bool all = true;
	size_t count = 0;

	begin(k, sealed_known_token(in->next));
	for (size_t i = 0; i < in->count && k->token; i++) {
		const struct msg_mesh *row = &in->rows[i];

		if (!lives(in, row->key) && !lives(in, row->next_key))
			continue;
		count++;
		if (map_get_u64(&k->says, in->id(row->name)))
			continue;
		all = false;
		in->ask(in->id(row->name), k->token);
	}
	return all && count > 0;
}
