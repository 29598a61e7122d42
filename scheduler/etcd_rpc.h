/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_ETCD_RPC_H
#define SCHEDULER_ETCD_RPC_H

/*
 * Calls to a cluster of etcd over its JSON gateway: HTTP/1.1 by libcurl on the loop, with TLS and a
 * client certificate, or in the clear to this machine itself. A call goes to one member; when that
 * does not answer, or has no quorum, to the next, until the deadline: so every request must be one
 * that may arrive twice (a compare and swap is). Names are not resolved: members are addresses.
 *
 * Threading: the loop's thread. Callbacks come from the loop, never from within the call that
 * caused them; they may start and cancel calls, and close.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "scheduler/etcd_json.h"

enum {
	ETCD_RPC_ENDPOINTS_MAX = 16,
	ETCD_RPC_URL_BYTES = 96,
	ETCD_RPC_ANSWER_BYTES_MAX = 64 << 20, /* also of a line of a watch */
	ETCD_RPC_PEM_BYTES_MAX = 256 << 10,
};

struct etcd_rpc;
struct etcd_call;

struct etcd_rpc_options {
	uv_loop_t *loop;
	const char *const *endpoints; /* "https://10.0.0.1:2379"; http only for loopback */
	size_t endpoints_count;
	/* PEM, copied; NULL without TLS */
	const char *authorities;
	const char *certificate;
	const char *key;
	/* Of an etcd with users; copied. NULL: none. What it gives for them is kept and renewed. */
	const char *user, *password;
	uint32_t timeout_ms; /* of a call, with all its attempts; 0: 2 s */
	/* Where somebody is to look when certificates do not fit. Not copied; NULL: the cluster's
	 * own authority. */
	const char *trust_fix;
};

struct etcd_rpc_answer {
	/* NULL: text is an answer of success. ERR_UNREACHABLE: certainly not done; ERR_TIMEOUT: it
	 * may have been done; ERR_DENIED: certificates or users, not done; ERR_NO_SPACE, ERR_LIMIT,
	 * ERR_NOT_FOUND; ERR_CONFLICT: a revision that is compacted. */
	const struct err *err;
	bool lost; /* an earlier attempt may have been done, whatever this answer says */
	const char *text;
	size_t bytes;
};

typedef void (*etcd_rpc_done_fn)(void *arg, const struct etcd_rpc_answer *answer);
/* A line of a stream. */
typedef void (*etcd_rpc_line_fn)(void *arg, const char *text, size_t bytes);

/* Opens libcurl and libjansson; before confinement. */
int etcd_rpc_load(struct err *err) MUST_CHECK;
/* Without an endpoint all calls end with ERR_UNREACHABLE, and with `why` of etcd_rpc_none. */
int etcd_rpc_open(const struct etcd_rpc_options *options, struct etcd_rpc **out,
		  struct err *err) MUST_CHECK;
/* Other members, certificates or users from the next attempt on; loop and time-out stay, and what
 * the same members gave the same user. As it was on failure. */
int etcd_rpc_renew(struct etcd_rpc *r, const struct etcd_rpc_options *options,
		   struct err *err) MUST_CHECK;
/* Why there is no endpoint. */
void etcd_rpc_none(struct etcd_rpc *r, const struct err *why);
/* Calls end without `done`. The loop must turn once more. NULL is fine. */
void etcd_rpc_close(struct etcd_rpc *r);

/* path: "/v3/kv/txn"; the body is copied. NULL with err: no memory. */
struct etcd_call *etcd_rpc_call(struct etcd_rpc *r, const char *path, const struct buf *body,
				etcd_rpc_done_fn done, void *arg, struct err *err);
/* An answer without end; `done` tells why it ended all the same. */
struct etcd_call *etcd_rpc_stream(struct etcd_rpc *r, const char *path, const struct buf *body,
				  etcd_rpc_line_fn line, etcd_rpc_done_fn done, void *arg,
				  struct err *err);
/* Without `done`. NULL is fine. */
void etcd_rpc_cancel(struct etcd_call *c);
uint32_t etcd_rpc_timeout_ms(const struct etcd_rpc *r);

#endif
