/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection at a time is being closed. The next one waits in the kernel, and is asked for when
 * the place is free.
 */
#include "ring/refusal.h"

static void
was_refused(uv_handle_t *handle)
{
	struct refusal *r = handle->data;

	r->busy = false;
	if (r->missed)
		r->again(r->listener, 0);
}

void
refusal_take(struct refusal *r, uv_stream_t *listener, uv_connection_cb again)
{
	r->missed = r->busy;
	if (r->busy)
		return;
	r->busy = true;
	r->listener = listener;
	r->again = again;
	uv_tcp_init(listener->loop, &r->tcp);
	r->tcp.data = r;
	(void)uv_accept(listener, (uv_stream_t *)&r->tcp);
	uv_close((uv_handle_t *)&r->tcp, was_refused);
}
