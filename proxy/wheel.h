/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_WHEEL_H
#define PROXY_WHEEL_H

/*
 * Deadlines of connections and requests: a hashed timer wheel with ticks of 100 ms. Moving a
 * deadline to a later time is a store; it is looked at again when its old slot comes round. A
 * deadline fires in the tick after it, never early.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"

enum { WHEEL_SLOTS = 1024, WHEEL_TICK_MS = 100 };

struct wheel_timer {
	struct list link;
	uint64_t deadline_ms; /* 0: off */
	uint64_t slot_tick;   /* where it is linked */
	void (*fire)(struct wheel_timer *t);
};

struct wheel {
	struct list slots[WHEEL_SLOTS];
	uint64_t tick;
	size_t count; /* linked */
};

void wheel_init(struct wheel *w, uint64_t now_ms);
void wheel_timer_init(struct wheel_timer *t, void (*fire)(struct wheel_timer *t));
void wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t deadline_ms);
void wheel_clear(struct wheel *w, struct wheel_timer *t);
/* Fires what is due; a timer is off when its callback runs, which may set it again, or free any
 * timer. */
void wheel_run(struct wheel *w, uint64_t now_ms);

#endif
