/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_PACKETS_H
#define DATAPLANE_PACKETS_H

/*
 * Counters of the programs of tc_veth.bpf.c as metrics: packets by place and verdict, drops by
 * place and reason, and the time that the programs take. The maps outlive this process: the first
 * look only notes what a predecessor has counted, each later one adds what has come since.
 * Threading: the loop's.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/metric.h"
#include "dataplane/bpf/tc_event.h"
#include "dataplane/program.h"
#include "dataplane/veth.h"

enum { PACKETS_PROGRAMS = 4 };

struct packets {
	uint64_t counted[TC_COUNTS];
	bool has_counted;
	struct program_time times[PACKETS_PROGRAMS];
};

/* All zero before; shows all series that can move, with 0. */
void packets_begin(struct packets *p, struct metric_page *page);
int packets_look(struct packets *p, struct veth *veth, struct metric_page *page,
		 struct err *err) MUST_CHECK;

#endif
