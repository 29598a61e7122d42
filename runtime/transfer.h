/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_TRANSFER_H
#define RUNTIME_TRANSFER_H

/*
 * One HTTP request by libcurl on the loop: status, the header fields that registries speak with,
 * and a body that is passed on piece by piece, with back pressure. Redirects are not followed,
 * names are not resolved, no file is opened: addresses and certificates are given. Threading: the
 * loop's thread. transfer_load runs before confinement.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "runtime/registry.h"
#include "wire/dns_stub.h"

enum { TRANSFER_CHUNK_BYTES = 64 << 10 };

struct transfers;
struct transfer;

struct transfer_request {
	const char *url;
	const char *accept;
	const char *authorization; /* "" none */
	const char *form;          /* "": GET or HEAD */
	bool head;
	bool keep_body;   /* collect it (REGISTRY_BODY_BYTES at most) instead of passing it on */
	uint64_t from;    /* bytes to leave out */
	uint64_t most;    /* bytes of a body after which nothing more is read; 0: without end */
	const char *host; /* of the url, with its port and addresses */
	uint16_t port;
	const struct dns_stub_addrs *addrs; /* count 0: the host is an address */
	const char *authorities;            /* PEM, further ones to trust; NULL none */
	size_t authorities_bytes;
};

struct transfer_result {
	enum registry_failure failure;
	char detail[256];
	unsigned status;
	char challenges[4][2048];
	size_t challenges_count;
	char location[REGISTRY_URL_BYTES]; /* "" none */
	uint64_t retry_after_ms;
	uint64_t whole_bytes; /* of a 416: how large the thing is; 0 not told */
	char media_type[128];
	char digest[72]; /* Docker-Content-Digest, "" none */
	char *body;      /* collected: an error's, or all of it with keep_body */
	size_t body_bytes;
};

struct transfer_calls {
	/* Takes all, or nothing (false): then it is given again after transfer_resume. */
	bool (*data)(void *arg, const void *data, size_t bytes);
	/* The end, from the loop. The transfer is freed after it. */
	void (*done)(void *arg, const struct transfer_result *result);
};

int transfer_load(struct err *err) MUST_CHECK;
int transfer_open(uv_loop_t *loop, struct transfers **out, struct err *err) MUST_CHECK;
/* NULL with err. The request is used within the call only. */
struct transfer *transfer_start(struct transfers *ts, const struct transfer_request *request,
				const struct transfer_calls *calls, void *arg, struct err *err);
void transfer_resume(struct transfer *t);
/* Ends it without `done`; not from within a callback of its own. */
void transfer_cancel(struct transfer *t);

#endif
