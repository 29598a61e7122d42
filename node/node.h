/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_NODE_H
#define NODE_NODE_H

/*
 * `zlayer serve`: the supervisor of a node. Root, single-threaded, parses nothing that comes from
 * outside but its own configuration.
 *
 * Signals: SIGTERM and SIGINT stop the roles in order and leave containers running (a second one
 * ends the roles at once); SIGHUP reads the configuration again; SIGUSR2 runs the program's file
 * again in the same process (upgrade).
 */

#include <stddef.h>

/* argv[0] is "serve". roles: those that this program has (enum role). Gives the exit status. */
int node_serve(int argc, char **argv, const unsigned *roles, size_t count);

#endif
