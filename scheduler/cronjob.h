/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CRONJOB_H
#define SCHEDULER_CRONJOB_H

/*
 * Services of rtype cron: the judge (firing.h) is asked in every pass, and what it says is done. A
 * time that comes due is written to the store as a firing, together with the mark, before its run
 * is made; the run names its firing in the store, too. So whatever ends in between, a time is run
 * at most once, unless the document asks for another try (cron.on_loss: retry).
 *
 * A schedule that is new, was changed or stood still (disabled, stopped) begins at that moment:
 * times before it are not caught up with.
 *
 * Of several nodes the one that conducts the deployment asks the judge, and chooses a node for what
 * is due (placing_pick): the firing names it, and that node makes the run and brings the firing to
 * its end. When it is gone, the conductor ends the firing, or (on_loss: retry) gives it to another
 * node. The run there does not begin before the lost one is dead: each such run has a lease
 * (unique.h). So has each run of a cron of which one may run at a time (overlap: forbid, replace),
 * all of them the same one: the next run begins when the one before is dead, wherever that is. A
 * run that its node has killed for want of its lease counts as lost. One that had not started gives
 * way when its node hears that its firing is another one's or lost, and does not start before it
 * could have heard.
 * Threading: the loop's.
 */

#include "scheduler/model.h"

enum {
	CRONJOB_FIRINGS_KEPT = 20, /* of each cron */
	CRONJOB_RUNS_MAX = 100,    /* of one cron at a time, also with overlap: allow */
	CRONJOB_TRIES_MAX = 3,     /* further runs of one time, with on_loss: retry */
};

struct cronjob_firing {
	struct list link;
	struct store_firing row;
	bool dirty;           /* memory is ahead of the store in what must be kept */
	bool found;           /* in the store when this process began, and not written since */
	bool waited;          /* for room on this node */
	uint64_t since_ns;    /* when this process heard of it, or wrote it */
	uint64_t asked_epoch; /* the lease of its run, for which it is written once more, */
	uint64_t sure_epoch;  /* and with which it was */
};

struct cronjob {
	struct store_cron row; /* id 0: it is not in the store yet */
	struct list firings;   /* by id: the oldest first */
	size_t count;
	bool asked;     /* next_s is what the judge said last */
	int64_t next_s; /* 0: none */
	bool over;      /* the schedule has no time left */
	uint64_t retry_ns;
	bool unread;     /* the store has something else: it is read again */
	uint64_t writes; /* that were kept */
	bool failing;    /* the store could not be written, and that was said */
};

/* Part of a pass; true when something was done: look again. */
bool cronjob_look(struct model *m, struct service *s);

/* The service as the revision that serves has it, if it is a cron there; else NULL. */
const struct doc_service *cronjob_in_force(struct model *m, struct service *s);
/* It and all that belongs to it goes. */
bool cronjob_is_removed(const struct deployment *d);
bool cronjob_is_over(const struct replica *p);
/* Of its runs one at a time may live, on all nodes. */
bool cronjob_is_single(const struct doc_service *spec);
/* In a cluster its runs live with leases. */
bool cronjob_is_leased(const struct doc_service *spec);
/* Neither ended nor lost with the machine that it ran on. */
bool cronjob_is_under_way(const struct model *m, const struct replica *p);

/* The run that has to end before p may start (overlap: replace); NULL: there is none. */
const struct replica *cronjob_follows(struct model *m, const struct replica *p);
/* By hand: whether the document lets another run begin now. */
int cronjob_check_run(struct model *m, struct service *s, const struct doc_service *spec,
		      struct err *err) MUST_CHECK;
/* What runs on this node is stopped for a newer run of any node, if the document says so. */
void cronjob_replace(struct model *m, struct service *s, const struct doc_service *spec);

/* Something of a service's cron was changed in the store; service 0: of all. */
void cronjob_hear(struct model *m, uint64_t service);

/* NULL when there is no memory. */
struct cronjob *cronjob_get(struct service *s);
struct cronjob_firing *cronjob_add(struct cronjob *job, const struct store_firing *row);
void cronjob_free(struct cronjob *job); /* NULL is fine */

#endif
