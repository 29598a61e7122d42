/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_ENVELOPE_H
#define SCHEDULER_GOSSIP_ENVELOPE_H

/*
 * What protects datagrams between two nodes of a cluster: each is encrypted and authenticated with
 * a key that only these two can compute, so a datagram that opens is from the node whose key was
 * admitted under that id, for us, of this cluster, unchanged, and not seen before.
 *
 * Every node has an X25519 key (RFC 7748); admission makes the public half known. The key of a
 * direction is HKDF-SHA256 (RFC 5869) of the shared secret, salted with the cluster's id, bound to
 * both node ids and to the sender's session. The sender's session is a number that is greater than
 * that of each of its earlier lives (the caller keeps it durably), and that nobody can guess who
 * has not seen it; its nonces count up from 0 within it, so no nonce is ever used twice with a key
 * and nothing is negotiated: the first datagram to a peer that has just started can be opened.
 * ChaCha20-Poly1305 (RFC 8439).
 *
 * Replay: datagrams of an older session than the newest seen are refused, and within a session a
 * window of ENVELOPE_WINDOW counters is kept. Who has just started knows no session of its peers
 * yet; what is replayed to it then is old but true: what is inside must be versioned, and gossip's
 * messages are. Keys are static: whoever steals a node's private key can read what was recorded.
 *
 *   0  u8   version (1)
 *   1  u8   0
 *   2  u16  0
 *   4  u32  to: node id
 *   8  u32  from
 *   12 u64  session of the sender
 *   20 u64  counter, from 0
 *   28 ...  ciphertext, then 16 bytes tag; the 28 bytes before are authenticated too
 * All little endian.
 *
 * No I/O, no clock. Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum {
	ENVELOPE_KEY = 32,
	ENVELOPE_HEADER = 28,
	ENVELOPE_TAG = 16,
	ENVELOPE_OVERHEAD = ENVELOPE_HEADER + ENVELOPE_TAG,
	ENVELOPE_WINDOW = 256, /* datagrams that may overtake each other */
};

struct envelope_self {
	uint32_t node;
	uint64_t session; /* greater than in each earlier life, not 0 */
	uint8_t cluster[32];
	uint8_t private_key[ENVELOPE_KEY];
	uint8_t public_key[ENVELOPE_KEY];
	struct evp_cipher_ctx_st *cipher; /* OpenSSL's, keyed anew for each datagram */
};

/* What is kept per peer, about 150 bytes; the caller's memory. Wipe with envelope_peer_fini. */
struct envelope_peer {
	uint32_t node;
	uint8_t shared[ENVELOPE_KEY];
	uint8_t send_key[ENVELOPE_KEY];
	uint64_t sent; /* counter of the next */
	uint8_t receive_key[ENVELOPE_KEY];
	uint64_t session; /* the newest seen; 0 none */
	uint64_t next;    /* one above the greatest counter seen; 0: none of this session */
	uint64_t seen[ENVELOPE_WINDOW / 64];
};

enum envelope_result {
	ENVELOPE_OPENED,
	ENVELOPE_MALFORMED, /* too short, another version, not for us */
	ENVELOPE_FORGED,    /* the tag is wrong */
	ENVELOPE_REPLAYED,  /* an older session, or a counter seen or too old */
};

/* A new private key from the kernel's generator; public_out is its public half. */
int envelope_key_new(uint8_t private_out[ENVELOPE_KEY], uint8_t public_out[ENVELOPE_KEY],
		     struct err *err) MUST_CHECK;
/* Takes the parts over by value and computes the public half. */
int envelope_self_init(struct envelope_self *self, uint32_t node, uint64_t session,
		       const uint8_t cluster[32], const uint8_t private_key[ENVELOPE_KEY],
		       struct err *err) MUST_CHECK;
void envelope_self_fini(struct envelope_self *self);
/* ERR_INVALID when the peer's key is not usable (of small order). */
int envelope_peer_init(struct envelope_peer *peer, const struct envelope_self *self, uint32_t node,
		       const uint8_t public_key[ENVELOPE_KEY], struct err *err) MUST_CHECK;
void envelope_peer_fini(struct envelope_peer *peer);

/* A key that the two nodes alone can compute, the same at both, for one purpose (at most 15 bytes
 * of text) other than these datagrams: of the same secret, salted likewise, bound to purpose and
 * ids. Errors as above. */
int envelope_pair_key(const struct envelope_self *self, uint32_t node,
		      const uint8_t public_key[ENVELOPE_KEY], const char *purpose,
		      uint8_t out[ENVELOPE_KEY], struct err *err) MUST_CHECK;

/* From whom and to whom it says it is; nothing of that is proven. False: malformed. */
bool envelope_ends(const void *packet, size_t bytes, uint32_t *from_out, uint32_t *to_out);
/* Whether it says the session that peer has proven last. Who has seen no datagram of that peer's
 * does not know it; who has may say it, too. packet: one of which envelope_ends holds. */
bool envelope_says_session(const struct envelope_peer *peer, const void *packet);
/* Who says it is from; 0 when it is malformed or not for self. */
uint32_t envelope_from(const struct envelope_self *self, const void *packet, size_t bytes);
/* out has room for bytes + ENVELOPE_OVERHEAD. -1 only when the crypto library fails. */
int envelope_seal(const struct envelope_self *self, struct envelope_peer *peer, const void *data,
		  size_t bytes, uint8_t *out, struct err *err) MUST_CHECK;
/* out has room for bytes - ENVELOPE_OVERHEAD and may not overlap packet. Nothing of peer changes
 * unless it opened. */
enum envelope_result envelope_open(const struct envelope_self *self, struct envelope_peer *peer,
				   const void *packet, size_t bytes, uint8_t *out,
				   size_t *bytes_out);

/* Whether it is sealed by that peer, in a session older than the newest that was seen; it may have
 * been recorded. bytes: at most ENVELOPE_OLDER_MAX. */
enum { ENVELOPE_OLDER_MAX = 2048 };
bool envelope_is_older(const struct envelope_self *self, const struct envelope_peer *peer,
		       const void *packet, size_t bytes);

#endif
