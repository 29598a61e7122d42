/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_LISTENER_H
#define PROXY_LISTENER_H

/* Listening sockets that node made and handed over: this worker's members of the SO_REUSEPORT
 * groups. node holds duplicates, so that closing one here loses no connection that waits. A
 * listener that is held accepts nothing: what connects waits in its queue.
 * Threading: the loop's. */

#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "spec/config.h"

struct worker;

/* Takes the descriptor (on failure, too). secure: https. It is held at first. */
int listener_add(struct worker *w, int fd, bool secure, struct err *err) MUST_CHECK;
/* Accepts on all that are held. */
void listener_accept_all(struct worker *w);
/* Holds the https listeners. */
void listener_hold_secure(struct worker *w);
/* Closes those whose address the configuration does not have. */
void listener_keep(struct worker *w, const struct config_listeners *wanted);
/* Listener i (borrowed); false: there is none. */
bool listener_get(struct worker *w, size_t i, int *fd_out, const char **name_out);
/* Accepts what could not be accepted for want of memory. */
void listener_retry(struct worker *w);
void listener_close_all(struct worker *w);

#endif
