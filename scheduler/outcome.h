/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_OUTCOME_H
#define SCHEDULER_OUTCOME_H

/* What is said of an operation, of its end, and of what stands in its way. */

#include "scheduler/model.h"
#include "scheduler/rollout_view.h"

/* Names the cause of a replica's trouble. */
void outcome_cause(struct model *m, struct replica *p, bool relapsed, struct err *err);
/* Names what made the roll-out ask for this action. */
void outcome_of(struct model *m, struct deployment *d, const struct view *view,
		const struct rollout_action *a, struct err *err);
/* The reason of deployment and operation: what was done, and the cause of it. */
void outcome_reason(struct deployment *d, const struct err *cause, const char *did,
		    enum err_kind kind);
/* The operation is over; its reason stands in it already. Harmless when there is none. */
void outcome_end(struct model *m, struct deployment *d, enum msg_operation_state state);

#endif
