/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_COOKIE_H
#define OVERLAY_WG_COOKIE_H

/*
 * The two MACs at the end of handshake messages, and cookie replies (WireGuard whitepaper, sections
 * 5.3 and 5.4.4). mac1 says that who sends knows whom it speaks to; without it nothing is answered
 * at all. Under load mac2 is wanted as well: it is made with a cookie that the receiver gave to
 * that very address before, so it says that the address is not a lie. A cookie is good for
 * COOKIE_LIFE_MS; the receiver keeps nothing about whom it gave one.
 * Threading: one owner.
 */

#include "base/addr.h"
#include "base/world.h"
#include "overlay/wg/noise.h"

enum { COOKIE_LIFE_MS = 120000, COOKIE_GRACE_MS = 5000, COOKIE_BYTES = 16 };

struct cookie_checker { /* of one identity */
	uint8_t mac1_key[PRIMITIVE_HASH], cookie_key[PRIMITIVE_HASH];
	uint8_t secret[PRIMITIVE_HASH];
	uint64_t secret_ns; /* when it was drawn */
	bool drawn;
};

struct cookie_maker { /* for one peer */
	uint8_t mac1_key[PRIMITIVE_HASH], cookie_key[PRIMITIVE_HASH];
	uint8_t cookie[COOKIE_BYTES];
	uint64_t cookie_ns; /* when it came */
	bool has_cookie;
	uint8_t mac1[PRIMITIVE_MAC];
	bool sent; /* mac1 is that of the last message, and no reply to it was taken yet */
};

enum cookie_verdict {
	COOKIE_REFUSED, /* mac1 is wrong */
	COOKIE_PLAIN,   /* mac1 is right, mac2 is not there or wrong */
	COOKIE_PROVEN,  /* both are right */
};

/* False: no memory. */
bool cookie_checker_set(struct primitive *p, struct cookie_checker *c,
			const uint8_t public_key[PRIMITIVE_KEY]);
/* packet: an initiation or a response, whole. world: its time, and a new secret when that is due.
 */
enum cookie_verdict cookie_check(struct primitive *p, struct cookie_checker *c,
				 const uint8_t *packet, size_t bytes, const struct addr *from,
				 const struct world *world);
/* The reply to a packet whose mac1 is right; out: NOISE_COOKIE bytes. */
bool cookie_reply(struct primitive *p, struct cookie_checker *c, const uint8_t *packet,
		  size_t bytes, const struct addr *from, const struct world *world, uint8_t *out);

bool cookie_maker_set(struct primitive *p, struct cookie_maker *m,
		      const uint8_t public_key[PRIMITIVE_KEY]);
/* Whether a message, an initiation or a response, is for that peer, as its first MAC says. */
bool cookie_is_for(struct primitive *p, const struct cookie_maker *m, const uint8_t *packet,
		   size_t bytes);
/* Writes the last NOISE_MACS bytes of a message. */
bool cookie_stamp(struct primitive *p, struct cookie_maker *m, uint8_t *packet, size_t bytes,
		  uint64_t now_ns);
/* A cookie reply to the message that was stamped last. False: it is none. */
bool cookie_take(struct primitive *p, struct cookie_maker *m, const uint8_t *reply,
		 uint64_t now_ns);

#endif
