/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_PORTUSER_H
#define NODE_PORTUSER_H

/* Which process listens on a TCP port or receives on a UDP one: for messages only, best effort. */

#include <stdbool.h>
#include <stddef.h>
#include "base/addr.h"

/* "nginx (pid 812)"; false when it cannot be found. */
bool portuser_find(const struct addr *addr, bool udp, char *out, size_t cap);

#endif
