/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_NET_GSO_H
#define RUNTIME_NET_GSO_H

/*
 * How large super-packets of a container's link are made (gso_max_size, rtnetlink). Threading:
 * pure.
 */

#include <stdint.h>

/* For a link of this MTU from which packets go sealed: as many full segments of TCP, whichever its
 * options and family, as go with one UDP_SEGMENT when they are sealed (overlay/engine/segment.h).
 */
uint32_t net_gso_max(uint32_t mtu);

#endif
