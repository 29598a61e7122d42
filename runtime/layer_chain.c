/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ChainID(L0) = DiffID(L0); ChainID(L0|...|Ln) = SHA-256 of the text "ChainID(L0|...|Ln-1)
 * DiffID(Ln)", both with their "sha256:". Why folders of layers are called so: docs/decisions/007.
 */
#include "runtime/layer_chain.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <string.h>
#include "base/text.h"

enum { SHA256_BYTES = 32, LINK_BYTES = 2 * (LAYER_CHAIN_BYTES + 7) };

bool
layer_chain_next(const char *below, const char *diff_id, char out[LAYER_CHAIN_BYTES])
{
	char link[LINK_BYTES];
	uint8_t digest[SHA256_BYTES];

	if (!*below)
		return text_copy(out, LAYER_CHAIN_BYTES, diff_id);
	text_format(link, sizeof(link), "sha256:%.64s sha256:%.64s", below, diff_id);
	/* A name made without a digest would be that of other chains, too. */
	if (EVP_Digest(link, strlen(link), digest, NULL, EVP_sha256(), NULL) != 1)
		return false;
	text_hex(digest, sizeof(digest), out, LAYER_CHAIN_BYTES);
	return true;
}
