/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_WGDOOR_H
#define NODE_WGDOOR_H

/*
 * The door to the kernel's WireGuard: a process between overlay, which has keys and no capability,
 * and the kernel, which asks for CAP_NET_ADMIN of whoever speaks of a device. It has that
 * capability alone, a netlink socket in the fabric, and passes on what overlay says of the one
 * device, and what the kernel answers: nothing is kept, and node sees nothing of it. What is of
 * another device, says another port or mark than node's, or is no word of WireGuard's, ends it. It
 * ends with the socket that it was made for.
 * Threading: any.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"

enum { WGDOOR_MESSAGE_MAX = 16384 };

struct wgdoor_order {
	int fabric;         /* the namespace of the device, borrowed */
	uint16_t family;    /* of generic netlink */
	const char *device; /* its name, which no message goes past */
	uint16_t port;      /* that it is to have; it has no mark */
	uid_t uid;          /* it runs as, if that is not 0 */
};

/* Gives a socket of packets: each is one message to the kernel (overlay/wg/kernel.h), or one
 * datagram of it. alive: a pipe that ends with the process. */
int wgdoor_open(const struct wgdoor_order *order, int *sock_out, int *alive_out,
		struct err *err) MUST_CHECK;

/* Whether a message may pass: one whole message of that family, to read or change that device. Its
 * port and its mark are node's: they may be put back, not changed. */
bool wgdoor_lets_pass(const struct wgdoor_order *order, const void *message, size_t bytes);

#endif
