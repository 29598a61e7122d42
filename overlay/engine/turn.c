/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A number and a condition. Who comes when it is its turn already pays one atomic load, who passes
 * wakes nobody when nobody waits.
 */
#include "overlay/engine/turn.h"

#include <stdatomic.h>

void
turn_init(struct turn *t)
{
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->moved, NULL);
	t->drawn = 0;
	t->waiting = 0;
	atomic_init(&t->now, 0);
}

void
turn_fini(struct turn *t)
{
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->moved);
}

uint64_t
turn_draw(struct turn *t)
{
	return t->drawn++;
}

void
turn_wait(struct turn *t, uint64_t number)
{
	if (atomic_load_explicit(&t->now, memory_order_acquire) == number)
		return;
	pthread_mutex_lock(&t->lock);
	t->waiting++;
	while (atomic_load_explicit(&t->now, memory_order_acquire) != number)
		pthread_cond_wait(&t->moved, &t->lock);
	t->waiting--;
	pthread_mutex_unlock(&t->lock);
}

void
turn_pass(struct turn *t)
{
	pthread_mutex_lock(&t->lock);
	atomic_fetch_add_explicit(&t->now, 1, memory_order_release);
	if (t->waiting > 0)
		pthread_cond_broadcast(&t->moved);
	pthread_mutex_unlock(&t->lock);
}
