/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_EVENT_H
#define SCHEDULER_EVENT_H

/* Events: put into the segment's log at once, and into the store with the next transaction. Types
 * are listed in docs/events.md. */

#include "base/log.h"
#include "scheduler/model.h"

/* reason may be NULL. The deployment's running operation is named by itself. */
void event_replica(struct model *m, const struct replica *p, const char *type,
		   enum log_level severity, const struct msg_reason *reason, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));
/* service may be NULL. */
void event_deployment(struct model *m, const struct deployment *d, const struct service *s,
		      const char *type, enum log_level severity, const struct msg_reason *reason,
		      const char *fmt, ...) __attribute__((format(printf, 7, 8)));
/* Of a node of the cluster: the text names it. */
void event_node(struct model *m, const char *type, enum log_level severity,
		const struct msg_reason *reason, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

#endif
