/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_ACCOUNT_H
#define PROXY_ACCOUNT_H

/*
 * What a worker counts (product.md §5: http, connections, h2, tls, upstream) and the access records
 * it puts into the ring's log. Labels come from the configuration and from fixed sets only: nothing
 * that a client sends makes a series.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/map.h"
#include "base/metric.h"
#include "proxy/router.h"
#include "ring/ring.h"
#include "wire/h2.h"

/* The series of one service and endpoint; lives as long as the process. */
struct account_route;

struct account {
	struct metric_page *page;
	struct ring_writer *log;
	struct map routes; /* "service\0endpoint" -> struct account_route */
	struct metric_series *accepted[2], *h1[2], *h2[2], *streams[2];
	struct metric_series *relayed[2], *tcp, *tls, *udp; /* relayed: tcp, udp accepted */
	char node[MSG_NAME];
};

struct account_request {
	const struct route *route;    /* NULL: none matched */
	struct account_route *series; /* of that route */
	enum http_method method;
	unsigned status;
	uint8_t protocol; /* 10, 11, 20 */
	bool tls;
	bool cut;
	int64_t wall_ns;
	uint64_t duration_ns;
	uint64_t upstream_ns; /* until the answer began; 0: never */
	uint64_t request_bytes, response_bytes;
	uint64_t replica;
	struct addr client;
	const char *host, *path, *id, *agent;
	size_t host_length, path_length, id_length, agent_length;
};

/* page and log may be NULL (tests). */
void account_init(struct account *a, struct metric_page *page, struct ring_writer *log,
		  const char *node);
/* NULL: out of memory; everything below takes that. What a route is known to count begins at 0. */
struct account_route *account_route(struct account *a, const struct msg_route *row);
void account_in_flight(struct account_route *r, int delta);
void account_done(struct account *a, const struct account_request *r);

/* listener: 0 http, 1 https. */
void account_accepted(struct account *a, bool tls);
void account_connection(struct account *a, bool tls, bool h2, int delta);
void account_streams(struct account *a, bool tls, int delta);
void account_reset(struct account *a, bool by_client, uint32_t code);
void account_handshake(struct account *a, const char *version, bool resumed, const char *result,
		       uint64_t ns);
void account_rejected(struct account *a, const struct route *route, const char *reason);
/* Of tcp and udp endpoints; a udp session counts as a connection. */
void account_relay_accepted(struct account *a, bool udp);
void account_relay_active(struct account *a, bool udp, bool tls, int delta);
void account_relay_rejected(struct account *a, const char *service, const char *reason);
void account_unrouted(struct account *a, const char *reason);
void account_retry(struct account *a, const struct route *route, const char *reason);
void account_ejection(struct account *a, const char *service);
struct metric_series *account_upstream_up(struct account *a, const char *service,
					  const char *replica);
struct metric_series *account_upstream_connections(struct account *a, const char *service,
						   const char *replica);
void account_gauge(struct metric_series *s, int64_t delta);

#endif
