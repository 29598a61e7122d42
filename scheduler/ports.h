/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PORTS_H
#define SCHEDULER_PORTS_H

/*
 * Who has which public port. A tcp or udp endpoint owns its port on the edge: another deployment's
 * endpoint, the shared listeners and the node's own ports are in its way. Refusals are
 * ERR_CONFLICT and name the other owner.
 */

#include "base/err.h"
#include "scheduler/model.h"
#include "spec/doc.h"

/* tcp or udp: served by a stream, not by a route. */
bool ports_is_stream(const struct doc_endpoint *e);
/* How many public ports it wants. */
size_t ports_count(const struct doc *doc);
int ports_compare(const struct doc *mine, const struct doc *theirs, struct err *err) MUST_CHECK;
/* Against what the node itself listens on: its configuration, and the listeners that it has. */
int ports_check_node(const struct model *m, const struct doc *mine, struct err *err) MUST_CHECK;

/* A public port of the service that the node could not open: true with the reason. */
bool ports_trouble(const struct model *m, const struct doc_service *s, struct msg_reason *out);

#endif
