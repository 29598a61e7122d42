/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CELLS_INSIDE_H
#define SCHEDULER_CELLS_INSIDE_H

/* Between the files of this folder: cells.c (the step), mux.c (three gossip cores behind one
 * step), gates.c (who is a gate, and hellos), view.c (summaries). */

#include "scheduler/cells/cells.h"

#define CELLS_MS UINT64_C(1000000)
#define CELLS_NEVER UINT64_MAX

/* Types of entries, in whatever tier they stand. */
enum cells_entry {
	CELLS_FACTS = 64, /* id 1; tier 0 */
	CELLS_GATES1,     /* id: cell; struct record. Tier 0 */
	CELLS_GATES2,     /* id: region. Tiers 0 and 1 */
	CELLS_SUMMARY,    /* id: unit. Tiers 1 and 2 */
	CELLS_RELAY,      /* id: region; its summary. Tier 1 */
};

enum { LIFE_MAX = 64 };

struct unit {
	uint32_t id;
	enum cells_state state;
	struct record record;    /* round 0: not known */
	struct summary *summary; /* as last heard; NULL: never */
	uint64_t silent_ns;      /* nobody of it lives since; 0: somebody does */
	bool said;               /* its speaker, who lives, says the summary now */
	bool behind;             /* what it says now has an older record than what it said once */
	uint64_t answered;       /* the round of ours that it has */
	uint8_t tries;
	uint32_t seed_at; /* in config.seeds, the next one to look at */
	uint64_t hello_ns;
};

struct tier {
	struct gossip *gossip; /* NULL: off */
	uint32_t own;          /* id of the own unit; tier 0: none */
	uint8_t generation;
	bool leaving, left;
	bool more, local, due; /* it has more to say; is to be told of a change; its timer */
	uint64_t timer_ns;
	uint8_t life[LIFE_MAX]; /* its file */
	size_t life_bytes;
	/* Tiers 1 and 2. */
	uint32_t gates[SUMMARY_GATES]; /* of the own unit, as this node sees it; 0: none */
	bool gate, speaker;
	uint64_t resign_ns;
	uint64_t said_ns;
	uint64_t round_ns; /* of the last round that this node began */
	bool urgent;       /* the summary is to be said without a wait */
	struct unit *units;
	size_t count, room;
};

enum stream_state { STREAM_OPENING, STREAM_NAMED, STREAM_NAMELESS, STREAM_OPEN };

struct stream {
	uint32_t name; /* the shell's */
	uint32_t node;
	uint8_t tier;
	uint8_t state;
};

struct cells {
	struct cells_config config;
	struct tier tiers[CELLS_TIERS];
	struct stream streams[CELLS_STREAMS_MAX];
	size_t streams_count;
	struct step_actions *out;
	uint64_t now_ns;
	uint64_t timer_ns; /* as last asked for */
	uint64_t look_ns;  /* when gates_look is due */
	bool started;
	struct cells_counters counters;
};

/* cells.c */
void cells_look_in(struct cells *c, uint64_t in_ns); /* at the latest */
uint64_t cells_random(struct cells *c, uint64_t salt);
/* Of a unit's id, in that tier. */
bool cells_is_of(const struct cells *c, uint32_t node, unsigned tier, uint32_t unit);

/* mux.c */
bool mux_open(struct cells *c, unsigned tier); /* false: no memory */
void mux_leave(struct cells *c, unsigned tier);
void mux_step(struct cells *c, unsigned tier, const struct step_input *in);
void mux_input(struct cells *c, const struct step_input *in);
/* Goes on with one thing that is left to do; false: there is none. */
bool mux_go_on(struct cells *c);
bool mux_busy(const struct cells *c);

/* gates.c */
/* Made when there is none; NULL: too many, or no memory. The own one is always there. Pointers are
 * valid until another is made. */
struct unit *gates_unit(struct cells *c, unsigned tier, uint32_t id);
void gates_hear_record(struct cells *c, unsigned tier, const struct record *r, int from_tier);
void gates_hello(struct cells *c, const struct step_input *in);
/* Who is a gate now, and everything that follows from it. Once in a while, and after changes. */
void gates_look(struct cells *c);

/* view.c */
void view_keep(struct cells *c, struct unit *u, const struct summary *s);
/* What the tier's gossip says of its units. */
void view_read(struct cells *c, unsigned tier);
/* The own unit's summary, and what is relayed, when it is time. */
void view_say(struct cells *c, unsigned tier);
void view_read_relays(struct cells *c);

#endif
