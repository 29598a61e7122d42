/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the overlays of a document's services make impossible: what is said of an overlay
 * that is off, and steps before the start that wait for a name which is not there for them. A name
 * is there when its network is on at the service, and the one that asks may reach it: by the global
 * network, if both are in it, or else by that of a service that is open to others. What is of other
 * deployments is not known here.
 */
#include "spec/doc_field.h"

#include <string.h>
#include "base/text.h"

enum { HOST_BYTES = 256 };

static bool
is_open(const struct doc_service *s)
{
	const struct doc_overlay *own = &s->network.overlays.service;

	return own->enabled && !own->isolated;
}

static bool
reaches(const struct doc_service *a, const struct doc_service *b)
{
	if (a == b && a->network.overlays.service.enabled)
		return true;
	return (a->network.overlays.global.enabled && b->network.overlays.global.enabled) ||
	       is_open(a) || is_open(b);
}

/* "db.global", "2.db.global": the service, or NULL: it is no name of a service of the document. */
static const struct doc_service *
named(const struct doc *doc, const char *host, bool *global_out)
{
	const char *dot = strrchr(host, '.'), *start;
	char name[DOC_NAME_BYTES];

	if (!dot || (!text_equal(dot, ".global") && !text_equal(dot, ".service")))
		return NULL;
	*global_out = text_equal(dot, ".global");
	for (start = dot; start > host && start[-1] != '.'; start--)
		;
	return text_ncopy(name, sizeof(name), start, (size_t)(dot - start))
		       ? doc_service_find(doc, name)
		       : NULL;
}

static void
check_host(struct field_ctx *ctx, const struct doc *doc, const struct doc_service *s,
	   const struct yaml_node *at, const char *host)
{
	bool global = false;
	const struct doc_service *to = named(doc, host, &global);
	const char *which = global ? "global" : "service";

	if (!to)
		return;
	const struct doc_overlays *there = &to->network.overlays;
	if (!(global ? there->global.enabled : there->service.enabled)) {
		field_diag(ctx, at, "unreachable-name",
			   global ? "wait for its `.service` name, or switch the network on"
				  : "wait for its `.global` name, or switch the network on",
			   "there is no name \"%s\": network.overlays.%s of %s is off", host, which,
			   to->name);
	} else if (!reaches(s, to)) {
		field_diag(ctx, at, "unreachable-name",
			   "enable network.overlays.global of both, or say isolated: false of "
			   "its service network",
			   "there is no name \"%s\" for %s: no network leads from it to %s", host,
			   s->name, to->name);
	}
}

/* The host of a url. */
static bool
host_of(const char *url, char out[HOST_BYTES])
{
	const char *at = strstr(url, "://");

	at = at ? at + 3 : url;
	return text_ncopy(out, HOST_BYTES, at, strcspn(at, "/:?#"));
}

static void
check_steps(struct field_ctx *ctx, const struct doc *doc, const struct doc_service *s)
{
	for (size_t i = 0; i < s->init.steps_count; i++) {
		const struct doc_init_with *with = &s->init.steps[i].with;
		char host[HOST_BYTES];

		if (!with->node)
			continue;
		if (with->host)
			check_host(ctx, doc, s, yaml_node_get(with->node, "host"), with->host);
		if (with->url && host_of(with->url, host))
			check_host(ctx, doc, s, yaml_node_get(with->node, "url"), host);
	}
}

static void
check_key(struct field_ctx *ctx, const struct doc_overlay *o, const char *key, bool said,
	  const char *what)
{
	char fix[64];

	if (!said)
		return;
	text_format(fix, sizeof(fix), "enabled: true, or leave `%s` out", key);
	field_diag(ctx, yaml_node_get(o->node, key), "no-effect", fix, "%s", what);
}

/* What is said of a network that is off, other than what it has anyhow. */
static void
check_off(struct field_ctx *ctx, const struct doc_overlays *o)
{
	if (o->service.node && !o->service.enabled) {
		check_key(ctx, &o->service, "isolated", !o->service.isolated,
			  "a network that is off cannot be open to others");
		check_key(ctx, &o->service, "encrypted", !o->service.encrypted,
			  "a network that is off has nothing to send in the clear");
	}
	if (o->global.node && !o->global.enabled) {
		check_key(ctx, &o->global, "isolated", o->global.isolated,
			  "a network that is off keeps nobody out");
		check_key(ctx, &o->global, "encrypted", !o->global.encrypted,
			  "a network that is off has nothing to send in the clear");
	}
}

void
doc_network_check(struct field_ctx *ctx, const struct doc *doc)
{
	for (size_t i = 0; i < doc->services_count; i++) {
		const struct doc_service *s = &doc->services[i];

		if (!s->name)
			continue;
		check_off(ctx, &s->network.overlays);
		check_steps(ctx, doc, s);
	}
}
