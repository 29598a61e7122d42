/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ENGINE_TURN_H
#define OVERLAY_ENGINE_TURN_H

/*
 * Work that several threads do at once, but finish in the order in which they took it: each takes a
 * number, and when it has done what needs no order it waits until all smaller ones were passed.
 * What is done between turn_wait() and turn_pass() is done by one thread at a time, and each sees
 * what the one before did.
 * Threading: any number of threads; numbers are drawn under a lock of the caller's.
 */

#include <pthread.h>
#include <stdint.h>

struct turn {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	uint64_t drawn;       /* next number */
	_Atomic uint64_t now; /* whose turn it is */
	unsigned waiting;
};

void turn_init(struct turn *t);
void turn_fini(struct turn *t); /* nobody waits */
uint64_t turn_draw(struct turn *t);
void turn_wait(struct turn *t, uint64_t number);
/* Of whom has waited. */
void turn_pass(struct turn *t);

#endif
