/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_EVENTS_H
#define API_EVENTS_H

/*
 * Events of all nodes of the cluster: each has its own, with ids of its own. At most
 * EVENTS_NODES_MAX other nodes are asked, by way of this node's scheduler; one that does not answer
 * is named and left out.
 * Threading: the loop's.
 */

#include "api/rows.h"

enum {
	EVENTS_NODES_MAX = 64,
	EVENTS_ASKS_MAX = 96,      /* under way at a time, of all streams */
	EVENTS_LIST_ASKS_MAX = 64, /* of all lists */
};

/* This node's name; "" when it is in no cluster. */
void events_own_node(struct server *s, char out[MSG_NAME]);
/* Other nodes, by id: rows_fini. */
void events_nodes(struct server *s, struct rows *out);
/* The row of ?node=; NULL: it is not said. False: there is no such node, and it was answered. */
bool events_query_node(struct call *call, const struct msg_member **out);
/* The events of an answer to MSG_OP_EVENTS or FAR_EVENTS, which hold; false: they do not. */
bool events_read(const int *fds, size_t count, struct buf *out);

/* Those of other nodes that come from now on, or came after a time, into a stream. Owned by the
 * stream, which calls pump when there is room and when something may have changed. */
struct events_live;
struct events_live *events_live_new(struct call *call, uint32_t only, int64_t after_wall_ns);
void events_live_free(struct events_live *l);
void events_live_pump(struct events_live *l);

#endif
