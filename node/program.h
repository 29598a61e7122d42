/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_PROGRAM_H
#define NODE_PROGRAM_H

/* What children of node do alike before they become a program. */

#include "base/sandbox.h"

/* Signals to their defaults, none blocked. */
void program_reset_signals(void);
/* Adds what any program must be able to read and run, as far as it is there: other programs and
 * their libraries. The descriptors are the process's until it runs one. */
void program_see_libraries(struct sandbox *s);

#endif
