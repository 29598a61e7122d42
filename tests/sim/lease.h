/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_LEASE_H
#define TESTS_SIM_LEASE_H

/*
 * What the cores, the store and the observer of the profile `lease` say to each other, and what a
 * seed decides for all of them. No structure here has a hole: all of its bytes go into the trace.
 */

#include "scheduler/firing.h"
#include "scheduler/tenure.h"
#include "tests/sim/sim.h"

enum {
	LEASE_PLAIN, /* held by one that acts */
	LEASE_CRON,  /* whose holder judges what is due */
	LEASE_LEASES,
	LEASE_JOBS = 3,
	LEASE_OPEN_MAX = 128, /* firings of a job that are not over, in one answer */
	LEASE_OPEN_STOP = 96, /* with so many no further one is asked for */
};

/* STEP_LOCAL and STEP_TELL (what). */
enum lease_word {
	LEASE_WANT = 1, /* local. token: lease; data: u8 */
	LEASE_ANSWER,   /* local. struct lease_answer, as much as is used */
	LEASE_STOPPED,  /* local. token: lease; nothing acts for it here */
	LEASE_PEER,     /* local. token: node; data: u8 held dead */
	LEASE_RUNNING,  /* local, after a start. struct lease_run: it was started and runs */
	LEASE_ENDED,    /* local. struct lease_run */
	LEASE_ACTS,     /* local, after a start. struct lease_hold: as the monitor has it */
	LEASE_BOOTED,   /* local: all that still runs has been said */
	LEASE_ASK,      /* tell. struct lease_ask */
	LEASE_HOLD,     /* tell. struct lease_hold: whoever acts may do so until then */
	LEASE_LOSE,     /* tell. token: lease; it is to stop */
	LEASE_RUN,      /* tell. struct lease_run: start it */
};

/* What the store can do. */
enum lease_verb {
	LEASE_TAKE = 1, /* thing: lease */
	LEASE_KEEP,
	LEASE_DROP,
	LEASE_READ,  /* thing: job */
	LEASE_MARK,  /* if it is still as read: at_s is dealt with; fire: run it here */
	LEASE_OVER,  /* that try of the firing has ended, well or not */
	LEASE_AGAIN, /* that try is lost: the next one is mine */
};

struct lease_ask {
	uint64_t id;   /* of the node's boot */
	uint64_t boot; /* the answer is for */
	uint64_t epoch;
	uint64_t version; /* MARK: of the job as it was read */
	int64_t at_s;
	int64_t wall_s; /* MARK: when it was judged */
	uint32_t verb;
	uint32_t node;
	uint32_t thing;
	uint32_t tries;
	uint32_t fire;   /* MARK */
	uint32_t reason; /* MARK: enum firing_reason */
	uint32_t well;   /* OVER: it ended; 0: it is lost */
	uint32_t zero;
};

struct lease_open {
	int64_t at_s;
	uint32_t node;
	uint32_t tries;
};

struct lease_answer {
	uint64_t id;
	uint64_t boot;
	uint64_t epoch;
	uint64_t version;
	int64_t mark_s;
	uint32_t error; /* enum err_kind */
	uint32_t count; /* of open */
	struct lease_open open[LEASE_OPEN_MAX];
};

struct lease_hold {
	uint64_t epoch;
	uint64_t until_ns;
	uint32_t lease;
	uint32_t zero;
};

struct lease_run {
	int64_t at_s;
	uint32_t job;
	uint32_t tries;
};

/* What a seed decides. */
struct lease_job {
	struct cron schedule;
	enum firing_overlap overlap;
	enum firing_catch_up catch_up;
	bool retry; /* a lost run is run again; else what was lost is over */
};

struct lease_rules {
	uint32_t ttl_ms;
	uint32_t patience_ms; /* the store's client waits so long for an answer */
	bool retakes;         /* TAKE by who has the lease: a new one; else refused, as any other */
	bool all_judge;       /* not only who holds LEASE_CRON: the mark alone must do */
	struct lease_job jobs[LEASE_JOBS];
};

void lease_rules_draw(struct lease_rules *r, uint64_t plan_seed);

/* lease_core.c */
extern const struct sim_core_calls lease_core_calls;

#endif
