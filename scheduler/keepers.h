/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_KEEPERS_H
#define SCHEDULER_KEEPERS_H

/*
 * Which nodes have the key of the cluster's authority, the keepers: who admits nodes and renews
 * certificates. As a core: the nodes go in, at most one new keeper comes out.
 *
 *   - there are KEEPERS_FEW, or as many as there are nodes; voters of etcd are always among them
 *     (who makes a node a voter makes it a keeper first, and that counts here);
 *   - one that has been dead for KEEPERS_DEAD_MS counts no more, and another one is added, up to
 *     KEEPERS_MAX; nobody is made to forget the key, since nobody could check that it has;
 *   - new ones are taken in the order in which they were admitted, from those that live;
 *   - nodes that only dial out can be asked by nobody: one of them keeps the key when there is no
 *     other, so that it is not lost with a disk, and does not count when one can be added that is
 *     reached.
 *
 * No I/O, no clock, no allocation. Times are monotonic nanoseconds of who asks.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	KEEPERS_FEW = 3,
	KEEPERS_MAX = 5,
	KEEPERS_DEAD_MS = 600000,
	KEEPERS_SETTLE_MS = 2000, /* a node has been alive so long before it is chosen */
};

struct keepers_node {
	uint32_t node;
	bool keeper;
	bool live;
	bool draining;
	bool removed;
	bool hidden;       /* it only dials out */
	uint64_t since_ns; /* when it was seen to live, or to be dead */
};

/* nodes: in any order, each once. 0: nobody is to be added now. */
uint32_t keepers_choose(const struct keepers_node *nodes, size_t count, uint64_t now_ns);
/* Who of them looks after this: the keeper that lives and was admitted first. 0: nobody. */
uint32_t keepers_first(const struct keepers_node *nodes, size_t count);

#endif
