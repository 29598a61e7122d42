/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_LOGS_H
#define RUNTIME_MONITOR_LOGS_H

#include "runtime/launch.h"

/* Sends the records of a replica's log over the stream, as frames. Gives the exit status of the
 * helper's own process. */
int logs_main(struct launch *launch);

#endif
