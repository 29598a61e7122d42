/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PUBLISH_PARTS_H
#define SCHEDULER_PUBLISH_PARTS_H

/*
 * The tables of publish.h by who reads them. Each is brought to what the model says; the order of
 * the calls is publish.c's. Threading: the loop's.
 */

#include "scheduler/model.h"

enum {
	PUBLISH_FIGURES_MAX = 2048,     /* rows of figures: services times nodes */
	PUBLISH_IDENTITIES_MAX = 16384, /* replicas of the whole cluster */
	PUBLISH_GUESTS_MAX = 4096,      /* containers of others on other nodes that have names */
};

/* publish_status.c: deployment, service, replica, usage, operation. */
void publish_status(struct model *m);
/* publish_cron.c: cron. */
void publish_cron(struct model *m);
/* What somebody should look at; false: nothing. */
bool publish_cron_trouble(struct model *m, struct service *s, struct msg_reason *out);
/* publish_figures.c: figures. */
void publish_figures(struct model *m);
/* publish_identity.c: identity, before the claims: no container speaks before it is known who it
 * is. */
void publish_identity(struct model *m);
/* After publish_traffic: says once that the table names all. */
void publish_identity_whole(struct model *m);
/* How many containers of others this node has, as far as it knows. */
size_t publish_identity_guests(const struct model *m);
/* publish_guests.c: guest, after identity. */
void publish_guests(struct model *m);
/* Bits of enum msg_identity_flag. */
uint32_t publish_identity_flags(const struct doc_overlays *o);
/* publish_work.c: pin, claim, probe. */
void publish_work(struct model *m);
/* publish_traffic.c: backend, stream, route; nothing while settled is not true (publish.h). */
void publish_traffic(struct model *m);
/* Whether all that was in balancing before a restart has been seen again. */
bool publish_traffic_settled(struct model *m);
/* Where a service is reached from outside: of its first public endpoint, http before tcp and udp.
 */
void publish_traffic_url(const struct model *m, const struct doc_service *spec, char *out,
			 size_t cap);

#endif
