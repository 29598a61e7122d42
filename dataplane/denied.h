/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_DENIED_H
#define DATAPLANE_DENIED_H

/* Which service a client asked for that the balancer denied: its packet has an address of the
 * machine and a port, the tables say whose endpoint that is. Pure. */

#include "ring/msg.h"
#include "ring/ring.h"

/* scheduler: whose table of streams is read already; NULL: it is not there. */
void denied_name(const struct ring_reader *scheduler, struct msg_flow *flow);

#endif
