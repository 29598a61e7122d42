/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_MINE_H
#define SCHEDULER_STORE_MINE_H

/*
 * Leases that this process has, with their epochs: only who took one may keep or drop it.
 * Threading: one owner.
 */

#include "base/list.h"
#include "scheduler/store.h"

/* `mine` is a list head of the caller's. False: no memory. */
bool store_mine_add(struct list *mine, const char *name, uint64_t epoch);
uint64_t store_mine_find(const struct list *mine, const char *name); /* 0: it is not ours */
void store_mine_remove(struct list *mine, const char *name);
void store_mine_clear(struct list *mine);

#endif
