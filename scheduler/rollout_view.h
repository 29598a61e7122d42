/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_ROLLOUT_VIEW_H
#define SCHEDULER_ROLLOUT_VIEW_H

/* What the roll-out core (rollout.h) sees of a deployment, made anew for each step. */

#include "base/arena.h"
#include "scheduler/model.h"
#include "scheduler/placing.h"

struct view {
	struct arena arena;
	struct rollout_view v;
	struct service **services;
	struct placing_coming *coming; /* in a cluster: replicas that are not there yet */
	size_t coming_count;
};

/* False when there is no memory. Either way the caller ends view->arena. Numbers the services. */
bool rollout_view_make(struct model *m, struct deployment *d, struct view *view);
/* By its number in the view; NULL: there is none. */
struct service *rollout_view_service(const struct view *view, uint32_t slot);

#endif
