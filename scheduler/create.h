/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CREATE_H
#define SCHEDULER_CREATE_H

/* New replicas: in the store and in the model, ordered to run. */

#include "ring/words.h"
#include "scheduler/model.h"
#include "scheduler/place/claim.h"

/* Replica `index` of a service, as the target or the revision that serves has it. */
int create_replica(struct model *m, struct service *s, uint32_t index, bool of_target,
		   struct err *err) MUST_CHECK;
/* What a claim of this node stands for (placing.h): with that id, made as its revision says. */
int create_placed(struct model *m, struct service *s, const struct claim *c, uint64_t id,
		  struct err *err) MUST_CHECK;
/* A run of a job, as the revision that serves has it, with more arguments (NULL: none), and the
 * firing that asks for it (NULL: it is asked for by hand). NULL with err. */
struct replica *create_run(struct model *m, struct service *s, const struct words *args,
			   const struct store_firing *firing, struct err *err);

#endif
