/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_VIEW_H
#define API_VIEW_H

/* Rows as JSON: the stable form of docs/openapi.json. Unknown is null, never 0 or "". */

#include "api/server.h"
#include "spec/json.h"

/* key: the member's name, NULL in an array and at the top. */
void view_reason(struct json *j, const char *key, const struct msg_reason *reason);
/* A char array of a row, up to its NUL or its end; empty: null. */
void view_text(struct json *j, const char *key, const char *field, size_t cap);
#define VIEW_TEXT(j, key, field) view_text((j), (key), (field), sizeof(field))
/* RFC 3339; 0: null. */
void view_time(struct json *j, const char *key, int64_t wall_ns);
/* Likewise, of whole seconds since 1970. */
void view_second(struct json *j, const char *key, int64_t wall_s);

void view_deployment(struct json *j, struct server *s, const struct msg_deployment *d);
void view_service(struct json *j, struct server *server, const struct msg_service *s);
void view_replica(struct json *j, const char *key, struct server *s, const struct msg_replica *r);
void view_operation(struct json *j, const struct msg_operation *o);
/* node: whose it is; "" in no cluster. */
void view_event(struct json *j, const char *node, const struct msg_event *e);
void view_image(struct json *j, const struct msg_image *i);
void view_certificate(struct json *j, const struct msg_certificate *c);
void view_route(struct json *j, const struct msg_route *r);

#endif
