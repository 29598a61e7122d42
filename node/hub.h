/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_HUB_H
#define NODE_HUB_H

/*
 * The other side of all leashes. The hub routes messages between roles by the permission table of
 * ring/leash.h, hands segments to those who may read them with one pipe per producer and reader,
 * and tells everybody who came and who went. It reads the head of a message, never what a
 * descriptor holds (of a segment: seals, geometry, heartbeat and metric page; of the scheduler's,
 * the table of public ports). node is a producer of its own; its segment is given with hub_new().
 * Threading: the loop's thread. A hub_member is valid until hub_remove().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "ring/leash.h"
#include "ring/ring.h"

struct hub;
struct hub_member;

struct hub_events {
	/* LEASH_READY; a = landlock ABI. */
	void (*ready)(void *arg, struct hub_member *member, uint64_t landlock_abi);
	/* The leash has ended, or so many messages wait for the role that it must be stuck. Said
	 * once. The member is still there; hub_remove() must not be called from
	 * within. */
	void (*broken)(void *arg, struct hub_member *member, const char *why);
	/* LEASH_KEEP, LEASH_SPOOL and others: fds as in station.h (-1: taken). */
	void (*asked)(void *arg, struct hub_member *member, const struct leash_message *message,
		      int *fds, size_t count);
	/* The scheduler's tables may have changed; also when they are there. */
	void (*stirred)(void *arg, struct ring_reader *scheduler);
};

enum { HUB_QUEUE_MAX = 2048 }; /* messages that wait for one role */

struct hub *hub_new(uv_loop_t *loop, struct ring_writer *own, uint32_t generation,
		    const struct hub_events *events, void *arg);
void hub_free(struct hub *hub);

/* A role's process. leash: node's end, given (-1: a proxy of a node that was killed, which has
 * none). NULL: out of memory (leash is closed). */
struct hub_member *hub_add(struct hub *hub, unsigned role, unsigned index, uint32_t generation,
			   int leash, void *owner);
/* Reads what the process had still sent, tells the others and lets go. */
void hub_remove(struct hub_member *member);
void *hub_owner(const struct hub_member *member);

/* Takes a segment (fd is given) as if it had come by leash: checked, then handed to its readers. */
int hub_segment(struct hub_member *member, int fd, struct err *err) MUST_CHECK;
/* The same after an upgrade of node: the roles know each other already, only node's own segment is
 * new to them. */
int hub_resume(struct hub_member *member, int fd, struct err *err) MUST_CHECK;
/* A descriptor of it, borrowed; -1 before it came. */
int hub_segment_fd(const struct hub_member *member);
int hub_leash_fd(const struct hub_member *member);
/* NULL before it came. */
struct ring_reader *hub_reader(const struct hub_member *member);

/* Sends, or queues when the socket is full; fds are borrowed. */
void hub_send(struct hub_member *member, const struct leash_message *message, const int *fds,
	      size_t count);
void hub_send_all(struct hub *hub, const struct leash_message *message, const int *fds,
		  size_t count);
/* node's own tables changed: wakes their readers. */
void hub_kick(struct hub *hub);
/* Messages that were refused since the start: not permitted, malformed, for nobody. */
uint64_t hub_dropped(const struct hub *hub);
/* The session ticket keys that proxies got last; borrowed, -1: none. And to set them (given). */
int hub_tickets_fd(const struct hub *hub);
void hub_set_tickets(struct hub *hub, int fd);

#endif
