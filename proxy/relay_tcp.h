/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_RELAY_TCP_H
#define PROXY_RELAY_TCP_H

/*
 * The relay of a tcp endpoint: a session of a client connection (downstream.h) that passes bytes to
 * and from one replica.
 * Threading: the loop's.
 */

#include <stdbool.h>
#include "proxy/relay.h"

struct downstream;

/* Connects to a replica. False: out of memory (the caller closes). */
bool relay_tcp_open(struct downstream *c);

#endif
