/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SESSION_H1_H
#define PROXY_SESSION_H1_H

/* HTTP/1.1 towards a client: one request at a time, pipelined ones wait in a bounded buffer.
 * Threading: the loop's. */

#include <stdbool.h>

struct downstream;

/* Puts the session on the connection. false: out of memory. */
bool session_h1_open(struct downstream *c);

#endif
