/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ENGINE_TOO_BIG_H
#define OVERLAY_ENGINE_TOO_BIG_H

/*
 * What a router says about a packet that does not fit the way to where it goes: "fragmentation
 * needed" (RFC 792, 1191) or "packet too big" (RFC 4443, 8201), with the beginning of that packet.
 * The answer has the address that the packet was for as its source: the tunnel has none of its own,
 * and who sent the packet has a way to that one.
 *
 * Not answered, as RFC 1122 3.2.2 and RFC 4443 2.4 (e) have it: errors, what is from nobody; of
 * IPv4 fragments but the first, and what is for many. Packets of IPv4 that may be fragmented are
 * answered like others: we do not fragment, and senders learn from it all the same. Threading:
 * pure.
 */

#include "overlay/engine/inner.h"

enum {
	TOO_BIG_BYTES = 1280, /* of an answer, at most; of IPv4 576 (RFC 1812 4.3.2.3) */
	TOO_BIG_RATE = 100,   /* answers a second */
	TOO_BIG_BURST = 20,
};

/* packet: in->length bytes, of which `in` is inner_parse. Gives the bytes of the answer, 0: none.
 */
size_t too_big_answer(const uint8_t *packet, const struct inner *in, uint32_t mtu,
		      uint8_t out[TOO_BIG_BYTES]);

struct too_big_rate {     /* of one owner; zeroed at first */
	uint64_t full_ns; /* when the bucket is full again */
};
bool too_big_may(struct too_big_rate *r, uint64_t now_ns);

#endif
