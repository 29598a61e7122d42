/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_NODES_H
#define API_NODES_H

/* The nodes of the cluster, as this node's scheduler knows them. */

#include "api/rows.h"
#include "spec/json.h"

/* "alive" ... */
const char *nodes_state(uint32_t member_state);
/* All of them, by name: rows_fini. */
void nodes_collect(struct server *s, struct rows *out);
/* The one of that name, as in a row, among all of them; NULL. */
const struct msg_member *nodes_among(const struct rows *all, const char name[MSG_NAME]);
/* An array of all. */
void nodes_put(struct json *j, const char *key, struct server *s);
/* NULL when there is none of that id. */
const struct msg_member *nodes_get(struct server *s, uint32_t node);
/* By name, or by its id in decimal; NULL. */
const struct msg_member *nodes_find(struct server *s, char *text);
/* Whether a replica is this node's: what it runs, and its logs, are nowhere else. */
bool nodes_has_here(struct server *s, const struct msg_replica *r);
/* The id of the node that has a replica; 0: this one, or one that is not known (any more). */
uint32_t nodes_far(struct server *s, const struct msg_replica *r);
/* The name of that node; null when id is 0 or nobody has it. */
void nodes_put_name(struct json *j, const char *key, struct server *s, uint32_t node);
/* An address with its port; null when it is not known. */
void nodes_put_address(struct json *j, const char *key, const struct addr *address);

#endif
