/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What setup_diff says makes of a random state another one, and is the least that does: counted
 * here in another way, peer by peer. The change is made in a model (tests/support/wg_setup.h).
 */
#include <string.h>
#include "base/mem.h"
#include "overlay/wg/setup.h"
#include "tests/support/prop.h"
#include "tests/support/wg_setup.h"

enum { PEERS = 7, PREFIXES = 12, ROUNDS = 20000, ONE_IN_MANY = 8 };

static void
key_of(unsigned n, uint8_t out[SETUP_KEY])
{
	memset(out, (int)n + 1, SETUP_KEY);
}

static void
place_of(unsigned n, struct addr_prefix *out)
{
	*out = (struct addr_prefix){.bits = (uint8_t)(n % 2 ? 120 : 64)};
	out->base.ip[0] = n % 2 ? 0 : 0xfd;
	if (n % 2)
		out->base.ip[10] = out->base.ip[11] = 0xff;
	out->base.ip[n % 2 ? 14 : 7] = (uint8_t)n;
}

/* whole: a state; else one that leaves things unsaid. */
static void
draw_peer(struct prop *p, struct setup_peer *peer, bool whole)
{
	peer->has_psk = whole || prop_below(p, 2);
	peer->has_endpoint = prop_below(p, 3) > 0;
	peer->has_keepalive = whole || prop_below(p, 2);
	if (peer->has_psk)
		memset(peer->psk, (int)prop_below(p, 2), SETUP_KEY);
	if (peer->has_keepalive)
		peer->keepalive_s = (uint16_t)prop_below(p, 2);
	if (peer->has_endpoint) {
		addr_from_v4_be(htonl(0x0a000001), (uint16_t)(1 + prop_below(p, 2)),
				&peer->endpoint);
	}
	peer->handshake_s = (int64_t)prop_below(p, 100);
	peer->rx_bytes = prop_below(p, 100);
}

static void
draw(struct prop *p, struct setup *s, bool whole)
{
	int owner[PREFIXES];
	uint64_t peers = prop_u64(p), spread = 1 + prop_below(p, 3);

	for (int i = 0; i < PREFIXES; i++)
		owner[i] = (int)prop_below(p, PEERS * spread);
	setup_init(s);
	s->has_private_key = whole || prop_below(p, 2);
	s->has_port = whole || prop_below(p, 2);
	s->has_fwmark = whole || prop_below(p, 2);
	if (s->has_private_key)
		memset(s->private_key, (int)prop_below(p, 3), SETUP_KEY);
	if (s->has_port)
		s->port = (uint16_t)prop_below(p, 3);
	if (s->has_fwmark)
		s->fwmark = (uint32_t)prop_below(p, 3);
	for (unsigned n = 0; n < PEERS; n++) {
		uint8_t key[SETUP_KEY];
		struct addr_prefix at;

		if (!(peers >> n & 1))
			continue;
		key_of(n, key);
		struct setup_peer *peer = wg_setup_peer(s, key);
		draw_peer(p, peer, whole);
		for (unsigned i = 0; i < PREFIXES; i++) {
			place_of(i, &at);
			if (owner[i] == (int)n)
				wg_setup_must(setup_add_prefix(s, peer, &at, false));
		}
	}
}

static void
copy(const struct setup *from, struct setup *to)
{
	setup_init(to);
	*to = *from;
	to->peers = NULL;
	to->peers_count = to->peers_room = to->prefixes_count = 0;
	for (size_t i = 0; i < from->peers_count; i++) {
		struct setup_peer *a = &from->peers[i], *b = wg_setup_peer(to, a->public_key);

		*b = *a;
		b->prefixes = NULL;
		b->prefixes_count = b->prefixes_room = 0;
		for (size_t n = 0; n < a->prefixes_count; n++)
			wg_setup_must(setup_add_prefix(to, b, &a->prefixes[n].at, false));
	}
}

static bool
has_prefix(const struct setup_peer *p, const struct setup_prefix *x)
{
	for (size_t i = 0; p && i < p->prefixes_count; i++)
		if (wg_setup_same_prefix(&p->prefixes[i], x))
			return true;
	return false;
}

static bool
anyone_has(const struct setup *s, const struct setup_prefix *x)
{
	for (size_t i = 0; i < s->peers_count; i++)
		if (has_prefix(&s->peers[i], x))
			return true;
	return false;
}

/* ---- that it is what was wanted ---- */

static void
check_peer(const struct setup_peer *was, const struct setup_peer *now,
	   const struct setup_peer *want)
{
	static const struct setup_peer none;
	const struct setup_peer *base = was ? was : &none;

	prop_check(memcmp(now->psk, want->has_psk ? want->psk : base->psk, SETUP_KEY) == 0);
	prop_check(now->keepalive_s ==
		   (want->has_keepalive ? want->keepalive_s : base->keepalive_s));
	prop_check(now->has_endpoint == (want->has_endpoint || base->has_endpoint));
	if (now->has_endpoint)
		prop_check(addr_equal(&now->endpoint,
				      want->has_endpoint ? &want->endpoint : &base->endpoint));
	/* What a session counts went on: the peer was never removed. */
	prop_check(now->handshake_s == base->handshake_s && now->rx_bytes == base->rx_bytes);
	prop_check(now->prefixes_count == want->prefixes_count);
	for (size_t i = 0; i < want->prefixes_count; i++)
		prop_check(has_prefix(now, &want->prefixes[i]));
}

