/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_LISTENER_H
#define PROXY_LISTENER_H

/* Listening sockets that node made and handed over: this worker's members of the SO_REUSEPORT
 * groups. node holds duplicates, so that closing one here loses no connection that waits.
 * Threading: the loop's. */

#include <stdbool.h>
#include "base/err.h"

struct worker;

/* Takes the descriptor (on failure, too). secure: https. */
int listener_add(struct worker *w, int fd, bool secure, struct err *err) MUST_CHECK;
/* Accepts what could not be accepted for want of memory. */
void listener_retry(struct worker *w);
void listener_close_all(struct worker *w);

#endif
