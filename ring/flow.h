/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_FLOW_H
#define RING_FLOW_H

/* Names of what msg_flow (ring/msg_network.h) says. Every function takes any number: what is not
 * known is NULL. */

#include "ring/flow_reason.h"
#include "ring/msg_network.h"

const char *flow_reason_name(unsigned reason);   /* the label; "" of FLOW_PASSED */
const char *flow_reason_text(unsigned reason);   /* half a sentence on the packet; "" as well */
const char *flow_verdict_name(unsigned verdict); /* "forwarded", "dropped" */
const char *flow_way_name(unsigned way);         /* "local", "plain", "sealed", "stack" */
/* Label "interface" of the metrics; "edge", whose packets are counted by the names of interfaces.
 */
const char *flow_place_name(unsigned place);

#endif
