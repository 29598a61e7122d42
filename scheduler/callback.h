/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CALLBACK_H
#define SCHEDULER_CALLBACK_H

/*
 * Nodes that nobody can open a connection to (`node.advertise: none`) are asked to open one: by a
 * datagram with a number, said again until they come. The channel that comes begins with that
 * number, which is good for one channel of that node. So that datagrams reach them at any time they
 * say something to each of the others before a router forgets who they are.
 *
 * A datagram of this core, and what a channel of kind CHANNEL_CALLBACK or CHANNEL_THROUGH begins
 * with, little endian: 0 version u8  1 kind u8  2 oldest u8  3 u8 0  4 number u64. Of a later
 * version this one reads what says by `oldest` that it may (0: nobody older), and passes over what
 * stands at 3; what it cannot read of a channel ends that. By which version a node passes on it
 * says by gossip (tidings.h).
 *
 *   ASK      call me back, with this number
 *   KEEP     nothing; number 0
 *   COMES    on a channel: here I am, for this number
 *   THROUGH  on a channel: what follows is for the node of this id, which cannot be reached from
 *            here; what that one says comes back
 *
 * The core (callback.c) is as step.h says. Who may ask, and what is done with a channel, is
 * cluster_callback.c's. Threading: the loop's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "scheduler/step.h"

struct shell_core;

enum {
	CALLBACK_SERVICE = 6, /* the core's number in the shell */
	CALLBACK_VERSION = 1,
	CALLBACK_BYTES = 12,
	CALLBACK_ASKS_MAX = 256,  /* that this node waits for at a time */
	CALLBACK_HEARD_MAX = 512, /* of others that are remembered; more are not heard */
	CALLBACK_HEARD_OF_NODE_MAX = 192,
	CALLBACK_KEEPS_MAX = 1024, /* nodes that something is said to, in one turn */
	CALLBACK_AGAIN_MS = 250,   /* asked again: the first wait, doubled up to */
	CALLBACK_AGAIN_MAX_MS = 1000,
	CALLBACK_HEARD_MS = 15000, /* remembered so long: longer than anybody asks */
};

enum callback_kind { CALLBACK_ASK = 1, CALLBACK_KEEP, CALLBACK_COMES, CALLBACK_THROUGH };

struct callback_message {
	enum callback_kind kind;
	uint64_t number;
};

void callback_encode(const struct callback_message *m, uint8_t out[CALLBACK_BYTES]);
/* Of the first CALLBACK_BYTES bytes. False: not what a node writes. */
bool callback_decode(const void *data, size_t bytes, struct callback_message *out);

/* What is told (STEP_TELL), with node and number: that one is to be called back. Once for each
 * number, unless callback_again. */
enum callback_tell { CALLBACK_WANTED = 1 };

struct callback_asked {
	uint32_t node;
	uint32_t wait_ms;
	uint64_t number;
	uint64_t next_ns; /* said again then; 0: not said yet */
};

struct callback_heard {
	uint32_t node;
	uint64_t number;
	uint64_t since_ns;
};

struct callback {
	struct callback_asked asks[CALLBACK_ASKS_MAX];
	size_t asks_count;
	struct callback_heard heard[CALLBACK_HEARD_MAX];
	size_t heard_count;
	uint32_t keeps[CALLBACK_KEEPS_MAX];
	size_t keeps_count;
	uint64_t refused;   /* asks that there was no room for */
	uint64_t malformed; /* datagrams */
	bool put;           /* something is to be sent: give a STEP_LOCAL */
};

void callback_step(void *core, const struct step_input *in, struct step_actions *out);
/* tell: as of struct shell_core. */
void callback_core(struct callback *cb,
		   void (*tell)(void *arg, uint16_t what, uint32_t node, uint64_t token,
				const void *data, size_t bytes),
		   void *arg, struct shell_core *out);

/* Asks from now on, until callback_end. False: too many are asked already. */
bool callback_ask(struct callback *cb, uint32_t node, uint64_t number);
void callback_end(struct callback *cb, uint64_t number);
/* Says something to it, so that the way back stays open. */
void callback_keep(struct callback *cb, uint32_t node);
/* It could not be called back: when it asks again that is tried again. */
void callback_again(struct callback *cb, uint32_t node, uint64_t number);

#endif
