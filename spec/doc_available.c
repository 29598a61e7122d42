/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the document can say and this version cannot do yet. One line per thing: where its key is
 * ("*" stands for every service, endpoint, entry), what makes it asked for, and what is said.
 * Removing a line makes it available. A key that is not refused here is acted upon: nothing is
 * parsed and then ignored.
 */
#include "spec/doc.h"

#include <string.h>
#include "base/text.h"
#include "spec/yaml.h"

enum rule {
	PRESENT,     /* the key is there at all */
	NOT_EMPTY,   /* a list or map with something in it */
	TEXT_IS,     /* the value is one of `words` (separated by '|') */
	TEXT_IS_NOT, /* the value is none of them */
	BEGINS,      /* the text begins with `words` */
	TRUE,
	HAS_SECRET, /* the text refers to a secret */
};

struct line {
	const char *path;
	enum rule rule;
	const char *words;
	const char *what; /* is not available */
	bool node;        /* never on this node, whatever the version */
};

static const struct line lines[] = {
	{"tunnels", NOT_EMPTY, NULL, "`tunnels`", false},
	{"routes", NOT_EMPTY, NULL, "`routes`", false},
	{"externals", NOT_EMPTY, NULL, "`externals`", false},
	{"services.*.env.*", HAS_SECRET, NULL, "a secret (`$S:`)", false},
	{"services.*.network.join.mode", TEXT_IS_NOT, "token", "this join mode", false},
	{"services.*.network.join.scope", TEXT_IS_NOT, "service", "this join scope", false},
	{"services.*.endpoints.*.tunnel", PRESENT, NULL, "`tunnel`", false},
	{"services.*.endpoints.*.auth", PRESENT, NULL, "`auth`", false},
	{"services.*.endpoints.*.limits.rps", PRESENT, NULL, "`limits.rps`", false},
	{"services.*.endpoints.*.limits.burst", PRESENT, NULL, "`limits.burst`", false},
	{"services.*.endpoints.*.limits.concurrent", PRESENT, NULL, "`limits.concurrent`", false},
	{"services.*.endpoints.*.balance", TEXT_IS, "least_conn", "balance `least_conn`", false},
	{"services.*.endpoints.*.balance.hash", PRESENT, NULL, "balance `hash`", false},
	{"services.*.endpoints.*.balance.sticky", PRESENT, NULL, "balance `sticky`", false},
	{"services.*.health.check.url", BEGINS, "http://", "a health url with a host", false},
	{"services.*.init.steps.*.with.url", BEGINS, "https://", "a url of https in an init step",
	 false},
	{"services.*.storage.*.type", TEXT_IS, "template", "storage `template`", false},
	{"services.*.seccomp", BEGINS, "/", "a seccomp file", false},
	{"services.*.runtime", TEXT_IS_NOT, "builtin", "a runtime other than `builtin`", false},
	{"services.*.gpu", TEXT_IS_NOT, "0", "`gpu`", true},
	{"services.*.wasm", TRUE, NULL, "`wasm`", true},
	{"services.*.isolation", PRESENT, NULL, "`isolation`", true},
	{"services.*.platform", TEXT_IS_NOT, "linux/amd64|linux/arm64", "this platform", true},
};

static bool
is_word(const char *text, const char *words)
{
	size_t length = strlen(text);

	for (const char *at = words; at != NULL; at = strchr(at, '|')) {
		at += *at == '|';
		if (strncmp(at, text, length) == 0 && (at[length] == '|' || at[length] == '\0'))
			return true;
	}
	return false;
}

/* A '$' that is doubled stands for itself. */
static bool
has_secret(const char *text)
{
	for (const char *at = strstr(text, "$S:"); at != NULL; at = strstr(at + 1, "$S:")) {
		if (at == text || at[-1] != '$')
			return true;
	}
	return false;
}

static bool
applies(const struct line *l, const struct yaml_node *n)
{
	const char *text = n->kind == YAML_TEXT ? n->text : "";

	switch (l->rule) {
	case PRESENT:
		return true;
	case NOT_EMPTY:
		return n->count > 0;
	case TEXT_IS:
		return n->kind == YAML_TEXT && is_word(text, l->words);
	case TEXT_IS_NOT:
		return n->kind == YAML_TEXT && !is_word(text, l->words);
	case BEGINS:
		return text_starts(text, l->words);
	case TRUE:
		return strcmp(text, "true") == 0;
	case HAS_SECRET:
		return has_secret(text);
	}
	return false;
}

static void
report(const struct doc *doc, const struct line *l, const struct yaml_node *n,
       struct diag_list *diags)
{
	if (l->node)
		doc_diag(doc, diags, n, NULL, "not-supported", NULL,
			 "%s is not supported by this node", l->what);
	else
		doc_diag(doc, diags, n, NULL, "not-available", NULL,
			 "%s is not available in this version", l->what);
}

/* Follows a path from a node; '*' goes to every child. */
static void
walk(const struct doc *doc, const struct line *l, const char *path, const struct yaml_node *n,
     struct diag_list *diags)
{
	size_t length = strcspn(path, ".");
	char key[64];

	if (*path == '\0') {
		if (applies(l, n))
			report(doc, l, n, diags);
		return;
	}
	text_ncopy(key, sizeof(key), path, length);
	path += length + (path[length] == '.');
	if (strcmp(key, "*") != 0) {
		n = yaml_node_get(n, key);
		if (n != NULL)
			walk(doc, l, path, n, diags);
		return;
	}
	for (const struct yaml_node *c = n->first; c != NULL; c = c->next)
		walk(doc, l, path, c, diags);
}

int
doc_check_available(const struct doc *doc, struct diag_list *diags)
{
	size_t before = diag_count(diags);

	for (size_t i = 0; i < doc->services_count; i++) {
		const struct doc_service *s = &doc->services[i];

		if (s->rtype != DOC_RTYPE_SERVICE && s->endpoints_count)
			doc_diag(doc, diags, s->node, "endpoints", "not-available", NULL,
				 "an endpoint of a %s is not available in this version",
				 s->rtype == DOC_RTYPE_JOB ? "job" : "cron");
		for (size_t k = 0; k < s->storage_count; k++)
			if (s->storage[k].type == DOC_STORAGE_NAMED && s->storage[k].size_bytes)
				doc_diag(doc, diags, s->storage[k].node, "size", "not-available",
					 NULL,
					 "the size of a named volume is not available in this "
					 "version");
	}
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		walk(doc, &lines[i], lines[i].path, doc->node, diags);
	return diag_count(diags) == before && !diags->no_memory ? 0 : -1;
}
