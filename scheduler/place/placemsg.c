/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of placement as bytes: both directions of each kind stand side by side. What is
 * decoded encodes to the same bytes, but for what a later version adds; reserved bytes that are not
 * zero are refused. */
#include "scheduler/place/placemsg.h"

#include <assert.h>
#include <string.h>
#include "base/le.h"
#include "base/mutant.h"

enum { CENTI = 10, MIB_SHIFT = 20 };

struct pen {
	uint8_t *at;
};

static void
put(struct pen *p, uint64_t v, unsigned bytes)
{
	p->at = le_put(p->at, v, bytes);
}

static uint64_t
at_most(uint64_t v, uint64_t most)
{
	return v < most ? v : most;
}

static void
encode_reject(struct pen *p, const struct placemsg *m)
{
	put(p, at_most(m->cpu_milli / CENTI, UINT16_MAX), 2);
	put(p, m->reasons, 4);
	put(p, m->offer, 8);
	put(p, m->ttl_ms, 4);
	put(p, at_most(m->memory_bytes >> MIB_SHIFT, UINT32_MAX), 4);
}

static void
encode_offer(struct pen *p, const struct placemsg *m)
{
	put(p, 0, 2);
	put(p, m->slot, 4);
	put(p, m->offer, 8);
	put(p, m->service, 8);
	put(p, m->revision, 4);
	put(p, m->cpu_milli, 4);
	put(p, m->memory_bytes, 8);
	put(p, m->epoch, 8);
}

static void
encode_promise(struct pen *p, const struct placemsg *m)
{
	put(p, 0, 2);
	put(p, m->price, 4);
	put(p, m->offer, 8);
	put(p, m->ttl_ms, 4);
	put(p, m->cpu_milli, 4);
	put(p, m->memory_bytes, 8);
}

static void
encode_award(struct pen *p, const struct placemsg *m)
{
	put(p, 0, 2);
	put(p, m->slot, 4);
	put(p, m->offer, 8);
	put(p, m->service, 8);
	put(p, m->epoch, 8);
}

static void
encode_retire(struct pen *p, const struct placemsg *m)
{
	put(p, m->retire, 1);
	put(p, 0, 1);
	put(p, m->winner, 4);
	put(p, m->service, 8);
	put(p, m->number, 8);
}

size_t
placemsg_encode(const struct placemsg *m, uint8_t *out)
{
	struct pen p = {out};

	put(&p, m->kind, 1);
	put(&p, PLACEMSG_VERSION, 1);
	switch (m->kind) {
	case PLACEMSG_OFFER:
		encode_offer(&p, m);
		break;
	case PLACEMSG_PROMISE:
		encode_promise(&p, m);
		break;
	case PLACEMSG_REJECT:
		encode_reject(&p, m);
		break;
	case PLACEMSG_AWARD:
		encode_award(&p, m);
		break;
	case PLACEMSG_RELEASE:
		put(&p, 0, 6);
		put(&p, m->offer, 8);
		break;
	case PLACEMSG_CLAIMED:
		put(&p, 0, 6);
		put(&p, m->offer, 8);
		claim_encode(&m->claim, p.at);
		p.at += CLAIM_BYTES;
		break;
	case PLACEMSG_RETIRE:
		encode_retire(&p, m);
		break;
	case PLACEMSG_GONE:
	case PLACEMSG_ASK:
		put(&p, 0, 6);
		put(&p, m->service, 8);
		put(&p, m->number, 8);
		break;
	}
	assert((size_t)(p.at - out) <= PLACEMSG_BYTES_MAX);
	return (size_t)(p.at - out);
}

void
placemsg_send(struct step_actions *out, uint32_t node, const struct placemsg *m, uint64_t after)
{
	struct step_action *last = out->count ? &out->items[out->count - 1] : NULL;
	uint8_t bytes[PLACEMSG_BYTES_MAX];
	size_t length = placemsg_encode(m, bytes);

	if (last && last->kind == STEP_SEND && last->node == node && last->after == after &&
	    last->bytes + length <= STEP_DATAGRAM_MAX && step_actions_room(out, 0, length)) {
		memcpy(out->data + out->bytes, bytes, length);
		out->bytes += length;
		last->bytes += (uint32_t)length;
		return;
	}
	last = step_add(out, STEP_SEND, bytes, length);
	last->node = node;
	last->after = after;
}

/* ---- decoding ---- */

