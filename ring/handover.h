/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_HANDOVER_H
#define RING_HANDOVER_H

/*
 * How a proxy that outlived its node meets the next one. node gives each proxy a listening unix
 * socket (LEASH_LISTENER "handover", root alone may connect). When node was killed, its successor
 * connects, gets the proxy's segment and listening sockets by SCM_RIGHTS, starts a new proxy on
 * the same sockets and then tells the old one to drain and leave.
 *
 *   node -> proxy   COLLECT
 *   proxy -> node   SEGMENT (1 descriptor), then LISTENERS (up to 8 each) until `last`
 *   node -> proxy   DRAIN, once the successor is at work
 *
 * One message is one SOCK_SEQPACKET datagram of fixed size. Both sides drop the connection at
 * whatever does not hold.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/fd.h"
#include "ring/station.h"

enum { HANDOVER_MAGIC = 0x564f485a, HANDOVER_VERSION = 1, HANDOVER_NAME = 32 };

enum handover_kind { HANDOVER_COLLECT = 1, HANDOVER_SEGMENT, HANDOVER_LISTENERS, HANDOVER_DRAIN };

struct handover_message {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
	uint16_t role, index;
	uint32_t generation;
	uint32_t pid;
	uint32_t count; /* descriptors in this message */
	uint32_t last;  /* LISTENERS: no more follow */
	uint32_t pad_;
	uint64_t grace_ms; /* DRAIN */
	char names[FD_PASS_MAX][HANDOVER_NAME];
};

/* Both as leash_send and leash_recv: 0, or -1 with errno. */
int handover_send(int sock, const struct handover_message *m, const int *fds);
int handover_recv(int sock, struct handover_message *m, int *fds);
void handover_init(struct handover_message *m, enum handover_kind kind);

/* ---- the proxy's side ---- */

struct handover;

struct handover_events {
	/* Listening socket i that this process serves (borrowed); false: there is none. The
	 * handover socket itself does not count. */
	bool (*listener)(void *arg, size_t i, int *fd_out, const char **name_out);
	/* Accept no more, finish what is under way, then station_leave(). */
	void (*drain)(void *arg, uint64_t grace_ms);
};

/* listen_fd is given. Serves one connection at a time. */
int handover_new(struct station *st, int listen_fd, const struct handover_events *events, void *arg,
		 struct handover **out, struct err *err) MUST_CHECK;

#endif
