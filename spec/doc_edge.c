/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What endpoints and routes have in common: names, hosts with paths, ports. Public endpoints share
 * the node's listeners, so they are compared over the whole document; internal ones stand on their
 * service's own address and are compared within it. Public http and https are served by the shared
 * listeners (80 and 443) whatever their port says; a websocket is on 443 when its port is.
 * Comparison is by sorting, so a document of 64,000 endpoints is no trouble.
 */
#include "spec/doc_field.h"

#include <stdlib.h>
#include <string.h>
#include "base/text.h"

struct place {
	const struct doc_endpoint *e;
	const char *owner;
	uint32_t port; /* the listener's */
	bool udp;
	bool http;
};

static bool
is_http(const struct doc_endpoint *e)
{
	return e->protocol != DOC_PROTOCOL_TCP && e->protocol != DOC_PROTOCOL_UDP;
}

/* Nothing follows from what was refused itself. */
static bool
is_complete(const struct doc_endpoint *e)
{
	if (e->node == NULL || e->name == NULL || e->port == 0)
		return false;
	if (e->host == NULL && doc_given(e->node, "host"))
		return false;
	return e->path != NULL || !is_http(e);
}

static uint32_t
listener_port(const struct doc_endpoint *e)
{
	if (!is_http(e))
		return e->port;
	if (e->protocol == DOC_PROTOCOL_HTTPS)
		return 443;
	return e->protocol == DOC_PROTOCOL_WEBSOCKET && e->port == 443 ? 443 : 80;
}

static const char *
host_of(const struct doc_endpoint *e)
{
	return e->host == NULL ? "" : e->host;
}

static uint32_t
line_of(const struct doc_endpoint *e)
{
	return yaml_node_where(e->node).line;
}

static int
compare_route(const struct doc_endpoint *a, const struct doc_endpoint *b)
{
	int order = strcmp(host_of(a), host_of(b));

	if (order != 0)
		return order;
	return strcmp(a->path == NULL ? "" : a->path, b->path == NULL ? "" : b->path);
}

static int
compare_ports(const struct place *a, const struct place *b)
{
	if (a->udp != b->udp)
		return a->udp ? 1 : -1;
	return a->port == b->port ? 0 : a->port < b->port ? -1 : 1;
}

static int
compare_places(const void *left, const void *right)
{
	const struct place *a = left, *b = right;
	int order = compare_ports(a, b);

	if (order != 0)
		return order;
	if (a->http != b->http)
		return a->http ? -1 : 1;
	order = a->http ? compare_route(a->e, b->e) : 0;
	if (order != 0)
		return order;
	return line_of(a->e) == line_of(b->e)  ? (a->e < b->e ? -1 : 1)
	       : line_of(a->e) < line_of(b->e) ? -1
					       : 1;
}

static const struct yaml_node *
key_node(const struct doc_endpoint *e, const char *key)
{
	const struct yaml_node *n = yaml_node_get(e->node, key);

	return n == NULL ? e->node : n;
}

static void
report_route(struct field_ctx *ctx, const struct place *p, const struct place *first)
{
	field_diag(ctx, key_node(p->e, p->e->host != NULL ? "host" : "path"), "duplicate-route",
		   NULL, "%s%s is served already: by endpoint \"%s\" of %s, line %u",
		   p->e->host == NULL ? "any host with " : p->e->host, p->e->path, first->e->name,
		   first->owner, line_of(first->e));
}

static void
report_port(struct field_ctx *ctx, const struct place *p, const struct place *first)
{
	field_diag(ctx, key_node(p->e, "port"), "port-conflict", NULL,
		   "%s port %u is taken: by endpoint \"%s\" (%s) of %s, line %u",
		   p->udp ? "udp" : "tcp", p->port, first->e->name,
		   doc_protocol_name(first->e->protocol), first->owner, line_of(first->e));
}

/* Neighbours in the sorted list: the same route twice, or a port that somebody else has. */
static void
check_sorted(struct field_ctx *ctx, const struct place *places, size_t count)
{
	size_t first = 0;

	for (size_t i = 1; i < count; i++) {
		if (compare_ports(&places[i], &places[first]) != 0) {
			first = i;
			continue;
		}
		if (!places[i].http)
			report_port(ctx, &places[i], &places[first]);
		else if (compare_route(places[i].e, places[i - 1].e) == 0)
			report_route(ctx, &places[i], &places[i - 1]);
	}
}

static void
check_names(struct field_ctx *ctx, const struct doc_endpoint *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < i && list[i].name != NULL; k++) {
			if (list[k].name == NULL || strcmp(list[i].name, list[k].name) != 0)
				continue;
			field_diag(ctx, key_node(&list[i], "name"), "duplicate-endpoint", NULL,
				   "another endpoint is named \"%s\", line %u", list[i].name,
				   line_of(&list[k]));
			break;
		}
	}
}

static void
check_internal(struct field_ctx *ctx, const char *owner, const struct doc_endpoint *list,
	       size_t count)
{
	struct place places[DOC_ENDPOINTS_MAX];
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		const struct doc_endpoint *e = &list[i];

		if (e->expose == DOC_EXPOSE_INTERNAL && is_complete(e))
			places[used++] = (struct place){
				.e = e,
				.owner = owner,
				.port = e->port,
				.udp = e->protocol == DOC_PROTOCOL_UDP,
				.http = is_http(e),
			};
	}
	qsort(places, used, sizeof(places[0]), compare_places);
	check_sorted(ctx, places, used);
}

