/* SPDX-License-Identifier: Apache-2.0 */
/* Claims as bytes, and the order in which two claims to one slot stand. */
#include "scheduler/place/claim.h"

#include <string.h>
#include "base/le.h"
#include "scheduler/place/rendezvous.h"

void
claim_encode(const struct claim *c, uint8_t out[CLAIM_BYTES])
{
	le_put(out, c->service, 8);
	le_put(out + 8, c->slot, 4);
	le_put(out + 12, c->revision, 4);
	le_put(out + 16, c->epoch, 8);
	le_put(out + 24, c->node, 4);
	out[28] = c->state;
	out[29] = c->flags;
	le_put(out + 30, c->reason, 2);
	le_put(out + 32, c->number, 8);
}

bool
claim_decode(const uint8_t in[CLAIM_BYTES], struct claim *out)
{
	*out = (struct claim){
		.service = le_get(in, 8),
		.slot = (uint32_t)le_get(in + 8, 4),
		.revision = (uint32_t)le_get(in + 12, 4),
		.epoch = le_get(in + 16, 8),
		.node = (uint32_t)le_get(in + 24, 4),
		.state = in[28],
		.flags = in[29],
		.reason = (uint16_t)le_get(in + 30, 2),
		.number = le_get(in + 32, 8),
	};
	return out->state >= CLAIM_STARTING && out->state <= CLAIM_LEAVING && out->node &&
	       out->number && out->flags == 0;
}

uint64_t
claim_key(uint64_t service, uint32_t slot)
{
	return rendezvous_mix(service, slot);
}

bool
claim_before(const struct claim *a, const struct claim *b)
{
	bool a_ready = a->state == CLAIM_READY, b_ready = b->state == CLAIM_READY;

	if (a->epoch != b->epoch)
		return a->epoch > b->epoch;
	if (a_ready != b_ready)
		return a_ready;
	if (a->node != b->node) {
		uint64_t key = claim_key(a->service, a->slot);
		uint64_t x = rendezvous_score(key, rendezvous_seed(a->node), 0);
		uint64_t y = rendezvous_score(key, rendezvous_seed(b->node), 0);

		return x != y ? x < y : a->node < b->node;
	}
	return a->number < b->number;
}

const char *
claim_state_name(enum claim_state state)
{
	static const char *const names[] = {
		[CLAIM_STARTING] = "starting", [CLAIM_READY] = "ready",
		[CLAIM_UNREADY] = "unready",   [CLAIM_FAILED] = "failed",
		[CLAIM_LEAVING] = "leaving",
	};

	return state >= CLAIM_STARTING && state <= CLAIM_LEAVING ? names[state] : "unknown";
}

const char *
claim_retire_name(enum claim_retire reason)
{
	static const char *const names[] = {
		[CLAIM_RETIRE_UPDATE] = "update",        [CLAIM_RETIRE_SCALE] = "scale",
		[CLAIM_RETIRE_MOVED] = "moved",          [CLAIM_RETIRE_DUPLICATE] = "duplicate",
		[CLAIM_RETIRE_REMOVED] = "removed",      [CLAIM_RETIRE_FAILED] = "failed",
		[CLAIM_RETIRE_DEADLINE] = "drain ended",
	};

	return reason >= CLAIM_RETIRE_UPDATE && reason < CLAIM_RETIRE_END_ ? names[reason]
									   : "unknown";
}
