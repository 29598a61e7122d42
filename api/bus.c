/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of events by id. An event that is not in it is no error: readers ask the scheduler. */
#include "api/bus.h"

#include <string.h>
#include "base/mem.h"

void
bus_init(struct bus *b)
{
	memset(b, 0, sizeof(*b));
}

bool
bus_event_ok(const struct msg_event *e)
{
	return e->id > 0 && MSG_OK(e->type) && MSG_OK(e->deployment) && MSG_OK(e->service) &&
	       MSG_OK(e->text);
}

void
bus_put(struct bus *b, const struct msg_event *event)
{
	if (!bus_event_ok(event))
		return;
	if (!b->events)
		b->events = mem_array(MEM_API, BUS_EVENTS, sizeof(*b->events));
	if (b->events)
		b->events[event->id % BUS_EVENTS] = *event;
	if (event->id > b->newest)
		b->newest = event->id;
}

const struct msg_event *
bus_get(const struct bus *b, uint64_t id)
{
	const struct msg_event *e = b->events ? &b->events[id % BUS_EVENTS] : NULL;

	return e && e->id == id ? e : NULL;
}
