/* SPDX-License-Identifier: Apache-2.0 */

/* The timer wheel: see the header. A deadline beyond one turn stays in its slot for several. */

#include "proxy/wheel.h"

void
wheel_init(struct wheel *w, uint64_t now_ms)
{
	for (size_t i = 0; i < WHEEL_SLOTS; i++)
		list_init(&w->slots[i]);
	w->tick = now_ms / WHEEL_TICK_MS;
	w->count = 0;
}

void
wheel_timer_init(struct wheel_timer *t, void (*fire)(struct wheel_timer *t))
{
	list_init(&t->link);
	t->deadline_ms = 0;
	t->slot_tick = 0;
	t->fire = fire;
}

static void
link_timer(struct wheel *w, struct wheel_timer *t)
{
	uint64_t tick = t->deadline_ms / WHEEL_TICK_MS + 1;

	if (tick <= w->tick)
		tick = w->tick + 1;
	t->slot_tick = tick;
	list_push(&w->slots[tick % WHEEL_SLOTS], &t->link);
	w->count++;
}

static void
unlink_timer(struct wheel *w, struct wheel_timer *t)
{
	if (list_empty(&t->link))
		return;
	list_remove(&t->link);
	w->count--;
}

void
wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t deadline_ms)
{
	t->deadline_ms = deadline_ms;
	if (!list_empty(&t->link) && deadline_ms / WHEEL_TICK_MS + 1 >= t->slot_tick)
		return;
	unlink_timer(w, t);
	link_timer(w, t);
}

void
wheel_clear(struct wheel *w, struct wheel_timer *t)
{
	t->deadline_ms = 0;
	unlink_timer(w, t);
}

static void
run_slot(struct wheel *w, uint64_t now_ms)
{
	struct list due, *slot = &w->slots[w->tick % WHEEL_SLOTS];

	/* A list of its own: callbacks may add to the slot, or remove from this list. */
	list_init(&due);
	while (!list_empty(slot)) {
		struct list *it = slot->next;

		list_remove(it);
		list_push(&due, it);
	}
	while (!list_empty(&due)) {
		struct wheel_timer *t = container_of(due.next, struct wheel_timer, link);

		unlink_timer(w, t);
		if (t->deadline_ms > now_ms) {
			link_timer(w, t);
			continue;
		}
		t->deadline_ms = 0;
		t->fire(t);
	}
}

void
wheel_run(struct wheel *w, uint64_t now_ms)
{
	uint64_t tick = now_ms / WHEEL_TICK_MS;

	/* After a long stall one turn visits every slot. */
	if (tick > w->tick + WHEEL_SLOTS)
		w->tick = tick - WHEEL_SLOTS;
	while (w->tick < tick) {
		w->tick++;
		run_slot(w, now_ms);
	}
}
