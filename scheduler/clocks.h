/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CLOCKS_H
#define SCHEDULER_CLOCKS_H

/*
 * What the wall clocks of the other nodes say. Each node asks each of the others now and then; half
 * of the round trip is how wrong an answer may be. What the nodes' clocks say together is their
 * middle: with three or more known ones a single wrong clock does not move it. So a node can tell
 * that its own clock is the wrong one, and times that nodes write for each other (when a drain
 * ends, until when a certificate is good) are read by that middle (clocks_base).
 *
 * A datagram of this core, little endian:
 *   0 version u8   1 kind u8 (1 ASK, 2 SAY)   2 zero u16   4 number u32   8 wall_ns i64 (ASK: 0)
 * What follows is of a later version and passed over.
 *
 * The core is as step.h says. When its own wall clock is set, all is asked anew.
 * Threading: the loop's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/map.h"
#include "scheduler/step.h"

struct shell_core;

enum {
	CLOCKS_SERVICE = 7, /* the core's number in the shell */
	CLOCKS_VERSION = 1,
	CLOCKS_BYTES = 16,
	CLOCKS_ASKS_MAX = 16,     /* that one step sends */
	CLOCKS_TRIP_MS = 2000,    /* an answer that took longer says nothing */
	CLOCKS_AGAIN_MS = 20000,  /* each node is asked no more often, */
	CLOCKS_SOON_MS = 2000,    /* but one whose clock is not known yet; each time later */
	CLOCKS_TRIES = 4,         /* after which it may be of a version that does not answer */
	CLOCKS_SET_MS = 500,      /* the own wall clock has moved by more than that: it was set */
	CLOCKS_WRONG_MS = 2000,   /* past which it is said that a clock is wrong */
	CLOCKS_MIDDLE_MAX = 1024, /* that the middle is made of */
};

struct clocks_node {
	uint32_t node;
	uint32_t number;   /* of the question under way; 0: none */
	uint64_t asked_ns; /* 0: never */
	int64_t ahead_ns;  /* of this node's own clock */
	uint64_t trip_ns;
	unsigned tries; /* in a row, without an answer */
	bool known;
};

struct clocks {
	struct map nodes; /* struct clocks_node by id */
	uint32_t asks[CLOCKS_ASKS_MAX];
	size_t asks_count;
	uint32_t number;
	size_t count;              /* of known clocks with this one's, as of clocks_look */
	int64_t base_ns, other_ns; /* the same */
	int64_t epoch_ns;          /* wall less monotonic */
	bool has_epoch;
	uint64_t malformed; /* datagrams */
	bool put;           /* something is to be sent: give a STEP_LOCAL */
};

void clocks_init(struct clocks *cl);
void clocks_fini(struct clocks *cl);
void clocks_step(void *core, const struct step_input *in, struct step_actions *out);
void clocks_core(struct clocks *cl, struct shell_core *out);

/* Asks it, when its time has come and there is room in this step. */
void clocks_ask(struct clocks *cl, uint32_t node, uint64_t now_ns);
/* It is not known yet, and may be soon. */
bool clocks_awaits(const struct clocks *cl, uint32_t node);
/* The own wall clock was set since the last step, which asks all anew. */
bool clocks_was_set(const struct clocks *cl, uint64_t now_ns, int64_t wall_ns);
/* It is not there any more: its clock counts no longer. */
void clocks_forget(struct clocks *cl, uint32_t node);

/* Works the middle out anew. */
void clocks_look(struct clocks *cl);
/* How far the middle of all clocks is ahead of this node's; 0: fewer than three are known (this
 * one counted). */
int64_t clocks_base(const struct clocks *cl);
/* The same, where two are known: how far the other one is. */
int64_t clocks_other(const struct clocks *cl);
/* How far that node's clock is ahead: of the middle of all, or, where there is none, of this one's.
 * node 0: this node itself. 0 unless it is surely more than CLOCKS_WRONG_MS. */
int64_t clocks_wrong(const struct clocks *cl, uint32_t node);

void clocks_encode(uint8_t kind, uint32_t number, int64_t wall_ns, uint8_t out[CLOCKS_BYTES]);
/* False: not what a node writes. */
bool clocks_decode(const void *data, size_t bytes, uint8_t *kind, uint32_t *number,
		   int64_t *wall_ns);

enum { CLOCKS_ASK = 1, CLOCKS_SAY = 2 };

#endif
