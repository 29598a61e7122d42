/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_NAMESERVER_H
#define OVERLAY_NAMESERVER_H

/*
 * The name server of a node's containers: answers from the book of names (overlay/names.h), sends
 * everything else on (overlay/forward.h). Its sockets are node's, bound in the fabric; it begins to
 * read them when the scheduler's and the runtime's tables have been seen once, so that nobody is
 * told that a name does not exist by a process that does not know yet.
 * Threading: the loop's thread. One per process: the functions below are what the role calls.
 */

#include "overlay/peers.h"
#include "overlay/prefix.h"
#include "ring/station.h"
#include "spec/config.h"

enum {
	NAMESERVER_SETTLE_MS = 3000, /* for the tables of others; then what is known is told */
	NAMESERVER_CONNECTIONS_MAX = 128,
	NAMESERVER_CONNECTIONS_PER_SOURCE = 8,
	NAMESERVER_IDLE_MS = 10000,
	NAMESERVER_QUERY_MAX = 2048, /* bytes, by TCP */
};

/* peers: who have names; borrowed, say nameserver_peers() when they change. */
int nameserver_start(struct station *st, const struct msg_prefix *prefix, const struct peers *peers,
		     struct err *err) MUST_CHECK;
void nameserver_peers(void);
/* A producer's tables may have changed: of node, scheduler, runtime. */
void nameserver_wake(struct ring_reader *reader);
/* LEASH_LISTENER, LEASH_SOCKETS, LEASH_FILE, LEASH_CONFIG: takes the descriptors that are for it.
 */
void nameserver_message(const struct leash_message *message, int *fds, size_t count);

#endif
