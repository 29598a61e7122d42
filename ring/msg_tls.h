/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_TLS_H
#define RING_MSG_TLS_H

/* Certificates, signatures and session tickets: between signer and proxy. The rules are those of
 * ring/msg.h. */

#include "ring/msg_base.h"

/* MSG_CERT_AUTHORITY: the local authority itself, so that people can trust it: no names, not
 * served. */
enum msg_certificate_source { MSG_CERT_FILE = 1, MSG_CERT_LOCAL, MSG_CERT_AUTHORITY };
enum msg_key_type { MSG_KEY_RSA = 1, MSG_KEY_EC };
enum { MSG_CHAIN_BYTES = 12288, MSG_CERT_NAMES_BYTES = 3072 };

struct msg_certificate { /* key: id, stable for the same names and source */
	uint64_t id;
	uint64_t key_handle; /* for MSG_OP_SIGN */
	uint32_t source;
	uint32_t key_type;
	int64_t not_before_s;
	int64_t not_after_s;
	uint32_t names_count;
	uint32_t chain_bytes;
	uint32_t any_host; /* may serve clients without SNI */
	uint32_t pad_;
	char serial[48]; /* hex */
	/* names_count texts, each ended by a NUL: DNS names, lower case, may be "*.x"; addresses.
	 */
	char names[MSG_CERT_NAMES_BYTES];
	uint8_t chain[MSG_CHAIN_BYTES]; /* DER certificates, leaf first, each after a u32 length */
};

/* The session ticket keys that all workers share (RFC 5077), in the sealed memfd of LEASH_TICKETS:
 * the first one issues, all accept. Never on the ring. */
enum { MSG_TICKETS_MAGIC = 0x544b545a, MSG_TICKET_KEYS_MAX = 3, MSG_TICKET_ROTATE_S = 8 * 3600 };

struct msg_ticket_key {
	uint8_t name[16];
	uint8_t cipher[32]; /* AES-256-CBC */
	uint8_t mac[32];    /* HMAC-SHA-256 */
};

struct msg_tickets {
	uint32_t magic;
	uint32_t count;
	struct msg_ticket_key keys[MSG_TICKET_KEYS_MAX];
};

enum msg_sign_scheme { MSG_SIGN_ECDSA = 1, MSG_SIGN_RSA_PKCS1, MSG_SIGN_RSA_PSS };

struct msg_sign {
	uint64_t key_handle;
	uint32_t scheme;
	uint32_t digest;     /* bits: 256, 384, 512 (SHA-2) or 160 is refused */
	uint32_t salt_bytes; /* PSS */
	uint32_t digest_bytes;
	uint8_t value[64];
};

/* The next name of a certificate's row: *at starts at 0; NULL at the end, or when the row lies. */
const char *msg_certificate_name(const struct msg_certificate *row, size_t *at);

#endif
