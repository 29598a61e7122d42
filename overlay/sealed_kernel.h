/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_SEALED_KERNEL_H
#define OVERLAY_SEALED_KERNEL_H

/*
 * The kernel's WireGuard as the device of sealed traffic (docs/decisions/021), by a door that node
 * has given (overlay/wg/kernel.h): looked at, compared with what it is to be, and changed. The
 * kernel is asked by a thread of the loop's pool, so that nobody waits for it; one question at a
 * time.
 *
 * What the kernel does not do by itself: it speaks to nobody before there is a packet, so peers
 * that are new are spoken to, and all of them when the private key is another one.
 *
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "overlay/wg/setup.h"

struct sealed_kernel;

struct sealed_kernel_user {
	/* How the device is to be; out: initialised. */
	int (*want)(const struct setup *is, struct setup *out, struct err *err);
	/* It was looked at, and is as wanted (err NULL) or not. is: how it was before; borrowed. */
	void (*looked)(const struct setup *is, const struct err *err);
};

/* door: taken. NULL: ERR_NO_MEMORY, ERR_UNSUPPORTED, what the system says. */
struct sealed_kernel *sealed_kernel_new(uv_loop_t *loop, const struct sealed_kernel_user *user,
					int door, uint16_t family, struct err *err) MUST_CHECK;
/* Calls nobody any more; its memory goes when the pool is done with it. The device stays as it is.
 * NULL is fine. */
void sealed_kernel_close(struct sealed_kernel *k);

/* Now, or when what is under way is done: `looked` is called later. */
void sealed_kernel_look(struct sealed_kernel *k);
/* It has been as wanted. NULL: no. */
bool sealed_kernel_stands(const struct sealed_kernel *k);
/* As it was at the last look; out: initialised and empty. ERR_NO_MEMORY. */
int sealed_kernel_state(const struct sealed_kernel *k, struct setup *out,
			struct err *err) MUST_CHECK;

/* What makes `is` what `want` says, with what has peers spoken to. out: initialised; empty when it
 * fails. */
enum setup_rc sealed_kernel_change(const struct setup *is, const struct setup *want,
				   struct setup *out);

#endif
