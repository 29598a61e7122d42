/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PUBLISH_TABLE_H
#define SCHEDULER_PUBLISH_TABLE_H

/*
 * One pass over one table: begin, a row for each object, commit. Rows that were not given again are
 * removed; all of it is one transaction. Threading: the loop's.
 */

#include "scheduler/model.h"

struct publish_table {
	struct model *m;
	uint16_t id;
	struct map *before; /* key -> marker of the pass that published it last */
	uintptr_t pass;
};

void publish_table_begin(struct publish_table *t, struct model *m, uint16_t id);
/* A row that finds no place is missing, and that is logged. */
void publish_table_row(struct publish_table *t, uint64_t key, const void *row);
void publish_table_commit(struct publish_table *t);
/* After a commit: an empty table that is published differs from one that is not, by its version. */
void publish_table_mark(struct model *m, uint16_t id);

typedef void (*publish_replica_fn)(struct publish_table *t, struct replica *p);
typedef void (*publish_service_fn)(struct publish_table *t, struct service *s);

/* Those that are not gone. */
void publish_table_services(struct publish_table *t, publish_service_fn visit);
void publish_table_replicas(struct publish_table *t, publish_replica_fn visit);

#endif
