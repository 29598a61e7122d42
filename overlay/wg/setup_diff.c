/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From how a device is to how it is to be. Both sides are indexed by public key and by prefix, so
 * that thousands of peers are compared in one pass.
 *
 * A prefix that only changes its peer is mentioned once, where it goes: taking it from the other
 * one comes with that. One that is to be nobody's is removed by itself, unless nothing of what its
 * peer has stays with it: then all of that is replaced in one word. Likewise the peers.
 */
#include <string.h>
#include "base/map.h"
#include "overlay/wg/primitive.h"
#include "overlay/wg/setup.h"

enum { PLACE_BYTES = 17 };

struct claim {
	const struct setup_peer *peer;
	const struct setup_prefix *prefix;
};

struct index {
	struct map peers;  /* public key -> struct setup_peer */
	struct map places; /* prefix -> struct claim; of several the last one */
	struct claim *claims;
};

struct sides {
	struct index is, want;
	struct setup *out;
};

static void
index_fini(struct index *x)
{
	map_fini(&x->peers);
	map_fini(&x->places);
	mem_free(x->claims);
}

static void
place_of(const struct setup_prefix *p, uint8_t out[PLACE_BYTES])
{
	memcpy(out, p->at.base.ip, 16);
	out[16] = p->at.bits;
}

static struct claim *
find_claim(const struct index *x, const struct setup_prefix *p)
{
	uint8_t place[PLACE_BYTES];

	place_of(p, place);
	return map_get(&x->places, place, sizeof(place));
}

static enum setup_rc
index_prefixes(struct index *x, const struct setup_peer *peer, struct claim **next)
{
	for (size_t i = 0; i < peer->prefixes_count; i++) {
		struct claim *c = (*next)++;
		uint8_t place[PLACE_BYTES];

		*c = (struct claim){peer, &peer->prefixes[i]};
		place_of(c->prefix, place);
		if (map_put(&x->places, place, sizeof(place), c, NULL) < 0)
			return SETUP_NO_MEMORY;
	}
	return SETUP_OK;
}

/* What is there already must be ended by index_fini, also when it fails. */
static enum setup_rc
index_init(struct index *x, const struct setup *s)
{
	map_init(&x->peers, MEM_OVERLAY);
	map_init(&x->places, MEM_OVERLAY);
	x->claims = mem_array(MEM_OVERLAY, s->prefixes_count + 1, sizeof(*x->claims));
	struct claim *next = x->claims;
	if (!next)
		return SETUP_NO_MEMORY;
	for (size_t i = 0; i < s->peers_count; i++) {
		struct setup_peer *peer = &s->peers[i];
		void *old;

		if (map_put(&x->peers, peer->public_key, SETUP_KEY, peer, &old) < 0)
			return SETUP_NO_MEMORY;
		if (old)
			return SETUP_TWICE;
		enum setup_rc rc = index_prefixes(x, peer, &next);
		if (rc != SETUP_OK)
			return rc;
	}
	return SETUP_OK;
}

static const struct setup_peer *
find_peer(const struct index *x, const struct setup_peer *peer)
{
	return map_get(&x->peers, peer->public_key, SETUP_KEY);
}

/* ---- the device ---- */

/* The bits that X25519 does not look at (RFC 7748 section 5) may differ: a device says the key as
 * it uses it, and would end all of its sessions if it were told the same one in another form. */
static bool
same_private_key(const uint8_t a[SETUP_KEY], const uint8_t b[SETUP_KEY])
{
	return setup_key_is_zero(a) == setup_key_is_zero(b) && (a[0] & 0xf8) == (b[0] & 0xf8) &&
	       primitive_equal(a + 1, b + 1, SETUP_KEY - 2) &&
	       (a[SETUP_KEY - 1] & 0x3f) == (b[SETUP_KEY - 1] & 0x3f);
}

static void
diff_device(const struct setup *is, const struct setup *want, struct setup *out)
{
	if (want->has_private_key && !same_private_key(is->private_key, want->private_key)) {
		out->has_private_key = true;
		memcpy(out->private_key, want->private_key, SETUP_KEY);
	}
	if (want->has_port && want->port != is->port) {
		out->has_port = true;
		out->port = want->port;
	}
	if (want->has_fwmark && want->fwmark != is->fwmark) {
		out->has_fwmark = true;
		out->fwmark = want->fwmark;
	}
}

