/* SPDX-License-Identifier: Apache-2.0 */
/* Who lives is whom there was a handshake with: with such a one packets are lost when it does not
 * know the key. With an idle one a handshake is to be made anyway, and what waits for it is lost
 * when it does not know the key by then. A question to it makes one. */
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
begin(struct sealed_known *k, uint64_t token, int64_t wall_s)
{
	struct map_iter it = {0};

	/* A clock that was set back: the time counts from now on. */
	if (k->token != token || wall_s < k->since_wall_s)
		k->since_wall_s = wall_s;
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

enum how { ABSENT, IDLE, LIVE };

static enum how
how_is_key(const struct sealed_known_in *in, const uint8_t key[SETUP_KEY])
{
	const struct setup_peer *p = setup_key_is_zero(key) ? NULL : setup_find(in->is, key);

	if (!p)
		return ABSENT;
	return p->handshake_s && in->wall_s - p->handshake_s < SEALED_KNOWN_LIVE_S ? LIVE : IDLE;
}

/* By either key. */
static enum how
how_is(const struct sealed_known_in *in, const struct msg_mesh *row)
{
	enum how now = how_is_key(in, row->key), next = how_is_key(in, row->next_key);

	return now > next ? now : next;
}

bool
sealed_known_by_all(struct sealed_known *k, const struct sealed_known_in *in)
{
	bool all = true, patient;
	size_t live = 0;

	begin(k, sealed_known_token(in->next), in->wall_s);
	patient = in->wall_s - k->since_wall_s < SEALED_KNOWN_IDLE_S;
	for (size_t i = 0; i < in->count && k->token; i++) {
		const struct msg_mesh *row = &in->rows[i];
		enum how how = how_is(in, row);

		if (how == ABSENT)
			continue;
		live += how == LIVE;
		if (map_get_u64(&k->says, in->id(row->name)))
			continue;
		all &= how == IDLE && !patient;
		in->ask(in->id(row->name), k->token);
	}
	return all && live > 0;
}
