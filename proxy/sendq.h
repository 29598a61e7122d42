/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SENDQ_H
#define PROXY_SENDQ_H

/*
 * Output of one socket: tried at once, and only what the kernel does not take is copied and queued.
 * The owner stops producing while sendq_pending() is above its mark; nothing here bounds it but
 * SENDQ_BYTES_MAX, beyond which the socket counts as broken.
 * Threading: the loop's. `drained` fires from the loop, never from within sendq_write.
 */

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>
#include "base/buf.h"

enum { SENDQ_BYTES_MAX = 4 << 20 };

struct sendq {
	uv_stream_t *handle;
	uv_write_t write;
	struct buf queue;  /* waits */
	struct buf flight; /* the kernel's turn */
	bool busy;
	bool failed;
	void (*drained)(struct sendq *q); /* empty again, or failed */
};

void sendq_init(struct sendq *q, uv_stream_t *handle, void (*drained)(struct sendq *q));
/* After the handle was closed (uv has called back every write). */
void sendq_fini(struct sendq *q);
/* false: the socket is broken, or out of memory. The bytes may be reused at once. */
bool sendq_write(struct sendq *q, const uv_buf_t *bufs, unsigned count);
size_t sendq_pending(const struct sendq *q);

#endif
