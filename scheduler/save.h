/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_SAVE_H
#define SCHEDULER_SAVE_H

/* Writing the model's dirty objects and waiting events, all in one transaction. */

#include "scheduler/model.h"

/* When it fails, everything stays dirty, model.retry_ns says when to try again, and the first
 * failure is logged; so is the recovery. */
void save_all(struct model *m);
/* Keeps the newest `deploy.keep_revisions` of a deployment and those in use. */
void save_prune(struct model *m, struct deployment *d);

#endif
