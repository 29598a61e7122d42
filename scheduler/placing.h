/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACING_H
#define SCHEDULER_PLACING_H

/*
 * Where replicas are in a cluster: between the model, which knows what is wanted and what there is,
 * and the core of placement (place/placement.h), which finds nodes and keeps this node's claims.
 *
 * The roll-out core decides on the deployment's conductor (decisions/010). What it wants made is
 * asked for (placing_ask); until the replica is heard of it is in the view as one that comes. The
 * node that has the claim makes the replica (create_placed) and lives its life; all others hold it
 * as a remote one (remote.h). What is to be removed is told to its claim's node.
 *
 * A replica's id is its node's id << 32 | the number of its claim; those that a founding node had
 * before keep theirs, and their claims have the same number (placing_found).
 *
 * It neither speaks nor reads files itself: placing_core() goes into a shell, and entries of gossip
 * come and go through the link. Threading: the loop's.
 */

#include "scheduler/model.h"
#include "scheduler/rollout.h"
#include "scheduler/tidings.h"

struct shell_core;

enum {
	PLACING_SERVICE = 2,        /* the core's number in the shell */
	PLACING_ROUND_MS = 2000,    /* after a change of members nobody conducts anew so long */
	PLACING_HEAR_MS = 10000,    /* after the start those not heard of are waited for */
	PLACING_STUCK_MS = 10000,   /* after a change of who can write the store */
	PLACING_REBIRTH_MS = 5000,  /* what a node that began anew does not name again is gone */
	PLACING_THINGS_MAX = 64,    /* volumes of a node that bind services to it */
	PLACING_RATHER_MAX = 8,     /* as many as fleet.h has room for */
	PLACING_WHY_NODES_MAX = 64, /* in an explanation */
};

/* All with the same arg. put, drop and stir are called at any time, also from a core's step: take
 * note, do it later. */
struct placing_link {
	void *arg;
	/* STEP_LOCAL for the core, at once; never called from within its step. */
	void (*local)(void *arg, uint16_t what, uint64_t token, const void *data, size_t bytes);
	/* An entry of this node's. */
	void (*put)(void *arg, uint16_t type, uint64_t id, const struct tidings_value *v);
	void (*drop)(void *arg, uint16_t type, uint64_t id);
	/* Gives all entries of a node (0: of all nodes) again, by placing_entry. From a pass. */
	void (*again)(void *arg, uint32_t node);
	/* A pass is needed. */
	void (*stir)(void *arg);
	/* This machine has that device; NULL: it has none. */
	bool (*has_device)(void *arg, const char *path);
};

enum placing_state { PLACING_NEW, PLACING_ALIVE, PLACING_SUSPECT, PLACING_DEAD };

/* A node of the cluster, as its facts and its row say together; borrowed. */
struct placing_node {
	uint32_t id;
	const char *name;
	const char *zone;
	const char *platform;
	uint32_t cpu_milli;
	uint64_t memory_bytes;
	const char *labels; /* "key=value" each behind the other, '\n' */
	const char *taints; /* likewise; "key" or "key=value" */
	bool cordoned;
	bool draining;
	int64_t drain_until_wall_ns; /* of this node; 0: as long as it takes */
};

/* The model's; replicas that are in it become this node's (placing_found made claims of them). */
int placing_new(struct model *m, uint32_t self, uint64_t seed, const struct placing_link *link,
		struct err *err) MUST_CHECK;
void placing_free(struct placing *p); /* NULL is fine; after the shell */
/* The journal of a node that had replicas before it was in a cluster: made once, durably. */
int placing_found(struct model *m, uint32_t self, int folder, struct err *err) MUST_CHECK;
void placing_core(struct placing *p, struct shell_core *out);
/* For the link's gossip: puts what this node says of all its replicas and claims. Before gossip
 * begins, so that nobody takes them for gone. */
void placing_tell_all(struct placing *p);

/* ---- what is heard ---- */

/* A new node is PLACING_NEW. -1: out of memory, and nothing has changed. */
int placing_node_set(struct placing *p, const struct placing_node *n)
	__attribute__((warn_unused_result));
void placing_node_state(struct placing *p, uint32_t node, enum placing_state state);
/* The store takes no changes of that node, which may be this one: it conducts nothing while it
 * takes those of another. */
void placing_node_stuck(struct placing *p, uint32_t node, bool stuck);
void placing_node_remove(struct placing *p, uint32_t node);
void placing_node_load(struct placing *p, uint32_t node, uint32_t cpu_free_milli,
		       uint64_t memory_free_bytes);
/* CLAIM, REPLICA, THING, FIGURES, SCALE, WAITS; others are passed over. value NULL: dropped. */
void placing_entry(struct placing *p, uint32_t node, uint16_t type, uint64_t id, const void *value,
		   size_t bytes);
/* Whether none waits for what it names to become known. */
bool placing_entries_taken(const struct placing *p);
/* Entries may have been missed: all of them are read again, with the next pass. */
void placing_again(struct placing *p);
/* All entries of the node are gone; those of its new life follow. */
void placing_reset(struct placing *p, uint32_t node);

