/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CRONJOB_WRITE_H
#define SCHEDULER_CRONJOB_WRITE_H

/* What is kept of crons, and turning them on and off. */

#include "scheduler/cronjob.h"
#include "scheduler/write.h"

struct cronjob_change {
	const struct store_cron *row;     /* NULL: as it is */
	const struct store_firing *fresh; /* NULL: no new one */
};

/* Writes the change, with every firing that is dirty, as one transaction; memory follows when it is
 * kept. True: it is; false: it is on its way, or failed, and cronjob.retry_ns says when to look
 * again. The store must not be busy. */
bool cronjob_write(struct model *m, struct service *s, const struct cronjob_change *change);

/* By hand. On goes on from now. Gives what functions of a request give (write.h). */
int cronjob_write_switch(struct model *m, struct service *s, bool on, struct request *r,
			 struct err *err) MUST_CHECK;
/* Brings memory to the store's rows. */
int cronjob_write_reload(struct model *m, struct service *s, struct err *err) MUST_CHECK;

#endif
