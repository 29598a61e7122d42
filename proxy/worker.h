/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

/*
 * What everything in one proxy worker shares: the loop, its timers, the tables as they stand, and
 * the buffers that are used within one callback only. There is one per process.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/list.h"
#include "base/world.h"
#include "proxy/account.h"
#include "proxy/backend.h"
#include "proxy/demand.h"
#include "proxy/forward.h"
#include "proxy/relay.h"
#include "proxy/router.h"
#include "proxy/sni.h"
#include "proxy/wheel.h"
#include "ring/station.h"
#include "wire/h2.h"
#include "wire/http1.h"
#include "wire/tls.h"

struct downstream;

enum {
	WORKER_READ_BYTES = 65536,
	WORKER_STAGE_BYTES = 32768,
	WORKER_CIPHER_BYTES = 131072,
	WORKER_PULL_BYTES = 65536,

	/* A queue above the high mark stops its producer, below the low one starts it again. */
	WORKER_HIGH_BYTES = 65536,
	WORKER_LOW_BYTES = 32768,

	WORKER_HANDSHAKE_MS = 10000,
	WORKER_HANDSHAKES_MAX =
		4, /* that get on in one turn of the loop: others wait, not the data */
	WORKER_HEADER_MS = 10000, /* absolute, for a request's head */
	WORKER_BODY_GRACE_MS = 10000,
	WORKER_BODY_BYTES_PER_S =
		240, /* slower request bodies are refused, until an answer began */
	WORKER_KEEP_ALIVE_MS = 75000,
	WORKER_H2_IDLE_MS = 120000,
	WORKER_CONNECT_MS = 5000,
	WORKER_CONNECT_OTHER_MS = 1000, /* while there is another replica that could be asked */
	WORKER_ANSWER_MS = 60000,       /* until a replica's answer begins */
	WORKER_STREAM_IDLE_MS = 300000,
	WORKER_TUNNEL_IDLE_MS = 3600000,
	WORKER_UPSTREAM_IDLE_MS = 55000,
	WORKER_STALL_MS = 60000, /* a client that takes no byte of what waits for it */
	WORKER_LINGER_MS = 2000,
	WORKER_REPLAY_BYTES = 65536,
	WORKER_ATTEMPTS = 3,
	WORKER_REQUEST_ATTEMPTS = 6, /* of a request: more than one node may be gone */
	WORKER_MEMORY_PERCENT_MAX =
		25,                 /* of the machine's, all workers together: then nobody new */
	WORKER_PATIENCE_MS = 10000, /* accepts without routes or certificates then */
};

struct worker {
	struct station *st;
	uv_loop_t *loop;
	uv_timer_t tick;
	uv_prepare_t prepare;
	uv_timer_t patience;
	struct wheel wheel;
	struct world_seeded random; /* its clocks are those of the last loop turn */
	struct router *router;
	struct backend_table backends;
	struct relay relay;
	struct demand demand;
	struct sni sni;
	struct account account;
	struct h2_engine *h2;
	struct tls_server *tls;

	struct list listeners; /* listener.h */
	struct list conns;
	size_t conns_count;
	size_t conns_max;
	struct list dirty;   /* connections with frames to pull */
	struct list shaking; /* whose handshake waits for its turn */
	unsigned handshakes; /* of this turn */
	size_t memory_max;
	struct map sessions;    /* of udp endpoints: relay_udp.c */
	struct list unanswered; /* of those */
	size_t sessions_max;
	struct list dead_streams; /* freed at the end of the turn */
	bool ticking;
	unsigned ticks;
	uint64_t requests;
	unsigned https_port;
	bool accepting; /* it knows what it is to serve, or waited long enough */
	bool orphan;    /* of a node that is gone: what is new waits for the next one's workers */
	bool draining;
	bool leaving;
	uint64_t leave_at_ms; /* hard end of a drain */
	bool log_pending;

	/* Plaintext that one connection is writing in this turn. */
	struct downstream *stage_conn;
	size_t stage_length;
	size_t cipher_length;

	struct http1_head head;        /* requests that come whole */
	struct http1_head answer_head; /* answers that come whole */
	struct forward_answer answer;
	struct h2_header fields[FORWARD_FIELDS_MAX + 1]; /* of an answer over HTTP/2 */
	char path[FORWARD_HEAD_MAX];                     /* of the request that is being begun */
	char scratch[FORWARD_HEAD_MAX];
	uint8_t read[WORKER_READ_BYTES];
	uint8_t plain[TLS_PLAIN_MIN];
	uint8_t stage[WORKER_STAGE_BYTES];
	uint8_t cipher[WORKER_CIPHER_BYTES];
	uint8_t pull[WORKER_PULL_BYTES];
};

uint64_t worker_now_ms(const struct worker *w);
/* For uv_read_start: the one read buffer; what is in it is used before the callback returns. */
void worker_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *out);
/* Makes sure that the tick runs while there are deadlines or records to publish. */
void worker_wake_tick(struct worker *w);

#endif
