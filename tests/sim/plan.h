/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_PLAN_H
#define TESTS_SIM_PLAN_H

/*
 * All that happens to a cluster, drawn from one seed before anything runs: how many nodes, what
 * network and clocks they have, and a list of faults and of things that users do, each with its
 * time. A seed draws first which kinds of fault it has at all (swarm testing), then how strong.
 * Items may be dropped one by one: that is how a failing plan is made smaller.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "tests/sim/link.h"

enum plan_kind {
	PLAN_ACT,       /* something that a user or another part does: the profile knows what */
	PLAN_LOSS,      /* strength: ppm, everywhere */
	PLAN_NODE_LOSS, /* strength: ppm, in and out of the node */
	PLAN_TWICE,     /* strength: ppm */
	PLAN_LATE,      /* strength: ppm; so many are held up */
	PLAN_DELAY,     /* strength: ns, everything */
	PLAN_CUT,       /* the nodes of a side from the others; strength draws the side */
	PLAN_CUT_ONE_WAY,
	PLAN_FLAP,      /* as PLAN_CUT, on and off */
	PLAN_PAUSE,     /* the node stands still; strength 1: its clock shows so only afterwards */
	PLAN_CRASH,     /* its process ends after strength % 16 further actions; from 16 on they
			   are counted only from its next write to the disk on */
	PLAN_POWER,     /* the machine, too: its clock begins anew */
	PLAN_JUMP,      /* strength: ns forward */
	PLAN_WALL,      /* strength: ms, as int64_t: wall time */
	PLAN_DISK_SLOW, /* strength: times */
	PLAN_DISK_FAIL, /* strength: ppm */
	PLAN_DISK_FULL,
	PLAN_NARROW, /* strength: bytes per second out of the node */
	PLAN_KINDS,
};

#define PLAN_FOR_EVER UINT64_MAX

struct plan_item {
	uint64_t at_ns;
	uint64_t for_ns;
	enum plan_kind kind;
	uint32_t node; /* from 1; of a cut: how many stand on the side */
	uint64_t strength;
	bool dropped;
};

struct plan {
	uint64_t seed;
	uint32_t nodes;
	uint64_t safety_ns; /* faults end here */
	uint64_t bound_ns;  /* so long after it all must be settled */
	uint64_t spread_ns; /* nodes start within */
	uint32_t rate_max_ppb;
	size_t socket_bytes;
	uint64_t sync_ns_max; /* of the disks; 0: what is usual */
	uint32_t wire_low;    /* versions that nodes speak are drawn between */
	uint32_t wire_high;
	bool quiet;         /* no faults at all */
	bool closer_silent; /* who closes a stream is not told DOWN of it */
	struct link_model link;
	struct plan_item *items; /* by time */
	size_t item_count;
	size_t item_room;
};

/* What a profile asks of its plans. */
struct plan_wish {
	uint32_t nodes_max;       /* drawn up to; most seeds have far fewer */
	uint32_t acts_per_minute; /* about; 0: none */
	uint64_t bound_ns;
	bool disk;
	uint32_t wire_low, wire_high;
};

/* nodes 0: drawn. kinds: bits of the faults that may be drawn. */
void sim_plan_draw(struct plan *p, const struct plan_wish *wish, uint64_t seed, uint32_t nodes,
		   uint64_t safety_ns, uint32_t kinds);
void sim_plan_fini(struct plan *p);
/* Adds in the place of its time; for tests and benchmarks. */
void sim_plan_add(struct plan *p, struct plan_item item);
/* A bit per node (from 0) that stands on the side which `strength` draws. */
void sim_plan_side(const struct plan *p, const struct plan_item *item, uint8_t *bits, size_t bytes);
const char *sim_plan_kind_name(enum plan_kind kind);
void sim_plan_print(const struct plan *p, size_t index, FILE *to);

#endif
