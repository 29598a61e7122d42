/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_FEED_H
#define API_FEED_H

#include "api/server.h"

/* Something changed in the scheduler's or runtime's tables, or there are new events. */
void feed_wake(struct server *s);
/* The scheduler is there (again): asks it for the newest event's id. */
void feed_scheduler_here(struct server *s);
/* For keeping quiet streams alive. */
void feed_tick(struct server *s);

#endif
