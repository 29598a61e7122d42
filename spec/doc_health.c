/* SPDX-License-Identifier: Apache-2.0 */
/* Health checks, init steps and what happens on errors. */
#include "spec/doc_field.h"

#include <string.h>
#include "base/text.h"

/* ---- a command line ---- */

static bool
read_argv(struct field_ctx *ctx, const struct yaml_node *n, struct doc_run *out)
{
	size_t i = 0;

	out->argv.items = arena_array(ctx->arena, n->count, sizeof(const char *));
	if (out->argv.items == NULL) {
		field_no_memory(ctx);
		return false;
	}
	for (const struct yaml_node *c = n->first; c != NULL; c = c->next) {
		if (!field_value_read(ctx, &doc_field_text, c, &out->argv.items[i]))
			return false;
		i++;
	}
	out->argv.count = i;
	return true;
}

bool
doc_run_read(struct field_ctx *ctx, const struct yaml_node *n, struct doc_run *out)
{
	static const struct field shell = {
		.kind = FIELD_TEXT, .size = sizeof(const char *), .min = 1, .max = DOC_TEXT_MAX};

	out->node = n;
	if (n == NULL)
		return true;
	if (n->kind == YAML_MAP || yaml_node_is_null(n) ||
	    (n->kind == YAML_LIST && n->count == 0)) {
		field_diag(ctx, n, "wrong-type", NULL,
			   "a command is wanted: a text for /bin/sh -c, or a list of words");
		return false;
	}
	if (n->kind == YAML_LIST && n->count > DOC_LIST_MAX) {
		field_diag(ctx, n, "too-many", NULL, "has %u entries; at most %d are allowed",
			   n->count, (int)DOC_LIST_MAX);
		return false;
	}
	if (n->kind == YAML_LIST)
		return read_argv(ctx, n, out);
	out->shell = true;
	out->argv.items = arena_array(ctx->arena, 1, sizeof(const char *));
	if (out->argv.items == NULL) {
		field_no_memory(ctx);
		return false;
	}
	out->argv.count = 1;
	return field_value_read(ctx, &shell, n, &out->argv.items[0]);
}

void
doc_run_put(struct emit *e, const char *key, const struct doc_run *run)
{
	if (run->node == NULL)
		return;
	if (run->shell) {
		emit_text(e, key, run->argv.items[0]);
		return;
	}
	emit_list(e, key);
	for (size_t i = 0; i < run->argv.count; i++)
		emit_text(e, NULL, run->argv.items[i]);
	emit_end(e);
}

static bool
read_check_command(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	return doc_run_read(ctx, n, &((struct doc_check *)section)->command);
}

static void
put_check_command(struct emit *e, const char *key, const void *section)
{
	doc_run_put(e, key, &((const struct doc_check *)section)->command);
}

static bool
read_init_command(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	return doc_run_read(ctx, n, &((struct doc_init_with *)section)->command);
}

static void
put_init_command(struct emit *e, const char *key, const void *section)
{
	doc_run_put(e, key, &((const struct doc_init_with *)section)->command);
}

/* ---- health ---- */

static const char *const check_types[] = {"tcp", "http", "command", NULL};

#define OPTIONAL_PORT(type)                                                             \
	{                                                                               \
		.key = "port", .kind = FIELD_NUMBER, FIELD_AT(type, port),              \
		.flags = FIELD_OPTIONAL, .min = 1, .max = 65535, .code = "invalid-port" \
	}

static const struct field check_fields[] = {
	{.key = "type",
	 .kind = FIELD_CHOICE,
	 FIELD_AT(struct doc_check, type),
	 .names = check_types,
	 .flags = FIELD_REQUIRED},
	OPTIONAL_PORT(struct doc_check),
	DOC_TEXT(struct doc_check, url, "url", doc_text_url, FIELD_OPTIONAL),
	DOC_NUMBER(struct doc_check, expect_status, "expect_status", 100, 599, 200),
	{.key = "command", .kind = FIELD_OWN, .read = read_check_command, .put = put_check_command},
};

