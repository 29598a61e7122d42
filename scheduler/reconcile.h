/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_RECONCILE_H
#define SCHEDULER_RECONCILE_H

/*
 * One pass of the scheduler: every replica's life and every deployment's roll-out are stepped with
 * what the tables say now, until nothing moves; then the store is written and the tables are
 * published. Called after anything may have changed, and when model.due_ns has come.
 */

#include "scheduler/model.h"

void reconcile_run(struct model *m, uint64_t now_ns, int64_t wall_ns);
/* Orders one replica; the next pass carries on. */
void reconcile_order(struct model *m, struct replica *p, enum lifecycle_order order);

#endif
