/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_SERVER_H
#define API_SERVER_H

/* What all connections of the process share. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "api/bus.h"
#include "base/list.h"
#include "ring/station.h"

enum {
	SERVER_CONNS_MAX = 256,
	SERVER_CONNS_OF_USER_MAX = 128,
	SERVER_USERS_MAX = 64,
	SERVER_RATE = 500,   /* requests a second of one user */
	SERVER_BURST = 2000, /* that may come at once */
	SERVER_MEMORY_MAX = 128 << 20,
	/* When the process is to leave: */
	SERVER_DRAIN_MS = 4000,  /* it waits for answers, and for the first request of a client */
	SERVER_LINGER_MS = 1000, /* for the next one; sessions of exec are ended after it */
	SERVER_CUT_MS = 200,     /* until its last words are sent */
};

struct server_user {
	uint32_t uid;
	uint32_t conns;
	uint64_t tokens_milli;
	uint64_t at_ms;
};

struct server {
	struct station *station;
	uv_poll_t listener;
	int listener_fd; /* -1: not there yet */
	struct list conns;
	size_t conns_count;
	struct server_user users[SERVER_USERS_MAX];
	struct bus bus;
	struct list feeds;  /* event streams: api/feed.h */
	struct list logs;   /* log streams: api/logs.h */
	struct list spools; /* uploads that wait for a file: api/upload.h */
	uint64_t spool_id;
	size_t paging;     /* streams that hold a page of old events */
	size_t event_asks; /* of streams, under way to other nodes: api/events.h */
	size_t event_streams;
	size_t event_list_asks; /* of lists, likewise */
	bool lacked;            /* a list was cut for want of memory since this was cleared */
	/* Of the process of each role whose tables have all been read, generation + 1. */
	uint64_t whole[ROLES_];
	struct list held; /* calls that wait: api/hold.h */
	size_t held_count;
	uint64_t hold_ms;
	uv_timer_t hold;
	bool stopping;
	uint64_t linger_ms, drain_ms;
	uv_timer_t leaving; /* api/leave.h */
	void (*left)(struct server *s);
};

void server_init(struct server *s, struct station *st);
/* Takes the descriptor. */
int server_listen(struct server *s, int fd, struct err *err) MUST_CHECK;
/* NULL when there is no room for another user. */
struct server_user *server_user(struct server *s, uint32_t uid);
/* False: this user asks too much. */
bool server_allow(struct server *s, struct server_user *user);

#endif
