/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SESSION_H2_H
#define PROXY_SESSION_H2_H

/* HTTP/2 towards a client: wire/h2.h on a connection, a stream for each request.
 * Threading: the loop's. */

#include <stdbool.h>

struct downstream;

/* Puts the session on the connection. false: out of memory. */
bool session_h2_open(struct downstream *c);
/* Writes what the session has, as long as the socket takes it. Called at the end of a turn. */
void session_h2_flush(struct downstream *c);

#endif
