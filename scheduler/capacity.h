/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CAPACITY_H
#define SCHEDULER_CAPACITY_H

/* Whether what was promised still fits this node, when `service` of `d` (or a document that is to
 * take d's place) gets a new size. */

#include "scheduler/model.h"

struct capacity_want {
	const struct doc_service *service;
	uint32_t replicas;
};

struct capacity_sum {
	uint64_t cpu_milli;
	uint64_t memory_bytes;
};

/* What all deployments together have reserved. */
void capacity_used(struct model *m, struct capacity_sum *out);

/* d may be NULL (a new deployment); its own replicas are not counted, `wants` stand for them. */
int capacity_check(struct model *m, const struct deployment *d, const char *name,
		   const struct capacity_want *wants, size_t count, struct err *err) MUST_CHECK;

/* Of this machine: "linux/amd64". */
void capacity_platform(char *out, size_t cap);

#endif
