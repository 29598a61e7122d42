/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_SCALING_INSIDE_H
#define SCHEDULER_SCALING_INSIDE_H

/* Between the files of scaling; nobody else includes this. */

#include "scheduler/placing.h"
#include "scheduler/scaling.h"

/* Where requests wait now. */
struct scaling_waits {
	uint32_t nodes[PLACING_RATHER_MAX];
	size_t count;
	uint32_t requests;
	char names[128]; /* of the nodes, as many as have room */
};

/* ---- scaling.c ---- */

/* The cooldown begins anew; what was measured before does not count. */
void scaling_rest_anew(struct model *m, struct service *s, uint32_t reason);

/* ---- scaling_words.c ---- */

void scaling_words_waits(const struct model *m, const struct service *s, struct scaling_waits *out);
/* Of a replica that is ready, by the means. */
uint64_t scaling_words_mean(const struct scaling *x, uint32_t metric);
void scaling_words_describe(const struct model *m, const struct service *s,
			    const struct autoscale_verdict *v, char *out, size_t cap);

/* ---- scaling_tell.c ---- */

/* Whether this node decides, at every look. */
void scaling_tell_conducts(struct model *m, struct service *s, bool conducts);
void scaling_tell_decision(struct model *m, struct service *s);
void scaling_tell_show(struct model *m, const struct service *s, struct msg_service *row);

#endif
