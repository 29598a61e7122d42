/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What node.yaml can say and this version cannot do yet: each line is a key, refused when a file
 * gives it another value than the default (or one of `allowed`). Removing a line makes it
 * available.
 */
#include "spec/config_field.h"

#include <string.h>
#include "base/text.h"

struct line {
	const char *path;
	const char *allowed; /* words separated by '|', of texts; "" only an empty list or map */
};

static const struct line lines[] = {
	{"listen.gossip", "0.0.0.0:9881|off"},
	{"listen.overlay", "0.0.0.0:9882|off"},
	{"listen.vxlan", "0.0.0.0:9884|off"},
	{"listen.store", "0.0.0.0:9885|off"},
	{"dataplane.vips", ""},
	{"dataplane.mode", "auto|off"},
	{"dataplane.interfaces", "auto"},
	{"tls.acme.enabled", "false"},
	{"tls.acme.directory", ""},
	{"tls.acme.email", ""},
	{"cluster.join", ""},
	{"deploy.on_failure", "rollback"},
	{"runtime.mirrors", ""},
	{"runtime.seccomp", "default|unconfined"},
	{"logs.forward", ""},
	{"tracing.endpoint", ""},
	{"gitops", ""},
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

static const struct yaml_node *
find(const struct yaml_node *n, const char *path)
{
	while (n != NULL && *path != '\0') {
		size_t length = strcspn(path, ".");
		char key[64];

		text_ncopy(key, sizeof(key), path, length);
		n = yaml_node_get(n, key);
		path += length + (path[length] == '.');
	}
	return n;
}

void
config_available_check(const struct config *c, const struct yaml_node *root,
		       struct diag_list *diags)
{
	struct field_ctx ctx = {.diags = diags};

	(void)c;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const struct line *l = &lines[i];
		const struct yaml_node *n = find(root, l->path);
		bool allowed;

		if (n == NULL)
			continue;
		allowed = n->kind == YAML_TEXT ? is_word(n->text, l->allowed) : n->count == 0;
		if (!allowed)
			field_diag(&ctx, n, "not-available", NULL,
				   "this value is not available in this version; it may be %s",
				   l->allowed[0] == '\0' ? "empty" : l->allowed);
	}
}
