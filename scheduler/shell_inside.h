/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_SHELL_INSIDE_H
#define SCHEDULER_SHELL_INSIDE_H

/* What the shell's files share; nobody else includes this. */

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "scheduler/shell.h"

enum {
	SHELL_BATCH = 32,
	SHELL_LOST_MAX = 8,
	SHELL_DATAGRAM = 1 + STEP_DATAGRAM_MAX + ENVELOPE_OVERHEAD,
};

struct shell_allowance {
	uint32_t left; /* so many datagrams, until */
	uint64_t until_ns;
};

struct shell_peer_state {
	struct envelope_peer envelope;
	struct addr address; /* port 0: not known */
	uint64_t heard_ns;   /* a datagram of it */
	uint64_t older_ns;   /* one of an older session was looked at */
	bool dials;          /* nobody can connect to it */
	/* What is passed on for it: with the session that it has proven, and with others. */
	struct shell_allowance proven, unproven;
};

/* Datagrams that leave together. */
struct shell_batch {
	size_t count;
	struct mmsghdr messages[SHELL_BATCH];
	struct iovec data[SHELL_BATCH];
	struct sockaddr_storage to[SHELL_BATCH];
	uint8_t bytes[SHELL_BATCH][SHELL_DATAGRAM];
};

/* A datagram of a core to its own node. */
struct shell_echo {
	struct list link;
	size_t bytes;
	uint8_t data[];
};

struct shell_core_state {
	struct shell *shell;
	struct shell_core calls;
	struct step_actions *out;
	uv_timer_t timer;
	struct list streams;
	struct list echoes; /* struct shell_echo */
	uint32_t names;     /* the last one given to a stream of a peer */
	bool stepping;
	/* Files: jobs in their order, and the actions that wait for their tokens. */
	struct list jobs;
	struct list held;
	uint64_t lost[SHELL_LOST_MAX]; /* tokens of writes for which there was no memory */
	size_t lost_count;
};

struct shell {
	struct shell_config config;
	struct shell_core_state *cores[SHELL_CORES_MAX];
	size_t cores_count;
	struct map peers; /* struct shell_peer_state by node id */
	uv_poll_t udp, tcp;
	bool listens;
	bool v6;          /* the UDP socket is of that family: it wants IPv4 addresses mapped */
	uv_timer_t soon;  /* what waits for the loop's next turn */
	uv_timer_t again; /* connections were not taken for want of descriptors or memory */
	unsigned handles;
	bool freed;
	bool working; /* a file is being written in the pool */
	uv_work_t work;
	struct list nameless; /* streams of peers before their first byte */
	size_t channels;      /* opened by peers */
	struct shell_counters counters;
	struct shell_batch batch;
};

/* One input and everything that it makes the core do. */
void shell_step(struct shell_core_state *c, struct step_input *in);
struct shell_core_state *shell_find(struct shell *s, uint8_t service);
/* An action whose time has come. */
void shell_carry_out(struct shell_core_state *c, const struct step_action *a, const void *data);
/* The last use of the shell's memory by libuv may be over. */
void shell_let_go(struct shell *s);

/* ---- shell_datagram.c ---- */

/* Leaves with the batch. */
void shell_datagram_send(struct shell_core_state *c, uint32_t node, const void *data, size_t bytes);
void shell_datagram_flush(struct shell *s);
/* What waits in the socket. An error there (a port that is closed) is taken off by reading. */
void shell_datagram_drain(struct shell *s);

/* ---- shell_stream.c ---- */

void shell_stream_open(struct shell_core_state *c, const struct step_action *a);
void shell_stream_write(struct shell_core_state *c, uint32_t name, const void *data, size_t bytes);
void shell_stream_close(struct shell_core_state *c, uint32_t name);
void shell_stream_accept(struct shell *s, int fd);
/* Tells of those that could not be opened. */
void shell_stream_soon(struct shell *s);
void shell_stream_abort_all(struct shell *s);
/* Those of a node that is no peer any more; their cores are told. */
void shell_stream_abort_node(struct shell *s, uint32_t node);

/* ---- shell_disk.c ---- */

/* Reads the core's files and gives them. */
int shell_disk_read(struct shell_core_state *c, struct err *err) MUST_CHECK;
/* APPEND and REPLACE. */
void shell_disk_write(struct shell_core_state *c, const struct step_action *a, const void *data);
/* True: the action waits for the disk, and comes to shell_carry_out when that is done. */
bool shell_disk_holds(struct shell_core_state *c, const struct step_action *a, const void *data);
/* Tells of writes that could not even begin. */
void shell_disk_soon(struct shell *s);
void shell_disk_forget(struct shell_core_state *c);

#endif
