/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Environment values. $E:NAME stands for a variable of the node, $S:name and $S:@service/name for a
 * secret; a reference ends where its name ends, and text may stand around it. "$$E:" and "$$S:"
 * give the characters themselves. Every other '$' is a '$': nothing else is ever replaced. Values
 * are looked up by the runtime when a replica starts, never here.
 */
#include "spec/doc_field.h"

#include <string.h>
#include "base/text.h"

enum { PIECES_MAX = 64 };

static bool
read_env(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_env *env = section;

	if (n == NULL)
		return true;
	env->node = n;
	env->value = "";
	if (yaml_node_is_null(n)) {
		field_diag(ctx, n, "no-value", "for an empty text write \"\"", "has no value");
		return false;
	}
	if (!field_is_text(ctx, n, "a text"))
		return false;
	env->value = n->text;
	if (n->bytes > DOC_TEXT_MAX) {
		field_diag(ctx, n, "too-long", NULL, "has %zu bytes; at most %d are allowed",
			   n->bytes, (int)DOC_TEXT_MAX);
		return false;
	}
	return doc_env_split(ctx, n, n->text, env);
}

static void
put_env(struct emit *e, const char *key, const void *section)
{
	emit_text(e, key, ((const struct doc_env *)section)->value);
}

const struct field doc_env_item = {.kind = FIELD_OWN, .read = read_env, .put = put_env};

static size_t
name_length(const char *text, bool secret)
{
	static const char variable[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
	static const char label[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

	return strspn(text, secret ? label : variable);
}

static struct doc_env_piece *
add_piece(struct field_ctx *ctx, const struct yaml_node *n, struct doc_env *env,
	  enum doc_env_kind kind, const char *text, size_t length)
{
	struct doc_env_piece *piece;

	if (env->pieces_count == PIECES_MAX) {
		field_diag(ctx, n, "too-many", NULL, "more than %d references", PIECES_MAX / 2);
		return NULL;
	}
	piece = &env->pieces[env->pieces_count];
	piece->kind = kind;
	piece->text = arena_strndup(ctx->arena, text, length);
	if (piece->text == NULL) {
		field_no_memory(ctx);
		return NULL;
	}
	env->pieces_count++;
	return piece;
}

static bool
report(struct field_ctx *ctx, const struct yaml_node *n, const char *at, bool secret)
{
	field_diag(ctx, n, "invalid-env-reference",
		   "for the characters themselves write $$E: or $$S:",
		   "\"%.40s\" is not a reference: %s", at,
		   secret ? "$S:name or $S:@service/name, of a-z, 0-9 and '-'"
			  : "$E:NAME, of letters, digits and '_', no digit first");
	return false;
}

/* One reference at *at (behind the '$'); moves *at behind it. */
static bool
add_reference(struct field_ctx *ctx, const struct yaml_node *n, struct doc_env *env,
	      const char **at)
{
	const char *start = *at, *name = start + 3, *service = NULL;
	bool secret = start[1] == 'S';
	size_t service_bytes = 0, length;
	struct doc_env_piece *piece;
	char label[DOC_NAME_BYTES];

	if (secret && *name == '@') {
		service = name + 1;
		service_bytes = name_length(service, true);
		if (!text_ncopy(label, sizeof(label), service, service_bytes) ||
		    !text_is_label(label) || service[service_bytes] != '/')
			return report(ctx, n, start, secret);
		name = service + service_bytes + 1;
	}
	length = name_length(name, secret);
	if (length == 0 || (!secret && *name >= '0' && *name <= '9'))
		return report(ctx, n, start, secret);
	if (secret && (!text_ncopy(label, sizeof(label), name, length) || !text_is_label(label)))
		return report(ctx, n, start, secret);
	piece = add_piece(ctx, n, env, secret ? DOC_ENV_SECRET : DOC_ENV_NODE, name, length);
	if (piece == NULL)
		return false;
	if (service != NULL) {
		piece->service = arena_strndup(ctx->arena, service, service_bytes);
		if (piece->service == NULL)
			field_no_memory(ctx);
	}
	*at = name + length;
	return true;
}

static bool
is_reference(const char *at)
{
	return at[0] == '$' && (at[1] == 'E' || at[1] == 'S') && at[2] == ':';
}

bool
doc_env_split(struct field_ctx *ctx, const struct yaml_node *n, const char *value,
	      struct doc_env *out)
{
	const char *start = value;
	size_t most = 1;

	for (const char *at = strchr(value, '$'); at != NULL; at = strchr(at + 1, '$'))
		most += 2;
	out->pieces_count = 0;
	out->pieces = arena_array(ctx->arena, most < PIECES_MAX ? most : PIECES_MAX,
				  sizeof(struct doc_env_piece));
	if (out->pieces == NULL) {
		field_no_memory(ctx);
		return false;
	}
	for (const char *at = value; *at != '\0';) {
		if (at[0] == '$' && is_reference(at + 1)) {
			/* "$$E:": the text up to the first '$', then what follows the second. */
			if (at + 1 > start &&
			    !add_piece(ctx, n, out, DOC_ENV_TEXT, start, (size_t)(at + 1 - start)))
				return false;
			start = at + 2;
			at += 4;
			continue;
		}
		if (!is_reference(at)) {
			at++;
			continue;
		}
		if (at > start &&
		    !add_piece(ctx, n, out, DOC_ENV_TEXT, start, (size_t)(at - start)))
			return false;
		if (!add_reference(ctx, n, out, &at))
			return false;
		start = at;
	}
	return *start == '\0' || add_piece(ctx, n, out, DOC_ENV_TEXT, start, strlen(start)) != NULL;
}
