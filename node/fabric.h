/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_FABRIC_H
#define NODE_FABRIC_H

/*
 * The fabric: the network namespace in which the host's side of every container's link, the
 * overlay's device and the proxies' connections to replicas live. It is a file that outlives node:
 * /run/zlayer/NAME/netns/fabric.
 */

#include "base/addr.h"
#include "base/err.h"

/* Adopts the namespace that is there, or makes it: lo up, forwarding on inside. run_fd is the
 * instance's run folder. *fd_out: the namespace, for setns(2). */
int fabric_open(int run_fd, int *fd_out, struct err *err) MUST_CHECK;
/* A socket of that type, bound inside the namespace (SOCK_STREAM: it listens). -1 with errno. */
int fabric_socket(int fabric, int type, const struct addr *addr);
/* Lets the namespace go. -1 with errno. */
int fabric_remove(int run_fd);

#endif
