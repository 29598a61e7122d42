/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_WORKER_TURN_H
#define PROXY_WORKER_TURN_H

/* Start and end of a worker, for proxy.c alone. */

#include "proxy/worker.h"

/* Zeroed memory; before confinement. */
void worker_init(struct worker *w, struct station *st);
int worker_start(struct worker *w, struct err *err) MUST_CHECK;
/* Accepts on all listeners, those that come later too. */
void worker_accept(struct worker *w);
/* Accepts no more; leaves when the last connection ended, or at the end of the grace. */
void worker_drain(struct worker *w, uint64_t grace_ms);

#endif
