/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_RELAY_UDP_H
#define PROXY_RELAY_UDP_H

/*
 * The relay of udp endpoints: this worker's sockets at the edge, and a session per client address
 * and port. A session has a socket of its own towards its replica, so that answers find their way
 * back; it ends when nothing came for the endpoint's session_timeout. A session whose replica is
 * gone or refuses moves to another one.
 * The kernel gives a client's datagrams to the same worker as long as the group of sockets stays;
 * node keeps it so. A worker's successor makes new sessions: the client keeps its replica (see
 * relay_pick), which sees another source port.
 * Threading: the loop's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

struct worker;
struct udp_socket;

enum { RELAY_UDP_SESSIONS_MAX = 4096 }; /* of a worker */

/* Serves a bound socket; the descriptor is given, also on failure. NULL: out of memory. */
struct udp_socket *relay_udp_open(struct worker *w, int fd, const struct addr *at);
/* Takes no more datagrams from clients; sessions go on until they are idle for a moment, then the
 * socket is closed. */
void relay_udp_close(struct udp_socket *s);
/* Whether a session is left (a draining worker waits for them). */
bool relay_udp_busy(const struct worker *w);

#endif
