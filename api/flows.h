/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_FLOWS_H
#define API_FLOWS_H

/* What the data paths of the nodes have seen, as the schedulers keep it (ring/msg_flows.h).
 * Threading: the loop's. */

#include "api/events.h"

/* Rows of struct msg_flow_row; its filter is a struct msg_flows_op. */
extern const struct events_kind flows_kind;

/* ?verdict= ?service= ?peer=, as a filter. False: they are wrong, and it was answered. */
bool flows_query(struct call *call, struct msg_flows_op *out);

#endif
