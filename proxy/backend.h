/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_BACKEND_H
#define PROXY_BACKEND_H

/*
 * The replicas that requests can go to, by service: rows of the scheduler's table backend, with
 * what this worker knows of them (load, latency, idle connections). Keyed by the replica's id, so
 * all that survives changes of routes.
 * A backend lives until its row is gone and nobody refers to it.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"
#include "base/map.h"
#include "proxy/account.h"
#include "proxy/balance.h"
#include "proxy/budget.h"
#include "ring/msg.h"

enum { BACKEND_REPLICAS_MAX = 1024, BACKEND_IDLE_MAX = 256 };

struct service;

struct backend {
	struct msg_backend row;
	struct balance_replica load;
	struct service *service; /* NULL when gone */
	struct list all;         /* struct upstream, idle or not */
	struct list idle;        /* of these, most recently used first */
	size_t idle_count;
	unsigned refs; /* requests and connections */
	bool gone;
	struct metric_series *up, *connections;
};

struct service {
	uint64_t id;
	uint64_t turn;
	struct budget retries;
	size_t count;
	struct backend *backends[BACKEND_REPLICAS_MAX];
	struct balance_replica *loads[BACKEND_REPLICAS_MAX]; /* of the same, for balance.h */
};

enum backend_doubt {
	BACKEND_SILENT, /* its node gives no answer just now */
	BACKEND_LEFT,   /* it is not served any more; what is under way may end */
	BACKEND_DEAD,   /* it left while its node was silent: nobody expects an answer of it */
};

struct backend_table {
	struct map services; /* id -> struct service */
	struct map replicas; /* id -> struct backend */
	struct account *account;
	/* An idle connection is to be closed: the backend left, drains or moved. */
	void (*drop)(struct list *idle);
	/* A connection that is in use may lead to a machine that is not there any more. */
	void (*doubt)(struct list *connection, enum backend_doubt why);
};

void backend_table_init(struct backend_table *b, struct account *account,
			void (*drop)(struct list *idle),
			void (*doubt)(struct list *connection, enum backend_doubt why));
/* As ring_table_sync gives it: row NULL is a removal. */
void backend_table_change(struct backend_table *b, uint64_t replica, const struct msg_backend *row);
/* NULL when the service has none. */
struct service *backend_table_service(struct backend_table *b, uint64_t service);

void backend_ref(struct backend *b);
void backend_unref(struct backend *b);
/* How many replicas of its service may be ejected yet (balance.h). */
size_t backend_spare(const struct backend *b, uint64_t now_ms);

#endif
