/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_ADMIT_H
#define PROXY_ADMIT_H

/*
 * Whether a request is served, and by which route: what is known of it before anything is sent.
 * Pure functions of the request and the routing table.
 */

#include "proxy/forward.h"
#include "proxy/reply.h"
#include "proxy/router.h"

struct admit {
	const struct route *route; /* borrowed from the router; NULL: none */
	const struct reply *why;   /* it is refused with this; NULL: it is served */
	bool unrouted;             /* no route has its host and path */
	bool to_https;             /* unrouted here, but a more specific route serves it there */
};

/* router NULL: there are no routes yet. */
void admit_request(const struct router *router, const struct forward_request *r, struct admit *out);

#endif
