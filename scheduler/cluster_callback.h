/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CLUSTER_CALLBACK_H
#define SCHEDULER_CLUSTER_CALLBACK_H

/*
 * Channels to nodes that nobody can connect to (callback.h): cluster_callback.c has them called
 * back and calls back itself, cluster_through.c passes on between two of them, of which neither can
 * connect to the other.
 *
 * Threading: the loop's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/list.h"
#include "scheduler/callback.h"

struct channel;
struct channel_calls;
struct cluster;

enum {
	CLUSTER_CALLBACK_MS = 10000, /* until a channel has said what for, or was called back */
	CLUSTER_CALLS_MAX = 64,      /* that this node makes at a time because it was asked to */
	CLUSTER_CALLS_OF_NODE_MAX = 32,
	CLUSTER_GREETINGS_MAX = 128,        /* channels that have not said what for */
	CLUSTER_GREETINGS_OF_NODE_MAX = 64, /* who asks all nodes by one third */
	CLUSTER_THROUGH_MAX = 192,          /* that this node passes on at a time */
	CLUSTER_THROUGH_OF_NODE_MAX = 64,
	CLUSTER_THROUGH_HIGH = 256 << 10, /* bytes on their way each way, and a read more */
	CLUSTER_THROUGH_SILENT_MS = 30000,
};

/* Of a cluster. */
struct cluster_callback {
	struct callback core;
	struct list awaits; /* struct cluster_await */
	struct list calls, greetings, throughs;
	size_t calls_count, greetings_count, throughs_count;
	uint64_t keeps; /* turns so far */
};

/* Somebody waits for a node to call; the caller's memory. number 0: does not wait. */
struct cluster_await {
	struct list link;
	uint32_t node;
	uint64_t number;
	/* Its channel, which is up; the await is over. It is to be given an owner, or aborted. */
	void (*come)(void *arg, struct channel *channel);
	void *arg;
};

void cluster_callback_init(struct cluster *c);
/* Its core goes into the shell. */
int cluster_callback_begin(struct cluster *c, struct err *err) MUST_CHECK;
/* False: too many wait. How long is the caller's matter. */
bool cluster_callback_await(struct cluster *c, struct cluster_await *w, uint32_t node);
/* Fine also when it does not wait. */
void cluster_callback_forget(struct cluster *c, struct cluster_await *w);
/* A peer's channel of kind CALLBACK or THROUGH. */
void cluster_callback_channel(void *arg, struct channel *channel);
void cluster_callback_tick(struct cluster *c, uint64_t now_ns);
/* It is sent away, or has left. */
void cluster_callback_part(struct cluster *c, uint32_t node);
void cluster_callback_end(struct cluster *c);

/* Of a channel that is about to end: nobody is told anything. */
extern const struct channel_calls cluster_callback_deaf;

/* ---- cluster_through.c ---- */

/* A channel that is to be passed on to that node, with what it has said so far. */
void cluster_through_channel(struct cluster *c, struct channel *channel, uint64_t node,
			     const void *data, size_t bytes);
void cluster_through_tick(struct cluster *c, uint64_t now_ns);
void cluster_through_part(struct cluster *c, uint32_t node);
void cluster_through_end(struct cluster *c);

#endif
