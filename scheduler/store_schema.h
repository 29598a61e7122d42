/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_SCHEMA_H
#define SCHEDULER_STORE_SCHEMA_H

/* The SQLite schema as a list of migrations: entry i leads from version i to i + 1. An entry that
 * was released is never edited; a change is a new entry. */

#include <stddef.h>

enum { STORE_SCHEMA_APPLICATION = 0x5a4c5952 /* "ZLYR" */ };

size_t store_schema_version(void);
/* Statements separated by semicolons. i < store_schema_version(). */
const char *store_schema_migration(size_t i);

#endif