static void
check_check(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	static const char *const http[] = {"url", "expect_status", NULL};
	static const char *const url[] = {"url", NULL};
	static const char *const port[] = {"port", NULL};
	static const char *const command[] = {"command", NULL};
	const struct doc_check *c = section;

	if (n == NULL || yaml_node_get(n, "type") == NULL)
		return;
	if (c->type != DOC_CHECK_HTTP)
		field_refuse(ctx, n, http, "it belongs to type http");
	else
		field_require(ctx, n, url, "by type http");
	if (c->type != DOC_CHECK_COMMAND)
		field_refuse(ctx, n, command, "it belongs to type command");
	else
		field_require(ctx, n, command, "by type command");
	if (c->type == DOC_CHECK_COMMAND)
		field_refuse(ctx, n, port, "a command has no port");
	if (c->type == DOC_CHECK_HTTP && c->url != NULL && c->url[0] != '/')
		field_refuse(ctx, n, port, "the url has its own");
}

static bool
shows_check(const void *section, const char *key)
{
	const struct doc_check *c = section;

	return c->type == DOC_CHECK_HTTP || strcmp(key, "expect_status") != 0;
}

static const struct field_table check_table = {
	.what = "a check",
	FIELD_TABLE(check_fields),
	.has_node = true,
	.check = check_check,
	.shows = shows_check,
};

static const struct field health_fields[] = {
	DOC_DURATION(struct doc_health, start_grace_ms, "start_grace", 0, 5000),
	DOC_DURATION(struct doc_health, interval_ms, "interval", 100, 10000),
	DOC_DURATION(struct doc_health, timeout_ms, "timeout", 10, 5000),
	DOC_NUMBER(struct doc_health, retries, "retries", 1, 1000, 3),
	DOC_SECTION(struct doc_health, check, "check", &check_table, FIELD_REQUIRED),
};

static const char *const health_advice[][2] = {
	{"test", "write check: {type: command, command: ...}"},
	{"start_period", "the key is start_grace"},
	{"path", "write check: {type: http, url: /path}"},
	{NULL, NULL},
};

const struct field_table doc_health_table = {
	.what = "health",
	FIELD_TABLE(health_fields),
	.has_node = true,
	.advice = health_advice,
};

/* ---- init ---- */

static const char *const init_actions[] = {"init.wait_tcp", "init.wait_http", "init.run", NULL};

static const struct field with_fields[] = {
	DOC_TEXT(struct doc_init_with, host, "host", NULL, FIELD_OPTIONAL),
	OPTIONAL_PORT(struct doc_init_with),
	DOC_TEXT(struct doc_init_with, url, "url", NULL, FIELD_OPTIONAL),
	DOC_NUMBER(struct doc_init_with, expect_status, "expect_status", 100, 599, 200),
	{.key = "command", .kind = FIELD_OWN, .read = read_init_command, .put = put_init_command},
};

/* What the action shows is known one level up: only what was given, and the status with a url. */
static bool
shows_with(const void *section, const char *key)
{
	const struct doc_init_with *w = section;

	return w->url != NULL || strcmp(key, "expect_status") != 0;
}

static const struct field_table with_table = {
	.what = "with", FIELD_TABLE(with_fields), .has_node = true, .shows = shows_with};

static const struct field step_fields[] = {
	DOC_TEXT(struct doc_init_step, id, "id", doc_text_label, FIELD_REQUIRED),
	{.key = "uses",
	 .kind = FIELD_CHOICE,
	 FIELD_AT(struct doc_init_step, uses),
	 .names = init_actions,
	 .flags = FIELD_REQUIRED,
	 .code = "unknown-init-action"},
	DOC_SECTION(struct doc_init_step, with, "with", &with_table, 0),
	DOC_NUMBER(struct doc_init_step, retry, "retry", 0, 1000, 0),
	DOC_DURATION(struct doc_init_step, timeout_ms, "timeout", 1, 300000),
	DOC_CHOICE(struct doc_init_step, on_failure, "on_failure", doc_field_on_failure,
		   DOC_ON_FAILURE_FAIL),
};

static const char *const *
wanted_arguments(enum doc_init_uses uses)
{
	static const char *const tcp[] = {"host", "port", NULL};
	static const char *const http[] = {"url", NULL};
	static const char *const run[] = {"command", NULL};

	return uses == DOC_INIT_WAIT_TCP ? tcp : uses == DOC_INIT_WAIT_HTTP ? http : run;
}

