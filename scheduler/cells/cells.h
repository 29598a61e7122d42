/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CELLS_CELLS_H
#define SCHEDULER_CELLS_CELLS_H

/*
 * More nodes than one cell holds: cells of a region, regions of the world. A core as
 * scheduler/step.h says. docs/cells.md has the picture.
 *
 * There are three tiers of gossip (scheduler/gossip/gossip.h), each with the same core:
 *   0  all nodes of one cell, with what each says of itself; nobody else
 *   1  the gates of all cells of one region, with a summary of each cell
 *   2  the gates of all regions, with a summary of each region
 * The gates of a cell are the first SUMMARY_GATES of its live nodes by rendezvous, those of a
 * region the same of the nodes that speak for its cells; the first gate speaks. A node takes part
 * in a tier for as long as it is a gate there. What a unit says of itself goes to the others only
 * as a summary: no entry of one cell's nodes is ever given to another cell.
 *
 * How gates find each other: a record (round, gates) of each unit stands in the summary that the
 * unit says, and in the gossip one tier below, so that every node of a cell that becomes a gate
 * knows whom to ask. A new one says so to each other unit with a HELLO until it is answered; where
 * all gates that are known are gone, it asks nodes that it was given at its start.
 *
 * Inputs: STEP_FILE (config.file and the two numbers after it), STEP_START, then all kinds. After
 * cells_roster_*, cells_facts give a STEP_LOCAL (nothing in it is read).
 * Actions: as gossip's. `what` of a SEND says which tier and must come with the datagram. A
 * STEP_TELL has what = tier << 8 | enum gossip_tell_kind.
 *
 * A sender is believed to be in the cell that config.where says it is in (its certificate's), never
 * the one it says. Threading: one owner.
 */

#include "scheduler/cells/choice.h"
#include "scheduler/gossip/gossip.h"

enum {
	CELLS_TIERS = 3,
	CELLS_UNITS_MAX = 64,      /* cells of a region; regions */
	CELLS_SAY_MS = 5000,       /* a summary is said at most each */
	CELLS_LOST_MS = 6000,      /* no gate of a unit lives: then it is lost */
	CELLS_HELLO_MS = 1000,     /* the first repetition of a HELLO; the waits double, */
	CELLS_HELLO_MAX_MS = 8000, /* up to this */
	CELLS_RESIGN_MS = 10000, /* a gate that is none any more waits so long for its successor */
	CELLS_STREAMS_MAX = 64,
	/* What a SEND has in `what`: the tier, and this bit when it is a HELLO. */
	CELLS_HELLO = 16,
};

struct cells_place {
	uint32_t cell;
	uint32_t region;
};

/* A node of another cell or region, to begin with. */
struct cells_seed {
	uint32_t node;
	struct cells_place place;
};

struct cells_config {
	uint32_t self; /* not 0 */
	struct cells_place place;
	uint64_t seed;
	uint16_t file;
	const struct cells_seed *seeds; /* must outlive the core */
	size_t seeds_count;
	/* Where a node is admitted; false: nowhere. */
	bool (*where)(void *arg, uint32_t node, struct cells_place *out);
	void *arg;
	/* Of all tiers; self, seed and file are not read. wire is of hellos and summaries, too. */
	struct gossip_config gossip;
};

struct cells;

/* 0, or -1 when out of memory. */
int cells_new(const struct cells_config *config, struct cells **out)
	__attribute__((warn_unused_result));
void cells_free(struct cells *c); /* NULL is fine */
void cells_step(struct cells *c, const struct step_input *in, struct step_actions *out);

/* Of the own cell. */
enum gossip_result cells_roster_add(struct cells *c, uint32_t node);
enum gossip_result cells_roster_remove(struct cells *c, uint32_t node);
/* What this node says of itself. */
enum gossip_result cells_facts(struct cells *c, const struct facts *f);

/* A tier's gossip; NULL while this node is no gate there. */
const struct gossip *cells_gossip(const struct cells *c, unsigned tier);
struct gossip *cells_gossip_own(struct cells *c); /* tier 0 */

enum cells_state {
	CELLS_UNKNOWN, /* nobody of it was heard of yet */
	CELLS_LIVE,
	CELLS_LOST,
};

struct cells_unit {
	uint32_t unit;
	enum cells_state state;
	struct record record;          /* round 0: not known */
	const struct summary *summary; /* as last heard; NULL: never. Valid until the next step */
};

/* Units of a tier (1: cells of the region, 2: regions), the own one among them. */
size_t cells_units(const struct cells *c, unsigned tier);
void cells_unit_at(const struct cells *c, unsigned tier, size_t index, struct cells_unit *out);

struct cells_choice {
	uint32_t region;
	uint32_t cell; /* 0: of another region, whose gates know */
};

/* Only at a gate of a cell; false: it is none, or nobody can take it. */
bool cells_choose(const struct cells *c, const struct choice_ask *ask, struct cells_choice *out);

struct cells_counters {
	uint64_t hellos_sent, hellos_received;
	uint64_t foreign;   /* datagrams and streams for a tier that the sender is no part of */
	uint64_t malformed; /* hellos, records and summaries */
	uint64_t lies;      /* of a unit that the sender is not in, or gates that are not */
	uint64_t full;      /* units or streams beyond the limit */
	uint64_t opened, closed; /* times that this node became a gate, or ceased to be one */
};

const struct cells_counters *cells_counters(const struct cells *c);

#endif
