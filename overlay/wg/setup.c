/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The value itself. Arrays are grown by hand, because realloc may leave the old place with keys in
 * it. Comparing two of them is a file of its own: setup_diff.c.
 */
#include "overlay/wg/setup.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"

enum { ROOM_MIN = 4, BITS_MAX = 128 };

void
setup_init(struct setup *s)
{
	*s = (struct setup){0};
}

void
setup_fini(struct setup *s)
{
	for (size_t i = 0; i < s->peers_count; i++)
		mem_free(s->peers[i].prefixes);
	mem_free_zero(s->peers);
	mem_wipe(s, sizeof(*s));
}

/* A larger copy, and the old one wiped; NULL: no memory, and the old one is left alone. */
static void *
grow(void *old, size_t count, size_t *room, size_t bytes)
{
	size_t wanted = *room ? *room * 2 : ROOM_MIN;
	void *data = mem_array(MEM_OVERLAY, wanted, bytes);

	if (!data)
		return NULL;
	if (count > 0)
		memcpy(data, old, count * bytes);
	mem_free_zero(old);
	*room = wanted;
	return data;
}

enum setup_rc
setup_add_peer(struct setup *s, const uint8_t public_key[SETUP_KEY], struct setup_peer **out)
{
	if (s->peers_count == (s->wide ? SETUP_CHANGE_MAX : SETUP_PEERS_MAX))
		return SETUP_TOO_MUCH;
	if (s->peers_count == s->peers_room) {
		void *data = grow(s->peers, s->peers_count, &s->peers_room, sizeof(*s->peers));

		if (!data)
			return SETUP_NO_MEMORY;
		s->peers = data;
	}
	struct setup_peer *peer = &s->peers[s->peers_count++];
	memcpy(peer->public_key, public_key, SETUP_KEY);
	*out = peer;
	return SETUP_OK;
}

static void
cut(struct addr_prefix *p)
{
	for (unsigned bit = p->bits; bit < BITS_MAX; bit++)
		p->base.ip[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
	p->base.port = 0;
}

enum setup_rc
setup_add_prefix(struct setup *s, struct setup_peer *peer, const struct addr_prefix *at,
		 bool remove)
{
	assert(at->bits <= BITS_MAX);
	assert(peer >= s->peers && peer < s->peers + s->peers_count);
	if (s->prefixes_count == SETUP_PREFIXES_MAX)
		return SETUP_TOO_MUCH;
	if (peer->prefixes_count == peer->prefixes_room) {
		void *data = grow(peer->prefixes, peer->prefixes_count, &peer->prefixes_room,
				  sizeof(*peer->prefixes));

		if (!data)
			return SETUP_NO_MEMORY;
		peer->prefixes = data;
	}
	struct setup_prefix *p = &peer->prefixes[peer->prefixes_count++];
	*p = (struct setup_prefix){.at = *at, .remove = remove};
	cut(&p->at);
	s->prefixes_count++;
	return SETUP_OK;
}

static enum setup_rc
copy_peer(const struct setup_peer *from, struct setup *out)
{
	struct setup_peer *to;
	enum setup_rc rc = setup_add_peer(out, from->public_key, &to);

	if (rc != SETUP_OK)
		return rc;
	*to = *from;
	to->prefixes = NULL;
	to->prefixes_count = to->prefixes_room = 0;
	for (size_t i = 0; i < from->prefixes_count && rc == SETUP_OK; i++)
		rc = setup_add_prefix(out, to, &from->prefixes[i].at, from->prefixes[i].remove);
	return rc;
}

enum setup_rc
setup_copy(const struct setup *s, struct setup *out)
{
	enum setup_rc rc = SETUP_OK;

	*out = *s;
	out->peers = NULL;
	out->peers_count = out->peers_room = out->prefixes_count = 0;
	for (size_t i = 0; i < s->peers_count && rc == SETUP_OK; i++)
		rc = copy_peer(&s->peers[i], out);
	if (rc != SETUP_OK)
		setup_fini(out);
	return rc;
}

struct setup_peer *
setup_find(const struct setup *s, const uint8_t public_key[SETUP_KEY])
{
	for (size_t i = 0; i < s->peers_count; i++)
		if (memcmp(s->peers[i].public_key, public_key, SETUP_KEY) == 0)
			return &s->peers[i];
	return NULL;
}

bool
setup_says_nothing(const struct setup *c)
{
	return !c->has_private_key && !c->has_port && !c->has_fwmark && !c->replace_peers &&
	       c->peers_count == 0;
}

bool
setup_key_is_zero(const uint8_t key[SETUP_KEY])
{
	uint8_t any = 0;

	for (size_t i = 0; i < SETUP_KEY; i++)
		any |= key[i];
	return any == 0;
}