static void
check_public(struct field_ctx *ctx, const struct doc *doc)
{
	struct doc_endpoint_iter it = {0};
	struct place *places;
	size_t count = 0, used = 0;

	while (doc_endpoint_next(doc, &it))
		count++;
	places = arena_array(ctx->arena, count + 1, sizeof(struct place));
	if (places == NULL) {
		field_no_memory(ctx);
		return;
	}
	it = (struct doc_endpoint_iter){0};
	while (doc_endpoint_next(doc, &it)) {
		if (it.endpoint->expose != DOC_EXPOSE_PUBLIC || !is_complete(it.endpoint))
			continue;
		places[used++] = (struct place){
			.e = it.endpoint,
			.owner = it.service != NULL ? it.service->name : it.external->name,
			.port = listener_port(it.endpoint),
			.udp = it.endpoint->protocol == DOC_PROTOCOL_UDP,
			.http = is_http(it.endpoint),
		};
	}
	qsort(places, used, sizeof(places[0]), compare_places);
	check_sorted(ctx, places, used);
}

/* ---- routes ---- */

static bool
find_target(const struct doc *doc, const char *name, const struct doc_endpoint **list_out,
	    size_t *count_out)
{
	const struct doc_service *s = doc_service_find(doc, name);
	const struct doc_external *x = doc_external_find(doc, name);

	if (s == NULL && x == NULL)
		return false;
	*list_out = s != NULL ? s->endpoints : x->endpoints;
	*count_out = s != NULL ? s->endpoints_count : x->endpoints_count;
	return true;
}

static void
check_target(struct field_ctx *ctx, const struct doc *doc, const struct doc_route_target *t)
{
	const struct yaml_node *service =
		t->node == NULL ? NULL : yaml_node_get(t->node, "service");
	const struct doc_endpoint *list = NULL;
	size_t count = 0;

	if (t->service == NULL || service == NULL)
		return;
	if (!find_target(doc, t->service, &list, &count)) {
		field_diag(ctx, service, "unknown-service", NULL,
			   "there is no service \"%s\" in this document", t->service);
		return;
	}
	if (t->endpoint == NULL) {
		if (count != 1)
			field_diag(ctx, service, "missing-key", "name the endpoint",
				   "%s has %zu endpoints", t->service, count);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		if (list[i].name != NULL && strcmp(list[i].name, t->endpoint) == 0)
			return;
	}
	field_diag(ctx, yaml_node_get(t->node, "endpoint"), "unknown-endpoint", NULL,
		   "%s has no endpoint \"%s\"", t->service, t->endpoint);
}

static void
check_route(struct field_ctx *ctx, const struct doc *doc, const struct doc_route *r)
{
	const struct yaml_node *targets =
		r->node == NULL ? NULL : yaml_node_get(r->node, "targets");
	const struct doc_endpoint *list;
	uint64_t sum = 0;
	size_t count;

	for (size_t i = 0; i < r->targets_count; i++) {
		check_target(ctx, doc, &r->targets[i]);
		sum += r->targets[i].weight;
	}
	if (targets != NULL && targets->kind == YAML_LIST && sum != 100)
		field_diag(ctx, targets, "weights-not-100", NULL,
			   "the weights add up to %u; 100 is wanted", (unsigned)sum);
	if (r->mirror.service != NULL && !find_target(doc, r->mirror.service, &list, &count))
		field_diag(ctx, yaml_node_get(r->mirror.node, "service"), "unknown-service", NULL,
			   "there is no service \"%s\" in this document", r->mirror.service);
}

static bool
same_route(const struct doc_route *a, const struct doc_route *b)
{
	return a->node != NULL && b->node != NULL && a->url_prefix != NULL &&
	       b->url_prefix != NULL && strcmp(a->url_prefix, b->url_prefix) == 0 &&
	       text_equal(a->host == NULL ? "" : a->host, b->host == NULL ? "" : b->host);
}

static void
check_routes(struct field_ctx *ctx, const struct doc *doc)
{
	for (size_t i = 0; i < doc->routes_count; i++) {
		check_route(ctx, doc, &doc->routes[i]);
		for (size_t k = 0; k < i; k++) {
			if (!same_route(&doc->routes[i], &doc->routes[k]))
				continue;
			field_diag(ctx, doc->routes[i].node, "duplicate-route", NULL,
				   "another route has this host and url_prefix, line %u",
				   yaml_node_where(doc->routes[k].node).line);
			break;
		}
	}
}

void
doc_edge_check(struct field_ctx *ctx, struct doc *doc)
{
	for (size_t i = 0; i < doc->services_count; i++) {
		const struct doc_service *s = &doc->services[i];

		check_names(ctx, s->endpoints, s->endpoints_count);
		check_internal(ctx, s->name, s->endpoints, s->endpoints_count);
	}
	for (size_t i = 0; i < doc->externals_count; i++) {
		const struct doc_external *x = &doc->externals[i];

		check_names(ctx, x->endpoints, x->endpoints_count);
		check_internal(ctx, x->name, x->endpoints, x->endpoints_count);
	}
	check_public(ctx, doc);
	check_routes(ctx, doc);
}
