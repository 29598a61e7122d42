/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_DRAINS_H
#define SCHEDULER_DRAINS_H

/*
 * Whether the proxies of other nodes have let go of a replica of this one that drains. Its node
 * asks each node that may send it requests. Who is asked takes the replica for draining from then
 * on, whatever gossip has told of it so far, and answers when its own proxies have nothing under
 * way there: FREE, until then HOLDS. Datagrams may be lost: it is asked again until it is free. A
 * dead node is not asked; one that does not answer keeps the replica for as long as a drain may
 * last.
 *
 * On the wire, little endian: 0 version u8  1 kind u8  2 zero u16  4 replica u64  12 since i64
 * (when it began to drain, by its node's clock: that names the drain).
 *
 * The core (drains.c) is as step.h says; what it means for a model is in drains_model.c.
 * Threading: the loop's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/map.h"
#include "scheduler/step.h"

struct model;
struct replica;
struct shell_core;

enum {
	DRAINS_SERVICE = 5, /* the core's number in the shell */
	DRAINS_VERSION = 1,
	DRAINS_BYTES = 20,
	DRAINS_ASKED_MAX =
		4096,          /* replicas of others that drain at a time; more are not answered */
	DRAINS_AGAIN_MS = 100, /* asked again: the first wait, doubled up to */
	DRAINS_AGAIN_MAX_MS = 1000,
	DRAINS_KEPT_MS = 60000, /* what was asked, after the last time */
	DRAINS_LAST_MS = 5000,  /* the last one is let go of without another, drains_keeps() */
};

enum drains_kind { DRAINS_ASK = 1, DRAINS_HOLDS, DRAINS_FREE };

struct drains_message {
	enum drains_kind kind;
	uint64_t replica;
	int64_t since_wall_ns;
};

void drains_encode(const struct drains_message *m, uint8_t out[DRAINS_BYTES]);
/* False: not what a node writes. */
bool drains_decode(const void *data, size_t bytes, struct drains_message *out);

/* Another node that is asked about one of this node's replicas. */
struct drains_peer {
	uint32_t node;
	bool free;
	uint32_t wait_ms;
	uint64_t next_ns; /* asked again then; 0: not asked yet */
};

/* A replica of this node that drains. */
struct drains_own {
	uint64_t replica;
	int64_t since_wall_ns;
	struct drains_peer *peers; /* by node */
	size_t count, room;
};

/* A replica of another node, about which that one asks. */
struct drains_asked {
	uint64_t replica;
	uint32_t node;
	int64_t since_wall_ns;
	uint64_t heard_ns;
	uint64_t version; /* of the backend table that says so; 0: none does yet */
	bool free;        /* as was answered last */
	bool owed;        /* an answer is */
};

struct drains {
	struct map own;           /* struct drains_own by replica */
	struct map asked;         /* struct drains_asked by replica */
	bool put;                 /* something is to be sent */
	void (*stir)(void *arg);  /* something was heard: a pass is needed. May be NULL */
	void (*flush)(void *arg); /* gives a STEP_LOCAL, at once. May be NULL */
	void *arg;
};

void drains_init(struct drains *d);
void drains_fini(struct drains *d);
void drains_step(void *core, const struct step_input *in, struct step_actions *out);
void drains_core(struct drains *d, struct shell_core *out);

/* ---- the asker ---- */

/* Whether that node has let go of it; it is asked from now on. False, too, without memory. */
bool drains_is_free(struct drains *d, uint64_t replica, int64_t since_wall_ns, uint32_t node);
void drains_end(struct drains *d, uint64_t replica);

/* ---- who is asked ---- */

/* NULL: nobody asks about it. */
struct drains_asked *drains_asked(const struct drains *d, uint64_t replica);
void drains_answer(struct drains *d, struct drains_asked *a, bool free);
/* Lets out what the calls above have put. */
void drains_flush(struct drains *d);

/* ---- of a model (drains_model.c) ---- */

/* No process of this node has anything under way to a replica that the backends of that version do
 * not give out any more. */
bool drains_here(const struct model *m, uint64_t replica, uint64_t version);
/* Nor any other node: of a replica of this one that drains. */
bool drains_elsewhere(struct model *m, const struct replica *p);
/* Its node lets it drain, and has said so; another node's only. */
bool drains_parts(const struct model *m, const struct replica *p);
/* It drains and is the last one that this node can send requests to, though its service is to have
 * some: those that come for it are on their way, and are heard of at any moment. */
bool drains_keeps(struct model *m, struct replica *p);
/* After the tables were published: answers, and forgets what is over. */
void drains_look(struct model *m);

#endif
