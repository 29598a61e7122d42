/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams from anybody: none opens unless it was sealed, and none changes what is kept. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "scheduler/gossip/envelope.h"

static struct envelope_self self;
static struct envelope_peer peer;

static void
prepare(void)
{
	static const uint8_t cluster[32] = {1};
	static const uint8_t key[32] = {2};
	struct envelope_self other;
	struct err err = {0};

	if (envelope_self_init(&self, 9, 1, cluster, key, &err) < 0 ||
	    envelope_self_init(&other, 7, 1, cluster, (const uint8_t[32]){3}, &err) < 0 ||
	    envelope_peer_init(&peer, &self, 7, other.public_key, &err) < 0)
		abort();
	envelope_self_fini(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t out[65536];
	size_t out_bytes = 0;

	if (size > sizeof(out))
		return 0;
	if (!self.node)
		prepare();
	struct envelope_peer before = peer;
	uint32_t from = envelope_from(&self, data, size);
	if (from && size < ENVELOPE_OVERHEAD)
		abort();
	enum envelope_result result = envelope_open(&self, &peer, data, size, out, &out_bytes);
	if (result == ENVELOPE_OPENED || memcmp(&before, &peer, sizeof(peer)) != 0)
		abort();
	return 0;
}
