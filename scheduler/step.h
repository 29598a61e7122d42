/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STEP_H
#define SCHEDULER_STEP_H

/*
 * How the cluster's cores meet the world: inputs come in, actions go out, nothing else. A core does
 * no I/O, asks no clock, draws no random number that its seed did not give, and orders nothing by
 * pointers; so the same object file runs in the scheduler's process, in unit tests, under the
 * fuzzer and in the simulation (tests/sim), where the same seed gives the same trace.
 *
 * A shell gives one input at a time, then carries out the actions in their order. The lists have a
 * fixed size: a core that has more to do than fits sets `more`, and the shell steps it again with
 * STEP_MORE as soon as the actions are carried out. Nothing is ever left out for want of room.
 *
 * Time: now_ns is CLOCK_BOOTTIME of that node (monotonic, counts suspend); it never goes back. Wall
 * time is given beside it for what has a calendar, and for nothing else. After a stall the shell
 * gives what waits in its sockets first and STEP_TIMER last, all with the same new now_ns.
 *
 * Peers are named by node id: 32 bits, given by admission, never reused, 0 is nobody. A shell
 * delivers only datagrams and streams whose sender is authenticated as that node.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum step_input_kind {
	STEP_START = 1,   /* the first: wall clock, file contents come as STEP_FILE before it */
	STEP_FILE,        /* before STEP_START, per file found: file, data (whole) */
	STEP_TIMER,       /* the time asked for by STEP_SET_TIMER has come */
	STEP_MORE,        /* go on where the list was full */
	STEP_DATAGRAM,    /* from node */
	STEP_STREAM_UP,   /* node opened one (stream is the shell's name for it), or ours is open */
	STEP_STREAM_DATA, /* any split of what was written; order kept, nothing lost before DOWN */
	STEP_STREAM_DOWN, /* ended, or could not be opened: status; the name is free again */
	STEP_STREAM_ROOM, /* what was written to the stream has left: write on */
	STEP_DISK_DONE,   /* token; status 0 means durable. After an error that file may hold the
			     old or the new, and the core must not go on as if either were true */
	STEP_LOCAL,       /* from this node's other parts: what, number, data as `what` defines */
};

struct step_input {
	enum step_input_kind kind;
	uint32_t node;
	uint32_t stream;
	uint16_t what;  /* STEP_LOCAL: of the core's own header. STEP_FILE: the file's number */
	int16_t status; /* 0, or an enum err_kind */
	uint64_t token;
	uint64_t now_ns;
	int64_t wall_ns;
	const void *data; /* valid during the step */
	size_t bytes;
};

enum step_action_kind {
	STEP_SEND = 1,     /* one datagram to node, at most STEP_DATAGRAM_MAX; may be lost */
	STEP_STREAM_OPEN,  /* to node; stream is the core's choice (STEP_STREAM_OURS set) */
	STEP_STREAM_WRITE, /* the shell keeps it all; a core waits for ROOM after each write */
	STEP_STREAM_CLOSE, /* after what was written has left; a DOWN may follow or not, so a core
			      looks at nothing that comes for a stream it has closed */
	STEP_SET_TIMER,    /* at_ns; replaces the former one; UINT64_MAX: none */
	STEP_APPEND,       /* to file, durably; answered by STEP_DISK_DONE with token */
	STEP_REPLACE,      /* file as a whole, atomically and durably; answered likewise */
	STEP_TELL,         /* to this node's other parts: what, number, data */
};

enum {
	STEP_DATAGRAM_MAX = 1184, /* sealed (gossip/envelope.h) it fits IPv6's minimum MTU */
	STEP_ACTIONS_MAX = 256,
	STEP_BYTES_MAX = 256 * 1024,
	STEP_WRITE_MAX = 64 * 1024, /* of one action */
};

/* Set in the name of a stream that this side opened, clear in one that a peer opened. */
#define STEP_STREAM_OURS 0x80000000u

struct step_action {
	enum step_action_kind kind;
	uint32_t node;
	uint32_t stream;
	uint16_t what; /* STEP_TELL: of the core's own header. APPEND, REPLACE: the file's number */
	uint16_t pad_;
	uint64_t token;  /* APPEND, REPLACE: not 0. TELL: a number that goes with it */
	uint64_t after;  /* not before this token's DISK_DONE was good; 0: at once. When it
			    fails the action is dropped */
	uint64_t at_ns;  /* SET_TIMER */
	uint32_t offset; /* of its data in step_actions.data */
	uint32_t bytes;
};

struct step_actions {
	struct step_action items[STEP_ACTIONS_MAX];
	size_t count;
	uint8_t data[STEP_BYTES_MAX];
	size_t bytes;
	bool more;
};

/* Empties the list; before each step. */
void step_actions_clear(struct step_actions *a);
/* Whether an action with so many bytes fits; otherwise a core sets `more` and stops. */
bool step_actions_room(const struct step_actions *a, size_t actions, size_t bytes);
/* Adds an action with room for its data (NULL data: the caller fills what step_data gives). There
 * must be room. The result is valid until the list is cleared. */
struct step_action *step_add(struct step_actions *a, enum step_action_kind kind, const void *data,
			     size_t bytes);
uint8_t *step_data(struct step_actions *a, const struct step_action *action);

#endif
