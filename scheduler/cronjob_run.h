/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CRONJOB_RUN_H
#define SCHEDULER_CRONJOB_RUN_H

/* The runs of what is due: making them, on which node, and what becomes of those that are lost. All
 * but _keeps are steps of cronjob_look. */

#include "scheduler/cronjob.h"

/* Brings the firings up to what is known of their runs. */
void cronjob_run_settle(struct model *m, struct service *s, const struct doc_service *spec);
/* Of one firing that is due and this node's; true: something was done. */
bool cronjob_run_start(struct model *m, struct service *s, const struct doc_service *spec);
/* For who conducts: of one firing whose node is gone; true: it is to be written. */
bool cronjob_run_take_gone(struct model *m, struct service *s, const struct doc_service *spec);
/* The node that is to make the run; when none can, the one that writes it down says why. */
uint32_t cronjob_run_owner(struct model *m, const struct service *s, int64_t at_s);

/* A run that the machine's end cut off is to be made again, and that is not written yet: it must
 * not be ended before. */
bool cronjob_run_keeps(struct model *m, struct replica *p);
/* Of a run with a lease that does not live: its firing was still this node's after the lease was
 * had. Looks again when that is to be asked. */
bool cronjob_run_may_begin(struct model *m, const struct replica *p);

#endif
