/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_BUS_H
#define API_BUS_H

/* The newest events of the scheduler, kept by id. What is older is asked for. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ring/msg.h"

enum { BUS_EVENTS = 512 };

struct bus {
	struct msg_event *events; /* BUS_EVENTS, at id % BUS_EVENTS; NULL before the first */
	uint64_t newest;          /* id of the newest that is known; 0: none */
	bool known;               /* newest is right: the scheduler said so */
};

void bus_init(struct bus *b);
/* Copies it. An event whose texts do not end is dropped. */
void bus_put(struct bus *b, const struct msg_event *event);
/* NULL when it is not kept (any more). */
const struct msg_event *bus_get(const struct bus *b, uint64_t id);
bool bus_event_ok(const struct msg_event *event);

#endif
