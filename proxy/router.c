/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The routing table. Routes are sorted by host, then by path length (longest first), and each
 * distinct host becomes one entry of a hash table: a look-up is one probe for the exact host, one
 * per label for wildcards and one for "any", each followed by a walk over that host's routes.
 */

#include "proxy/router.h"

#include <stdlib.h>
#include <string.h>
#include "base/map.h"
#include "base/mem.h"

struct group {
	size_t first;
	size_t count;
};

struct router {
	unsigned refs;
	size_t count;
	size_t groups_count;
	struct route *routes;
	struct group *groups;
	struct map hosts; /* host text (with "*." or empty) -> struct group */
	const struct group *any;
	bool any_host;
};

static bool
prefixes_hold(const struct addr_prefix *prefixes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (prefixes[i].bits > 128)
			return false;
	return true;
}

static bool
row_holds(const struct msg_route *row)
{
	return row->id != 0 && row->service != 0 && MSG_OK(row->service_label) &&
	       MSG_OK(row->endpoint) && MSG_OK(row->host) && MSG_OK(row->path) &&
	       row->path[0] == '/' && row->endpoint_index < MSG_ENDPOINTS_MAX &&
	       row->prefixes_allow <= 8 && row->prefixes_deny <= 8 &&
	       prefixes_hold(row->allow, row->prefixes_allow) &&
	       prefixes_hold(row->deny, row->prefixes_deny) &&
	       (row->flags & (MSG_ROUTE_TLS | MSG_ROUTE_PLAIN)) != 0;
}

static int
compare(const void *a, const void *b)
{
	const struct route *x = a, *y = b;
	int host = strcmp(x->row.host, y->row.host);

	if (host != 0)
		return host;
	if (x->path_length != y->path_length)
		return x->path_length > y->path_length ? -1 : 1;
	/* The one for upgrades first; then by id, so that every worker has the same order. */
	if ((x->row.flags ^ y->row.flags) & MSG_ROUTE_WEBSOCKET)
		return x->row.flags & MSG_ROUTE_WEBSOCKET ? -1 : 1;
	return x->row.id < y->row.id ? -1 : x->row.id > y->row.id;
}

static void
take_rows(struct router *r, const struct msg_route *const *rows, size_t count, size_t *skipped)
{
	*skipped = 0;
	for (size_t i = 0; i < count; i++) {
		struct route *route = &r->routes[r->count];

		if (!row_holds(rows[i])) {
			(*skipped)++;
			continue;
		}
		/* Endpoints inside the overlay are reached there, never through the edge. */
		if (!(rows[i]->flags & MSG_ROUTE_PUBLIC))
			continue;
		route->row = *rows[i];
		route->host_length = strlen(route->row.host);
		route->path_length = strlen(route->row.path);
		/* "/a/" and "/a" mean the same prefix. */
		while (route->path_length > 1 && route->row.path[route->path_length - 1] == '/')
			route->row.path[--route->path_length] = '\0';
		r->count++;
	}
	if (r->count > 0)
		qsort(r->routes, r->count, sizeof(r->routes[0]), compare);
}

static int
make_groups(struct router *r)
{
	for (size_t i = 0; i < r->count; i++) {
		const char *host = r->routes[i].row.host;
		struct group *g;

		if (host[0] == '\0' && r->routes[i].row.flags & MSG_ROUTE_TLS)
			r->any_host = true;
		if (i > 0 && strcmp(host, r->routes[i - 1].row.host) == 0) {
			r->groups[r->groups_count - 1].count++;
			continue;
		}
		g = &r->groups[r->groups_count++];
		*g = (struct group){.first = i, .count = 1};
		if (host[0] == '\0')
			r->any = g;
		else if (map_put_str(&r->hosts, host, g))
			return -1;
	}
	return 0;
}

int
router_new(const struct msg_route *const *rows, size_t count, struct router **out,
	   size_t *skipped_out, struct err *err)
{
	struct router *r = mem_zalloc(MEM_PROXY, sizeof(*r));

	if (!r)
		return err_set(err, ERR_NO_MEMORY, "cannot take new routes over");
	r->refs = 1;
	map_init(&r->hosts, MEM_PROXY);
	r->routes = mem_array(MEM_PROXY, count + 1, sizeof(*r->routes));
	r->groups = mem_array(MEM_PROXY, count + 1, sizeof(*r->groups));
	if (!r->routes || !r->groups)
		goto no_memory;
	take_rows(r, rows, count, skipped_out);
	if (make_groups(r))
		goto no_memory;
	*out = r;
	return 0;

no_memory:
	router_unref(r);
	return err_set(err, ERR_NO_MEMORY, "cannot take new routes over");
}

