/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_WATCH_H
#define CLI_WATCH_H

/* Follows an operation of the node to its end and shows it. */

#include <stdint.h>

struct cli;

/* `what`: the target that the result names; NULL: the deployment. Ctrl-C asks what to do, where
 * there is somebody to ask. Gives the exit status: 0; 6 when it was rolled back; of the operation's
 * reason; 5 when --timeout is over; 130 when left. */
int watch_operation(const struct cli *cli, uint64_t operation, const char *what);

#endif
