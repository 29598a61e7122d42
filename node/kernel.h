/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_KERNEL_H
#define NODE_KERNEL_H

/* The oldest kernel that a node runs on, and why (docs/operations.md, The kernel). */

#include "base/err.h"

enum { KERNEL_MAJOR_MIN = 5, KERNEL_MINOR_MIN = 15 };

/* release: as of uname(2). ERR_UNSUPPORTED: it is older; one that cannot be read is let pass. */
int kernel_check(const char *release, struct err *err) MUST_CHECK;
/* Of the one that runs. */
int kernel_check_running(struct err *err) MUST_CHECK;

#endif
