/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACING_INSIDE_H
#define SCHEDULER_PLACING_INSIDE_H

/* What the files of placing share; nobody else includes this. */

#include "scheduler/place/placement.h"
#include "scheduler/placing.h"
#include "ring/msg_cluster.h"
#include "scheduler/shell.h"

#define PLACING_MS_NS UINT64_C(1000000)

/* A claim of this node. */
struct placing_claim {
	struct claim claim;
	bool stop;
	uint8_t why;        /* enum claim_retire */
	bool failed;        /* no replica could be made of it */
	bool ended;         /* the ledger was told that nothing is left of it */
	uint64_t again_ns;  /* not before, after the store failed */
	uint64_t missed_ns; /* since when its service is not in the store; 0 */
};

/* A node as it was given. */
struct placing_peer {
	uint32_t id;
	char name[MSG_NAME];
	char zone[MSG_NAME];
	char platform[32];
	uint32_t cpu_milli;
	uint64_t memory_bytes;
	char labels[MSG_PAIRS * 2];
	char taints[MSG_PAIRS * 2];
	bool cordoned, draining;
	enum placing_state state;
	uint32_t life;
	uint64_t reborn_ns; /* what is of an earlier life goes some time after; 0 */
	char things[PLACING_THINGS_MAX][TIDINGS_THING_MAX];
	uint32_t thing_lives[PLACING_THINGS_MAX];
	size_t things_count;
};

struct placing {
	struct model *m;
	uint32_t self;
	struct placing_link link;
	struct fleet fleet;
	struct placement core;
	struct map peers;     /* struct placing_peer by id */
	struct map claims;    /* struct placing_claim by number */
	struct map told;      /* ids of replicas of which there is an entry */
	struct map conducted; /* ids of deployments */
	struct map heard;     /* placing_figures.c: by service and node */
	struct map told_figures;
	struct map heard_waits; /* placing_waits.c: by service and node */
	struct map told_waits;  /* by service */
	bool figures_begun;
	bool stirred;       /* the core has something to look at */
	bool unread;        /* entries could not be taken in yet */
	uint64_t unread_ns; /* when to try again */
	unsigned unread_tries;
	uint64_t start_ns;
	bool changed; /* who may conduct; counts from the next pass, for the clock may stand */
	uint64_t changed_ns; /* when that was */
	bool bars;           /* fleet_bar() is to be called, */
	uint64_t bar_ns;     /* then */
	uint64_t next_run;
	int64_t drain_until_wall_ns;
	int64_t drain_base_ns; /* of the clocks, when that was read */
	bool draining;
	uint32_t cpu_free_milli;
	uint64_t memory_free_bytes;
	/* What this node's runs reserve, as the ledger was told. */
	uint64_t runs_cpu_milli;
	uint64_t runs_memory_bytes;
};

/* ---- placing_fleet.c ---- */

struct placing_peer *placing_peer(const struct placing *p, uint32_t node);
int placing_peer_facts(struct placing *p, struct placing_peer *n)
	__attribute__((warn_unused_result));
void placing_fleet_services(struct placing *p);
void placing_fleet_fini(struct placing *p);
bool placing_peer_lives(const struct placing_peer *n);
/* Entries that could not be taken in, when it is time to try again. After placing_fleet_services.
 */
void placing_entries_read(struct placing *p);
/* Something is known now that they may have waited for. */
void placing_entries_sooner(struct placing *p);
/* What nodes that began anew have not named again. */
void placing_entries_reap(struct placing *p);
/* The revision that is asked for; 0: none. */
uint32_t placing_asked_revision(const struct deployment *d);
uint64_t placing_asked_epoch(const struct deployment *d);
/* "volume:shop/data" */
void placing_volume(const struct service *s, const char *name, char out[TIDINGS_THING_MAX]);
/* "device:/dev/kvm" */
void placing_device(const char *path, char out[TIDINGS_THING_MAX]);

/* ---- placing_own.c ---- */

void placing_own_tell(void *arg, uint16_t what, uint32_t node, uint64_t token, const void *data,
		      size_t bytes);
/* Claims become replicas, replicas become states of claims and entries. */
void placing_own_before(struct placing *p);
void placing_own_after(struct placing *p);
struct replica *placing_own_replica(const struct placing *p, uint64_t number);
/* placing_own_things.c: looks at what this node has, and tells the others. */
void placing_own_things(struct placing *p);

/* ---- placing_figures.c ---- */

/* False: no memory. */
bool placing_figures_entry(struct placing *p, struct placing_peer *n, uint16_t type, uint64_t id,
			   const void *value, size_t bytes);
void placing_figures_reap(struct placing *p, const struct placing_peer *n, bool all);
void placing_figures_after(struct placing *p);
void placing_figures_fini(struct placing *p);

/* ---- placing_waits.c ---- */

/* value NULL: dropped. False: no memory. */
bool placing_waits_entry(struct placing *p, const struct placing_peer *n, uint64_t id,
			 const void *value, size_t bytes);
/* What a node said in a life of its that is over; all: one that was sent away. */
void placing_waits_reap(struct placing *p, const struct placing_peer *n, bool all);
/* What its conductor says, when that is another one; borrowed; NULL: nothing. */
const struct tidings_waits *placing_waits_heard(struct placing *p, const struct service *s);
/* As its conductor; NULL: none waits, or another one conducts. */
void placing_waits_tell(struct placing *p, const struct service *s,
			const struct tidings_waits *waits);
void placing_waits_after(struct placing *p);
void placing_waits_fini(struct placing *p);

/* ---- placing_runs.c ---- */

void placing_runs_after(struct placing *p);

/* ---- placing_ask.c ---- */

void placing_ask_before(struct placing *p);
void placing_ask_after(struct placing *p);
/* Says which replicas are placed anew, since that node has died. Before they are dropped. */
void placing_lost(struct placing *p, uint32_t node);

/* ---- placing_why.c ---- */

/* Why each node does not take it, and what would help. */
void placing_why_say_nodes(const struct placing *p, const struct fleet_service *f, struct err *err);
/* So many of its replicas have no node, as this node sees it; 0: all have one. Keeps why, or what
 * the conductor says instead. Tells it when it begins. */
void placing_explain(struct placing *p, struct service *s, uint32_t missing);

#endif
