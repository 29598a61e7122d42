/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_WGDEV_MAKE_H
#define NODE_WGDEV_MAKE_H

/*
 * The device of sealed traffic, made in the fabric: a TUN device, or one of the kernel's WireGuard,
 * whose UDP socket is in the network namespace of whoever calls. node does not enter the fabric: a
 * child does, and sends back descriptors. Whatever else has the device's name goes first.
 * Threading: any; each call waits for its child.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "ring/msg.h"

#define WGDEV_IN_FABRIC "sealed"

enum { WGDEV_QUEUES_MAX = 4, WGDEV_FDS_MAX = WGDEV_QUEUES_MAX + 1 };

struct wgdev_order {
	int fabric;   /* borrowed */
	bool removes; /* whatever has the name goes, and none is fine: all else is not looked at */
	enum msg_backend_kind backend;
	uint32_t mtu;
	/* MSG_BACKEND_ENGINE: to open; 0: the device is there, it only gets another MTU */
	unsigned queues;
	uint16_t port; /* MSG_BACKEND_KERNEL: of its UDP socket, of all addresses */
};

struct wgdev_made {
	struct err err;
	uint32_t ifindex; /* in the fabric */
	uint32_t offload; /* MSG_BACKEND_ENGINE: enum tun_offload */
	uint16_t family;  /* MSG_BACKEND_KERNEL: of generic netlink */
};

/* fds: an eye (node/wgdev_eye.h), then the queues. A device of the kernel's that is there already
 * is kept as it is, with its sessions, but for port and MTU. ERR_UNSUPPORTED: no such backend on
 * this machine; ERR_CONFLICT: the port is somebody's. */
int wgdev_make(const struct wgdev_order *order, struct wgdev_made *out, int fds[WGDEV_FDS_MAX],
	       size_t *count_out, struct err *err) MUST_CHECK;

#endif