static const char *const *
foreign_arguments(enum doc_init_uses uses)
{
	static const char *const tcp[] = {"url", "expect_status", "command", NULL};
	static const char *const http[] = {"host", "port", "command", NULL};
	static const char *const run[] = {"host", "port", "url", "expect_status", NULL};

	return uses == DOC_INIT_WAIT_TCP ? tcp : uses == DOC_INIT_WAIT_HTTP ? http : run;
}

static void
check_url(struct field_ctx *ctx, const struct doc_init_with *w)
{
	const struct yaml_node *n = w->node == NULL ? NULL : yaml_node_get(w->node, "url");

	if (w->url == NULL || n == NULL || text_starts(w->url, "http://") ||
	    text_starts(w->url, "https://"))
		return;
	field_diag(ctx, n, "invalid-url", NULL, "\"%.80s\" is not a url, as http://db.global:8080/",
		   w->url);
}

static void
check_step(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	const struct doc_init_step *s = section;
	const struct yaml_node *uses = n == NULL ? NULL : yaml_node_get(n, "uses");
	const struct yaml_node *with = n == NULL ? NULL : yaml_node_get(n, "with");
	const char *const *wanted;
	char why[64];

	if (uses == NULL || uses->kind != YAML_TEXT ||
	    strcmp(uses->text, init_actions[s->uses]) != 0)
		return;
	if (with != NULL && with->kind == YAML_MAP) {
		text_format(why, sizeof(why), "it is not an argument of %s", init_actions[s->uses]);
		field_refuse(ctx, with, foreign_arguments(s->uses), why);
	}
	for (wanted = wanted_arguments(s->uses); *wanted != NULL; wanted++) {
		if (with == NULL ||
		    (with->kind == YAML_MAP && yaml_node_get(with, *wanted) == NULL))
			field_diag(ctx, with != NULL ? with : uses, "missing-init-argument", NULL,
				   "%s needs with: {%s: ...}", init_actions[s->uses], *wanted);
	}
	check_url(ctx, &s->with);
}

static const struct field_table step_table = {
	.what = "an init step",
	FIELD_TABLE(step_fields),
	.has_node = true,
	.check = check_step,
};

static const struct field step_item = {.kind = FIELD_SECTION, .table = &step_table};

static const struct field init_fields[] = {
	DOC_LIST(struct doc_init, steps, "steps", &step_item, doc_init_step, 64),
};

static void
check_init(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	const struct doc_init *init = section;

	(void)n;
	for (size_t i = 0; i < init->steps_count; i++) {
		const struct doc_init_step *s = &init->steps[i];

		for (size_t k = 0; k < i && s->id != NULL; k++) {
			if (init->steps[k].id != NULL && strcmp(init->steps[k].id, s->id) == 0)
				field_diag(ctx, yaml_node_get(s->node, "id"), "duplicate-name",
					   NULL, "another step has the id \"%s\"", s->id);
		}
	}
}

const struct field_table doc_init_table = {
	.what = "init",
	FIELD_TABLE(init_fields),
	.has_node = true,
	.check = check_init,
};

/* ---- errors ---- */

static const char *const init_failures[] = {"fail", "restart", "backoff", NULL};
static const char *const panic_actions[] = {"restart", "shutdown", "isolate", NULL};

static const struct field on_init_fields[] = {
	DOC_CHOICE(struct doc_on_init_failure, action, "action", init_failures, DOC_INIT_FAIL),
};

static const struct field_table on_init_table = {
	.what = "on_init_failure", FIELD_TABLE(on_init_fields), .has_node = true};

static const struct field on_panic_fields[] = {
	DOC_CHOICE(struct doc_on_panic, action, "action", panic_actions, DOC_PANIC_RESTART),
};

static const struct field_table on_panic_table = {
	.what = "on_panic", FIELD_TABLE(on_panic_fields), .has_node = true};

static const struct field errors_fields[] = {
	DOC_SECTION(struct doc_errors, on_init_failure, "on_init_failure", &on_init_table, 0),
	DOC_SECTION(struct doc_errors, on_panic, "on_panic", &on_panic_table, 0),
};

const struct field_table doc_errors_table = {
	.what = "errors", FIELD_TABLE(errors_fields), .has_node = true};
