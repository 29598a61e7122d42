/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_HALT_H
#define SCHEDULER_HALT_H

/* Operations that stop or start what a deployment has. */

#include "scheduler/model.h"

/* The deployment's operation is MSG_OPERATION_STOP or _START: this node's replicas are told. When
 * it conducts the deployment it says when that is over, and then gives true. */
bool halt_step(struct model *m, struct deployment *d, bool conducts);

#endif
