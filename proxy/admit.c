/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The questions are asked in one order: the method, the host and path, the address, the size of the
 * header, the announced size of the body. The first no counts.
 */

#include "proxy/admit.h"

#include "wire/url.h"

static const struct reply not_admitted = {403, "this address may not use this endpoint", "address",
					  0};
static const struct reply no_route = {404, "no endpoint has this host and path", NULL, 0};
static const struct reply bad_method = {405, "this method is not served", "method", 0};

static void
fold_host(const struct forward_request *r, char *out, size_t cap)
{
	struct url_authority a;

	out[0] = '\0';
	if (r->authority.length > 0 &&
	    url_authority_parse(r->text + r->authority.at, r->authority.length, &a))
		(void)url_host_fold(a.host, a.host_length, out, cap);
}

static void
find_route(const struct router *router, const struct forward_request *r, struct admit *out)
{
	char host[MSG_HOST];
	struct router_query q = {.host = host,
				 .path = r->asterisk ? "/" : r->path,
				 .path_length = r->asterisk ? 1 : r->path_length,
				 .tls = r->tls,
				 .websocket = r->websocket};
	const struct route *elsewhere = NULL;

	if (!router)
		return;
	fold_host(r, host, sizeof(host));
	out->route = router_find(router, &q, r->tls ? NULL : &elsewhere);
	if (!elsewhere || r->authority.length == 0)
		return;
	out->route = NULL;
	out->to_https = true;
}

static size_t
header_bytes(const struct forward_request *r)
{
	size_t n = r->path_length + r->query_length;

	for (size_t i = 0; i < r->count; i++)
		n += r->fields[i].name_length + r->fields[i].value_length + 4u;
	return n;
}

static const struct reply *
why_not(const struct route *route, const struct forward_request *r)
{
	const struct msg_route *row = &route->row;

	if (!router_admits(route, &r->client))
		return &not_admitted;
	if (row->header_bytes_max > 0 && header_bytes(r) > row->header_bytes_max)
		return &reply_header_too_large;
	if (row->body_bytes_max > 0 && r->body == FORWARD_LENGTH &&
	    r->content_length > row->body_bytes_max)
		return &reply_too_large;
	return NULL;
}

void
admit_request(const struct router *router, const struct forward_request *r, struct admit *out)
{
	*out = (struct admit){0};
	if ((r->method == HTTP_CONNECT && !r->websocket) || r->method == HTTP_TRACE) {
		out->why = &bad_method;
		return;
	}
	find_route(router, r, out);
	if (out->route) {
		out->why = why_not(out->route, r);
		return;
	}
	out->unrouted = true;
	out->why = &no_route;
}
