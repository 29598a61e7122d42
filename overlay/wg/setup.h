/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_SETUP_H
#define OVERLAY_WG_SETUP_H

/*
 * A WireGuard device as a plain value: how it is, how it is to be, or what is to change of it. All
 * doors to one (uapi.h, kernel.h) speak of it in these words, which are those of
 * https://www.wireguard.com/xplatform and of <linux/wireguard.h>.
 *
 * As a state, each peer and each prefix stands there once, and none of the flags is set. As a
 * change, the entries are done in their order: a peer that is not there is made (unless
 * update_only), what an entry does not say stays, a prefix that another peer has is taken from it.
 *
 * Keys are wiped when a setup is freed, emptied or grown.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

enum {
	SETUP_KEY = 32,
	SETUP_PEERS_MAX = 20480, /* that a device may have: two keys of each node, and some more */
	/* Entries of a change that setup_diff makes: all that goes, all that comes, and room for
	 * three more words of its caller's to each of those that come. */
	SETUP_CHANGE_MAX = 5 * SETUP_PEERS_MAX, /* entries of a change from one state to another */
	SETUP_PREFIXES_MAX = 65536,             /* of all peers */
};

struct setup_prefix { /* an "allowed IP" */
	struct addr_prefix at;
	bool remove; /* change: is no longer that peer's, if it was */
};

struct setup_peer {
	uint8_t public_key[SETUP_KEY];
	uint8_t psk[SETUP_KEY]; /* zeros: none */
	bool has_psk, has_endpoint, has_keepalive;
	bool remove, update_only, replace_prefixes; /* change */
	uint16_t keepalive_s;                       /* 0: off */
	uint32_t handshake_ns;                      /* state: the last one, since 1970 */
	struct addr endpoint;
	int64_t handshake_s; /* 0: there was none */
	uint64_t rx_bytes, tx_bytes;
	uint32_t idle_s; /* state, of our engine: without anything but probes; UINT32_MAX: never */
	struct setup_prefix *prefixes; /* owned */
	size_t prefixes_count, prefixes_room;
};

struct setup {
	uint8_t private_key[SETUP_KEY]; /* zeros: none */
	bool has_private_key, has_port, has_fwmark;
	bool replace_peers; /* change: those that are there go first */
	bool wide;          /* change: it may have SETUP_CHANGE_MAX entries */
	uint16_t port;      /* change: 0 is any */
	uint32_t fwmark;    /* 0: none */
	struct setup_peer *peers;
	size_t peers_count, peers_room;
	size_t prefixes_count; /* of all peers */
};

enum setup_rc {
	SETUP_OK,
	SETUP_NO_MEMORY,
	SETUP_TOO_MUCH, /* one of the limits above */
	SETUP_TWICE,    /* a peer stands in a state twice */
};

void setup_init(struct setup *s);
void setup_fini(struct setup *s); /* wiped and empty, as after setup_init; zeroed is fine */

/* Both change nothing when they do not give SETUP_OK. A peer is borrowed until the next is added.
 */
enum setup_rc setup_add_peer(struct setup *s, const uint8_t public_key[SETUP_KEY],
			     struct setup_peer **out);
/* Host bits are cleared. peer: one of s. */
enum setup_rc setup_add_prefix(struct setup *s, struct setup_peer *peer,
			       const struct addr_prefix *at, bool remove);
/* A state. out: initialised and empty; so it is when it fails. */
enum setup_rc setup_copy(const struct setup *s, struct setup *out);
/* One look at each peer. NULL: there is none. */
struct setup_peer *setup_find(const struct setup *s, const uint8_t public_key[SETUP_KEY]);

/*
 * The smallest change that makes `is` what `want` says, for a device that serves meanwhile: what is
 * right already is not mentioned, so no session ends for nothing, and a prefix that stays with its
 * peer is never away. What `want` does not say of the device or of a peer stays as it is (of an
 * endpoint that is most often right: peers move), but peers and prefixes are those of `want` alone.
 *
 * Time grows with the number of peers and prefixes. out: initialised; empty when it fails. Of peers
 * a change may have more than a device, so that any state is reached from any other in one;
 * SETUP_TOO_MUCH: of prefixes there are more than SETUP_PREFIXES_MAX.
 */
enum setup_rc setup_diff(const struct setup *is, const struct setup *want, struct setup *out);
bool setup_says_nothing(const struct setup *change);

bool setup_key_is_zero(const uint8_t key[SETUP_KEY]); /* in constant time */

#endif
