/* SPDX-License-Identifier: Apache-2.0 */

/* Output queues: uv_try_write first, so that the common case is one system call and no copy; the
 * rest in two buffers, one with the kernel and one that fills meanwhile. */

#include "proxy/sendq.h"

void
sendq_init(struct sendq *q, uv_stream_t *handle, void (*drained)(struct sendq *q))
{
	q->handle = handle;
	q->drained = drained;
	q->busy = q->failed = false;
	buf_init(&q->queue, MEM_PROXY, SENDQ_BYTES_MAX);
	buf_init(&q->flight, MEM_PROXY, SENDQ_BYTES_MAX);
}

void
sendq_fini(struct sendq *q)
{
	buf_fini(&q->queue);
	buf_fini(&q->flight);
}

size_t
sendq_pending(const struct sendq *q)
{
	return q->queue.length + q->flight.length;
}

static void on_written(uv_write_t *write, int status);

static bool
start(struct sendq *q)
{
	struct buf empty = q->flight;
	uv_buf_t b;

	q->flight = q->queue;
	q->queue = empty;
	buf_reset(&q->queue);
	b = uv_buf_init((char *)q->flight.data, (unsigned)q->flight.length);
	q->write.data = q;
	q->busy = uv_write(&q->write, q->handle, &b, 1, on_written) == 0;
	if (!q->busy)
		q->failed = true;
	return q->busy;
}

static void
on_written(uv_write_t *write, int status)
{
	struct sendq *q = write->data;

	q->busy = false;
	buf_fini(&q->flight);
	buf_init(&q->flight, MEM_PROXY, SENDQ_BYTES_MAX);
	if (status < 0)
		q->failed = true;
	else if (q->queue.length > 0 && start(q))
		return;
	if (status != UV_ECANCELED)
		q->drained(q);
}

static bool
keep(struct sendq *q, const uv_buf_t *bufs, unsigned count, size_t skip)
{
	for (unsigned i = 0; i < count; i++) {
		size_t n = skip < bufs[i].len ? skip : bufs[i].len;

		if (bufs[i].len > n)
			buf_put(&q->queue, bufs[i].base + n, bufs[i].len - n);
		skip -= n;
	}
	if (!buf_ok(&q->queue))
		q->failed = true;
	return !q->failed && (q->busy || start(q));
}

bool
sendq_write(struct sendq *q, const uv_buf_t *bufs, unsigned count)
{
	size_t all = 0, sent = 0;

	if (q->failed)
		return false;
	for (unsigned i = 0; i < count; i++)
		all += bufs[i].len;
	if (!q->busy) {
		int n = uv_try_write(q->handle, bufs, count);

		if (n < 0 && n != UV_EAGAIN) {
			q->failed = true;
			return false;
		}
		sent = n > 0 ? (size_t)n : 0;
	}
	return sent == all || keep(q, bufs, count, sent);
}
