/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PUBLISH_H
#define SCHEDULER_PUBLISH_H

/*
 * The scheduler's tables, made from the model: deployment, service, replica, operation, identity,
 * claim, probe, route, backend, stream. Each is changed in one transaction, and only where it
 * differs.
 *
 * After a restart of the process all tables are whole before anybody reads them: replicas that were
 * ready are taken to be where they were (model.c). After a restart of the machine that is not
 * known, so routes and backends wait until the runtime has been heard (or some seconds have
 * passed); until then these tables are as they were made (ring_table_version 1).
 */

#include "ring/ring.h"
#include "scheduler/model.h"

/* Adds the tables to a layout. */
void publish_layout(struct ring_layout *layout);
void publish_all(struct model *m);
/* Of a node that is held back (cluster_twin.c): what there is to be seen and, if it works, what it
 * is to go on with. Nothing else is said. */
void publish_held(struct model *m, bool works);

#endif
