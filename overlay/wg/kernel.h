/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_KERNEL_H
#define OVERLAY_WG_KERNEL_H

/*
 * The kernel's own WireGuard: its devices made, changed, read and removed by netlink. Each call
 * waits for the kernel's answer (at most KERNEL_WAIT_S) and needs CAP_NET_ADMIN in the network
 * namespace in which the sockets were opened; a device that was born into another one is spoken to
 * through sockets of that one.
 * Threading: one owner.
 */

#include <stdbool.h>
#include "overlay/wg/kernel_wire.h"

enum {
	KERNEL_WAIT_S = 10,
	KERNEL_ASK_MAX = 16, /* times, while a state changes under the eyes of who reads it */
};

struct kernel {
	int route, generic;
	uint16_t family;
	uint32_t sequence;
};

/* Whether this kernel has it (a module that may be loaded is loaded). */
bool kernel_available(void);
/* ERR_UNSUPPORTED: it has not. */
int kernel_open(struct kernel *k, struct err *err) MUST_CHECK;
/* By a socket at whose other end somebody with the capability passes on what is said about devices
 * (not about links), and the answers: one packet each. It is taken. */
int kernel_adopt(struct kernel *k, int sock, uint16_t family, struct err *err) MUST_CHECK;
void kernel_close(struct kernel *k);

int kernel_add(struct kernel *k, const struct kernel_wire_link *link, struct err *err) MUST_CHECK;
/* ERR_NOT_FOUND: there is none of that name. */
int kernel_remove(struct kernel *k, const char *name, struct err *err) MUST_CHECK;
/*
 * Prefixes to be removed go before everything else of the change. A change of thousands of peers is
 * several steps for the kernel: when one fails, those before it stay; what setup_diff() then finds
 * is what is left to do.
 */
int kernel_set(struct kernel *k, const char *name, const struct setup *change,
	       struct err *err) MUST_CHECK;
/* out: initialised and empty; wiped when it fails. */
int kernel_get(struct kernel *k, const char *name, struct setup *out, struct err *err) MUST_CHECK;

#endif
