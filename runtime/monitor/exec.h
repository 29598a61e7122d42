/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_EXEC_H
#define RUNTIME_MONITOR_EXEC_H

#include "runtime/launch.h"

/* Runs a command in a container and carries its input and output over the stream until it ends.
 * Gives the exit status of the helper's own process. */
int exec_main(struct launch *launch);

#endif
