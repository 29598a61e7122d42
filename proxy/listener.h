/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_LISTENER_H
#define PROXY_LISTENER_H

/* Sockets that node made and handed over: this worker's members of the SO_REUSEPORT groups, of the
 * shared http and https listeners and of the ports of tcp and udp endpoints. node holds duplicates,
 * so that closing one here loses no connection that waits. A listener that is held accepts nothing:
 * what connects waits in its queue. One of an endpoint is held until the endpoint is known.
 * Threading: the loop's. */

#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "spec/config.h"

struct worker;

/* Takes the descriptor (on failure, too). name: http, https, tcp or udp. It is held at first. */
int listener_add(struct worker *w, int fd, const char *name, struct err *err) MUST_CHECK;
bool listener_known(const char *name);
/* Accepts on all that are held. */
void listener_accept_all(struct worker *w);
/* The endpoints changed: accepts for those that came, holds those that went. */
void listener_endpoints(struct worker *w);
/* The port is given up. */
void listener_unlisten(struct worker *w, const char *name, const struct addr *at);
/* Holds the listeners with TLS. */
void listener_hold_secure(struct worker *w);
/* Closes those whose address the configuration does not have. */
void listener_keep(struct worker *w, const struct config_listeners *wanted);
/* Listener i (borrowed); false: there is none. */
bool listener_get(struct worker *w, size_t i, int *fd_out, const char **name_out);
/* Accepts what could not be accepted for want of memory. */
void listener_retry(struct worker *w);
void listener_close_all(struct worker *w);

#endif
