/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_NOISE_H
#define OVERLAY_WG_NOISE_H

/*
 * WireGuard's handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (WireGuard whitepaper, section 5.4;
 * the Noise protocol framework, revision 34). One message each way, then both ends have two keys.
 *
 * Bytes in, bytes out: when a handshake is begun, and who may begin one how often, is said
 * elsewhere (session.h), and so are the two MACs at the end of each message (cookie.h): what is
 * written here ends before them.
 *
 *   initiation  u8 1, u8[3] 0, u32 sender, ephemeral 32, static 32+16, timestamp 12+16, macs 16+16
 *   response    u8 2, u8[3] 0, u32 sender, u32 receiver, ephemeral 32, nothing 0+16, macs 16+16
 *   cookie      u8 3, u8[3] 0, u32 receiver, nonce 24, cookie 16+16
 *   data        u8 4, u8[3] 0, u32 receiver, u64 counter, text of any length + 16
 * Numbers are little endian.
 *
 * What came from outside changes nothing before it was found to be genuine.
 * Threading: an identity may be read by many; the rest has one owner.
 */

#include "overlay/wg/primitive.h"

enum {
	NOISE_INITIATION = 148,
	NOISE_RESPONSE = 92,
	NOISE_COOKIE = 64,
	NOISE_HEADER = 16, /* of data */
	NOISE_OVERHEAD = NOISE_HEADER + PRIMITIVE_TAG,
	NOISE_MACS = 32, /* behind an initiation and a response */
	NOISE_TIMESTAMP = 12,
};

enum noise_type {
	NOISE_TYPE_INITIATION = 1,
	NOISE_TYPE_RESPONSE,
	NOISE_TYPE_COOKIE,
	NOISE_TYPE_DATA,
};

struct noise_identity { /* this end; wipe it when it is done with */
	uint8_t private_key[PRIMITIVE_KEY];
	uint8_t public_key[PRIMITIVE_KEY];
};

enum noise_shared {
	NOISE_SHARED_UNKNOWN, /* not computed, or there was no memory for it */
	NOISE_SHARED_KNOWN,
	NOISE_SHARED_NEVER, /* a point of small order; no handshake with it ends well */
};

struct noise_peer { /* that of the other end that stays */
	uint8_t public_key[PRIMITIVE_KEY];
	uint8_t shared[PRIMITIVE_KEY]; /* of the two static keys */
	uint8_t psk[PRIMITIVE_KEY];    /* zeros: none */
	enum noise_shared state;
};

enum noise_state {
	NOISE_IDLE,
	NOISE_INITIATED, /* this end has begun */
	NOISE_CONSUMED,  /* the other end has; an answer may be made */
};

struct noise { /* one handshake under way */
	enum noise_state state;
	uint32_t local, remote;           /* their numbers for what comes of it */
	uint8_t ephemeral[PRIMITIVE_KEY]; /* private */
	uint8_t remote_ephemeral[PRIMITIVE_KEY];
	uint8_t hash[PRIMITIVE_HASH];
	uint8_t chaining[PRIMITIVE_HASH];
};

struct noise_keys {
	uint8_t send[PRIMITIVE_KEY];
	uint8_t receive[PRIMITIVE_KEY];
	uint32_t local, remote;
	bool initiator;
};

/* What an initiation says, before anything is done about it. */
struct noise_claim {
	uint8_t public_key[PRIMITIVE_KEY]; /* of whom it is, if the second half proves it */
	struct noise half;
	uint8_t key[PRIMITIVE_KEY];
};

/* The private key is clamped. False: no memory. */
bool noise_identity_set(struct noise_identity *id, const uint8_t private_key[PRIMITIVE_KEY]);
/* After either key was changed. */
void noise_peer_set(struct noise_peer *peer, const struct noise_identity *id,
		    const uint8_t public_key[PRIMITIVE_KEY]);
/* The identity is to be another one: what was computed with it is wiped. */
void noise_peer_forget(struct noise_peer *peer);
/* Before a handshake: computes what is still unknown. False: there is no memory, or no handshake.
 */
bool noise_peer_ready(struct noise_peer *peer, const struct noise_identity *id);
/* Ends a handshake and wipes it. */
void noise_clear(struct noise *n);

/* Only with a peer that is ready. A new handshake takes the place of one under way. random: 32
 * bytes for the ephemeral key. timestamp: as tai64n_put() writes it, greater than that of any
 * before. out: NOISE_INITIATION bytes, of which the last NOISE_MACS are left alone. */
bool noise_initiate(struct primitive *p, const struct noise_identity *id,
		    const struct noise_peer *peer, uint32_t local,
		    const uint8_t random[PRIMITIVE_KEY], const uint8_t timestamp[NOISE_TIMESTAMP],
		    struct noise *n, uint8_t *out);
/* packet: NOISE_INITIATION bytes. False: not for this identity, or forged. Wipe the claim. */
bool noise_read_initiation(struct primitive *p, const struct noise_identity *id,
			   const uint8_t *packet, struct noise_claim *out);
/* The other half, with what is known of whom it claims to be: false: not from that peer. n is
 * changed, and the timestamp given, only when it is. The caller refuses it when it is no greater
 * than the last one. */
bool noise_consume_initiation(struct primitive *p, const struct noise_peer *peer,
			      const uint8_t *packet, struct noise_claim *claim, struct noise *n,
			      uint8_t timestamp_out[NOISE_TIMESTAMP]);
/* Answers what was consumed, and ends the handshake. out: NOISE_RESPONSE bytes, likewise. */
bool noise_respond(struct primitive *p, const struct noise_peer *peer, uint32_t local,
		   const uint8_t random[PRIMITIVE_KEY], struct noise *n, uint8_t *out,
		   struct noise_keys *keys_out);
/* packet: NOISE_RESPONSE bytes, for n->local. False: not the answer; n goes on waiting. */
bool noise_consume_response(struct primitive *p, const struct noise_identity *id,
			    const struct noise_peer *peer, const uint8_t *packet, struct noise *n,
			    struct noise_keys *keys_out);

/* TAI64N (D. J. Bernstein) of a time since 1970, UTC, with the lowest bits left out, so that it
 * does not give away this machine's clock; as big endian it is compared like a text. */
void noise_timestamp(int64_t wall_ns, uint8_t out[NOISE_TIMESTAMP]);

/* 0: too short, or of no type; else enum noise_type, with a length that is right for it. */
unsigned noise_type(const uint8_t *packet, size_t bytes);
uint32_t noise_u32(const uint8_t *at);
uint64_t noise_u64(const uint8_t *at);
void noise_put_u32(uint8_t *at, uint32_t v);
void noise_put_u64(uint8_t *at, uint64_t v);

#endif
