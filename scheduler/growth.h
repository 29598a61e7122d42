/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GROWTH_H
#define SCHEDULER_GROWTH_H

/* Whether a service that serves can have more replicas, before any is made. Threading: the loop's.
 */

#include <stdint.h>
#include "base/err.h"
#include "scheduler/model.h"

/* A replica of this revision can be made: nothing that its plan needs is missing. */
int growth_makable(struct model *m, struct service *s, uint32_t revision,
		   struct err *err) MUST_CHECK;
/* The same of every service of the deployment (only: of this one, NULL all) that has a size. */
int growth_makable_all(struct model *m, struct deployment *d, const struct service *only,
		       struct err *err) MUST_CHECK;
/* At most `size` replicas of the revision that serves, as many as can be made and placed; `desired`
 * and err when that is not even one more. */
uint32_t growth_possible(struct model *m, struct service *s, uint32_t size, struct err *err);

#endif
