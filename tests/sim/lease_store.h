/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_LEASE_STORE_H
#define TESTS_SIM_LEASE_STORE_H

/*
 * An abstract store: what reaches it happens at once and stays. It counts the time of leases with a
 * clock of its own, and remembers every firing for the rules. Nothing here knows of networks.
 */

#include "tests/sim/lease.h"

struct lease_firing {
	int64_t at_s;
	uint64_t recorded_ns; /* true time */
	uint32_t node;
	uint32_t tries;
	uint32_t starts; /* the observer's count, of all tries */
	bool over;
	bool well;
};

struct lease_store_job {
	uint64_t version;
	int64_t mark_s;
	struct lease_firing *firings;
	size_t count, room;
	size_t first_open; /* none before it */
};

struct lease_store_lease {
	uint32_t node;     /* 0: nobody */
	uint64_t epoch;    /* the last one given */
	uint64_t until_ns; /* true time */
};

struct lease_store {
	uint64_t ttl_ns; /* true time, by its own clock's rate */
	bool retakes;
	struct lease_store_lease leases[LEASE_LEASES];
	struct lease_store_job jobs[LEASE_JOBS];
};

void lease_store_init(struct lease_store *s, const struct lease_rules *r, int32_t rate_ppb,
		      int64_t wall_s);
void lease_store_fini(struct lease_store *s);
/* Does what is asked; gives the bytes of *out that are used. */
size_t lease_store_do(struct lease_store *s, uint64_t now_ns, const struct lease_ask *ask,
		      struct lease_answer *out);
struct lease_firing *lease_store_firing(struct lease_store *s, uint32_t job, int64_t at_s);
size_t lease_store_open(const struct lease_store *s, uint32_t job);

#endif
