/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_COLLECT_H
#define NODE_COLLECT_H

/*
 * node's side of ring/handover.h: finding the proxies that a killed node left behind, and the
 * sockets by which the next one will find ours.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "node/instance.h"
#include "node/listeners.h"

enum { COLLECT_LISTENERS_MAX = LISTENERS_MAX };

/* A proxy that serves on without node. All descriptors are given to the visitor. */
struct collect_found {
	unsigned index;
	uint32_t generation;
	pid_t pid;
	int pidfd;
	int conn; /* for collect_drain() */
	int segment;
	size_t listeners;
	int fds[COLLECT_LISTENERS_MAX];
	char names[COLLECT_LISTENERS_MAX][32];
};

typedef void (*collect_fn)(void *arg, struct collect_found *found);

/* Asks every proxy of the instance whose socket answers; sockets of the dead are removed. Waits at
 * most two seconds for each. */
void collect_proxies(const struct instance *inst, collect_fn visit, void *arg);
void collect_drain(int conn, uint64_t grace_ms);

/* The listening socket for proxy `index` (any old one is replaced). -1 with *err. */
int collect_listen(const struct instance *inst, unsigned index, struct err *err) MUST_CHECK;
void collect_unlisten(const struct instance *inst, unsigned index);

#endif
