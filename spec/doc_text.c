/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts that have a form: names, hosts, paths, variables, secrets. Each check says what is allowed
 * and, where it can tell what was meant, how to write it. Host names are compared without case, so
 * they are kept in lower case; a path keeps no '/' at its end.
 */
#include "spec/doc_field.h"

#include <ctype.h>
#include <string.h>
#include "base/text.h"

const char *const doc_field_on_failure[] = {"fail", "warn", "continue", NULL};
const char *const doc_field_exposes[] = {"internal", "public", NULL};

const struct field doc_field_text = {
	.kind = FIELD_TEXT, .size = sizeof(const char *), .max = DOC_TEXT_MAX};
const struct field doc_field_pair = {
	.kind = FIELD_TEXT, FIELD_AT(struct doc_pair, value), .max = DOC_TEXT_MAX};

static const char letters_digits[] =
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

bool
doc_text_as_label(const char *text, char *out, size_t cap)
{
	size_t used = 0;

	for (; *text != '\0' && used + 1 < cap; text++) {
		char c = (char)tolower((unsigned char)*text);

		if (c == '_' || c == '.' || c == ' ' || c == '/')
			c = '-';
		if (c == '-' && used == 0)
			continue;
		out[used++] = c;
	}
	while (used > 0 && out[used - 1] == '-')
		used--;
	out[used] = '\0';
	return text_is_label(out);
}

bool
doc_text_label(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	char near[DOC_NAME_BYTES];

	if (text_is_label(*text))
		return true;
	if (doc_text_as_label(*text, near, sizeof(near)))
		field_diag(ctx, n, "invalid-name", NULL,
			   "\"%.80s\" is not a name: a-z, 0-9 and '-' inside, at most 63; did you "
			   "mean \"%s\"?",
			   *text, near);
	else
		field_diag(ctx, n, "invalid-name", NULL,
			   "\"%.80s\" is not a name: a-z, 0-9 and '-' inside, at most 63", *text);
	return false;
}

/* Labels with dots between; upper case is allowed here. */
static bool
is_domain(const char *text)
{
	size_t length = strlen(text);

	if (length == 0 || length > DOC_HOST_MAX)
		return false;
	while (true) {
		size_t label = strcspn(text, ".");

		if (label == 0 || label > 63 || text[0] == '-' || text[label - 1] == '-')
			return false;
		for (size_t i = 0; i < label; i++) {
			if (strchr(letters_digits, text[i]) == NULL && text[i] != '-')
				return false;
		}
		if (text[label] == '\0')
			return true;
		text += label + 1;
	}
}

bool
doc_text_host(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	const char *host = *text, *rest = text_starts(host, "*.") ? host + 2 : host;
	const char *why = "a name as shop.example.com or *.example.com is wanted";
	char *lower;

	if (strstr(host, "://") != NULL)
		why = "only the name is wanted, without a scheme";
	else if (strchr(host, '/') != NULL)
		why = "only the name is wanted; what follows '/' goes into path";
	else if (strchr(host, ':') != NULL)
		why = "only the name is wanted, without a port";
	else if (strchr(rest, '*') != NULL)
		why = "'*' stands alone before the first dot, as *.example.com";
	if (!is_domain(rest)) {
		field_diag(ctx, n, "invalid-host", NULL, "\"%.80s\" is not a host: %s", host, why);
		return false;
	}
	lower = arena_strdup(ctx->arena, host);
	if (lower == NULL) {
		field_no_memory(ctx);
		return false;
	}
	for (char *c = lower; *c != '\0'; c++)
		*c = (char)tolower((unsigned char)*c);
	*text = lower;
	return true;
}

/* True when a path has an empty, "." or ".." segment. */
static bool
has_odd_segment(const char *path)
{
	for (const char *at = path; *at == '/'; at += 1 + strcspn(at + 1, "/")) {
		size_t length = strcspn(at + 1, "/");

		if (length == 0 && at[1] == '/')
			return true;
		if ((length == 1 && at[1] == '.') || (length == 2 && at[1] == '.' && at[2] == '.'))
			return true;
	}
	return false;
}

static bool
cut_end(struct field_ctx *ctx, const char **text)
{
	size_t length = strlen(*text);

	if (length <= 1 || (*text)[length - 1] != '/')
		return true;
	*text = arena_strndup(ctx->arena, *text, length - 1);
	if (*text == NULL)
		field_no_memory(ctx);
	return *text != NULL;
}

