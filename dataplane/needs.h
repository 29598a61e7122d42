/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_NEEDS_H
#define DATAPLANE_NEEDS_H

/* What the programs need of the kernel beyond a number of its version, which a kernel may have been
 * built without. Asked only when it has refused them. libbpf is loaded. */

#include "base/err.h"

/* Adds a "why" for what is missing, and since which kernel there is such a thing. */
void needs_tell(struct err *err);

#endif
