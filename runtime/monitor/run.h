/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_RUN_H
#define RUNTIME_MONITOR_RUN_H

#include "runtime/launch.h"

/* The monitor of one container: starts it, then stays until it has ended. Gives the exit status of
 * the monitor's own process. */
int run_main(struct launch *launch);

#endif
