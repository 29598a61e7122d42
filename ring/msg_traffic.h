/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_MSG_TRAFFIC_H
#define RING_MSG_TRAFFIC_H

/* What is served: routes, streams and backends for proxy and dataplane, and what those say of it.
 * The rules are those of ring/msg.h. */

#include "ring/msg_base.h"

enum msg_route_flags {
	MSG_ROUTE_TLS = 1 << 0,   /* served on the https listeners */
	MSG_ROUTE_PLAIN = 1 << 1, /* served on the http listeners */
	MSG_ROUTE_WEBSOCKET =
		1 << 2, /* only for upgrades: preferred for them over a same-path route */
	MSG_ROUTE_STRIP_PATH = 1 << 3,
	MSG_ROUTE_PUBLIC = 1 << 4,
	MSG_ROUTE_COUNTED = 1 << 5, /* its service is scaled by demand (msg_demand) */
	MSG_ROUTE_SLEEPS = 1 << 6,  /* ... and may have no replica: what is asked waits */
};
enum msg_balance { MSG_BALANCE_P2C = 1, MSG_BALANCE_ROUND_ROBIN };

struct msg_route { /* key: id from the store (service, endpoint) */
	uint64_t id;
	uint64_t service;
	char service_label[MSG_TARGET]; /* "deployment/service" for logs and metrics */
	char endpoint[MSG_NAME];
	uint32_t endpoint_index; /* into msg_backend.ports */
	uint32_t flags;
	uint32_t balance;
	uint32_t prefixes_allow, prefixes_deny;
	uint32_t pad_;
	uint64_t body_bytes_max;   /* 0: unlimited */
	uint64_t header_bytes_max; /* 0: the default */
	char host[MSG_HOST];       /* lower case; "" any; "*.suffix" */
	char path[MSG_PATH];       /* "/" or "/a/b" */
	struct addr_prefix allow[8];
	struct addr_prefix deny[8];
};

enum msg_stream_protocol { MSG_STREAM_TCP = 6, MSG_STREAM_UDP = 17 }; /* IPPROTO_ numbers */
enum msg_stream_flags {
	MSG_STREAM_PUBLIC = 1 << 0,         /* on the edge; otherwise from the overlay only */
	MSG_STREAM_TLS = 1 << 1,            /* tcp: TLS ends at the edge (relay only) */
	MSG_STREAM_PROXY_PROTOCOL = 1 << 2, /* PROXY v2 to the replica (relay only) */
	MSG_STREAM_COUNTED = 1 << 3,        /* as MSG_ROUTE_COUNTED */
	MSG_STREAM_SLEEPS = 1 << 4,         /* as MSG_ROUTE_SLEEPS */
};

/* A tcp or udp endpoint: what the kernel's balancer and the proxy's relay serve. Its backends are
 * the rows of msg_backend of the same service, ports[endpoint_index]. */
struct msg_stream { /* key: id from the store (service, endpoint) */
	uint64_t id;
	uint64_t service;
	char service_label[MSG_TARGET]; /* "deployment/service" for logs and metrics */
	char endpoint[MSG_NAME];
	uint32_t endpoint_index; /* into msg_backend.ports */
	uint32_t protocol;
	uint32_t flags;
	uint16_t port; /* at the edge */
	uint16_t pad2_;
	uint32_t session_timeout_ms; /* udp: a flow without packets for so long is over */
	uint32_t prefixes_allow, prefixes_deny;
	uint32_t balance;    /* enum msg_balance */
	char host[MSG_HOST]; /* tls: the certificate's name; "" any */
	struct addr_prefix allow[8];
	struct addr_prefix deny[8];
};

/* DOUBTED: its node does not answer just now; it is asked when there is no other one. */
enum msg_backend_state { MSG_BACKEND_ACTIVE = 1, MSG_BACKEND_DRAINING, MSG_BACKEND_DOUBTED };

struct msg_backend { /* key: replica */
	uint64_t replica;
	uint64_t service;
	char name[MSG_TARGET]; /* "deployment/service.N" */
	uint32_t state;
	uint32_t ports_count;
	struct addr addr; /* of the container; port unused */
	uint16_t ports[MSG_ENDPOINTS_MAX];
};

struct msg_applied { /* key: 1 */
	uint32_t scheduler_generation;
	uint32_t draining;         /* this worker accepts no more */
	uint64_t routes_version;   /* ring_table_version of route */
	uint64_t backends_version; /* of backend: requests begun before may still be in flight */
	uint64_t connections;
	uint64_t requests;
};

struct msg_drain { /* key: replica; rows for draining backends only */
	uint64_t replica;
	uint32_t in_flight; /* requests, upgraded connections included */
	uint32_t upgraded;
};

/* What is asked of a service that is scaled by it. Rows of several processes, and of several nodes,
 * add up. Counters begin at 0 with the process. */
struct msg_demand { /* key: service */
	uint64_t service;
	uint64_t requests;  /* begun; connections and udp sessions of a relay, too */
	uint64_t packets;   /* that the kernel's balancer sent to its replicas */
	uint32_t in_flight; /* of the requests, connections and sessions: open now */
	uint32_t waiting;   /* of these: for a replica, because there is none */
};

struct msg_access { /* followed by text_bytes: host, path, request id, user agent; each NUL-ended */
	int64_t wall_ns;
	uint64_t duration_ns;
	uint64_t upstream_ns;
	uint64_t request_bytes;
	uint64_t response_bytes;
	uint64_t replica; /* 0: none was chosen */
	uint64_t route;   /* 0: none matched */
	struct addr client;
	uint16_t status;
	uint8_t method;   /* enum of wire/header.h */
	uint8_t protocol; /* 10, 11, 20 */
	uint8_t tls;
	uint8_t cut; /* the client or the replica went away before the end */
	uint16_t text_bytes;
};

#endif
