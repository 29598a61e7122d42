/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_RELAY_H
#define PROXY_RELAY_H

/*
 * tcp and udp endpoints that this worker relays: rows of the scheduler's table stream, found by
 * protocol and port. I/O-free; connections are in relay_tcp.h, sessions in relay_udp.h.
 * An endpoint lives until its row is gone and nobody refers to it; a changed row holds for what
 * comes after it.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/map.h"
#include "proxy/backend.h"
#include "ring/msg.h"

struct relay_endpoint {
	struct msg_stream row; /* checked copy */
	size_t connections;
	unsigned refs;
	bool named; /* in this round */
	bool gone;
};

struct relay {
	struct map by_id;
	struct map by_port;
};

void relay_init(struct relay *r);
void relay_fini(struct relay *r);
/* One round of the table: begin, every row, commit; what was not named goes. A row that does not
 * hold is as if it were not there. -1: out of memory, the endpoint stays as it was. */
void relay_begin(struct relay *r);
int relay_change(struct relay *r, uint64_t id, const struct msg_stream *row)
	__attribute__((warn_unused_result));
void relay_commit(struct relay *r);

/* The public endpoint that has the port; NULL: none. */
struct relay_endpoint *relay_find(const struct relay *r, bool udp, uint16_t port);
struct relay_endpoint *relay_ref(struct relay_endpoint *e);
void relay_unref(struct relay_endpoint *e);
/* Whether a client may use it: its deny prefixes, then its allow prefixes. */
bool relay_admits(const struct relay_endpoint *e, const struct addr *client);
/* The replica's port for the endpoint; 0: it has none. */
uint16_t relay_port(const struct relay_endpoint *e, const struct backend *b);

/*
 * The replica for a udp client: the same one for the same address and port as long as the replicas
 * stay, in every worker (highest random weight). Draining ones and those that failed lately are
 * passed over while there are others. NULL: there is none.
 */
struct backend *relay_pick(const struct relay_endpoint *e, const struct service *s,
			   const struct addr *client, uint64_t now_ms);

#endif
