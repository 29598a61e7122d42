/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_REFUSAL_H
#define RING_REFUSAL_H

/*
 * Turning away a connection for which there is no memory. libuv tells of no other connection until
 * the last one was accepted: a listener that merely leaves it would hear of none any more. So it is
 * accepted into a place that is always there, and closed. Threading: the loop's.
 */

#include <stdbool.h>
#include <uv.h>

/* One of each listener, zero at first; where the listener is. */
struct refusal {
	uv_tcp_t tcp;
	uv_stream_t *listener;
	uv_connection_cb again;
	bool busy, missed;
};

/* Instead of uv_accept, from the listener's callback, which is `again`: it is called once more if
 * another connection comes while this one is being closed. */
void refusal_take(struct refusal *r, uv_stream_t *listener, uv_connection_cb again);

#endif
