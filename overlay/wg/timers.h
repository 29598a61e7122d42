/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_TIMERS_H
#define OVERLAY_WG_TIMERS_H

/*
 * When something is to be done about a peer although no packet says so (WireGuard whitepaper,
 * section 6). Five timers:
 *
 *   retransmit      a handshake that nobody answered is begun again after 5 s and a little, until
 *                   that was tried for 90 s
 *   keepalive       data came and nothing was said for 10 s: an empty packet says that this end is
 *                   there
 *   new handshake   data was sent and nothing at all came for 15 s: perhaps the keys are lost
 *   forget          540 s after the last keys were made they are all wiped
 *   persistent      an empty packet after so many seconds without any, if the peer is configured so
 *
 * Events and time in, what is to be done out; nothing here sends or allocates. `at` of what is not
 * set is TIMERS_NEVER. Times are those of struct world, in nanoseconds.
 * Threading: one owner.
 */

#include <stdbool.h>
#include "base/world.h"

#define TIMERS_NEVER UINT64_MAX

enum {
	TIMERS_REKEY_TIMEOUT_S = 5,
	TIMERS_REKEY_ATTEMPT_S = 90,
	TIMERS_KEEPALIVE_S = 10,
	TIMERS_FORGET_S = 540,
	TIMERS_JITTER_MS = 334, /* less than that is added to handshakes */
};

enum timers_kind {
	TIMERS_RETRANSMIT,
	TIMERS_KEEPALIVE,
	TIMERS_NEW_HANDSHAKE,
	TIMERS_FORGET,
	TIMERS_PERSISTENT,
	TIMERS_KINDS_,
};

/* What is due: bits. To be done in this order. */
enum timers_work {
	TIMERS_DO_FORGET = 1 << 0,    /* wipe all keys and the handshake */
	TIMERS_DO_GIVE_UP = 1 << 1,   /* what waits for a handshake waits in vain */
	TIMERS_DO_RETRY = 1 << 2,     /* begin the handshake again */
	TIMERS_DO_HANDSHAKE = 1 << 3, /* begin one */
	TIMERS_DO_KEEPALIVE = 1 << 4,
};

struct timers {
	uint64_t at[TIMERS_KINDS_];
	uint64_t initiated_ns; /* last initiation or response of this end */
	uint64_t trying_ns;    /* since then */
	uint64_t jitter_ns;    /* of new handshakes, drawn with each session */
	uint16_t persistent_s; /* 0: none */
	bool initiated;
	bool last_minute; /* a handshake was begun because packets still came with old keys */
};

void timers_init(struct timers *t);
uint64_t timers_next(const struct timers *t); /* or TIMERS_NEVER */
/* A mask of enum timers_work; what was due is not set any more. */
unsigned timers_expire(struct timers *t, const struct world *w);

/* Whether an initiation may be sent: none of this end within TIMERS_REKEY_TIMEOUT_S. */
bool timers_may_initiate(const struct timers *t, uint64_t now_ns);
/* Somebody wants the handshake: the time after which it is given up begins anew. */
void timers_wanted(struct timers *t, uint64_t now_ns);
void timers_initiated(struct timers *t, const struct world *w);
/* It may not go yet: it will when it may, unless the other end's handshake is completed before. */
void timers_postponed(struct timers *t, const struct world *w);
void timers_responded(struct timers *t, uint64_t now_ns);
void timers_derived(struct timers *t, const struct world *w); /* there are new keys */
void timers_completed(struct timers *t);                      /* and both ends have them */
void timers_identity_changed(struct timers *t);          /* the next initiation may go at once */
void timers_sent(struct timers *t, uint64_t now_ns);     /* any packet that proves who sent it */
void timers_received(struct timers *t, uint64_t now_ns); /* such a one */
/* Besides: with a text in it. */
void timers_sent_data(struct timers *t, uint64_t now_ns);
void timers_received_data(struct timers *t, uint64_t now_ns);
/* 0: off. */
void timers_persist(struct timers *t, uint16_t seconds, uint64_t now_ns);
/* True once for each session. */
bool timers_take_last_minute(struct timers *t);

#endif
