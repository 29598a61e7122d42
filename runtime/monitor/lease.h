/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_LEASE_H
#define RUNTIME_MONITOR_LEASE_H

/*
 * The deadline of what is leased, on CLOCK_BOOTTIME: the timers that tell of it, and the watchdog
 * that acts when this process does not.
 */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include "base/err.h"
#include "runtime/monitor/watchdog.h"

struct lease {
	uint64_t until_ns; /* 0: none */
	int fd;            /* readable from the deadline on */
	timer_t end;       /* ends this process a moment later */
	struct watchdog watchdog;
};

/* Without a deadline. */
int lease_open(struct lease *l, struct err *err) MUST_CHECK;
/* When it has come at once: a time that is over counts, too. False: it could not be set. */
bool lease_set(struct lease *l, uint64_t until_ns);
bool lease_is_over(const struct lease *l);
/* After fd has become readable: whether it is over. */
bool lease_look(struct lease *l);
/* This process may live on: what it had to do is done. */
void lease_done(struct lease *l);
/* Sees to it that there is a watchdog while there is a deadline. */
int lease_guard(struct lease *l, const struct watchdog_task *task, struct err *err) MUST_CHECK;

#endif
