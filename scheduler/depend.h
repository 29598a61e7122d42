/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_DEPEND_H
#define SCHEDULER_DEPEND_H

/*
 * Who waits for whom. A roll-out makes no replica of a service before its dependencies hold
 * (rollout.c); what is there already and starts again (the machine was restarted, `zlayer start`)
 * is claimed at once but *held*: the runtime prepares nothing and starts nothing. Both say what
 * they wait for. A process that runs is never held, and one that crashes is started again without
 * waiting.
 */

#include "scheduler/model.h"

/* True when the dependency holds now: some replica of `service` has started, has passed its check
 * with the process that runs, or is in balancing. A service without replicas holds nobody up. */
bool depend_holds(struct service *service, enum doc_condition condition);
/* Sets waits of services and held, waits of replicas. */
void depend_look(struct model *m, struct deployment *d);

#endif
