/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake, step by step as section 5.4 of WireGuard's whitepaper has it. "Mix" means what
 * Noise means by it: into the hash goes all that is said, into the chaining key all that only the
 * two ends can compute.
 *
 * It works on copies: a message that turns out to be forged in its last field has changed nothing.
 */
#include "overlay/wg/noise.h"

#include <string.h>
#include "base/mem.h"

static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";

enum { /* offsets */
       SENDER = 4,
       I_EPHEMERAL = 8,
       I_STATIC = 40,
       I_TIMESTAMP = 88,
       R_RECEIVER = 8,
       R_EPHEMERAL = 12,
       R_NOTHING = 44,
       SEALED_STATIC = PRIMITIVE_KEY + PRIMITIVE_TAG,
       SEALED_TIMESTAMP = NOISE_TIMESTAMP + PRIMITIVE_TAG,
};

#define BYTES(at, n) ((struct primitive_bytes){(at), (n)})

uint32_t
noise_u32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

uint64_t
noise_u64(const uint8_t *at)
{
	return noise_u32(at) | (uint64_t)noise_u32(at + 4) << 32;
}

void
noise_put_u32(uint8_t *at, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

void
noise_put_u64(uint8_t *at, uint64_t v)
{
	noise_put_u32(at, (uint32_t)v);
	noise_put_u32(at + 4, (uint32_t)(v >> 32));
}

unsigned
noise_type(const uint8_t *packet, size_t bytes)
{
	if (bytes < 4)
		return 0;
	switch (noise_u32(packet)) {
	case NOISE_TYPE_INITIATION:
		return bytes == NOISE_INITIATION ? NOISE_TYPE_INITIATION : 0;
	case NOISE_TYPE_RESPONSE:
		return bytes == NOISE_RESPONSE ? NOISE_TYPE_RESPONSE : 0;
	case NOISE_TYPE_COOKIE:
		return bytes == NOISE_COOKIE ? NOISE_TYPE_COOKIE : 0;
	case NOISE_TYPE_DATA:
		return bytes >= NOISE_OVERHEAD ? NOISE_TYPE_DATA : 0;
	default:
		return 0;
	}
}

void
noise_timestamp(int64_t wall_ns, uint8_t out[NOISE_TIMESTAMP])
{
	const uint64_t base = UINT64_C(0x400000000000000a), second = 1000000000;
	uint64_t now = wall_ns > 0 ? (uint64_t)wall_ns : 0;
	uint64_t seconds = base + now / second;
	uint32_t nanos = (uint32_t)(now % second) & ~(uint32_t)0xffffff;

	for (unsigned i = 0; i < 8; i++)
		out[i] = (uint8_t)(seconds >> (56 - 8 * i));
	for (unsigned i = 0; i < 4; i++)
		out[8 + i] = (uint8_t)(nanos >> (24 - 8 * i));
}

/* ---- who ---- */

bool
noise_identity_set(struct noise_identity *id, const uint8_t private_key[PRIMITIVE_KEY])
{
	memcpy(id->private_key, private_key, PRIMITIVE_KEY);
	primitive_clamp(id->private_key);
	return primitive_public(id->private_key, id->public_key);
}

void
noise_peer_set(struct noise_peer *peer, const struct noise_identity *id,
	       const uint8_t public_key[PRIMITIVE_KEY])
{
	memmove(peer->public_key, public_key, PRIMITIVE_KEY);
	peer->state = NOISE_SHARED_UNKNOWN;
	noise_peer_ready(peer, id);
}

void
noise_peer_forget(struct noise_peer *peer)
{
	mem_wipe(peer->shared, sizeof(peer->shared));
	peer->state = NOISE_SHARED_UNKNOWN;
}

bool
noise_peer_ready(struct noise_peer *peer, const struct noise_identity *id)
{
	if (peer->state != NOISE_SHARED_UNKNOWN)
		return peer->state == NOISE_SHARED_KNOWN;
	switch (primitive_exchange(id->private_key, peer->public_key, peer->shared)) {
	case PRIMITIVE_EXCHANGE_DONE:
		peer->state = NOISE_SHARED_KNOWN;
		return true;
	case PRIMITIVE_EXCHANGE_ZERO:
		peer->state = NOISE_SHARED_NEVER;
		return false;
	case PRIMITIVE_EXCHANGE_NO_MEMORY:
		break;
	}
	return false;
}

void
noise_clear(struct noise *n)
{
	mem_wipe(n, sizeof(*n));
}

/* ---- mixing ---- */

static bool
mix_hash(struct primitive *p, struct noise *n, const void *data, size_t bytes)
{
	return primitive_hash(p, BYTES(n->hash, PRIMITIVE_HASH), BYTES(data, bytes), n->hash);
}

static bool
mix_key(struct primitive *p, struct noise *n, const void *data, size_t bytes)
{
	return primitive_kdf(p, n->chaining, BYTES(data, bytes), 1, (uint8_t *[]){n->chaining});
}

/* key: for one box. */
static bool
mix_secret(struct primitive *p, struct noise *n, const uint8_t secret[PRIMITIVE_KEY],
	   uint8_t key[PRIMITIVE_KEY])
{
	return primitive_kdf(p, n->chaining, BYTES(secret, PRIMITIVE_KEY), 2,
			     (uint8_t *[]){n->chaining, key});
}

static bool
mix_dh(struct primitive *p, struct noise *n, const uint8_t private_key[PRIMITIVE_KEY],
       const uint8_t public_key[PRIMITIVE_KEY], uint8_t key[PRIMITIVE_KEY])
{
	uint8_t secret[PRIMITIVE_KEY];
	bool ok = primitive_dh(private_key, public_key, secret) && mix_secret(p, n, secret, key);

	mem_wipe(secret, sizeof(secret));
	return ok;
}

static bool
begin(struct primitive *p, struct noise *n, const uint8_t responder[PRIMITIVE_KEY])
{
	return primitive_hash(p, BYTES(construction, sizeof(construction) - 1), BYTES(NULL, 0),
			      n->chaining) &&
	       primitive_hash(p, BYTES(n->chaining, PRIMITIVE_HASH),
			      BYTES(identifier, sizeof(identifier) - 1), n->hash) &&
	       mix_hash(p, n, responder, PRIMITIVE_KEY);
}

static bool
mix_ephemeral(struct primitive *p, struct noise *n, const uint8_t public_key[PRIMITIVE_KEY])
{
	return mix_key(p, n, public_key, PRIMITIVE_KEY) &&
	       mix_hash(p, n, public_key, PRIMITIVE_KEY);
}

/* Writes it and mixes it in. */
static bool
put_sealed(struct primitive *p, struct noise *n, const uint8_t key[PRIMITIVE_KEY], const void *text,
	   size_t bytes, uint8_t *out)
{
	return primitive_seal(p, key, 0, BYTES(n->hash, PRIMITIVE_HASH), BYTES(text, bytes), out) &&
	       mix_hash(p, n, out, bytes + PRIMITIVE_TAG);
}

static bool
get_sealed(struct primitive *p, struct noise *n, const uint8_t key[PRIMITIVE_KEY],
	   const uint8_t *sealed, size_t bytes, uint8_t *out)
{
	return primitive_open(p, key, 0, BYTES(n->hash, PRIMITIVE_HASH), BYTES(sealed, bytes),
			      out) &&
	       mix_hash(p, n, sealed, bytes);
}

static void
put_head(uint8_t *out, uint32_t type, uint32_t sender)
{
	noise_put_u32(out, type);
	noise_put_u32(out + SENDER, sender);
}

/* ---- the first message ---- */

static bool
write_initiation(struct primitive *p, const struct noise_identity *id,
		 const struct noise_peer *peer, const uint8_t *timestamp, struct noise *n,
		 uint8_t key[PRIMITIVE_KEY], uint8_t *out)
{
	return begin(p, n, peer->public_key) && primitive_public(n->ephemeral, out + I_EPHEMERAL) &&
	       mix_ephemeral(p, n, out + I_EPHEMERAL) &&
	       mix_dh(p, n, n->ephemeral, peer->public_key, key) &&
	       put_sealed(p, n, key, id->public_key, PRIMITIVE_KEY, out + I_STATIC) &&
	       mix_secret(p, n, peer->shared, key) &&
	       put_sealed(p, n, key, timestamp, NOISE_TIMESTAMP, out + I_TIMESTAMP);
}

bool
noise_initiate(struct primitive *p, const struct noise_identity *id, const struct noise_peer *peer,
	       uint32_t local, const uint8_t random[PRIMITIVE_KEY],
	       const uint8_t timestamp[NOISE_TIMESTAMP], struct noise *n, uint8_t *out)
{
	uint8_t key[PRIMITIVE_KEY];

	noise_clear(n);
	if (peer->state != NOISE_SHARED_KNOWN)
		return false;
	memcpy(n->ephemeral, random, PRIMITIVE_KEY);
	primitive_clamp(n->ephemeral);
	put_head(out, NOISE_TYPE_INITIATION, local);
	bool ok = write_initiation(p, id, peer, timestamp, n, key, out);
	mem_wipe(key, sizeof(key));
	if (!ok) {
		noise_clear(n);
		return false;
	}
	n->local = local;
	n->state = NOISE_INITIATED;
	return true;
}

bool
noise_read_initiation(struct primitive *p, const struct noise_identity *id, const uint8_t *packet,
		      struct noise_claim *out)
{
	struct noise *n = &out->half;

	*out = (struct noise_claim){0};
	memcpy(n->remote_ephemeral, packet + I_EPHEMERAL, PRIMITIVE_KEY);
	n->remote = noise_u32(packet + SENDER);
	if (begin(p, n, id->public_key) && mix_ephemeral(p, n, n->remote_ephemeral) &&
	    mix_dh(p, n, id->private_key, n->remote_ephemeral, out->key) &&
	    get_sealed(p, n, out->key, packet + I_STATIC, SEALED_STATIC, out->public_key))
		return true;
	mem_wipe(out, sizeof(*out));
	return false;
}

bool
noise_consume_initiation(struct primitive *p, const struct noise_peer *peer, const uint8_t *packet,
			 struct noise_claim *claim, struct noise *n,
			 uint8_t timestamp_out[NOISE_TIMESTAMP])
{
	uint8_t timestamp[NOISE_TIMESTAMP];

	if (peer->state != NOISE_SHARED_KNOWN ||
	    !mix_secret(p, &claim->half, peer->shared, claim->key) ||
	    !get_sealed(p, &claim->half, claim->key, packet + I_TIMESTAMP, SEALED_TIMESTAMP,
			timestamp))
		return false;
	claim->half.state = NOISE_CONSUMED;
	*n = claim->half;
	memcpy(timestamp_out, timestamp, NOISE_TIMESTAMP);
	return true;
}

/* ---- the second one ---- */

/* What both ends do when all is said. */
static bool
derive(struct primitive *p, const struct noise *n, uint8_t *first, uint8_t *second)
{
	return primitive_kdf(p, n->chaining, BYTES(NULL, 0), 2, (uint8_t *[]){first, second});
}

/* key: for the box without a text. */
static bool
mix_psk(struct primitive *p, struct noise *n, const uint8_t psk[PRIMITIVE_KEY],
	uint8_t key[PRIMITIVE_KEY])
{
	uint8_t tau[PRIMITIVE_HASH];
	bool ok = primitive_kdf(p, n->chaining, BYTES(psk, PRIMITIVE_KEY), 3,
				(uint8_t *[]){n->chaining, tau, key}) &&
		  mix_hash(p, n, tau, sizeof(tau));

	mem_wipe(tau, sizeof(tau));
	return ok;
}

static bool
mix_two(struct primitive *p, struct noise *n, const uint8_t *first_private,
	const uint8_t *first_public, const uint8_t *second_private, const uint8_t *second_public)
{
	uint8_t secret[PRIMITIVE_KEY];
	bool ok = primitive_dh(first_private, first_public, secret) &&
		  mix_key(p, n, secret, sizeof(secret)) &&
		  primitive_dh(second_private, second_public, secret) &&
		  mix_key(p, n, secret, sizeof(secret));

	mem_wipe(secret, sizeof(secret));
	return ok;
}

static bool
write_response(struct primitive *p, const struct noise_peer *peer, struct noise *n,
	       uint8_t key[PRIMITIVE_KEY], uint8_t *out, struct noise_keys *keys)
{
	return primitive_public(n->ephemeral, out + R_EPHEMERAL) &&
	       mix_ephemeral(p, n, out + R_EPHEMERAL) &&
	       mix_two(p, n, n->ephemeral, n->remote_ephemeral, n->ephemeral, peer->public_key) &&
	       mix_psk(p, n, peer->psk, key) && put_sealed(p, n, key, NULL, 0, out + R_NOTHING) &&
	       derive(p, n, keys->receive, keys->send);
}

bool
noise_respond(struct primitive *p, const struct noise_peer *peer, uint32_t local,
	      const uint8_t random[PRIMITIVE_KEY], struct noise *n, uint8_t *out,
	      struct noise_keys *keys_out)
{
	uint8_t key[PRIMITIVE_KEY];

	*keys_out = (struct noise_keys){.local = local, .remote = n->remote};
	if (n->state != NOISE_CONSUMED)
		return false;
	memcpy(n->ephemeral, random, PRIMITIVE_KEY);
	primitive_clamp(n->ephemeral);
	put_head(out, NOISE_TYPE_RESPONSE, local);
	noise_put_u32(out + R_RECEIVER, n->remote);
	bool ok = write_response(p, peer, n, key, out, keys_out);
	mem_wipe(key, sizeof(key));
	noise_clear(n);
	if (!ok)
		mem_wipe(keys_out, sizeof(*keys_out));
	return ok;
}

static bool
read_response(struct primitive *p, const struct noise_identity *id, const struct noise_peer *peer,
	      const uint8_t *packet, struct noise *n, uint8_t key[PRIMITIVE_KEY],
	      struct noise_keys *keys)
{
	uint8_t nothing[1];

	return mix_ephemeral(p, n, packet + R_EPHEMERAL) &&
	       mix_two(p, n, n->ephemeral, packet + R_EPHEMERAL, id->private_key,
		       packet + R_EPHEMERAL) &&
	       mix_psk(p, n, peer->psk, key) &&
	       get_sealed(p, n, key, packet + R_NOTHING, PRIMITIVE_TAG, nothing) &&
	       derive(p, n, keys->send, keys->receive);
}

bool
noise_consume_response(struct primitive *p, const struct noise_identity *id,
		       const struct noise_peer *peer, const uint8_t *packet, struct noise *n,
		       struct noise_keys *keys_out)
{
	uint8_t key[PRIMITIVE_KEY];

	*keys_out = (struct noise_keys){.initiator = true};
	if (n->state != NOISE_INITIATED || noise_u32(packet + R_RECEIVER) != n->local)
		return false;
	struct noise copy = *n;
	bool ok = read_response(p, id, peer, packet, &copy, key, keys_out);
	keys_out->local = n->local;
	keys_out->remote = noise_u32(packet + SENDER);
	if (ok)
		noise_clear(n);
	else
		mem_wipe(keys_out, sizeof(*keys_out));
	mem_wipe(key, sizeof(key));
	noise_clear(&copy);
	return ok;
}
