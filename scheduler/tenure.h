/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_TENURE_H
#define SCHEDULER_TENURE_H

/*
 * One holder's side of a lease, as a core: when it may act, and when it must have stopped, so that
 * no two holders ever act at once. The store gives a lease for a time to live and counts that time
 * from when the question reached it; the holder counts from when it *asked*, and ends
 * TENURE_MARGIN_MS before, or a part of a long time to live: clocks that are each up to 1 % wrong
 * cannot close that gap, and no clock's reading is compared with another's.
 *
 *   NONE     does not hold, does not ask
 *   TAKING   asks for it, again each TENURE_RETRY_MS
 *   HELD     may act until until_ns; asks to keep it after three tenths of the time to live, and
 *            again each TENURE_RETRY_MS when the answer was an error
 *   ENDING   must not act any more; whatever acted in its name is being stopped
 *
 * Being told of until_ns as it moves on, whoever acts (a container's monitor) stops by itself when
 * that time has come, even if this process is frozen. After that the lease is given back, so that
 * the next holder need not wait for its end.
 *
 * The epoch is greater than that of each holder before: what is done for this lease carries it, and
 * who has seen a greater one refuses.
 *
 * What the store must do: answer each question, if only with an error. A TAKE by the holder that
 * has the lease (its first answer was lost, or it has started again) is a new one with a new epoch,
 * or is refused until the time of the first is over.
 *
 * Time is monotonic nanoseconds that count suspend. No I/O, no allocation.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

enum {
	TENURE_MARGIN_MS = 2000,
	TENURE_MARGIN_PART = 25, /* one of so many, when that is more */
	TENURE_RETRY_MS = 1000,
	TENURE_TTL_MIN_MS = 5000,
};

enum tenure_state { TENURE_NONE, TENURE_TAKING, TENURE_HELD, TENURE_ENDING };

struct tenure {
	uint64_t ttl_ns;
	enum tenure_state state;
	bool wanted;
	uint64_t epoch;    /* of HELD and ENDING */
	uint64_t until_ns; /* of HELD */
	uint64_t asked_ns; /* of the question that is under way, or the last one */
	uint64_t next_ns;  /* when to ask again */
	uint32_t question; /* number of the one under way; 0: none */
	uint32_t questions;
};

enum tenure_input_kind {
	TENURE_WANT,    /* wanted */
	TENURE_TIME,    /* nothing but time has passed */
	TENURE_TAKEN,   /* answer to ASK_TAKE: epoch, or error */
	TENURE_KEPT,    /* answer to ASK_KEEP */
	TENURE_STOPPED, /* in ENDING: nothing acts any more */
};

struct tenure_input {
	enum tenure_input_kind kind;
	uint64_t now_ns;
	bool wanted;
	uint32_t question;   /* of TAKEN, KEPT: as it was asked */
	uint64_t epoch;      /* of TAKEN; of KEPT: it has a new one, 0: as before */
	enum err_kind error; /* of TAKEN, KEPT: ERR_NONE; CONFLICT, NOT_FOUND: it is another's now;
				all others: not known */
};

enum tenure_verb {
	TENURE_ASK_TAKE = 1, /* question */
	TENURE_ASK_KEEP,     /* question, epoch */
	TENURE_ASK_DROP,     /* epoch; nobody waits for the answer */
	TENURE_HOLD,         /* may act, or goes on: until_ns, epoch */
	TENURE_LOSE,         /* stop, now; then say STOPPED */
};

enum { TENURE_ACTIONS_MAX = 3 };

struct tenure_actions {
	struct {
		enum tenure_verb verb;
		uint32_t question;
		uint64_t epoch;
		uint64_t until_ns;
	} items[TENURE_ACTIONS_MAX];
	unsigned count;
	uint64_t due_ns; /* step with TIME by then; UINT64_MAX: not needed */
};

/* ttl_ms >= TENURE_TTL_MIN_MS. */
void tenure_init(struct tenure *t, uint32_t ttl_ms);
/* Instead of init, by a successor of whom the lease was given to: it is held with that epoch until
 * until_ns, as whoever acts was told, and is asked to be kept with the first step. */
void tenure_resume(struct tenure *t, uint32_t ttl_ms, uint64_t epoch, uint64_t until_ns);
void tenure_step(struct tenure *t, const struct tenure_input *in, struct tenure_actions *out);

#endif
