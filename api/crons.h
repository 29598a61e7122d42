/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CRONS_H
#define API_CRONS_H

/* What a service has more when it is a cron. */

#include "api/server.h"
#include "spec/json.h"

/* The member "cron" of a service; null when it is none. */
void crons_view(struct json *j, struct server *server, const struct msg_service *s);

#endif
