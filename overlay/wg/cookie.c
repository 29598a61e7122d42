/* SPDX-License-Identifier: Apache-2.0 */
/* MACs and cookies. The text of an address in a cookie is its 16 bytes and its port. */
#include "overlay/wg/cookie.h"

#include <string.h>
#include "base/mem.h"

static const char label_mac1[] = "mac1----", label_cookie[] = "cookie--";

enum { LABEL = 8, SOURCE = 18, RECEIVER = 4, NONCE = 8, SEALED = 32, MS = 1000000 };

#define BYTES(at, n) ((struct primitive_bytes){(at), (n)})

static bool
keys_of(struct primitive *p, const uint8_t public_key[PRIMITIVE_KEY], uint8_t *mac1,
	uint8_t *cookie)
{
	return primitive_hash(p, BYTES(label_mac1, LABEL), BYTES(public_key, PRIMITIVE_KEY),
			      mac1) &&
	       primitive_hash(p, BYTES(label_cookie, LABEL), BYTES(public_key, PRIMITIVE_KEY),
			      cookie);
}

/* ---- who receives ---- */

bool
cookie_checker_set(struct primitive *p, struct cookie_checker *c,
		   const uint8_t public_key[PRIMITIVE_KEY])
{
	c->drawn = false;
	return keys_of(p, public_key, c->mac1_key, c->cookie_key);
}

static void
refresh(struct cookie_checker *c, const struct world *world)
{
	if (c->drawn && world->mono_ns - c->secret_ns < (uint64_t)COOKIE_LIFE_MS * MS)
		return;
	world_random(world, c->secret, sizeof(c->secret));
	c->secret_ns = world->mono_ns;
	c->drawn = true;
}

static bool
cookie_for(struct primitive *p, const struct cookie_checker *c, const struct addr *from,
	   uint8_t out[COOKIE_BYTES])
{
	uint8_t source[SOURCE];

	memcpy(source, from->ip, sizeof(from->ip));
	source[16] = (uint8_t)(from->port >> 8);
	source[17] = (uint8_t)from->port;
	return primitive_mac(p, BYTES(c->secret, sizeof(c->secret)), BYTES(source, SOURCE), out);
}

/* said: bytes before the MACs. */
static bool
mac1_is_right(struct primitive *p, const uint8_t key[PRIMITIVE_HASH], const uint8_t *packet,
	      size_t said)
{
	uint8_t mac[PRIMITIVE_MAC];

	return primitive_mac(p, BYTES(key, PRIMITIVE_HASH), BYTES(packet, said), mac) &&
	       primitive_equal(mac, packet + said, PRIMITIVE_MAC);
}

enum cookie_verdict
cookie_check(struct primitive *p, struct cookie_checker *c, const uint8_t *packet, size_t bytes,
	     const struct addr *from, const struct world *world)
{
	uint8_t mac[PRIMITIVE_MAC], cookie[COOKIE_BYTES];
	size_t said = bytes - NOISE_MACS;

	if (!mac1_is_right(p, c->mac1_key, packet, said))
		return COOKIE_REFUSED;
	refresh(c, world);
	said += PRIMITIVE_MAC;
	if (!cookie_for(p, c, from, cookie) ||
	    !primitive_mac(p, BYTES(cookie, COOKIE_BYTES), BYTES(packet, said), mac) ||
	    !primitive_equal(mac, packet + said, PRIMITIVE_MAC))
		return COOKIE_PLAIN;
	return COOKIE_PROVEN;
}

bool
cookie_reply(struct primitive *p, struct cookie_checker *c, const uint8_t *packet, size_t bytes,
	     const struct addr *from, const struct world *world, uint8_t *out)
{
	const uint8_t *mac1 = packet + bytes - NOISE_MACS;
	uint8_t cookie[COOKIE_BYTES];

	refresh(c, world);
	noise_put_u32(out, NOISE_TYPE_COOKIE);
	memcpy(out + RECEIVER, packet + 4, 4); /* who sent it */
	world_random(world, out + NONCE, PRIMITIVE_XNONCE);
	return cookie_for(p, c, from, cookie) &&
	       primitive_xseal(p, c->cookie_key, out + NONCE, BYTES(mac1, PRIMITIVE_MAC),
			       BYTES(cookie, COOKIE_BYTES), out + NONCE + PRIMITIVE_XNONCE);
}

/* ---- who sends ---- */

bool
cookie_maker_set(struct primitive *p, struct cookie_maker *m,
		 const uint8_t public_key[PRIMITIVE_KEY])
{
	*m = (struct cookie_maker){0};
	return keys_of(p, public_key, m->mac1_key, m->cookie_key);
}

bool
cookie_is_for(struct primitive *p, const struct cookie_maker *m, const uint8_t *packet,
	      size_t bytes)
{
	return mac1_is_right(p, m->mac1_key, packet, bytes - NOISE_MACS);
}

bool
cookie_stamp(struct primitive *p, struct cookie_maker *m, uint8_t *packet, size_t bytes,
	     uint64_t now_ns)
{
	uint8_t *mac1 = packet + bytes - NOISE_MACS, *mac2 = mac1 + PRIMITIVE_MAC;
	const uint64_t life = (uint64_t)(COOKIE_LIFE_MS - COOKIE_GRACE_MS) * MS;

	memset(mac2, 0, PRIMITIVE_MAC);
	if (!primitive_mac(p, BYTES(m->mac1_key, PRIMITIVE_HASH), BYTES(packet, bytes - NOISE_MACS),
			   mac1))
		return false;
	memcpy(m->mac1, mac1, PRIMITIVE_MAC);
	m->sent = true;
	return !m->has_cookie || now_ns - m->cookie_ns >= life ||
	       primitive_mac(p, BYTES(m->cookie, COOKIE_BYTES),
			     BYTES(packet, bytes - PRIMITIVE_MAC), mac2);
}

bool
cookie_take(struct primitive *p, struct cookie_maker *m, const uint8_t *reply, uint64_t now_ns)
{
	uint8_t cookie[COOKIE_BYTES];

	if (!m->sent ||
	    !primitive_xopen(p, m->cookie_key, reply + NONCE, BYTES(m->mac1, PRIMITIVE_MAC),
			     BYTES(reply + NONCE + PRIMITIVE_XNONCE, SEALED), cookie))
		return false;
	memcpy(m->cookie, cookie, COOKIE_BYTES);
	m->cookie_ns = now_ns;
	m->has_cookie = true;
	m->sent = false;
	return true;
}
