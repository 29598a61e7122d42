/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_UNIQUE_INSIDE_H
#define SCHEDULER_UNIQUE_INSIDE_H

/* Shared by unique.c and unique_lease.c, and by nobody else. Threading: the loop's. */

#include "scheduler/tenure.h"
#include "scheduler/unique.h"

#define SECOND_NS UINT64_C(1000000000)
#define UNIQUE_EPOCH_ETCD (UINT64_C(1) << 40)

enum { UNIQUE_NAME_BYTES = 224 };

/* A question to the store. */
struct unique_ask {
	struct list link;
	struct unique *u;
	enum tenure_input_kind kind; /* TAKEN or KEPT */
	uint32_t question;
	bool answered;
	uint64_t epoch;
	struct err err;
};

struct unique {
	struct list link;
	struct model *m;
	struct replica *p; /* NULL: it has gone; this goes with its last question */
	char name[UNIQUE_NAME_BYTES];
	struct tenure t;
	struct list asks;
	uint64_t base;  /* UNIQUE_EPOCH_ETCD or 0: of the engine that gave it */
	bool moved;     /* of another engine than there is now */
	bool single;    /* other runs of the same cron have the same name */
	bool lost;      /* it was held, and was not given back */
	bool told;      /* that it waits */
	bool seen;      /* the runtime has, or had, a row of it */
	struct err why; /* what the store said last, if it was not yes */
};

/* Has the store's answers taken in, and asks what is due. */
void unique_step(struct unique *u);
/* Gives a lease back, if it is of the store that there is. */
void unique_drop(struct unique *u, uint64_t epoch);
void unique_ask_free(struct unique_ask *a);
/* UNIQUE_EPOCH_ETCD or 0: what is added to the epochs of the store that there is. */
uint64_t unique_engine(const struct model *m);
/* False: the store has just moved. Part of each pass, so that nobody waits for it later. */
bool unique_may_take(struct model *m);
/* Another one on this node of the same name, which has the lease or is to have it first. */
bool unique_is_behind(const struct unique *u);
bool unique_has_ended(const struct replica *p);

#endif
