/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_STATION_PRIVATE_H
#define RING_STATION_PRIVATE_H

/* What station.c (life), station_peer.c (segments and wake-ups) and station_ask.c (requests and
 * answers) share. Not for roles. */

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "ring/station.h"

enum {
	STATION_PENDING_MAX = 512,     /* requests and deliveries that wait for their other half */
	STATION_PENDING_PEER_MAX = 64, /* ... of one process */
	STATION_REQUESTS_TURN = 64,    /* of one process, given before others have their turn */
	STATION_PENDING_MS = 30000,
	STATION_QUEUE_MAX = 4096, /* messages that wait for the leash */
	STATION_FDS_MAX = FD_PASS_MAX,
};

/* A producer whose segment is read here. */
struct station_peer {
	struct list link;
	struct station *st;
	struct ring_reader *reader;
	uv_poll_t poll;
	int wake;
	uint16_t role, index;
	uint32_t generation;
	bool closing;
	bool more; /* requests wait for the next turn of the loop */
};

/* A reader of our segment, to be woken. */
struct station_kick {
	struct list link;
	uint16_t role, index;
	int wake;
};

struct station_queued {
	struct list link;
	struct leash_message message;
	int fds[STATION_FDS_MAX];
	size_t count;
};

struct station {
	const struct station_role *role;
	void *arg;
	uv_loop_t loop;
	int leash;
	uv_poll_t leash_poll;
	uv_timer_t beat;
	uv_timer_t deadline;
	uv_prepare_t flush;
	uv_idle_t again; /* runs while a peer has more requests */
	struct leash_welcome welcome;
	const void *config;
	size_t config_bytes;
	int folders[LEASH_FOLDERS_MAX];
	struct ring_writer *writer;
	struct list peers;
	struct list kicks;
	struct list queue;
	size_t queued;
	bool kick_wanted;
	bool started;
	bool leaving;
	bool told_to_stop;
	bool orphan;
	int status;
	int landlock_abi;
	/* station_ask.c */
	struct map asks; /* id -> struct station_ask_ */
	struct heap deadlines;
	struct list waiting; /* requests and deliveries without their other half */
	size_t waiting_count;
	uint32_t slots;                    /* for requests; 0: this role asks nobody */
	struct metric_series *full, *used; /* NULL then */
};

/* station_peer.c */
void station_peer_message(struct station *st, const struct leash_message *m, int *fds);
void station_peer_drop(struct station *st, uint16_t role, uint16_t index, uint32_t generation);
void station_peer_close_all(struct station *st);
void station_peer_kick_now(struct station *st);
/* Goes on with the requests that the last turn of the loop left. */
void station_peer_again(struct station *st);
bool station_peer_there(struct station *st, uint16_t role, uint16_t index);

/* station_ask.c */
void station_ask_init(struct station *st);
void station_ask_fini(struct station *st);
/* Begins to count; slots: those of the own segment's requests. */
void station_ask_count(struct station *st, uint32_t slots);
/* Looks for answers and requests in a peer's segment. True: more requests wait there. */
bool station_ask_wake(struct station *st, struct ring_reader *reader);
/* A peer came (again): what was sent to its predecessor by leash is sent again. */
void station_ask_peer(struct station *st, uint16_t role, uint16_t index);
/* A peer left: halves that came from it are dropped. */
void station_ask_gone(struct station *st, uint16_t role, uint16_t index);
void station_ask_deliver(struct station *st, const struct leash_message *m, int *fds, size_t count);
void station_ask_tick(struct station *st, uint64_t now_ns);

#endif
