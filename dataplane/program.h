/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_PROGRAM_H
#define DATAPLANE_PROGRAM_H

/*
 * The time that a program of the kernel has taken, with the programs that it calls, as a counter.
 * The kernel adds it up while somebody asks for that (sysctl kernel.bpf_stats_enabled): two looks
 * at the clock for each packet, so it is the operator's to say. Threading: one owner.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/metric.h"

struct program_time {
	const char *name;
	uint64_t counted_ns;
	bool has_counted;
};

/* The series, with 0. */
void program_begin(struct metric_page *page, const char *name);
/* What was added since the last look at this program; fd: the program's. */
void program_count(struct program_time *p, int fd, struct metric_page *page);

#endif