/* ---- for the passes ---- */

void placing_before(struct placing *p);
void placing_after(struct placing *p);
bool placing_conducts(struct placing *p, const struct deployment *d);
/* What this node may still promise. */
void placing_free_room(const struct placing *p, uint32_t *cpu_milli, uint64_t *memory_bytes);
/* Replicas of this node. */
size_t placing_own(const struct placing *p);
/* For what has no claim: a run of a job. */
uint64_t placing_run_id(struct placing *p);
/* The node for a run of a job or cron; 0 with err: there is none, and why. */
uint32_t placing_pick(struct placing *p, const struct service *s, uint32_t run, struct err *err);
/* Whether this node may have it. */
int placing_check_here(struct placing *p, const struct service *s, struct err *err) MUST_CHECK;
/* For who conducts: nothing is heard of that node, and it was waited for. */
bool placing_is_gone(const struct placing *p, uint32_t node);
/* That node lives and cannot ask the store, this one can, and it was waited for whether that
 * becomes otherwise: with PLACING_STUCK_MS. */
bool placing_is_stuck(struct placing *p, uint32_t node);
/* What people call it; NULL: it is not known any more. */
const char *placing_node_name(const struct placing *p, uint32_t node);

/* What comes, in a roll-out's view: id has PLACING_COMES set. */
#define PLACING_COMES (UINT64_C(1) << 63)

struct placing_coming {
	struct service *service;
	uint32_t index;
	uint32_t revision;
	uint32_t node;   /* 0: none has it yet */
	uint64_t number; /* of its claim on that node */
	uint64_t operation;
	uint64_t since_ns;
	bool leaving;
};

size_t placing_coming_count(const struct placing *p, const struct service *s);
/* The n-th. */
void placing_coming(const struct placing *p, struct service *s, size_t n,
		    struct placing_coming *out);
/* Every other node that is not dead, as far as is known. */
void placing_live_each(const struct placing *p, void (*visit)(void *arg, uint32_t node), void *arg);
/* Sets p->misfit of the replicas; true: there are some. */
bool placing_judge(struct placing *p, struct service *s);
/* Another replica is to come for it (or not): then it does not count where they are spread. */
void placing_is_old(struct placing *p, const struct replica *r, bool old);
/* Some node would take one more. */
bool placing_has_room(struct placing *p, const struct service *s);

int placing_ask(struct placing *p, struct service *s, uint32_t index, bool of_target,
		struct err *err) MUST_CHECK;
void placing_remove(struct placing *p, struct replica *r);
void placing_give_up(struct placing *p, const struct placing_coming *c);

/* ---- figures of the other nodes, for scaling (placing_figures.c) ---- */

/* What another node says of a service. */
struct placing_figures {
	uint32_t node;
	const char *name;
	bool there;      /* it says something: `said` */
	bool good;       /* it is not old and its node not suspected; not there: surely nothing */
	bool asked;      /* something was asked there since placing_figures_taken */
	uint64_t age_ns; /* since it was heard */
	struct tidings_figures said;
};

/* Of every other node that is not dead, in no order. */
void placing_figures_each(const struct placing *p, const struct service *s,
			  void (*visit)(void *arg, const struct placing_figures *f), void *arg);
void placing_figures_taken(struct placing *p, const struct service *s);
/* All services of this node have been looked at once. */
void placing_figures_begin(struct placing *p);
/* This node's, as they are now; goes out when it is news. asks_count: so is each further look in
 * which something was asked. */
void placing_figures_tell(struct placing *p, const struct service *s, const struct figures *own,
			  bool asks_count);
/* What this node decided as the conductor. */
void placing_scale_tell(struct placing *p, const struct service *s,
			const struct tidings_scale *scale);
/* What the conductor says, when that is another one; of all that said something, the last change.
 * Borrowed; NULL: nothing was heard. */
const struct tidings_scale *placing_scale_heard(struct placing *p, const struct service *s);
const struct tidings_scale *placing_scale_last(const struct placing *p, const struct service *s);
/* New replicas are to be on one of these nodes that has none, where that can be. Until it is said
 * otherwise. */
void placing_rather(struct placing *p, const struct service *s, const uint32_t *nodes,
		    size_t count);

/* Who conducts it, as far as is known here; 0: nobody. */
uint32_t placing_conductor(struct placing *p, const struct deployment *d);
/* Who would, and does not since the store takes no changes of it; 0: nobody. */
uint32_t placing_passed_over(struct placing *p, const struct deployment *d);
/* Why each node would not take one more replica of it, or that it would: rows of struct msg_why, at
 * most so many, those with a reason first. Whole on the conductor. */
void placing_why(struct placing *p, const struct service *s, size_t max, struct buf *out);
/* Why replicas of it have no node, as an error; what is said of a service that waits. */
void placing_cause(struct model *m, struct service *s, struct err *err);

#endif
