/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_FIRING_H
#define SCHEDULER_FIRING_H

/*
 * When a cron service runs, as a core: its schedule, what the store says it did last and the time
 * come in; at most one firing comes out. Whoever asks writes the firing as a record of (service,
 * time), by compare-and-swap on the mark, before a container starts: so one time never fires twice,
 * whoever else asks and whatever the clocks of two nodes say.
 *
 * The mark is the last time that was dealt with, fired or passed over. Time is dealt with in order
 * and never twice: a clock that is set back makes the schedule wait until it has caught up, one
 * that is set forward makes it miss what lies between.
 *
 * What was missed (nobody could write, the node was off, the clock jumped) is caught up as the rule
 * says; a firing within FIRING_GRACE_S of its time was not missed. A service that is disabled
 * misses nothing: its mark is set to the moment when it is enabled.
 *
 * Times are seconds since 1970, UTC. No I/O, no clock, no allocation.
 */

#include <stdbool.h>
#include <stdint.h>
#include "spec/cron.h"

enum {
	FIRING_GRACE_S = 10,
	FIRING_CATCH_UP_MAX = 100, /* of `all`: older ones are passed over */
};

enum firing_catch_up { FIRING_LAST, FIRING_ALL, FIRING_NONE };
enum firing_overlap {
	FIRING_FORBID, /* passed over while a run is under way */
	FIRING_ALLOW,
	FIRING_REPLACE, /* the run under way is stopped */
};

struct firing_rule {
	const struct cron *schedule;
	enum firing_catch_up catch_up;
	enum firing_overlap overlap;
	bool enabled;
};

struct firing_now {
	int64_t wall_s;
	int64_t mark_s;   /* dealt with last; of a new service: when it was deployed */
	uint32_t running; /* of its runs, on all nodes */
	bool unsure;      /* a node that may run one cannot be asked: counts as running */
};

enum firing_verb {
	FIRING_WAIT = 1, /* until next_s, or until it is enabled */
	FIRING_FIRE,     /* at_s; stop_others before */
	FIRING_PASS,     /* at_s is over: mark it, start nothing; why */
};

enum firing_reason {
	FIRING_ON_TIME = 1,
	FIRING_CAUGHT_UP, /* late, as the rule allows */
	FIRING_MISSED,    /* passed: too late */
	FIRING_OVERLAPS,  /* passed: a run is under way */
	FIRING_DISABLED,
	FIRING_OVER, /* the schedule has no time left */
};

struct firing_step {
	enum firing_verb verb;
	enum firing_reason reason;
	int64_t at_s;      /* FIRE, PASS: the new mark */
	uint32_t skipped;  /* FIRE, PASS: times before at_s that are passed over with it */
	bool skipped_more; /* and older ones that nobody counted */
	bool stop_others;
	int64_t next_s; /* the next time after now; 0 none */
};

/* Ask again after each FIRE and PASS whose mark was written, and at next_s. */
struct firing_step firing_step(const struct firing_rule *rule, const struct firing_now *now);

#endif