static bool
zero(struct cursor *c, unsigned bytes)
{
	uint8_t all = 0;

	while (bytes--)
		all |= cursor_u8(c);
	return all == 0;
}

static bool
decode_offer(struct cursor *c, struct placemsg *m)
{
	bool good = zero(c, 2);

	m->slot = cursor_u32(c);
	m->offer = cursor_u64(c);
	m->service = cursor_u64(c);
	m->revision = cursor_u32(c);
	m->cpu_milli = cursor_u32(c);
	m->memory_bytes = cursor_u64(c);
	m->epoch = cursor_u64(c);
	return good && m->offer;
}

static bool
decode_promise(struct cursor *c, struct placemsg *m)
{
	bool good = zero(c, 2);

	m->price = cursor_u32(c);
	m->offer = cursor_u64(c);
	m->ttl_ms = cursor_u32(c);
	m->cpu_milli = cursor_u32(c);
	m->memory_bytes = cursor_u64(c);
	return good && m->offer;
}

static bool
decode_reject(struct cursor *c, struct placemsg *m)
{
	m->cpu_milli = (uint32_t)cursor_u16(c) * CENTI;
	m->reasons = cursor_u32(c);
	m->offer = cursor_u64(c);
	m->ttl_ms = cursor_u32(c);
	m->memory_bytes = (uint64_t)cursor_u32(c) << MIB_SHIFT;
	return m->offer && m->reasons;
}

static bool
decode_award(struct cursor *c, struct placemsg *m)
{
	bool good = zero(c, 2);

	m->slot = cursor_u32(c);
	m->offer = cursor_u64(c);
	m->service = cursor_u64(c);
	m->epoch = cursor_u64(c);
	return good && m->offer;
}

static bool
decode_claimed(struct cursor *c, struct placemsg *m)
{
	bool good = zero(c, 6);
	const void *claim;

	m->offer = cursor_u64(c);
	claim = cursor_take(c, CLAIM_BYTES);
	return good && claim && claim_decode(claim, &m->claim);
}

static bool
decode_retire(struct cursor *c, struct placemsg *m)
{
	uint8_t why = cursor_u8(c);
	bool good = zero(c, 1);

	m->retire = (enum claim_retire)why;
	m->winner = cursor_u32(c);
	m->service = cursor_u64(c);
	m->number = cursor_u64(c);
	return good && m->number && why >= CLAIM_RETIRE_UPDATE && why < CLAIM_RETIRE_END_;
}

static bool
decode_gone(struct cursor *c, struct placemsg *m)
{
	bool good = zero(c, 6);

	m->service = cursor_u64(c);
	m->number = cursor_u64(c);
	return good && m->number;
}

static bool
decode_body(struct cursor *c, struct placemsg *m)
{
	switch (m->kind) {
	case PLACEMSG_OFFER:
		return decode_offer(c, m);
	case PLACEMSG_PROMISE:
		return decode_promise(c, m);
	case PLACEMSG_REJECT:
		return decode_reject(c, m);
	case PLACEMSG_AWARD:
		return decode_award(c, m);
	case PLACEMSG_RELEASE: {
		bool good = zero(c, 6);

		m->offer = cursor_u64(c);
		return good && m->offer;
	}
	case PLACEMSG_CLAIMED:
		return decode_claimed(c, m);
	case PLACEMSG_RETIRE:
		return decode_retire(c, m);
	case PLACEMSG_GONE:
	case PLACEMSG_ASK:
		return decode_gone(c, m);
	}
	return false;
}

static void
pass_over_later(struct cursor *c, uint8_t version)
{
	if (version > PLACEMSG_VERSION)
		(void)cursor_take(c, cursor_u16(c));
}

enum placemsg_result
placemsg_decode(struct cursor *c, struct placemsg *out)
{
	uint8_t kind, version;

	memset(out, 0, sizeof(*out));
	if (!cursor_left(c))
		return PLACEMSG_END;
	kind = cursor_u8(c);
	version = cursor_u8(c);
	if (kind < PLACEMSG_OFFER || kind > PLACEMSG_ASK ||
	    MUTANT(132, version != PLACEMSG_VERSION, version < PLACEMSG_VERSION))
		return PLACEMSG_BAD;
	out->kind = (enum placemsg_kind)kind;
	if (!decode_body(c, out))
		return PLACEMSG_BAD;
	pass_over_later(c, version);
	return cursor_ok(c) ? PLACEMSG_OK : PLACEMSG_BAD;
}
