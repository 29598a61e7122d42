/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_COMPLETE_H
#define CLI_COMPLETE_H

/* Completion scripts of the shells, from the table. */

#include <stdbool.h>
#include "base/buf.h"

/* False when the shell is not one of bash, zsh and fish. */
bool complete_script(const char *shell, struct buf *out);

#endif
