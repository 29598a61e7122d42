/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ETCD_BEGINS_H
#define NODE_ETCD_BEGINS_H

/*
 * Whether etcd comes up on this node at all. A life that never served and failed to begin
 * ETCD_BEGINS_TRIES times is held against the node: it says so for a while (1, 2, 4 ... 30 min),
 * and the scheduler has another node take its place where there is one. What has served once in its
 * life is not judged here: that it ended later is for the others to wait for.
 *
 * It is taken back when the time is over, when etcd serves, when there is room on a disk that had
 * none, and when the program or node.yaml is another one. It is tried all the while, as ordered.
 * Threading: the loop's thread; no I/O. Times are seconds that only grow.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

enum {
	ETCD_BEGINS_TRIES = 5,
	ETCD_BEGINS_REST_S = 60, /* after the first time; each further one doubles it */
	ETCD_BEGINS_REST_MAX_S = 1800,
	ETCD_BEGINS_ROOM_BYTES = 256 << 20, /* two files of its log, and its first data */
};

/* Zeroed: it knows of nothing. */
struct etcd_begins {
	uint64_t life;   /* that is being begun */
	unsigned failed; /* times, in that life */
	bool served;     /* that life has */
	bool resting;    /* the node says that it does not start, */
	uint64_t until_s;
	unsigned rests; /* so many times since it served */
	bool cramped;   /* and the disk had no room for it */
	struct err why; /* of the last failure; kind 0: none */
};

/* room: bytes that are free on the disk, and those that this life's data has. True: from now on
 * the node says that it does not start. */
bool etcd_begins_failed(struct etcd_begins *b, uint64_t life, const struct err *why, uint64_t room,
			uint64_t now_s);
void etcd_begins_served(struct etcd_begins *b, uint64_t life);
/* Once in a while. */
void etcd_begins_tick(struct etcd_begins *b, uint64_t room, uint64_t now_s);
/* Something is different: what failed before may work. */
void etcd_begins_anew(struct etcd_begins *b);
/* Why it does not start, for people. */
void etcd_begins_say(const struct etcd_begins *b, struct err *err);

#endif
