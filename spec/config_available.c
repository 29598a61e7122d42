/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What node.yaml can say and this version cannot do yet: each line is a key, refused when a file
 * gives it another value than the default (or one of `allowed`). Removing a line makes it
 * available. Every key without a line is acted upon by some process; two are so without a reader,
 * since what they switch off is never there: dashboard.enabled and metrics.exemplars.
 */
#include "spec/config_field.h"

#include <string.h>
#include "base/text.h"

struct line {
	const char *path;
	const char *allowed;  /* words separated by '|', of texts; "" only an empty list or map */
	size_t offset, bytes; /* allowed NULL: the default's value, however it is written */
};

#define DEFAULT(path_, member)                                              \
	{                                                                   \
		.path = (path_), .offset = offsetof(struct config, member), \
		.bytes = sizeof(((const struct config *)NULL)->member)      \
	}

#define WORDS(path_, words)                          \
	{                                            \
		.path = (path_), .allowed = (words), \
	}

static const struct line lines[] = {
	WORDS("tls.acme.enabled", "false"),
	WORDS("tls.acme.directory", ""),
	WORDS("tls.acme.email", ""),
	DEFAULT("tls.expiry_warning", tls.expiry_warning_ms),
	WORDS("deploy.on_failure", "rollback"),
	WORDS("runtime.seccomp", "default|unconfined"),
	DEFAULT("runtime.gc.disk_high", runtime.gc.disk_high_percent),
	DEFAULT("runtime.gc.disk_low", runtime.gc.disk_low_percent),
	DEFAULT("runtime.gc.keep_images", runtime.gc.keep_images_ms),
	WORDS("logs.forward", ""),
	WORDS("tracing.endpoint", ""),
	DEFAULT("tracing.sample", tracing.sample_ppm),
	DEFAULT("tracing.propagate", tracing.propagate),
	DEFAULT("dashboard.auth", dashboard.auth),
	WORDS("gitops", ""),
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

static bool
is_allowed(const struct line *l, const struct yaml_node *n, const struct config *c,
	   const struct config *defaults)
{
	if (l->allowed == NULL)
		return memcmp((const char *)c + l->offset, (const char *)defaults + l->offset,
			      l->bytes) == 0;
	return n->kind == YAML_TEXT ? is_word(n->text, l->allowed) : n->count == 0;
}

static const char *
may_be(const struct line *l)
{
	if (l->allowed == NULL)
		return "only the default";
	return l->allowed[0] == '\0' ? "empty" : l->allowed;
}

void
config_available_check(const struct config *c, const struct yaml_node *root,
		       struct diag_list *diags)
{
	static struct config defaults;
	struct field_ctx ctx = {.diags = diags};

	config_defaults(&defaults);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const struct line *l = &lines[i];
		const struct yaml_node *n = find(root, l->path);

		if (n != NULL && !is_allowed(l, n, c, &defaults))
			field_diag(&ctx, n, "not-available", NULL,
				   "this value is not available in this version; it may be %s",
				   may_be(l));
	}
}
