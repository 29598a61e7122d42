/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a request: listener, route, certificate, replica. */
#include "cli/explain.h"

#include <string.h>
#include <strings.h>
#include "base/text.h"
#include "base/world.h"
#include "cli/client.h"
#include "spec/doc.h"
#include "spec/yaml.h"

enum { HOST_BYTES = 256, PATH_BYTES = 1024 };

struct url {
	bool tls;
	char host[HOST_BYTES]; /* lower case, without brackets */
	char path[PATH_BYTES];
	uint16_t port;
	bool port_given;
};

static int
read_url(const char *text, struct url *out, struct err *err)
{
	const char *at = strstr(text, "://");
	uint64_t port;

	memset(out, 0, sizeof(*out));
	out->tls = text_starts(text, "https://");
	if (!at || (!out->tls && !text_starts(text, "http://"))) {
		err_set(err, ERR_USAGE, "\"%s\" is no url of http or https", text);
		return err_fix(err, "name the service: zlayer explain DEPLOYMENT/SERVICE");
	}
	at += 3;
	size_t length = strcspn(at, "/?#");
	char authority[HOST_BYTES];
	if (!length || !text_ncopy(authority, sizeof(authority), at, length))
		return err_set(err, ERR_USAGE, "\"%s\" names no host", text);
	char *colon = strrchr(authority, ':');
	if (colon && !strchr(colon, ']')) {
		if (!text_u64(colon + 1, UINT16_MAX, &port) || !port)
			return err_set(err, ERR_USAGE, "\"%s\" has no port after its colon", text);
		out->port = (uint16_t)port;
		out->port_given = true;
		*colon = 0;
	}
	for (size_t i = 0, n = 0; authority[i]; i++) {
		char c = authority[i];

		if (c != '[' && c != ']')
			out->host[n++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	at += length;
	text_ncopy(out->path, sizeof(out->path), *at == '/' ? at : "/",
		   *at == '/' ? strcspn(at, "?#") : 1);
	return 0;
}

static bool
host_matches(const char *pattern, const char *host)
{
	const char *dot = strchr(host, '.');

	if (!pattern[0] || strcasecmp(pattern, host) == 0)
		return true;
	return pattern[0] == '*' && pattern[1] == '.' && dot && strcasecmp(pattern + 1, dot) == 0;
}

static bool
path_matches(const char *prefix, const char *path)
{
	size_t n = strlen(prefix);

	return strcmp(prefix, "/") == 0 ||
	       (strncmp(prefix, path, n) == 0 && (path[n] == '/' || path[n] == 0));
}

static void
add_word(char list[EXPLAIN_LIST_BYTES], const char *word)
{
	size_t used = strlen(list);

	if (word[0] && !strstr(list, word) && used + strlen(word) + 3 < EXPLAIN_LIST_BYTES)
		text_format(list + used, EXPLAIN_LIST_BYTES - used, "%s%s", used ? ", " : "", word);
}

static uint16_t
port_of(const char *address)
{
	const char *colon = strrchr(address, ':');
	uint64_t port = 0;

	return colon && text_u64(colon + 1, UINT16_MAX, &port) ? (uint16_t)port : 0;
}

static void
explain_listener(struct explain *w, const json_t *status, const struct url *u)
{
	const json_t *list = json_read_array(status, "listeners");
	char others[EXPLAIN_LIST_BYTES] = "";
	const json_t *first = NULL;

	for (size_t i = 0; i < json_read_count(list); i++) {
		const json_t *l = json_read_at(list, i);
		const char *address = json_read_text(l, "address");

		if (strcmp(json_read_text(l, "name"), u->tls ? "https" : "http") != 0)
			continue;
		add_word(others, address);
		if (!first && (!u->port_given || port_of(address) == u->port))
			first = l;
	}
	if (!first) {
		explain_begin(w, "FAIL", "listener",
			      "nothing of this node listens on port %u for %s", u->port,
			      u->tls ? "https" : "http");
		text_format(others + strlen(others), EXPLAIN_LIST_BYTES - strlen(others), "%s",
			    others[0] ? " is what it listens on" : "it listens on nothing for it");
		explain_say(w, "why", others);
		explain_say(w, "fix",
			    u->tls ? "ask that port, or change listen.https of node.yaml"
				   : "ask that port, or change listen.http of node.yaml");
	} else if (!json_read_bool(first, "up")) {
		explain_begin(w, "FAIL", "listener", "%s is not up",
			      json_read_text(first, "address"));
		explain_reason(w, json_read_get(first, "reason"));
	} else {
		explain_begin(w, "ok", "listener", "%s (%s)", json_read_text(first, "address"),
			      u->tls ? "https" : "http");
	}
	explain_end(w);
}

/* Better: an exact host before a suffix before any, then the longer path. */
static bool
is_better(const json_t *a, const json_t *b)
{
	const char *x = json_read_text(a, "host"), *y = json_read_text(b, "host");
	int i = !x[0] ? 0 : x[0] == '*' ? 1 : 2, k = !y[0] ? 0 : y[0] == '*' ? 1 : 2;

	if (i != k)
		return i > k;
	return strlen(json_read_text(a, "path")) > strlen(json_read_text(b, "path"));
}

struct routing {
	const json_t *route;
	bool host, scheme;              /* some route has it; that one is of the other scheme */
	char hosts[EXPLAIN_LIST_BYTES]; /* that there are */
	char paths[EXPLAIN_LIST_BYTES]; /* of this host */
};

static void
find_route(const json_t *routes, const struct url *u, struct routing *out)
{
	const json_t *list = json_read_array(routes, "items");

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < json_read_count(list); i++) {
		const json_t *r = json_read_at(list, i);

		if (json_read_bool(r, "websocket"))
			continue;
		add_word(out->hosts, json_read_text(r, "host"));
		if (!host_matches(json_read_text(r, "host"), u->host))
			continue;
		if (!json_read_bool(r, u->tls ? "https" : "http")) {
			out->scheme |= path_matches(json_read_text(r, "path"), u->path);
			continue;
		}
		out->host = true;
		add_word(out->paths, json_read_text(r, "path"));
		if (path_matches(json_read_text(r, "path"), u->path) &&
		    (!out->route || is_better(r, out->route)))
			out->route = r;
	}
}

/* Whether a document in force has such an endpoint, for the inside only. */
static bool
is_internal(const struct doc *doc, const struct url *u, char name[EXPLAIN_LIST_BYTES])
{
	struct doc_endpoint_iter it = {0};

	while (doc_endpoint_next(doc, &it)) {
		const struct doc_endpoint *e = it.endpoint;
		bool http = e->protocol == DOC_PROTOCOL_HTTP || e->protocol == DOC_PROTOCOL_HTTPS;

		if (!http || e->expose == DOC_EXPOSE_PUBLIC || !it.service ||
		    (e->host ? !host_matches(e->host, u->host) : false) ||
		    !path_matches(e->path, u->path))
			continue;
		text_format(name, EXPLAIN_LIST_BYTES,
			    "endpoint \"%s\" of %s/%s would match, but it is for "
			    "the inside only (expose: internal)",
			    e->name, doc->deployment, it.service->name);
		return true;
	}
	return false;
}

static bool
find_internal(struct explain *w, const json_t *status, const struct url *u,
	      char name[EXPLAIN_LIST_BYTES])
{
	const json_t *list = json_read_array(status, "deployments");
	bool found = false;

	for (size_t i = 0; i < json_read_count(list) && !found; i++) {
		static struct diag_list diags;
		const json_t *d = json_read_at(list, i);
		struct err ignored = {0};
		char target[200];
		struct buf text;
		struct doc *doc = NULL;

		text_format(target, sizeof(target), "/v1/deployments/%s/revisions/%lld",
			    json_read_text(d, "name"), (long long)json_read_int(d, "revision"));
		buf_init(&text, MEM_CLI, CLI_TEXT_MAX);
		diag_list_init(&diags);
		if (client_get(w->cli, target, &text, &ignored) == 0 &&
		    doc_parse(buf_cstr(&text), text.length, "document", &doc, &diags) == 0) {
			found = is_internal(doc, u, name);
			doc_free(doc);
		}
		diag_list_fini(&diags);
		buf_fini(&text);
	}
	return found;
}

static void
no_route(struct explain *w, const json_t *status, const struct url *u, const struct routing *r)
{
	char why[EXPLAIN_LIST_BYTES + 64] = "", internal[EXPLAIN_LIST_BYTES] = "";
	const char *fix = "give a public endpoint this host (and path), then: zlayer deploy";

	if (find_internal(w, status, u, internal)) {
		explain_begin(w, "FAIL", "route", "%s%s is not public", u->host, u->path);
		text_copy(why, sizeof(why), internal);
		fix = "say expose: public, then: zlayer deploy";
	} else if (r->scheme) {
		explain_begin(w, "FAIL", "route", "%s is served, but not over %s", u->host,
			      u->tls ? "https" : "http");
		fix = u->tls ? "ask with http://, or give it an endpoint of protocol https"
			     : "ask with https://";
	} else if (r->host) {
		explain_begin(w, "FAIL", "route", "%s is served, but nothing under %s", u->host,
			      u->path);
		text_format(why, sizeof(why), "its paths are %s", r->paths);
	} else {
		explain_begin(w, "FAIL", "route", "no deployment has the host %s", u->host);
		if (r->hosts[0])
			text_format(why, sizeof(why), "those that there are: %s", r->hosts);
	}
	explain_say(w, "why", why);
	explain_say(w, "fix", fix);
	explain_end(w);
}

static void
explain_certificate(struct explain *w, const char *host)
{
	struct err err = {0};
	json_t *root = explain_ask(w, "/v1/certificates", &err);
	const json_t *list = json_read_array(root, "items"), *best = NULL;
	int64_t until = 0, last = 0;

	for (size_t i = 0; i < json_read_count(list); i++) {
		const json_t *c = json_read_at(list, i);
		const json_t *names = json_read_array(c, "names");

		text_untime(json_read_text(c, "not_after"), &until);
		for (size_t k = 0; k < json_read_count(names); k++) {
			const char *name = json_read_string(json_read_at(names, k));

			if (name[0] && host_matches(name, host) && until > last) {
				best = c;
				last = until;
			}
		}
	}
	int64_t days = (last - world_wall_ns()) / 1000000000 / 86400;
	if (!root) {
		explain_begin(w, "warn", "tls", "%s", err.what);
	} else if (!best) {
		explain_begin(w, "FAIL", "tls", "there is no certificate for %s", host);
		explain_say(w, "why",
			    "a client that names it gets a TLS alert (unrecognized_name)");
		explain_say(w, "fix",
			    "put NAME.crt and NAME.key into tls.certificates of node.yaml, or let "
			    "the local authority sign it (tls.self_signed: true)");
	} else if (last < world_wall_ns()) {
		explain_begin(w, "FAIL", "tls", "the certificate for %s has expired", host);
		explain_say(w, "fix", "replace it: the folder tls.certificates is watched");
	} else if (strcmp(json_read_text(best, "source"), "local") == 0) {
		explain_begin(w, "ok", "tls",
			      "certificate of this node's own authority, %lld days left",
			      (long long)days);
		explain_say(w, "note", "clients must trust it: zlayer cert authority");
	} else {
		explain_begin(w, "ok", "tls", "certificate from a file, %lld days left",
			      (long long)days);
	}
	explain_end(w);
	json_read_free(root);
}

static void
explain_backend(struct explain *w, const json_t *status, const char *label)
{
	const json_t *deployments = json_read_array(status, "deployments");
	char name[160];

	for (size_t i = 0; i < json_read_count(deployments); i++) {
		const json_t *services = json_read_array(json_read_at(deployments, i), "services");

		for (size_t k = 0; k < json_read_count(services); k++) {
			const json_t *s = json_read_at(services, k);

			text_format(name, sizeof(name), "%s/%s", json_read_text(s, "deployment"),
				    json_read_text(s, "name"));
			if (strcmp(name, label) == 0)
				explain_service(w, s, 0);
		}
	}
}

int
explain_url(struct explain *w, const char *text, struct err *err)
{
	struct routing r;
	struct url u;

	if (read_url(text, &u, err) < 0)
		return -1;
	json_t *status = explain_ask(w, "/v1/status", err);
	json_t *routes = status ? explain_ask(w, "/v1/routes", err) : NULL;
	if (!routes) {
		json_read_free(status);
		return -1;
	}
	if (!u.port)
		u.port = u.tls ? 443 : 80;
	explain_listener(w, status, &u);
	find_route(routes, &u, &r);
	if (!r.route && !w->failed) {
		no_route(w, status, &u, &r);
	} else if (!w->failed) {
		explain_begin(w, "ok", "route", "%s endpoint \"%s\" path %s",
			      json_read_text(r.route, "service"),
			      json_read_text(r.route, "endpoint"), json_read_text(r.route, "path"));
		explain_end(w);
	}
	if (u.tls && !w->failed)
		explain_certificate(w, u.host);
	if (!w->failed)
		explain_backend(w, status, json_read_text(r.route, "service"));
	json_read_free(routes);
	json_read_free(status);
	return 0;
}
