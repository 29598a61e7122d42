/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PETITION_H
#define SCHEDULER_PETITION_H

/*
 * Asks the cluster's nodes for admission or a new certificate: one address after the other, until
 * one has answered, be it with a refusal; all of them some times, since a node that is being
 * upgraded is back within a second, but not when that took long: somebody waits for the reason.
 * Threading: the loop's; `done` is called exactly once, later, unless the petition is freed before;
 * it may free it.
 */

#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/addr.h"
#include "base/err.h"
#include "scheduler/admission.h"
#include "scheduler/channel.h"

enum {
	PETITION_ADDRESSES_MAX = 16,
	PETITION_ROUNDS = 3,
	PETITION_ANSWER_MS = 20000, /* one address, from the first packet to the last */
	PETITION_AGAIN_MS = 12000,  /* all are asked again within this time alone */
};

struct petition;

/* err NULL: answer is what came (admitted or refused), valid during the call; from: who gave it. */
typedef void (*petition_fn)(void *arg, const struct admission_answer *answer,
			    const struct identity *from, const struct addr *address,
			    const struct err *err);

struct petition_config {
	uv_loop_t *loop;
	struct channel_rules *rules;  /* a reference is taken */
	const struct addr *addresses; /* copied */
	size_t count;                 /* at least 1; what is above the limit is not asked */
	struct admission_question question;
	petition_fn done;
	void *arg;
};

int petition_new(const struct petition_config *config, struct petition **out,
		 struct err *err) MUST_CHECK;
void petition_free(struct petition *p); /* NULL is fine */

#endif
