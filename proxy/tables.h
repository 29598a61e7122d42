/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_TABLES_H
#define PROXY_TABLES_H

/* What a worker takes over from the ring (routes, backends, certificates), and what it publishes
 * about that (applied, drain, demand).
 * Threading: the loop's. */

#include <stdbool.h>
#include <stdint.h>

struct ring_reader;
struct worker;

/* Something may be new in this producer's segment. */
void tables_sync(struct worker *w, struct ring_reader *reader);
/* scheduler has told its routes, and signer the certificates that there are for them. */
bool tables_complete(struct worker *w);
/* Publishes requests in flight on draining replicas; true while there are any such replicas. */
bool tables_publish_drain(struct worker *w);
/* And what is asked of services that are scaled by it. */
void tables_publish_applied(struct worker *w);
void tables_publish_demand(struct worker *w);

#endif
