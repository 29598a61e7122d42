/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_CLAIM_H
#define RING_MSG_CLAIM_H

/*
 * What the scheduler wants true of a replica, and how that is looked at: claims for runtime, checks
 * for probe, results. The rules are those of ring/msg.h.
 */

#include "ring/msg_base.h"

enum msg_desired { MSG_RUN = 1, MSG_STOP, MSG_REMOVE, MSG_HOLD };

/* What the runtime is to make true. The plan itself (image, command, mounts ...) is asked for by
 * replica with MSG_OP_PLAN; its digest stands here so that a kept copy can be checked.
 * MSG_RUN: attempt n runs; when attempt n has ended it stays ended until the scheduler asks for
 * n + 1. MSG_HOLD: as MSG_RUN, on what the attempt before left in the root file system, and with a
 * process that only sleeps in the place of the program. MSG_STOP: stopped gracefully, network and
 * logs kept. MSG_REMOVE: stopped and everything of it removed; the row leaves when the runtime's
 * container row has left. */
struct msg_claim { /* key: replica */
	uint64_t replica;
	uint64_t service;
	char deployment_name[MSG_NAME];
	char service_name[MSG_NAME];
	uint32_t index;
	uint32_t revision;
	uint32_t attempt; /* 1 .. */
	uint32_t desired;
	uint32_t stop_grace_ms;
	uint32_t stop_signal;
	uint8_t plan_sha256[32];
	uint32_t remove_volumes; /* MSG_REMOVE: its named volumes too */
	uint32_t held;           /* MSG_RUN, MSG_HOLD: what does not run yet is not started yet */
	uint32_t measured;       /* its service is scaled by what it uses: look often */
	/* It may live only while it is leased to this node. Then lease_until_ns is when it must be
	 * dead (CLOCK_BOOTTIME), whoever else is still alive by then; 0: as was said last, and what
	 * does not run yet is not started. */
	uint32_t leased;
	uint64_t lease_until_ns;
	uint64_t lease_epoch;
};

enum msg_check { MSG_CHECK_TCP = 1, MSG_CHECK_HTTP, MSG_CHECK_UDP };

struct msg_probe { /* key: replica << 8 | n */
	uint64_t replica;
	uint32_t attempt; /* results of another attempt do not count */
	uint32_t check;
	struct addr addr;
	uint32_t expect_status;
	uint32_t interval_ms;
	uint32_t timeout_ms;
	uint32_t pad_;
	char host[MSG_HOST]; /* Host header */
	char path[MSG_PATH];
	char service_label[MSG_TARGET]; /* "deployment/service" for metrics */
	char request[MSG_TEXT];         /* udp: what is sent */
	char expect[MSG_TEXT];          /* udp: how the answer begins; "" any */
};

enum msg_result_failure {
	MSG_FAILURE_NONE,
	MSG_FAILURE_REFUSED,
	MSG_FAILURE_TIMEOUT,
	MSG_FAILURE_RESET,
	MSG_FAILURE_UNREACHABLE,
	MSG_FAILURE_STATUS,   /* http: another status */
	MSG_FAILURE_PROTOCOL, /* http: not HTTP (tls_seen: it speaks TLS); udp: another answer */
	MSG_FAILURE_EXIT,     /* command: non-zero */
	MSG_FAILURE_OTHER,
};

/* By probe for tcp and http, by runtime for command checks (n = 255). */
struct msg_result { /* key: as msg_probe */
	uint64_t replica;
	uint32_t attempt;
	uint32_t ok;        /* the last one */
	uint32_t successes; /* in a row */
	uint32_t failures;  /* in a row */
	uint64_t total;
	uint64_t total_failures;
	int64_t last_wall_ns;
	uint64_t latency_ns;
	uint32_t failure;
	uint32_t http_status; /* or exit status of a command */
	uint32_t tls_seen;
	uint32_t pad_;
	char detail[MSG_TEXT]; /* first bytes of the answer or output, printable */
};

struct msg_plan_op {
	uint64_t replica;
};

#endif
