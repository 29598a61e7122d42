/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_SESSION_H
#define OVERLAY_WG_SESSION_H

/*
 * What a handshake gave: two keys, with how often and how long each may be used (WireGuard
 * whitepaper, sections 5.4.6 and 6.1-6.2). A peer has up to three of them: the one it sends with,
 * the one before it, whose packets may still be on their way, and one that the other end asked for
 * and has not used yet.
 *
 * A session is counted: the device has one reference, and so has each thread that works with it;
 * the last one to let go wipes it.
 * Threading: session_reserve() and what reads only may be called by up to SESSION_THREADS_MAX
 * threads at a time. session_take() has one owner at a time. The slots have one owner.
 */

#include <stdatomic.h>
#include "overlay/wg/noise.h"
#include "overlay/wg/replay.h"

enum {
	SESSION_REKEY_AFTER_S = 120,
	SESSION_REJECT_AFTER_S = 180,
	SESSION_REKEY_LATE_S =
		165,             /* who only receives asks for new keys a little before the end */
	SESSION_BLOCK_MAX = 128, /* packets whose counters are reserved at once */
	SESSION_THREADS_MAX = 32,
	SESSION_PAD = 16,
};

#define SESSION_REKEY_AFTER_MESSAGES (UINT64_C(1) << 60)
#define SESSION_REJECT_AFTER_MESSAGES REPLAY_COUNTER_MAX

struct session {
	_Atomic uint64_t next; /* counter of the next packet to be sent */
	_Atomic uint32_t references;
	atomic_bool stopped; /* nothing more is sent with it */
	struct noise_keys keys;
	uint64_t born_ns;
	void *owner; /* whose it is; not to be followed by other threads */
	struct replay replay;
};

struct session_slots {
	struct session *previous, *current, *next;
	bool crossed; /* both ends began at a time: the previous one may be what the other sends
			 with for as long as it lives */
};

/* Those that left the slots: the caller has their references now. */
struct session_gone {
	struct session *items[3];
	unsigned count;
};

/* One reference. NULL: no memory. */
struct session *session_new(const struct noise_keys *keys, void *owner, uint64_t now_ns);
struct session *session_ref(struct session *s);
void session_unref(struct session *s); /* NULL is fine */

/* ---- sending ---- */

void session_stop(struct session *s);
bool session_sends(const struct session *s, uint64_t now_ns);
/* Counters for count (1 to SESSION_BLOCK_MAX) packets, of which none was or will be given to
 * anybody else. False: the session is no more to be used for sending. */
bool session_reserve(struct session *s, uint32_t count, uint64_t now_ns, uint64_t *first_out);
/* After sending: time for a new handshake. */
bool session_sent_enough(const struct session *s, uint64_t now_ns);
/* How long a text of that many bytes is on its way, without header and tag: padded, but never
 * beyond the MTU (of the tunnel) for the padding's sake. */
size_t session_padded(size_t bytes, size_t mtu);
/* The NOISE_HEADER bytes before a sealed text. */
void session_head(const struct session *s, uint64_t counter, uint8_t *out);
/* One datagram: out has NOISE_OVERHEAD + padded bytes. The text may stand at out + NOISE_HEADER
 * already. False: no memory. */
bool session_seal(struct primitive *p, const struct session *s, uint64_t counter, const void *text,
		  size_t bytes, size_t padded, uint8_t *out);

/* ---- receiving ---- */

bool session_receives(const struct session *s, uint64_t now_ns);
/* After receiving: who began the session asks for the next one before it is over. */
bool session_received_enough(const struct session *s, uint64_t now_ns);
/* A datagram of at least NOISE_OVERHEAD bytes, in place: the text is at packet + NOISE_HEADER,
 * bytes - NOISE_OVERHEAD long. False: forged; the text is wiped. */
bool session_open(struct primitive *p, const struct session *s, uint8_t *packet, size_t bytes);
/* Only after the packet was found to be genuine. False: it was here before, or is too old. */
bool session_take(struct session *s, uint64_t counter);

/* ---- the three of a peer ---- */

/* Takes the reference. What this end began is used from now on; what the other end began not
 * before it was confirmed. */
void session_slots_add(struct session_slots *slots, struct session *s, struct session_gone *gone);
/* A packet that came with s: true when it was the first of the next one, which is the current one
 * now. */
bool session_slots_confirm(struct session_slots *slots, const struct session *s,
			   struct session_gone *gone);
/* A packet that came with s, where the other end decides what both send with after they crossed:
 * true when the previous and the current one have changed places. */
bool session_slots_follow(struct session_slots *slots, const struct session *s);
void session_slots_clear(struct session_slots *slots, struct session_gone *gone);
/* Nothing more is sent with any of them; what comes is still taken. */
void session_slots_stop(struct session_slots *slots);

#endif
