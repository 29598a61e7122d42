/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_STATION_H
#define RING_STATION_H

/*
 * A role's place on the ring: one process, one libuv loop. station_main() does what all roles
 * share: takes the welcome from the leash, makes and seals the segment, lets the role open what it
 * needs, confines the process, says it is ready, then runs the loop: wake-ups, tables, requests,
 * answers with their descriptors, heartbeats, the leash's end.
 *
 * Order of the callbacks: layout -> open (not yet confined: load libraries, open devices) ->
 * [confinement] -> start (register handles; peers are not there yet) -> peer/wake/request/...
 * Threading: all callbacks run on the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "ring/leash.h"
#include "ring/msg.h"
#include "ring/ring.h"

struct station;

/* A request as the answerer sees it: keep the value, answer whenever. */
struct station_request {
	uint16_t role, index;
	uint16_t op; /* without MSG_OP_FD */
	uint16_t pad_;
	uint64_t id;
	uint64_t deadline_mono_ns;
};

struct station_role {
	uint16_t role;
	/* Declares tables, log, slots. The station fills role, index, generation and adds a metric
	 * page of metric_series. */
	void (*layout)(const struct leash_welcome *welcome, struct ring_layout *layout);
	/* Before confinement. May be NULL. */
	int (*open)(struct station *st, struct err *err);
	/* After confinement. */
	int (*start)(struct station *st, struct err *err);
	/* A producer this role reads appeared (again: new generation), or left. In `peer` tables
	 * may be synced at once. All optional. */
	void (*peer)(struct station *st, struct ring_reader *reader);
	void (*peer_gone)(struct station *st, uint16_t role, uint16_t index, uint32_t generation);
	/* Something may be new in this producer's segment: sync tables, drain the log. Requests and
	 * answers are handled by the station itself. */
	void (*wake)(struct station *st, struct ring_reader *reader);
	/* A request for this process. It may have been given before: to a predecessor that died
	 * over it, after it had done a part or all of it, since the asker still waits for the
	 * answer. So every op must come to the same end when it is done twice (ring/msg.h says
	 * how). With its descriptors (given: close them or take them; fds[i] set to -1 means
	 * taken). Body is checked by the role: bytes may be anything up to RING_BODY_MAX. */
	void (*request)(struct station *st, const struct station_request *request, const void *body,
			size_t bytes, int *fds, size_t count);
	/* LEASH_LISTENER, LEASH_CONFIG, LEASH_FILE, LEASH_FILES_END, LEASH_TICKETS, LEASH_SPOOLED
	 * ... Same rule for fds. */
	void (*message)(struct station *st, const struct leash_message *message, int *fds,
			size_t count);
	/* Node asks to leave: finish and call station_leave(). NULL: leaves at once. */
	void (*stop)(struct station *st, uint64_t grace_ms);
	/* The leash ended without LEASH_STOP (node was killed). NULL: leaves at once. */
	void (*orphaned)(struct station *st);
};

/* Gives the process's exit status. arg is for the role (station_arg). */
int station_main(const struct station_role *role, int leash_fd, void *arg);
void station_leave(struct station *st, int status);

void *station_arg(const struct station *st);
uv_loop_t *station_loop(struct station *st);
const struct leash_welcome *station_welcome(const struct station *st);
/* The configuration (struct config of spec/config.h) as bytes: mapped until the next one comes
 * (LEASH_CONFIG, after which `message` is called), so keep values, not pointers into it. */
const void *station_config(const struct station *st, size_t *bytes_out);
/* Folder i of the welcome: a borrowed directory descriptor; -1 when there is none. */
int station_folder(const struct station *st, size_t i);
struct ring_writer *station_writer(struct station *st);
struct metric_page *station_metrics(struct station *st);
/* NULL when it is not there now. */
struct ring_reader *station_reader(struct station *st, uint16_t role, uint16_t index);
/* Visits all readers of a role. */
void station_readers(struct station *st, uint16_t role,
		     void (*visit)(void *arg, struct ring_reader *reader), void *arg);

/* Tell readers that something was published: coalesced, sent at the end of this loop turn. Call
 * after any change of table, log, request or answer (station_ask and station_answer do). */
void station_kick(struct station *st);

/* status: 0; or an err_kind and *err holds why (ERR_TIMEOUT: no answer in time, ERR_UNREACHABLE:
 * the other side is not there or died). body and fds are valid during the call; fds as above. */
typedef void (*station_answer_fn)(void *arg, int status, const struct err *err, const void *body,
				  size_t bytes, int *fds, size_t count);
/* Asks another role. fds are borrowed (duplicated by passing). The callback is called exactly once,
 * later, also after a timeout or the death of the other side; a request is asked again when the
 * answerer restarts within the timeout, even when its predecessor had begun or done it: what is
 * asked must be something that can be done twice. After station_leave() no more callbacks come. 0,
 * or -1 when there is no free slot or the two roles do not read each other (then it is not called).
 */
int station_ask(struct station *st, uint16_t role, uint16_t index, uint16_t op, const void *body,
		size_t bytes, const int *fds, size_t count, uint64_t timeout_ms,
		station_answer_fn done, void *arg, struct err *err) MUST_CHECK;

void station_answer(struct station *st, const struct station_request *request, const void *body,
		    size_t bytes, const int *fds, size_t count);
void station_answer_err(struct station *st, const struct station_request *request,
			const struct err *err);

/* Sends over the leash (from_* are filled in). Queued when the socket is full; fds are borrowed
 * (duplicated when queued). */
int station_send(struct station *st, struct leash_message *message, const int *fds, size_t count,
		 struct err *err) MUST_CHECK;

#endif
