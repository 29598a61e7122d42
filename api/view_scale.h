/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_VIEW_SCALE_H
#define API_VIEW_SCALE_H

/* The member "scale" of a service. */

#include "api/server.h"
#include "spec/json.h"

void view_scale(struct json *j, struct server *server, const struct msg_service *s);

#endif
