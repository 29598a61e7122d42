/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

/*
 * A cluster of cores (scheduler/step.h) on one clock: this is the shell of every node, the network
 * and the disks between them, and the observer that knows all. One thread, no I/O, no real time;
 * the same plan gives the same trace, and `hash` says so.
 *
 * What a core writes into `what` of a STEP_SEND comes with the datagram, as if it stood in it: so
 * cores that share a node can tell theirs apart. Nodes are 1 to plan.nodes, as in step.h. Times are
 * of the simulation unless called local.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "scheduler/step.h"
#include "tests/sim/disk.h"
#include "tests/sim/draw.h"
#include "tests/sim/link.h"
#include "tests/sim/plan.h"
#include "tests/sim/queue.h"
#include "tests/sim/skew.h"

#define SIM_MS UINT64_C(1000000)
#define SIM_S UINT64_C(1000000000)

/* What a core is started with. Those of a node are the same at each boot but seed and boot. */
struct sim_core_config {
	uint32_t node;
	uint32_t nodes; /* 1 to this one are admitted */
	uint32_t wire;  /* the version to speak */
	uint32_t zone;
	uint64_t boot; /* 1, 2, ... */
	uint64_t seed;
	uint64_t plan_seed; /* of the whole plan, for what a profile draws once */
	void *profile;      /* of struct sim_profile */
};

struct sim_core_calls {
	void *(*start)(const struct sim_core_config *config);
	void (*step)(void *core, const struct step_input *in, struct step_actions *out);
	void (*free)(void *core);
};

struct sim;

/* A rule that the observer keeps. Each function may be NULL; each may call sim_fail. */
struct sim_check {
	const char *name;
	/* After each step of a node that is up. */
	void (*step)(void *observer, struct sim *s, uint32_t node, const struct step_input *in,
		     const struct step_actions *out);
	/* After the faults have ended, asked again and again: whether all is as it must be in the
	 * end; otherwise why not. */
	bool (*settled)(void *observer, struct sim *s, char *why, size_t cap);
	/* Once, when all has settled. */
	void (*end)(void *observer, struct sim *s);
};

struct sim_profile {
	const char *name;
	const struct sim_core_calls *core;
	struct plan_wish wish;
	void *data; /* handed to the core's start */
	/* A datagram of a node to itself comes back to it; otherwise it breaks the contract. */
	bool sends_to_self;
	/* What the checks share. May be NULL. */
	void *(*observer_new)(struct sim *s);
	void (*observer_free)(void *observer);
	/* A PLAN_ACT: node is up; number is drawn. */
	void (*act)(void *observer, struct sim *s, uint32_t node, uint64_t number);
	/* A node went down, or came up with another boot number. May be NULL. */
	void (*turned)(void *observer, struct sim *s, uint32_t node, bool up);
	/* A STEP_TELL is carried out: at once, or when the disk has what it waits for. May be
	 * NULL. */
	void (*told)(void *observer, struct sim *s, uint32_t node, const struct step_action *a,
		     const uint8_t *data);
	/* What sim_later asked for. May be NULL. */
	void (*later)(void *observer, struct sim *s, uint16_t what, uint64_t number,
		      const void *data);
	const struct sim_check *checks;
	size_t check_count;
};

enum sim_state { SIM_DOWN, SIM_UP, SIM_PAUSED };

struct sim_node {
	void *core;
	enum sim_state state;
	uint64_t boot;
	uint32_t wire;
	struct skew clock;
	int64_t wall_off_ns;
	uint64_t timer_ns; /* local; UINT64_MAX: none */
	uint64_t timer_event_ns;
	uint32_t timer_serial;
	bool timer_armed;
	uint64_t crash_after; /* actions; UINT64_MAX: not asked for */
	bool crash_at_disk;   /* counted from the next write on */
	uint64_t down_for_ns;
	const struct plan_item *crash_again; /* as soon as it is up again; NULL: none */
	bool power;                          /* the crash takes the machine */
	uint64_t pause_until_ns;
	bool clock_stands; /* while it is paused, and did so at stood_ns */
	uint64_t stood;    /* how often its clock has */
	uint64_t stood_ns;
	uint64_t back_at_ns; /* of a node that is down */
	struct event *inbox; /* while it is paused */
	size_t inbox_count, inbox_room, inbox_bytes;
	struct disk disk;
	struct sim_held *held; /* actions that wait for the disk */
	uint32_t streams;      /* head of a list */
	uint32_t stream_names;
	uint64_t sent_packets, sent_bytes, got_packets, stream_bytes, steps;
	uint64_t packets_lost_full; /* its socket was full */
};

struct sim_failure {
	bool failed;
	char check[48];
	char text[512];
	uint64_t at_ns;
	uint32_t node;
};

struct sim {
	const struct plan *plan;
	const struct sim_profile *profile;
	void *observer;
	uint64_t now_ns;
	uint64_t hash;
	bool healed; /* the faults have ended */
	bool in_step;
	struct queue queue;
	struct parcels parcels;
	struct link link;
	struct sim_node *nodes; /* node n at n - 1 */
	struct sim_stream *streams;
	uint32_t stream_room, stream_unused;
	uint64_t stream_serial;
	struct draw draw; /* of shells: splits, crashes */
	struct step_actions actions;
	struct sim_failure failure;
	uint8_t *sides; /* of the plan's cuts, a bitmap each */
	size_t side_bytes;
	bool *begun; /* by item of the plan */
	FILE *trace; /* every input and action in words; NULL: none */
	uint64_t steps, events, datagrams, lost;
};

struct sim *sim_new(const struct plan *plan, const struct sim_profile *profile);
void sim_free(struct sim *s);
/* Until nothing is left to do, that time has come, or a check has failed. */
void sim_run(struct sim *s, uint64_t until_ns);
/* Ends all faults now, but what is to last for ever. */
void sim_heal(struct sim *s);

/* Of checks, profiles and tests. */
void sim_fail(struct sim *s, const char *check, uint32_t node, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* A step of the node with STEP_LOCAL, at once or, from within a step, right after it. */
void sim_local(struct sim *s, uint32_t node, uint16_t what, uint64_t number, const void *data,
	       size_t bytes);
/* Later; dropped when the node is down then. */
void sim_local_in(struct sim *s, uint32_t node, uint64_t in_ns, uint16_t what, uint64_t number,
		  const void *data, size_t bytes);
/* The profile's `later`, with these; whatever becomes of the nodes. */
void sim_later(struct sim *s, uint64_t in_ns, uint16_t what, uint64_t number, const void *data,
	       size_t bytes);
void *sim_core(const struct sim *s, uint32_t node); /* NULL while it is down */
bool sim_is_up(const struct sim *s, uint32_t node); /* and not paused */
uint64_t sim_local_ns(const struct sim *s, uint32_t node);
const struct disk_file *sim_file(const struct sim *s, uint32_t node, uint16_t what);

#endif
