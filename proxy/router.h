/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_ROUTER_H
#define PROXY_ROUTER_H

/*
 * Which route a request takes: an immutable table compiled from the scheduler's rows, swapped
 * whole. A request keeps a reference to the table it was routed with; keep-alive connections use
 * the new one for their next request.
 *
 * The most specific host wins (exact, then the longest wildcard suffix, then any), among its routes
 * the longest path, on a segment boundary; a host without a fitting path falls back to the next
 * less specific one. For an upgrade to WebSocket a route made for it wins over another of the same
 * path; other requests never take it.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "ring/msg.h"

struct router;

struct route {
	struct msg_route row; /* checked copy */
	size_t host_length;
	size_t path_length;
};

/* Rows that do not hold (texts not ended, no path, unknown flags) are left out and counted in
 * *skipped_out. */
int router_new(const struct msg_route *const *rows, size_t count, struct router **out,
	       size_t *skipped_out, struct err *err) MUST_CHECK;
struct router *router_ref(struct router *r);
void router_unref(struct router *r);
size_t router_count(const struct router *r);

struct router_query {
	const char *host; /* folded: lower case, no port, no final dot */
	const char *path; /* normalised */
	size_t path_length;
	bool tls;       /* came over an https listener */
	bool websocket; /* asks for an upgrade */
};
/* NULL: none. *elsewhere_out (may be NULL): the more specific route that would serve this on the
 * other kind of listener, or NULL. */
const struct route *router_find(const struct router *r, const struct router_query *q,
				const struct route **elsewhere_out);
/* Whether a client may use the route: its allow and deny prefixes. */
bool router_admits(const struct route *route, const struct addr *client);
/* deny goes first; an empty allow lets everybody in. */
bool router_prefixes(const struct addr *client, const struct addr_prefix *deny, uint32_t deny_count,
		     const struct addr_prefix *allow, uint32_t allow_count);
/* Whether any https route serves any host: then clients without a server name are served. */
bool router_any_host(const struct router *r);

#endif
