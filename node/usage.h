/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_USAGE_H
#define NODE_USAGE_H

/* The process_* metrics of a component, read from /proc by node (a confined role cannot). */

#include <stdint.h>
#include <sys/types.h>
#include "base/metric.h"

struct usage {
	pid_t pid;
	uint64_t cpu_ns; /* counted so far of this pid */
};

/* The label: "proxy.0", "signer". */
void usage_component(unsigned role, unsigned index, char *out, size_t cap);
/* Reads and publishes; adds the CPU time since the last call to the component's counter. */
void usage_update(struct metric_page *page, const char *component, struct usage *usage);
/* As it was told last. */
uint64_t usage_memory(struct metric_page *page, const char *component);
/* The process has ended: its gauges go to 0. */
void usage_end(struct metric_page *page, const char *component);
/* zlayer_process_up and zlayer_process_restarts_total. */
void usage_up(struct metric_page *page, const char *component, bool up);
void usage_restart(struct metric_page *page, const char *component, const char *reason);

#endif
