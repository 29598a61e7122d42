/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_LEASE_H
#define SCHEDULER_STORE_LEASE_H

/*
 * Leases: who may do something that only one may do at a time, for how long, and the how-manieth
 * that is. A lease has a name; whoever takes it gets an epoch, which is higher than all before of
 * that name and is never given twice: what carries a lower epoch is refused by whoever is asked.
 * A lease ends by being dropped, or when it was not kept for its time to live.
 *
 * An engine of one machine remembers the epochs; its leases end with the process that took them.
 * Epochs are no part of what is copied, moved or counted.
 *
 * Errors: ERR_CONFLICT: somebody has it, who is in the first why; ERR_NOT_FOUND (keep): it is lost;
 * ERR_UNREACHABLE and ERR_TIMEOUT as in store.h. After a time-out of take nobody has it for longer
 * than its time to live.
 * Threading: the loop's thread. `done` is called once, perhaps at once, and not after store_free.
 */

#include "scheduler/store.h"

enum { STORE_LEASE_TTL_S_MIN = 2, STORE_LEASE_TTL_S_MAX = 86400 };

/* name: a DNS label, or several with dots; holder: one word, for people. */
void store_lease_take(struct store *s, const char *name, const char *holder, uint32_t ttl_s,
		      store_lease_fn done, void *arg);
/* It was taken with that epoch by a process of this node before this one: may be kept and dropped
 * as if this one had, if it is still so. False: no memory. */
bool store_lease_adopt(struct store *s, const char *name, uint64_t epoch);
/* From now on for its time to live again. epoch: with which it was taken; when this process has it
 * with another one, or not at all, it is lost. */
void store_lease_keep(struct store *s, const char *name, uint64_t epoch, store_lease_fn done,
		      void *arg);
/* It is fine when it was lost, likewise. */
void store_lease_drop(struct store *s, const char *name, uint64_t epoch, store_lease_fn done,
		      void *arg);
/* The epoch with which this process has it, as far as it knows; 0: it does not. */
uint64_t store_lease_mine(struct store *s, const char *name);
/* Whether somebody else's words may be given to the calls above. */
bool store_lease_fits(enum store_lease_verb verb, const char *name, const char *holder,
		      uint32_t ttl_s);

/* ---- of an engine of one machine, for one that gives leases to others ---- */

/* The epoch of who has it now; 0: nobody. */
uint64_t store_lease_epoch(struct store *s, const char *name);
/* From now on they do not end with the process: what was held when the last one ended counts as
 * held for its whole time to live from now. */
void store_lease_outlive(struct store *s);

/* Within a transaction, of a store that goes on from another one: no epoch is lower than this from
 * now on, and what may be held there can be taken when its time to live is over. */
int store_lease_raise(struct store *s, uint64_t epoch, struct err *err) MUST_CHECK;

/* For store_free. */
void store_lease_forget(struct store *s);

#endif
