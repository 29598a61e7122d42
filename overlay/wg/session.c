/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions. What may not happen is that one key seals two packets with one counter: counters are
 * given out by adding to an atomic number, by blocks, and the number never comes around. It may be
 * pushed beyond its limit by threads that ask at the same time, each by a block; the room between
 * the limit and 2^64 is larger than all of their blocks together.
 */
#include "overlay/wg/session.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"

static const uint64_t second = 1000000000;

static_assert((uint64_t)SESSION_THREADS_MAX * SESSION_BLOCK_MAX < REPLAY_BITS,
	      "counters cannot come around");

struct session *
session_new(const struct noise_keys *keys, void *owner, uint64_t now_ns)
{
	struct session *s = mem_zalloc(MEM_OVERLAY, sizeof(*s));

	if (!s)
		return NULL;
	s->keys = *keys;
	s->owner = owner;
	s->born_ns = now_ns;
	atomic_init(&s->references, 1);
	replay_init(&s->replay);
	return s;
}

struct session *
session_ref(struct session *s)
{
	uint32_t before = atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);

	assert(before > 0);
	return s;
}

void
session_unref(struct session *s)
{
	if (s && atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) == 1)
		mem_free_zero(s);
}

/* A thread's time may be a little before that of the device. */
static bool
younger(const struct session *s, uint64_t now_ns, uint64_t seconds)
{
	return now_ns <= s->born_ns || now_ns - s->born_ns < seconds * second;
}

/* ---- sending ---- */

void
session_stop(struct session *s)
{
	atomic_store_explicit(&s->stopped, true, memory_order_relaxed);
}

bool
session_sends(const struct session *s, uint64_t now_ns)
{
	return !atomic_load_explicit(&s->stopped, memory_order_relaxed) &&
	       younger(s, now_ns, SESSION_REJECT_AFTER_S) &&
	       atomic_load_explicit(&s->next, memory_order_relaxed) < SESSION_REJECT_AFTER_MESSAGES;
}

bool
session_reserve(struct session *s, uint32_t count, uint64_t now_ns, uint64_t *first_out)
{
	assert(count >= 1 && count <= SESSION_BLOCK_MAX);
	if (!session_sends(s, now_ns))
		return false;
	uint64_t first = atomic_fetch_add_explicit(&s->next, count, memory_order_relaxed);
	if (first > SESSION_REJECT_AFTER_MESSAGES - count)
		return false;
	*first_out = first;
	return true;
}

bool
session_sent_enough(const struct session *s, uint64_t now_ns)
{
	return atomic_load_explicit(&s->next, memory_order_relaxed) >=
		       SESSION_REKEY_AFTER_MESSAGES ||
	       (s->keys.initiator && !younger(s, now_ns, SESSION_REKEY_AFTER_S));
}

size_t
session_padded(size_t bytes, size_t mtu)
{
	size_t padded = (bytes + SESSION_PAD - 1) / SESSION_PAD * SESSION_PAD;

	if (padded <= mtu)
		return padded;
	return bytes > mtu ? bytes : mtu;
}

void
session_head(const struct session *s, uint64_t counter, uint8_t *out)
{
	noise_put_u32(out, NOISE_TYPE_DATA);
	noise_put_u32(out + 4, s->keys.remote);
	noise_put_u64(out + 8, counter);
}

bool
session_seal(struct primitive *p, const struct session *s, uint64_t counter, const void *text,
	     size_t bytes, size_t padded, uint8_t *out)
{
	uint8_t *at = out + NOISE_HEADER;

	assert(padded >= bytes);
	if (bytes)
		memmove(at, text, bytes);
	memset(at + bytes, 0, padded - bytes);
	session_head(s, counter, out);
	return primitive_seal(p, s->keys.send, counter, (struct primitive_bytes){0},
			      (struct primitive_bytes){at, padded}, at);
}

/* ---- receiving ---- */

bool
session_receives(const struct session *s, uint64_t now_ns)
{
	return younger(s, now_ns, SESSION_REJECT_AFTER_S);
}

bool
session_received_enough(const struct session *s, uint64_t now_ns)
{
	return s->keys.initiator && !younger(s, now_ns, SESSION_REKEY_LATE_S);
}

bool
session_open(struct primitive *p, const struct session *s, uint8_t *packet, size_t bytes)
{
	uint8_t *text = packet + NOISE_HEADER;

	assert(bytes >= NOISE_OVERHEAD);
	return primitive_open(p, s->keys.receive, noise_u64(packet + 8),
			      (struct primitive_bytes){0},
			      (struct primitive_bytes){text, bytes - NOISE_HEADER}, text);
}

bool
session_take(struct session *s, uint64_t counter)
{
	return replay_take(&s->replay, counter);
}

/* ---- the three of a peer ---- */

static void
leave(struct session **slot, struct session_gone *gone)
{
	if (*slot) {
		session_stop(*slot);
		gone->items[gone->count++] = *slot;
	}
	*slot = NULL;
}

void
session_slots_add(struct session_slots *slots, struct session *s, struct session_gone *gone)
{
	*gone = (struct session_gone){0};
	leave(&slots->previous, gone);
	slots->crossed = s->keys.initiator && slots->next;
	if (!s->keys.initiator) {
		leave(&slots->next, gone);
		slots->next = s;
		return;
	}
	/* The newer one of the two that the other end may be sending with. */
	if (slots->next) {
		leave(&slots->current, gone);
		slots->previous = slots->next;
		slots->next = NULL;
	} else {
		slots->previous = slots->current;
	}
	slots->current = s;
}

bool
session_slots_confirm(struct session_slots *slots, const struct session *s,
		      struct session_gone *gone)
{
	*gone = (struct session_gone){0};
	if (!s || s != slots->next)
		return false;
	leave(&slots->previous, gone);
	slots->previous = slots->current;
	slots->current = slots->next;
	slots->next = NULL;
	slots->crossed = false;
	return true;
}

bool
session_slots_follow(struct session_slots *slots, const struct session *s)
{
	struct session *theirs = slots->previous;

	if (!s || !slots->crossed || s != theirs)
		return false;
	slots->previous = slots->current;
	slots->current = theirs;
	return true;
}

void
session_slots_clear(struct session_slots *slots, struct session_gone *gone)
{
	*gone = (struct session_gone){0};
	leave(&slots->previous, gone);
	leave(&slots->current, gone);
	leave(&slots->next, gone);
	slots->crossed = false;
}

void
session_slots_stop(struct session_slots *slots)
{
	struct session *const all[] = {slots->previous, slots->current, slots->next};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i])
			session_stop(all[i]);
}
