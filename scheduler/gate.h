/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GATE_H
#define SCHEDULER_GATE_H

/*
 * What must hold before a replica takes part in balancing, and what keeps it there: its checks. A
 * health block gives one; without one every endpoint's port must accept TCP (the weak gate; never a
 * udp port). A stream's health_check comes on top of either.
 * Pure functions of the document.
 */

#include <stddef.h>
#include <stdint.h>
#include "scheduler/cause.h"
#include "scheduler/model.h"

struct gate_check {
	uint32_t n; /* of the probe's key; MODEL_COMMAND_CHECK: asked by runtime */
	enum cause_check check;
	const char *endpoint; /* whose port it is; NULL: the check's own */
	uint16_t port;
	const char *host;
	const char *path;
	uint32_t expect_status;
	const char *request; /* udp */
	const char *expect;  /* udp; NULL: anything */
	uint32_t interval_ms;
	uint32_t timeout_ms;
};

size_t gate_checks(const struct doc_service *s, struct gate_check out[MODEL_CHECKS_MAX]);
/* The result of a check for the attempt that is under way, copied with its texts ended; false when
 * there is none. */
bool gate_result(const struct model *m, const struct replica *p, const struct gate_check *check,
		 struct msg_result *out);
/* Fills in checks, passed and failed_max. */
void gate_look(const struct model *m, const struct replica *p, const struct doc_service *s,
	       struct lifecycle_event *event);

#endif
