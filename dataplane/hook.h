/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_HOOK_H
#define DATAPLANE_HOOK_H

/*
 * Attaching a tc program to a device: tcx (Linux 6.6) by a pinned link, clsact before that, with a
 * handle and priority of our own that are adopted by query. Either way forwarding goes on when this
 * process dies, and its successor puts its own program in place without a gap.
 * Needs libbpf loaded. Threading: plain calls.
 */

#include <stdbool.h>
#include "base/err.h"
#include "ring/msg.h"

enum { HOOK_CLSACT_HANDLE = 0x5a4c, HOOK_CLSACT_PRIORITY = 0x5a };

struct hook {
	enum msg_hook kind;
	bool egress;
	int ifindex;
	int link_fd; /* tcx; else -1 */
	char pin[64];
};

/* Attaches on ingress of the device in this process's network namespace. pin: path of the link,
 * relative to the working folder. What a predecessor left there is taken over: its program goes
 * when the new one stands, and stays when that fails (hook_left). */
int hook_attach(struct hook *h, int prog_fd, int ifindex, const char *pin,
		struct err *err) MUST_CHECK;
/* The same on egress. */
int hook_attach_egress(struct hook *h, int prog_fd, int ifindex, const char *pin,
		       struct err *err) MUST_CHECK;
enum hook_left {
	HOOK_NOTHING,
	HOOK_STANDS,  /* a program, of a predecessor or of before */
	HOOK_UNKNOWN, /* the kernel does not say */
};

/* What is on ingress, or egress, of the device under that pin. Nothing is kept open or changed. *h
 * can be detached: kind is what stands, or would. */
enum hook_left hook_left(struct hook *h, bool egress, int ifindex, const char *pin);
/* Detaches and unpins; harmless when the device is gone. */
void hook_detach(struct hook *h);
/* Takes off what predecessors hooked: pins of links below this folder of the working folder (those
 * of containers' devices and of the ones between nodes), and, when libbpf can be had, programs on
 * clsact of all devices of this process's network namespace. Names of other pins stay. */
void hook_leave_all(unsigned folder);

#endif
