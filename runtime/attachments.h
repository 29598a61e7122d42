/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_ATTACHMENTS_H
#define RUNTIME_ATTACHMENTS_H

/*
 * Containers of others on this node's mesh (MSG_OP_ATTACH ...). Each has an address and a link as a
 * replica has, in a network namespace that its engine made; nothing else of it is ours. What is
 * attached is kept over restarts of everything but the machine, and forgotten when its namespace is
 * gone, whether or not somebody says so. Threading: the loop's thread.
 */

#include "runtime/container.h"

struct attachments;

/* Reads what is kept, publishes what is still there. host is borrowed until attachments_close; its
 * place, pool, net and station are there. */
int attachments_open(struct container_host *host, struct attachments **out,
		     struct err *err) MUST_CHECK;
/* Nothing that is attached notices. NULL is fine. */
void attachments_close(struct attachments *a);
/* Whether a link, a namespace or an address with this number is an attachment's. */
bool attachments_has(const struct attachments *a, uint64_t id);
/* Goes on with what waits for the data path. */
void attachments_step(struct attachments *a);
/* Forgets what is gone, ends what has waited too long. Every few seconds. */
void attachments_sweep(struct attachments *a);
/* True when the request was one of ours (it is answered now or later). */
bool attachments_request(struct attachments *a, const struct station_request *request,
			 const void *body, size_t bytes);

#endif
