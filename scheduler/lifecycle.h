/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_LIFECYCLE_H
#define SCHEDULER_LIFECYCLE_H

/*
 * The life of one replica, as a core: events and time come in, notes come out, and what is to be
 * published (claim, probes, balancing) is read from the state. It is level-triggered: an event
 * carries all that is known now, so a lost, repeated or late one does no harm.
 *
 *   PENDING -> CREATING -> STARTING -> READY <-> UNHEALTHY
 *                 ^  |         |         |           |
 *                 |  v         v         v           v     ended by itself
 *               BACKOFF <------+---------+-----------+---> FAILED (shutdown)
 *                                                       or, with another attempt that only
 *                                                       holds its place, ISOLATED (isolate)
 *   ordered to stop or to be removed: (in balancing) DRAINING -> STOPPING -> STOPPED [gone]
 *
 * The crash policy: the first three ends within five minutes are followed by a start at once, the
 * next ones after 1 and 2 s; more than five are a crash loop: 30 s between tries. An end for want
 * of its lease counts for nothing. What could not even be started is tried again after 1, 2, 4 ...
 * 60 s. Time is monotonic nanoseconds. No I/O, no allocation.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ring/msg.h"

enum lifecycle_panic { LIFECYCLE_RESTART, LIFECYCLE_SHUTDOWN, LIFECYCLE_ISOLATE };

enum lifecycle_init_failure {
	LIFECYCLE_INIT_FAIL,    /* stays down */
	LIFECYCLE_INIT_RESTART, /* three tries at once, then it stays down */
	LIFECYCLE_INIT_BACKOFF,
};

struct lifecycle_policy {
	bool weak;             /* no health block: accept TCP and stay up */
	uint64_t stay_up_ns;   /* weak: until the gate is passed for the first time */
	uint64_t grace_ns;     /* after the start: failures do not count */
	uint64_t patience_ns;  /* after the grace: then it is called unhealthy */
	uint32_t retries;      /* failures in a row of a check that make it unhealthy */
	uint64_t drain_max_ns; /* then it is stopped with requests under way */
	enum lifecycle_panic panic;
	enum lifecycle_init_failure init;
	bool job; /* runs once: its end is no trouble, nothing is asked of it meanwhile */
};

enum lifecycle_order { LIFECYCLE_IDLE, LIFECYCLE_RUN, LIFECYCLE_STOP, LIFECYCLE_REMOVE };

enum {
	LIFECYCLE_AT_ONCE = 3,
	LIFECYCLE_LOOP = 5,
	LIFECYCLE_NOTES_MAX = 8,
};

struct lifecycle {
	struct lifecycle_policy policy;
	enum lifecycle_order order;
	enum msg_replica_state state;
	uint32_t attempt;       /* asked of the runtime; 0: none yet */
	uint32_t ready_attempt; /* that passed the gate last; 0: none ever did */
	uint32_t restarts;
	uint32_t start_failures; /* in a row */
	bool init_failing;       /* the last one was of an init step, and there is another try */
	bool crash_loop;
	bool hold;                     /* the attempt only holds the place of what ended */
	bool gone;                     /* removed, nothing is left of it */
	int64_t started_wall_ns;       /* of the process that is looked at */
	int64_t ready_started_wall_ns; /* of the process that passed the gate */
	uint64_t started_ns;           /* when it was first seen running */
	uint64_t drain_ns;             /* when draining began */
	uint64_t due_ns;               /* when time alone changes something; 0: never */
	uint64_t ends[LIFECYCLE_LOOP]; /* when it ended lately; 0 unused */
};

enum lifecycle_event_kind {
	LIFECYCLE_ORDER, /* order */
	LIFECYCLE_SEEN,  /* the tables as they are now, or just the time */
};

struct lifecycle_event {
	uint64_t now_ns;
	enum lifecycle_event_kind kind;
	enum lifecycle_order order;
	/* the runtime's row */
	bool runtime_known; /* its tables were read: an absent row means that nothing is there */
	uint32_t container; /* enum msg_container_state; 0: no row */
	uint32_t attempt;
	int64_t started_wall_ns;
	bool init_failed; /* FAILED: by one of its init steps */
	bool hold;        /* it only holds the place of a program that ended */
	bool lease_over;  /* it ended because it was not leased to this node any more */
	/* checks of that attempt */
	uint32_t checks;     /* that there are */
	uint32_t passed;     /* whose last answer was good */
	uint32_t failed_max; /* the most failures in a row of one of them */
	bool drained;        /* every proxy has let go of it */
};

enum lifecycle_note {
	LIFECYCLE_CREATED = 1, /* asked of the runtime: a first or further attempt */
	LIFECYCLE_STARTED,
	LIFECYCLE_READY,
	LIFECYCLE_UNHEALTHY,
	LIFECYCLE_EXITED,
	LIFECYCLE_START_FAILED,
	LIFECYCLE_BACKED_OFF,
	LIFECYCLE_CRASH_LOOPS,
	LIFECYCLE_GAVE_UP,
	LIFECYCLE_DRAINS,
	LIFECYCLE_STOPS,
	LIFECYCLE_STOPPED,
	LIFECYCLE_GONE,
	LIFECYCLE_ISOLATED, /* ended; the next attempt holds its place */
};

struct lifecycle_notes {
	enum lifecycle_note items[LIFECYCLE_NOTES_MAX];
	size_t count;
};

void lifecycle_init(struct lifecycle *l, const struct lifecycle_policy *policy);
/* After a restart of the scheduler, from what the store holds. desired: enum msg_desired. */
void lifecycle_restore(struct lifecycle *l, uint32_t desired, uint32_t attempt,
		       uint32_t ready_attempt, int64_t ready_started_wall_ns, uint32_t restarts);
/* Adds to notes. */
void lifecycle_step(struct lifecycle *l, const struct lifecycle_event *event,
		    struct lifecycle_notes *notes);

/* What to publish. enum msg_desired or 0: no claim. */
uint32_t lifecycle_claim(const struct lifecycle *l);
/* enum msg_backend_state or 0: not in balancing. */
uint32_t lifecycle_balance(const struct lifecycle *l);
enum lifecycle_probing { LIFECYCLE_NO_PROBES, LIFECYCLE_PROBE_FAST, LIFECYCLE_PROBE };
enum lifecycle_probing lifecycle_probing(const struct lifecycle *l);
/* Ended, and not to be expected back soon: the reason for a roll-back. */
bool lifecycle_in_trouble(const struct lifecycle *l);

#endif
