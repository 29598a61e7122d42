/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACES_H
#define SCHEDULER_PLACES_H

/*
 * Who has which place on the edge: a host and path of a public http endpoint, or a public port
 * (ports.h). No two deployments of a node have the same.
 */

#include "scheduler/model.h"

/* Public, and served by a route, not by a stream. */
bool places_is_edge(const struct doc_endpoint *e);
/* Whether a document finds all its places free. self: its own deployment, NULL: it is new. */
int places_check(struct model *m, const struct deployment *self, const struct doc *doc,
		 struct err *err) MUST_CHECK;

#endif
