/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_ROLLOUT_INSIDE_H
#define SCHEDULER_ROLLOUT_INSIDE_H

/* Between rollout.c and rollout_move.c; nobody else includes this. */

#include "scheduler/rollout.h"

/* A new action; when the list is full one that is nowhere. */
struct rollout_action *rollout_act(struct rollout_actions *a, enum rollout_verb verb);
bool rollout_full(const struct rollout_actions *a);
/* Looks again no later than this. */
void rollout_wake_at(struct rollout *r, uint64_t at);

/* At rest: what a service with misfits needs. False: it has none, and nothing was done. */
bool rollout_move_service(struct rollout *r, const struct rollout_view *v, uint32_t service,
			  struct rollout_actions *a);

#endif
