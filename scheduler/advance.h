/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_ADVANCE_H
#define SCHEDULER_ADVANCE_H

/* One deployment's part of a pass: its roll-out core is fed, and what it asks for is done. */

#include "scheduler/model.h"

/* True when something moved: call again after the replicas were stepped. */
bool advance_deployment(struct model *m, struct deployment *d);

#endif
