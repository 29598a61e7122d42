/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ETCD_JUDGE_H
#define NODE_ETCD_JUDGE_H

/*
 * Whether the data of this node's etcd is of any use: what it said when it ended, and whether its
 * log is there. Data that is damaged, or gone, is said to the scheduler, which has the member
 * removed and another life begun.
 *
 * Each life costs the others two changes of their members and a copy of all that there is, so at
 * most ETCD_JUDGE_LIVES a day are given up for damaged data: then the disk is what is broken, or
 * etcd, and that is said instead. Data that is gone is said always, for nothing is ever begun where
 * it was.
 * Threading: the loop's thread. Times are seconds that only grow.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "node/etcd_folder.h"

enum {
	ETCD_JUDGE_ENDS = 3, /* it ended so often at its start, and said that it is by its data */
	ETCD_JUDGE_LIVES = 3,
	ETCD_JUDGE_DAY_S = 24 * 60 * 60,
};

/* Zeroed, with a folder and the life that was noted there: it knows of nothing. */
struct etcd_judge {
	const struct etcd_folder *folder; /* borrowed */
	uint64_t noted;                   /* the life that has had its log here; 0: none */
	uint64_t ruined;                  /* the life whose data is of no use; 0: none */
	uint64_t ended;                   /* the life that ends are of */
	unsigned ends;                    /* by its data, in a row */
	unsigned lives;                   /* given up since day_s */
	uint64_t day_s;
};

/* How a process of etcd ended that nobody had told to. */
struct etcd_judge_end {
	uint64_t life;
	bool served;           /* it has, before */
	const char *complaint; /* etcd_log_complaint */
	const char *how;       /* process_reap */
};

/* An error of that, for people; whether its data is ruined is known afterwards. */
void etcd_judge_ended(struct etcd_judge *j, const struct etcd_judge_end *end, uint64_t now_s,
		      struct err *err);
/* It serves: with what it has. */
void etcd_judge_served(struct etcd_judge *j);
bool etcd_judge_is_ruined(const struct etcd_judge *j, uint64_t life);

/* From its first entry on it is known that there is a log. */
void etcd_judge_note(struct etcd_judge *j, uint64_t life);
/* ERR_CORRUPT: it has had a log, which is not there. Such a member is never started: it would be
 * the same as before, without what that one has promised to the others. */
int etcd_judge_may_begin(struct etcd_judge *j, uint64_t life, struct err *err) MUST_CHECK;
/* This node has no part of the store any more. */
void etcd_judge_forget(struct etcd_judge *j);

#endif
