/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_PP2_H
#define PROXY_PP2_H

/* The PROXY protocol's second version, towards replicas: who the client is and which address it
 * asked. Binary form, command PROXY, no extensions. A pure function. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

enum { PP2_BYTES_MAX = 16 + 36 };

/* Gives the header's length: 28 for IPv4, 52 when either is IPv6. */
size_t pp2_write(const struct addr *client, const struct addr *asked, bool udp,
		 uint8_t out[PP2_BYTES_MAX]);

#endif
