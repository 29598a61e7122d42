/* SPDX-License-Identifier: Apache-2.0 */
/* The list of actions that a core gives its shell. Its size is fixed, so a step allocates nothing;
 * whoever adds to it has asked for room before. */

#include "scheduler/step.h"

#include <assert.h>
#include <string.h>

void
step_actions_clear(struct step_actions *a)
{
	a->count = 0;
	a->bytes = 0;
	a->more = false;
}

bool
step_actions_room(const struct step_actions *a, size_t actions, size_t bytes)
{
	return actions <= STEP_ACTIONS_MAX - a->count && bytes <= STEP_BYTES_MAX - a->bytes;
}

struct step_action *
step_add(struct step_actions *a, enum step_action_kind kind, const void *data, size_t bytes)
{
	assert(step_actions_room(a, 1, bytes));
	struct step_action *action = &a->items[a->count++];
	memset(action, 0, sizeof *action);
	action->kind = kind;
	action->offset = (uint32_t)a->bytes;
	action->bytes = (uint32_t)bytes;
	if (data && bytes > 0)
		memcpy(a->data + a->bytes, data, bytes);
	a->bytes += bytes;
	return action;
}

uint8_t *
step_data(struct step_actions *a, const struct step_action *action)
{
	return a->data + action->offset;
}
