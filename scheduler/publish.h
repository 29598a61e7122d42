/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PUBLISH_H
#define SCHEDULER_PUBLISH_H

/*
 * The scheduler's tables, made from the model: deployment, service, replica, operation, claim,
 * probe, route, backend. Each is changed in one transaction, and only where it differs.
 *
 * A table that was never changed (ring_table_version 1) has not been published: its readers keep
 * what they have of the generation before. Routes and backends stay so after a start until every
 * replica that was ready has been seen again by the runtime (or some seconds have passed), so that
 * a restart of the scheduler takes nothing out of balancing. All others are whole from the start.
 */

#include "ring/ring.h"
#include "scheduler/model.h"

/* Adds the tables to a layout. */
void publish_layout(struct ring_layout *layout);
void publish_all(struct model *m);

#endif
