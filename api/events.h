/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_EVENTS_H
#define API_EVENTS_H

/*
 * Events of all nodes of the cluster, and what their data paths have seen (flows.c): each has its
 * own, with ids of its own. At most EVENTS_NODES_MAX other nodes are asked, by way of this node's
 * scheduler; one that does not answer is named and left out.
 * Threading: the loop's.
 */

#include "api/rows.h"

enum {
	EVENTS_NODES_MAX = 64,
	EVENTS_ASKS_MAX = 96,      /* under way at a time, of all streams */
	EVENTS_LIST_ASKS_MAX = 64, /* of all lists */
	EVENTS_FILTER_MAX = 512,   /* bytes */
};

/* This node's name; "" when it is in no cluster. */
void events_own_node(struct server *s, char out[MSG_NAME]);
/* Other nodes, by id: rows_fini. */
void events_nodes(struct server *s, struct rows *out);
/* The row of ?node=; NULL: it is not said. False: there is no such node, and it was answered. */
bool events_query_node(struct call *call, const struct msg_member **out);
/* The events of an answer to MSG_OP_EVENTS or FAR_EVENTS, which hold; false: they do not. */
bool events_read(const int *fds, size_t count, struct buf *out);

/* What is asked of a node. */
struct events_ask {
	uint32_t node; /* 0: this one */
	uint32_t limit;
	uint64_t since; /* EVENTS_NONE: nothing, but how far it is */
	bool wait;      /* until there are some, or a while has passed */
	const void *filter;
};
#define EVENTS_NONE UINT64_MAX

/* What kind of rows is gathered from all nodes. */
struct events_kind {
	const char *message; /* of a stream */
	size_t row_bytes;
	size_t rows_max; /* in an answer, with the mark */
	bool marks;      /* an answer ends with a row that says how far it goes, and no more */
	bool own;        /* a stream asks this node as it asks the others */
	int (*ask)(struct station *st, const struct events_ask *q, station_answer_fn done,
		   void *arg, struct err *err);
	/* The rows of an answer, which hold; false: they do not. */
	bool (*read)(const int *fds, size_t count, struct buf *out);
	uint64_t (*id)(const void *row);
	int64_t (*wall_ns)(const void *row);
	uint64_t (*lost)(const void *mark); /* so many are missing below it */
	void (*view)(struct json *j, const char *node, const void *row);
};
extern const struct events_kind events_kind;

/* The newest ones of all nodes (only NULL) or of that one, in order. filter: copied, filter_bytes
 * <= EVENTS_FILTER_MAX. */
void events_list_all(struct call *call, const struct events_kind *kind,
		     const struct msg_member *only, const void *filter, size_t filter_bytes,
		     uint32_t limit);

/* Those that come from now on, or came after a time, into a stream: of other nodes, and of this
 * one if the kind says so. Owned by the stream, which calls pump
 * when there is room and when something may have changed. */
struct events_live;
struct events_live_options {
	const struct events_kind *kind;
	const struct msg_member *only; /* NULL: all */
	int64_t after_wall_ns;         /* 0: from now on */
	const void *filter;            /* copied */
	size_t filter_bytes;
};
struct events_live *events_live_new(struct call *call, const struct events_live_options *options);
void events_live_free(struct events_live *l);
void events_live_pump(struct events_live *l);

#endif
