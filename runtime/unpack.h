/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_UNPACK_H
#define RUNTIME_UNPACK_H

/* The unpack role: reads image archives, which are hostile, writes layers, and gives runtime a
 * record without JSON (MSG_OP_UNPACK). What it needs of node stands in unpack.c. */

#include "ring/station.h"

extern const struct station_role unpack_role;

#endif