struct router *
router_ref(struct router *r)
{
	r->refs++;
	return r;
}

void
router_unref(struct router *r)
{
	if (!r || --r->refs > 0)
		return;
	map_fini(&r->hosts);
	mem_free(r->routes);
	mem_free(r->groups);
	mem_free(r);
}

size_t
router_count(const struct router *r)
{
	return r->count;
}

bool
router_any_host(const struct router *r)
{
	return r->any_host;
}

static bool
path_fits(const struct route *route, const struct router_query *q)
{
	size_t n = route->path_length;

	if (n == 1)
		return true;
	return q->path_length >= n && memcmp(q->path, route->row.path, n) == 0 &&
	       (q->path_length == n || q->path[n] == '/');
}

static const struct route *
find_in(const struct router *r, const struct group *g, const struct router_query *q)
{
	uint32_t listener = q->tls ? MSG_ROUTE_TLS : MSG_ROUTE_PLAIN;

	for (size_t i = 0; g && i < g->count; i++) {
		const struct route *route = &r->routes[g->first + i];

		if (route->row.flags & listener &&
		    (q->websocket || !(route->row.flags & MSG_ROUTE_WEBSOCKET)) &&
		    path_fits(route, q))
			return route;
	}
	return NULL;
}

static const struct route *
find_wildcard(const struct router *r, const struct router_query *q)
{
	char key[MSG_HOST + 2];
	const char *dot = strchr(q->host, '.');

	for (; dot; dot = strchr(dot + 1, '.')) {
		size_t n = strlen(dot);
		const struct route *found;

		if (n + 1 > MSG_HOST)
			continue;
		key[0] = '*';
		memcpy(key + 1, dot, n + 1);
		found = find_in(r, map_get(&r->hosts, key, n + 1), q);
		if (found)
			return found;
	}
	return NULL;
}

static const struct route *
find_on(const struct router *r, const struct router_query *q)
{
	const struct route *found = NULL;

	/* A Host of "*.x" must not find the wildcard's own entry. */
	if (q->host[0] != '\0' && q->host[0] != '*')
		found = find_in(r, map_get_str(&r->hosts, q->host), q);
	if (!found)
		found = find_wildcard(r, q);
	return found ? found : find_in(r, r->any, q);
}

static bool
more_specific(const struct route *a, const struct route *b)
{
	bool a_wild = a->row.host[0] == '*', b_wild = b->row.host[0] == '*';

	if ((a->host_length == 0) != (b->host_length == 0))
		return a->host_length > 0;
	if (a_wild != b_wild)
		return b_wild;
	if (a->host_length != b->host_length)
		return a->host_length > b->host_length;
	return a->path_length > b->path_length;
}

const struct route *
router_find(const struct router *r, const struct router_query *q,
	    const struct route **elsewhere_out)
{
	const struct route *found = find_on(r, q), *other;
	struct router_query across = *q;

	if (!elsewhere_out)
		return found;
	across.tls = !q->tls;
	other = find_on(r, &across);
	*elsewhere_out = other && (!found || more_specific(other, found)) ? other : NULL;
	return found;
}

bool
router_prefixes(const struct addr *client, const struct addr_prefix *deny, uint32_t deny_count,
		const struct addr_prefix *allow, uint32_t allow_count)
{
	for (uint32_t i = 0; i < deny_count; i++) {
		if (addr_in_prefix(client, &deny[i]))
			return false;
	}
	for (uint32_t i = 0; i < allow_count; i++) {
		if (addr_in_prefix(client, &allow[i]))
			return true;
	}
	return allow_count == 0;
}

bool
router_admits(const struct route *route, const struct addr *client)
{
	const struct msg_route *row = &route->row;

	return router_prefixes(client, row->deny, row->prefixes_deny, row->allow,
			       row->prefixes_allow);
}
