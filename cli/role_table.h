/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_ROLE_TABLE_H
#define CLI_ROLE_TABLE_H

/* The roles that this program has: what `zlayer role NAME` runs and what node starts. */

#include <stddef.h>
#include "ring/station.h"

enum { ROLE_TABLE_MAX = ROLES_ };

/* NULL when this program has no such role. */
const struct station_role *role_table_find(unsigned role);
/* Fills roles (room for ROLE_TABLE_MAX) and gives the count. */
size_t role_table_list(unsigned *roles);

#endif
