/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_HALT_H
#define SCHEDULER_HALT_H

/* Operations that stop or start what a deployment has. */

#include "scheduler/model.h"

/* The deployment's operation is MSG_OPERATION_STOP or _START. True when it is over. */
bool halt_step(struct model *m, struct deployment *d);

#endif