static void
check_state(const struct setup *was, const struct setup *now, const struct setup *want)
{
	prop_check(memcmp(now->private_key,
			  want->has_private_key ? want->private_key : was->private_key,
			  SETUP_KEY) == 0);
	prop_check(now->port == (want->has_port ? want->port : was->port));
	prop_check(now->fwmark == (want->has_fwmark ? want->fwmark : was->fwmark));
	prop_check(now->peers_count == want->peers_count);
	for (size_t i = 0; i < want->peers_count; i++) {
		const uint8_t *key = want->peers[i].public_key;
		const struct setup_peer *peer = setup_find(now, key);

		prop_check(peer);
		check_peer(setup_find(was, key), peer, &want->peers[i]);
	}
}

/* ---- that it is the least ---- */

static void
check_words(const struct setup_peer *was, const struct setup_peer *said)
{
	static const struct setup_peer none;

	if (!was)
		was = &none;
	prop_check(!said->has_psk || memcmp(said->psk, was->psk, SETUP_KEY) != 0);
	prop_check(!said->has_keepalive || said->keepalive_s != was->keepalive_s);
	prop_check(!said->has_endpoint || !was->has_endpoint ||
		   !addr_equal(&said->endpoint, &was->endpoint));
}

static void
check_prefixes(const struct setup *want, const struct setup_peer *was,
	       const struct setup_peer *goal, const struct setup_peer *said)
{
	size_t come = 0, lost = 0, stay = 0, gone = 0;

	for (size_t i = 0; i < goal->prefixes_count; i++)
		come += !has_prefix(was, &goal->prefixes[i]);
	for (size_t i = 0; was && i < was->prefixes_count; i++) {
		lost += !anyone_has(want, &was->prefixes[i]);
		stay += has_prefix(goal, &was->prefixes[i]);
	}
	for (size_t i = 0; i < said->prefixes_count; i++)
		gone += said->prefixes[i].remove;
	prop_check(said->replace_prefixes == (lost > 0 && stay == 0));
	prop_check(gone == (stay > 0 ? lost : 0));
	prop_check(said->prefixes_count - gone == come);
	prop_check(!was || come > 0 || lost > 0 || said->has_psk || said->has_endpoint ||
		   said->has_keepalive);
}

static void
check_least(const struct setup *was, const struct setup *want, const struct setup *said)
{
	size_t stay = 0, removed = 0;

	prop_check(!said->has_private_key ||
		   memcmp(said->private_key, was->private_key, SETUP_KEY) != 0);
	prop_check(!said->has_port || said->port != was->port);
	prop_check(!said->has_fwmark || said->fwmark != was->fwmark);
	for (size_t i = 0; i < was->peers_count; i++)
		stay += setup_find(want, was->peers[i].public_key) != NULL;
	for (size_t i = 0; i < said->peers_count; i++) {
		const struct setup_peer *p = &said->peers[i];
		const struct setup_peer *goal = setup_find(want, p->public_key);
		const struct setup_peer *had = setup_find(was, p->public_key);

		prop_check(setup_find(said, p->public_key) == p && !p->update_only);
		prop_check(p->remove == !goal && (goal || had));
		removed += p->remove;
		if (goal) {
			check_words(had, p);
			check_prefixes(want, had, goal, p);
		}
	}
	prop_check(said->replace_peers == (stay == 0 && was->peers_count > 0));
	prop_check(removed == (stay > 0 ? was->peers_count - stay : 0));
}

static void
try_without_memory(struct prop *p, const struct setup *was, const struct setup *want)
{
	struct setup said;

	setup_init(&said);
	mem_fail_after((int64_t)prop_below(p, 30));
	enum setup_rc rc = setup_diff(was, want, &said);
	mem_fail_after(-1);
	prop_check(rc == SETUP_OK || (rc == SETUP_NO_MEMORY && setup_says_nothing(&said)));
	setup_fini(&said);
}

static void
try(struct prop *p)
{
	struct setup was, want, now, said, again;

	draw(p, &was, true);
	draw(p, &want, false);
	copy(&was, &now);
	setup_init(&said);
	setup_init(&again);
	prop_check(setup_diff(&was, &want, &said) == SETUP_OK);
	check_least(&was, &want, &said);
	wg_setup_apply(&now, &said);
	check_state(&was, &now, &want);
	prop_check(setup_diff(&now, &want, &again) == SETUP_OK && setup_says_nothing(&again));
	if (prop_below(p, ONE_IN_MANY) == 0)
		try_without_memory(p, &was, &want);
	setup_fini(&was);
	setup_fini(&want);
	setup_fini(&now);
	setup_fini(&said);
	setup_fini(&again);
}

int
main(int argc, char **argv)
{
	struct prop p;

	prop_init(&p, argc, argv);
	for (int i = 0; i < ROUNDS; i++)
		try(&p);
	prop_check(mem_used_all() == 0);
	return 0;
}
