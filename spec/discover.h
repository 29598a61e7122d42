/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_DISCOVER_H
#define SPEC_DISCOVER_H

/* The document of a folder: commands that are given no file find it by themselves. */

#include <stddef.h>
#include "base/err.h"

enum { DISCOVER_NAME_BYTES = 256 };

/* The name of the only zlayer.yaml, *.zlayer.yaml, *.zlayer.yml or deployment.yaml of the folder
 * (cap >= DISCOVER_NAME_BYTES). ERR_NOT_FOUND names what was looked for, ERR_CONFLICT those that
 * were found. */
int discover_find(const char *folder, char *name_out, size_t cap, struct err *err) MUST_CHECK;

#endif