bool
doc_text_url_path(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	const char *why = NULL;

	if ((*text)[0] != '/')
		why = "it begins with '/'";
	else if (strpbrk(*text, "?#") != NULL)
		why = "it has no '?' or '#'";
	else if (strpbrk(*text, " \t\r\n\\\"<>^`{|}*") != NULL)
		why = "it has no spaces, quotes, backslashes, braces or '*'";
	else if (has_odd_segment(*text))
		why = "it has no '//', '.' or '..' in it";
	else if (strlen(*text) > 1024)
		why = "it is longer than 1024 bytes";
	if (why == NULL)
		return cut_end(ctx, text);
	field_diag(ctx, n, "invalid-path", NULL, "\"%.80s\" is not a path of a url: %s", *text,
		   why);
	return false;
}

bool
doc_text_file(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	const char *why = NULL;

	if ((*text)[0] != '/')
		why = "it begins with '/'";
	else if (has_odd_segment(*text))
		why = "it has no '//', '.' or '..' in it";
	else if (strlen(*text) > DOC_PATH_MAX)
		why = "it is longer than 4095 bytes";
	if (why == NULL)
		return cut_end(ctx, text);
	field_diag(ctx, n, "invalid-file", NULL, "\"%.80s\" is not an absolute path: %s", *text,
		   why);
	return false;
}

bool
doc_text_variable(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	const char *name = *text;

	if (!isdigit((unsigned char)name[0]) && strlen(name) < YAML_KEY_BYTES_MAX &&
	    name[0] != '\0' && name[0] != '.' && name[0] != '-') {
		while (*name != '\0' && (strchr(letters_digits, *name) != NULL || *name == '_' ||
					 *name == '.' || *name == '-'))
			name++;
		if (*name == '\0')
			return true;
	}
	field_diag(ctx, n, "invalid-name", NULL,
		   "\"%.80s\" is not a variable: letters, digits and _ . - and no digit first",
		   *text);
	return false;
}

bool
doc_text_label_key(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	const char *key = *text;
	size_t length = strlen(key);

	if (length <= 128 && strchr(letters_digits, key[0]) != NULL) {
		while (*key != '\0' &&
		       (strchr(letters_digits, *key) != NULL || strchr("_.-/", *key) != NULL))
			key++;
		if (*key == '\0')
			return true;
	}
	field_diag(ctx, n, "invalid-name", NULL,
		   "\"%.80s\" is not a label: letters, digits and _ . - / inside, at most 128",
		   *text);
	return false;
}

/* A token of RFC 9110: the name of a header or cookie. */
bool
doc_text_token(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	size_t length = strlen(*text), good = 0;

	while (good < length && (strchr(letters_digits, (*text)[good]) != NULL ||
				 strchr("!#$%&'*+-.^_`|~", (*text)[good]) != NULL))
		good++;
	if (length > 0 && length <= 128 && good == length)
		return true;
	field_diag(ctx, n, "invalid-name", NULL, "\"%.80s\" is not the name of a header or cookie",
		   *text);
	return false;
}

bool
doc_text_secret(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	struct doc_env env;

	if (!text_starts(*text, "$S:")) {
		field_diag(ctx, n, "invalid-env-reference", NULL,
			   "a secret is wanted, as $S:name; its value never stands in the file");
		return false;
	}
	if (!doc_env_split(ctx, n, *text, &env))
		return false;
	if (env.pieces_count == 1)
		return true;
	field_diag(ctx, n, "invalid-env-reference", NULL, "one secret alone is wanted, as $S:name");
	return false;
}

bool
doc_text_url(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	const char *rest = text_starts(*text, "http://") ? *text + 7 : NULL;
	size_t host = rest == NULL ? 0 : strcspn(rest, "/");

	if ((*text)[0] == '/' && strpbrk(*text, " \t\r\n#") == NULL && strlen(*text) <= 1024)
		return true;
	if (host > 0 && strpbrk(*text, " \t\r\n#") == NULL && strlen(*text) <= 1024)
		return true;
	field_diag(ctx, n, "invalid-url", NULL,
		   "\"%.80s\" is not a url: /path, or http://host:port/path", *text);
	return false;
}