static enum setup_rc
diff_gone(const struct sides *d, const struct setup *is)
{
	size_t stay = 0;

	for (size_t i = 0; i < is->peers_count; i++)
		stay += find_peer(&d->want, &is->peers[i]) != NULL;
	d->out->replace_peers = stay == 0 && is->peers_count > 0;
	for (size_t i = 0; i < is->peers_count && stay > 0; i++) {
		struct setup_peer *gone;

		if (find_peer(&d->want, &is->peers[i]))
			continue;
		enum setup_rc rc = setup_add_peer(d->out, is->peers[i].public_key, &gone);
		if (rc != SETUP_OK)
			return rc;
		gone->remove = true;
	}
	return SETUP_OK;
}

/* ---- a peer ---- */

/* Without its prefixes; true: there is something to say. */
static bool
diff_words(const struct setup_peer *is, const struct setup_peer *want, struct setup_peer *out)
{
	static const struct setup_peer none;
	bool new = is == NULL;

	if (new)
		is = &none;
	if (want->has_psk && !primitive_equal(is->psk, want->psk, SETUP_KEY)) {
		out->has_psk = true;
		memcpy(out->psk, want->psk, SETUP_KEY);
	}
	if (want->has_endpoint &&
	    !(is->has_endpoint && addr_equal(&is->endpoint, &want->endpoint))) {
		out->has_endpoint = true;
		out->endpoint = want->endpoint;
	}
	if (want->has_keepalive && is->keepalive_s != want->keepalive_s) {
		out->has_keepalive = true;
		out->keepalive_s = want->keepalive_s;
	}
	return new || out->has_psk || out->has_endpoint || out->has_keepalive;
}

struct moves {
	size_t lost, stay, come;
};

/* A prefix of `want` that its peer does not have yet. */
static bool
comes(const struct sides *d, const struct setup_peer *is, const struct setup_prefix *p)
{
	const struct claim *have = find_claim(&d->is, p);

	return find_claim(&d->want, p)->prefix == p && !(is && have && have->peer == is);
}

static struct moves
count_moves(const struct sides *d, const struct setup_peer *is, const struct setup_peer *want)
{
	struct moves m = {0};

	for (size_t i = 0; is && i < is->prefixes_count; i++) {
		const struct claim *c = find_claim(&d->want, &is->prefixes[i]);

		m.lost += !c;
		m.stay += c && c->peer == want;
	}
	for (size_t i = 0; i < want->prefixes_count; i++)
		m.come += comes(d, is, &want->prefixes[i]);
	return m;
}

static enum setup_rc
put_moves(const struct sides *d, const struct setup_peer *is, const struct setup_peer *want,
	  struct setup_peer *to)
{
	enum setup_rc rc = SETUP_OK;

	for (size_t i = 0; is && !to->replace_prefixes && i < is->prefixes_count; i++)
		if (!find_claim(&d->want, &is->prefixes[i]) && rc == SETUP_OK)
			rc = setup_add_prefix(d->out, to, &is->prefixes[i].at, true);
	for (size_t i = 0; i < want->prefixes_count; i++)
		if (comes(d, is, &want->prefixes[i]) && rc == SETUP_OK)
			rc = setup_add_prefix(d->out, to, &want->prefixes[i].at, false);
	return rc;
}

static enum setup_rc
diff_peer(const struct sides *d, const struct setup_peer *want)
{
	const struct setup_peer *is = find_peer(&d->is, want);
	struct moves m = count_moves(d, is, want);
	struct setup_peer words = {0}, *to;
	bool any = diff_words(is, want, &words) || m.lost > 0 || m.come > 0;
	enum setup_rc rc = any ? setup_add_peer(d->out, want->public_key, &to) : SETUP_OK;

	if (any && rc == SETUP_OK) {
		memcpy(words.public_key, want->public_key, SETUP_KEY);
		*to = words;
		to->replace_prefixes = m.lost > 0 && m.stay == 0;
		rc = put_moves(d, is, want, to);
	}
	mem_wipe(&words, sizeof(words));
	return rc;
}

enum setup_rc
setup_diff(const struct setup *is, const struct setup *want, struct setup *out)
{
	struct sides d = {.out = out};
	enum setup_rc rc_is = index_init(&d.is, is), rc = index_init(&d.want, want);

	if (rc_is != SETUP_OK)
		rc = rc_is;
	out->wide = true;
	if (rc == SETUP_OK) {
		diff_device(is, want, out);
		rc = diff_gone(&d, is);
	}
	for (size_t i = 0; i < want->peers_count && rc == SETUP_OK; i++)
		rc = diff_peer(&d, &want->peers[i]);
	index_fini(&d.is);
	index_fini(&d.want);
	if (rc != SETUP_OK)
		setup_fini(out);
	return rc;
}
