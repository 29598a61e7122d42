/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_ETCD_RPC_INSIDE_H
#define SCHEDULER_ETCD_RPC_INSIDE_H

/* What etcd_rpc.c (a call and its attempts), etcd_attempt.c (what libcurl is told) and etcd_login.c
 * (users) have in common; nobody else includes this. */

#include "base/list.h"
#include "scheduler/etcd_rpc.h"
#include "wire/multi.h"

enum {
	ETCD_RPC_ATTEMPTS = 3, /* that a call has time for, when nobody answers */
	ETCD_RPC_TOKEN_BYTES = 2048,
};

struct endpoint {
	char url[ETCD_RPC_URL_BYTES];
};

struct etcd_rpc {
	uv_loop_t *loop;
	struct multi *multi;
	struct endpoint endpoints[ETCD_RPC_ENDPOINTS_MAX];
	size_t endpoints_count;
	size_t next; /* to be asked first */
	char *authorities, *certificate, *key;
	const char *trust_fix;
	struct err none; /* why there is no endpoint; kind 0: not known yet */
	/* etcd_login.c */
	char *user, *password;
	char token[ETCD_RPC_TOKEN_BYTES]; /* "" none */
	bool no_users;                    /* etcd knows none */
	struct err login_err;             /* the last refusal; kind 0: none */
	uint64_t login_err_ms;            /* when */
	struct etcd_call *login;          /* asks for a token */
	uint32_t timeout_ms;
	struct list calls;
};

struct etcd_call {
	struct list link;
	struct etcd_rpc *rpc;
	char path[64];
	char url[ETCD_RPC_URL_BYTES]; /* of the attempt under way */
	struct buf body;
	struct buf answer;
	CURL *easy; /* of the attempt under way */
	struct curl_slist *fields;
	uv_timer_t timer;
	etcd_rpc_line_fn line; /* a stream */
	etcd_rpc_done_fn done;
	void *arg;
	uint64_t deadline_ms;
	size_t endpoint;
	uint64_t attempt_ms;
	unsigned attempts;
	unsigned denied;
	char distrust[2 * ETCD_RPC_URL_BYTES]; /* what the last of those said; "" none */
	bool lost;
	bool bare;     /* goes without a token: it asks for one */
	bool waits;    /* for a token */
	bool refused;  /* it got none: err says why */
	bool stranger; /* its token was refused once */
	bool over;     /* a stream: nothing more comes */
	bool too_long;
	char error[CURL_ERROR_SIZE];
	struct err err; /* of the last attempt */
};

/* False: no memory. */
bool etcd_attempt_set(struct etcd_call *c);
/* libcurl has more of the answer. */
size_t etcd_rpc_body(char *data, size_t size, size_t count, void *arg);
/* An attempt, or its end with c->err, from the loop. */
void etcd_rpc_again(struct etcd_call *c);
struct etcd_call *etcd_rpc_begin(struct etcd_rpc *r, const char *path, const struct buf *body,
				 etcd_rpc_line_fn line, etcd_rpc_done_fn done, void *arg,
				 struct err *err);

/* ---- etcd_login.c ---- */

/* True: the call waits for a token, and goes on by itself. */
bool etcd_login_first(struct etcd_call *c);
/* The token is none any more. */
void etcd_login_forget(struct etcd_rpc *r);
int etcd_login_take(struct etcd_rpc *r, const struct etcd_rpc_options *o,
		    struct err *err) MUST_CHECK;
/* The user and password of `fresh`, whose members are not r's yet. */
void etcd_login_renew(struct etcd_rpc *r, struct etcd_rpc *fresh);
void etcd_login_fini(struct etcd_rpc *r);

#endif
