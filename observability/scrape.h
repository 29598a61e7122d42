/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OBSERVABILITY_SCRAPE_H
#define OBSERVABILITY_SCRAPE_H

/*
 * The HTTP side of /metrics: a small HTTP/1.1 server on a listener that node opened. GET and HEAD
 * of /metrics only; limits on connections, head size and time, so that a stranger on the port costs
 * little.
 * Threading: the loop's.
 */

#include <uv.h>
#include "base/buf.h"
#include "base/err.h"
#include "observability/exposition.h"

enum {
	SCRAPE_CONNECTIONS_MAX = 64,
	SCRAPE_HEAD_BYTES = 8192,
	SCRAPE_IDLE_MS = 30000,  /* between two requests, and until the first one is there */
	SCRAPE_LINGER_MS = 1000, /* between two, when the process is to leave */
	SCRAPE_DRAIN_MS = 4000,  /* likewise: until the first one is there, and all are answered */
};

/* Writes the exposition; false when memory is out. */
typedef bool (*scrape_render_fn)(void *arg, enum exposition_format format, struct buf *out);

/* Whether all is there that an exposition is made of. A request waits until then: so this says yes
 * after some time in any case. NULL: always. */
typedef bool (*scrape_ready_fn)(void *arg);

/* Takes the listening socket. */
int scrape_listen(uv_loop_t *loop, int fd, scrape_ready_fn ready, scrape_render_fn render,
		  void *arg, struct err *err) MUST_CHECK;
/* No new connections; answers say that theirs ends. `left` is called once, with `arg`, when there
 * is none any more: at once, or later, at the latest after `within_ms`. Once; also when there is no
 * listener. */
void scrape_stop(uv_loop_t *loop, uint64_t within_ms, void (*left)(void *arg), void *arg);

#endif
