/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_ROLLOUT_H
#define SCHEDULER_ROLLOUT_H

/*
 * How one deployment gets from what serves (the previous revision) to what was asked for (the
 * target), as a core: the replicas as they are now and the time come in, actions come out. It keeps
 * no list of steps: after any crash the next step continues from what the store and the tables say.
 *
 *   FORWARD    new replicas are made, within had + surge; an old one leaves only to make room for
 *              the next new one, and only when as many as before stay ready. The last old ones
 *              serve on until every new replica of every service has passed its gate and has stayed
 *              ready for the monitor window.
 *   COMMITTED  that moment: the target serves, it cannot fail any more; what is old leaves.
 *   BACK       something failed: what is new leaves, what is missing of the old is made again.
 *   PAUSED     something failed and the user wants to look at it: nothing moves.
 *   IDLE       nothing is under way: missing replicas are made, surplus ones leave, and those that
 *              are not to stay where they are (misfits) are replaced: the new one is made within
 *              the surge and is ready for the monitor window before the old one leaves; a misfit
 *              leaves first only where the rules of the service let it, and only when some node
 *              would take the next one.
 *
 * Time is monotonic nanoseconds. No I/O, no allocation.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rollout_phase {
	ROLLOUT_IDLE = 1,
	ROLLOUT_FORWARD,
	ROLLOUT_COMMITTED,
	ROLLOUT_BACK,
	ROLLOUT_PAUSED,
};

enum rollout_condition { ROLLOUT_STARTED, ROLLOUT_HEALTHY, ROLLOUT_READY };
enum rollout_on_timeout { ROLLOUT_FAIL, ROLLOUT_WARN, ROLLOUT_GO_ON };

struct rollout_depend {
	uint32_t service; /* index into the view's services */
	enum rollout_condition condition;
	enum rollout_on_timeout on_timeout;
	uint64_t timeout_ns;
	bool over; /* set by the core: timed out, and that was said */
};

struct rollout_service {
	uint32_t want; /* replicas of the target; 0: it has no such service */
	uint32_t had;  /* of the previous */
	uint32_t surge;
	uint32_t unavailable;
	bool stop_first;
	bool pause;            /* its failure pauses instead of turning back */
	bool room;             /* some node would take one more, as far as is known */
	uint64_t monitor_ns;   /* how long new ones must stay ready */
	uint64_t ready_max_ns; /* by then a new one has passed its gate */
	struct rollout_depend *depends;
	size_t depends_count;
};

struct rollout_replica {
	uint64_t id;
	uint32_t service; /* index */
	uint32_t index;   /* N of "web.N" */
	bool target;      /* made as the target says */
	bool previous;    /* made as the previous says (an unchanged service: both) */
	bool fresh;       /* made by this operation on its way forward */
	bool leaving;     /* ordered to be removed */
	bool draining;    /* leaving, and can still come back */
	bool started;     /* its process runs */
	bool passed;      /* has passed its gate at least once */
	bool ready;       /* in balancing */
	bool trouble;     /* ended, and not to be expected back soon */
	bool misfit;      /* is not to stay where it is */
	bool covered; /* one that is to stay is ready on its node: the first to go of those like it
		       */
	uint64_t created_ns;
	uint64_t ready_ns; /* since when it is ready */
};

struct rollout_view {
	uint64_t now_ns;
	struct rollout_service *services;
	size_t services_count;
	const struct rollout_replica *replicas;
	size_t replicas_count;
};

enum rollout_cause {
	ROLLOUT_CAUSE_NONE,
	ROLLOUT_CAUSE_TROUBLE,  /* a new replica ended or could not be started */
	ROLLOUT_CAUSE_LATE,     /* it did not pass its gate in time */
	ROLLOUT_CAUSE_RELAPSED, /* it passed, and left balancing in the monitor window */
	ROLLOUT_CAUSE_DEPEND,   /* a service that it depends on is not there in time */
};

enum rollout_verb {
	ROLLOUT_CREATE = 1, /* service, index; of_target or of the previous */
	ROLLOUT_REMOVE,     /* replica */
	ROLLOUT_KEEP,       /* replica: comes back from draining */
	ROLLOUT_COMMIT,     /* the target serves from now on */
	ROLLOUT_TURN_BACK,  /* cause, replica or service and depend */
	ROLLOUT_PAUSE,      /* as above, but everything stays */
	ROLLOUT_SAY_LATE,   /* service, depend: goes on without it */
	ROLLOUT_DONE,       /* the operation has ended: from now on target and previous are
			       the same, and nothing is fresh */
};

struct rollout_action {
	enum rollout_verb verb;
	uint64_t replica;
	uint32_t service;
	uint32_t index;
	uint32_t depend;
	bool of_target;
	enum rollout_cause cause;
};

enum { ROLLOUT_ACTIONS_MAX = 64 };

struct rollout_actions {
	struct rollout_action items[ROLLOUT_ACTIONS_MAX];
	size_t count; /* when full the rest comes with the next step */
};

struct rollout {
	enum rollout_phase phase;
	bool keep;         /* a failure pauses */
	uint64_t began_ns; /* of the phase */
	uint64_t due_ns;   /* when time alone changes something; 0: never */
};

void rollout_init(struct rollout *r, enum rollout_phase phase, bool keep, uint64_t now_ns);
/* The actions must be carried out (or fail and be asked for again) before the next step, which
 * sees their effect in the view. Call until no action comes. */
void rollout_step(struct rollout *r, const struct rollout_view *view,
		  struct rollout_actions *actions);
/* The most replicas of a service that may exist at once. */
uint32_t rollout_limit(const struct rollout_service *s);

#endif
