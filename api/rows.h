/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_ROWS_H
#define API_ROWS_H

/* The ring's tables as the handlers see them: this process's own copies of the last snapshots. Rows
 * are borrowed until the loop turns. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "api/call.h"
#include "api/server.h"
#include "ring/msg.h"

/* Takes what changed in a producer's tables; false when it must be tried again soon. */
bool rows_sync(struct server *s, struct ring_reader *reader);
/* Now, from the role's first process: for what was answered a moment ago. */
void rows_sync_role(struct server *s, uint16_t role);
/* Whether all that a role's process has to tell is here: what is not in its tables is not there.
 * False while it is away, and until a new one has told what it begins with. */
bool rows_whole(struct server *s, uint16_t role);
/* NULL when absent. */
const void *rows_get(struct server *s, uint16_t role, uint16_t table, uint64_t key);

struct rows {
	const void **items;
	size_t count;
	bool failed; /* out of memory */
};
typedef bool (*rows_wanted_fn)(const void *row, void *arg);
typedef int (*rows_order_fn)(const void *a, const void *b);
/* Rows for which wanted (NULL: all) says yes, sorted. The order function gets pointers to row
 * pointers, as qsort gives them. */
void rows_collect(struct server *s, uint16_t role, uint16_t table, rows_wanted_fn wanted, void *arg,
		  rows_order_fn order, struct rows *out);
void rows_fini(struct rows *r);

/* What a list of the API is made of. */
struct rows_list {
	uint16_t role, table;
	rows_wanted_fn wanted; /* NULL: all */
	void *arg;
	rows_order_fn order;
	void (*view)(struct json *j, struct server *s, const void *row);
};
/* Answers {"items": [...]}; whole or, without memory, not at all. */
void rows_answer(struct call *call, const struct rows_list *list);

int rows_by_deployment(const void *a, const void *b);
int rows_by_service(const void *a, const void *b);
int rows_by_replica(const void *a, const void *b);
int rows_by_operation(const void *a, const void *b);
int rows_by_image(const void *a, const void *b);
int rows_by_process(const void *a, const void *b);

/* The first of the scheduler's rows that is wanted, NULL when none is. Takes no memory: without
 * any, what is there must not read as what is not. */
const void *rows_first(struct server *s, uint16_t table, rows_wanted_fn wanted, void *arg);
const struct msg_deployment *rows_deployment(struct server *s, const char *name);
const struct msg_service *rows_service(struct server *s, const char *deployment, const char *name);
/* A target of the query ("dep", "dep/svc", "dep/svc.N") against a replica. */
struct rows_target {
	char deployment[MSG_NAME];
	char service[MSG_NAME];
	uint32_t index;
};
bool rows_target_parse(const char *text, struct rows_target *out);
bool rows_target_has(const struct rows_target *t, const struct msg_replica *r);

#endif
