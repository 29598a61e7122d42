/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_REACH_H
#define RUNTIME_MONITOR_REACH_H

/* Whether something answers, seen from inside a container: names are looked up as its hosts and
 * resolv.conf say. Blocking, each try within a few seconds. */

#include <stdbool.h>
#include <stddef.h>
#include "ring/plan.h"

enum { REACH_WHY = 200 };

/* One try of a wait step: true, or false with why in one line. */
bool reach_try(const struct plan_step *step, char why[REACH_WHY]);
/* The status of an answer's first line, 0 when it is none. */
unsigned reach_status(const char *text, size_t bytes);

#endif
