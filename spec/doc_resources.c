/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of a service's processes, and its storage and devices. */
#include "spec/doc_field.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"

/* ---- resources ---- */

static bool
check_cpuset(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	const char *at = *text;

	while (isdigit((unsigned char)*at) && strlen(*text) <= 256) {
		at += strspn(at, "0123456789");
		if (*at == '-' && isdigit((unsigned char)at[1]))
			at += 1 + strspn(at + 1, "0123456789");
		if (*at == '\0')
			return true;
		if (*at++ != ',')
			break;
	}
	field_diag(ctx, n, "invalid-cpu", NULL, "\"%.40s\" is not a list of cores, as 0-3,5",
		   *text);
	return false;
}

static bool
check_ulimit_name(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	static const char *const names[] = {"as",    "core",    "cpu",      "data",   "fsize",
					    "locks", "memlock", "msgqueue", "nice",   "nofile",
					    "nproc", "rss",     "rtprio",   "rttime", "sigpending",
					    "stack", NULL};
	const char *near;

	for (size_t i = 0; names[i] != NULL; i++) {
		if (strcmp(names[i], *text) == 0)
			return true;
	}
	near = text_nearest(*text, names);
	field_diag(ctx, n, "invalid-name", NULL,
		   "\"%.40s\" is not a limit, as nofile or nproc%s%s%s", *text,
		   near == NULL ? "" : "; did you mean \"", near == NULL ? "" : near,
		   near == NULL ? "" : "\"?");
	return false;
}

static bool
read_ulimit_value(struct field_ctx *ctx, const struct yaml_node *n, uint64_t *out)
{
	static const struct field number = {
		.kind = FIELD_NUMBER, .size = sizeof(uint64_t), .max = UINT64_MAX - 1};

	if (n->kind == YAML_TEXT && strcmp(n->text, "unlimited") == 0) {
		*out = UINT64_MAX;
		return true;
	}
	return field_value_read(ctx, &number, n, out);
}

static bool
read_limit(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	return n == NULL || read_ulimit_value(ctx, n, section);
}

static void
put_limit(struct emit *e, const char *key, const void *section)
{
	char text[24];

	if (*(const uint64_t *)section == UINT64_MAX) {
		emit_text(e, key, "unlimited");
		return;
	}
	snprintf(text, sizeof(text), "%" PRIu64, *(const uint64_t *)section);
	emit_raw(e, key, text);
}

struct ulimit_pair {
	uint64_t soft;
	uint64_t hard;
};

static bool
read_hard(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	return read_limit(ctx, n, &((struct ulimit_pair *)section)->hard);
}

static const struct field ulimit_fields[] = {
	{.key = "soft", .kind = FIELD_OWN, .read = read_limit, .flags = FIELD_REQUIRED},
	{.key = "hard", .kind = FIELD_OWN, .read = read_hard, .flags = FIELD_REQUIRED},
};

static const struct field_table ulimit_table = {.what = "a limit", FIELD_TABLE(ulimit_fields)};

static bool
read_ulimit(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_ulimit *u = section;
	struct ulimit_pair pair = {0, 0};

	u->node = n;
	if (n == NULL)
		return true;
	if (n->kind != YAML_MAP) {
		if (!read_ulimit_value(ctx, n, &u->soft))
			return false;
		u->hard = u->soft;
		return true;
	}
	field_read(ctx, &ulimit_table, n, &pair);
	u->soft = pair.soft;
	u->hard = pair.hard;
	if (u->soft <= u->hard)
		return true;
	field_diag(ctx, n, "min-above-max", NULL, "soft is more than hard");
	return false;
}

static void
put_ulimit(struct emit *e, const char *key, const void *section)
{
	const struct doc_ulimit *u = section;

	emit_map(e, key);
	put_limit(e, "soft", &u->soft);
	put_limit(e, "hard", &u->hard);
	emit_end(e);
}

static const struct field ulimit_item = {.kind = FIELD_OWN, .read = read_ulimit, .put = put_ulimit};

#define SIZE(type, m, k, least)                                                             \
	{                                                                                   \
		.key = (k), .kind = FIELD_SIZE, FIELD_AT(type, m), .flags = FIELD_OPTIONAL, \
		.min = (least), .max = DOC_SIZE_MAX                                         \
	}
#define COUNT(m, k, least, most)                                                     \
	{                                                                            \
		.key = (k), .kind = FIELD_NUMBER, FIELD_AT(struct doc_resources, m), \
		.flags = FIELD_OPTIONAL, .min = (least), .max = (most)               \
	}

static const struct field resources_fields[] = {
	{.key = "cpu",
	 .kind = FIELD_CORES,
	 FIELD_AT(struct doc_resources, cpu_milli),
	 .flags = FIELD_OPTIONAL,
	 .min = 1,
	 .max = 4096000},
	SIZE(struct doc_resources, memory_bytes, "memory", 1 << 20),
	SIZE(struct doc_resources, memory_swap_bytes, "memory_swap", 1 << 20),
	SIZE(struct doc_resources, memory_reservation_bytes, "memory_reservation", 1 << 20),
	COUNT(pids, "pids", 1, 4194304),
	COUNT(cpu_shares, "cpu_shares", 2, 262144),
	DOC_TEXT(struct doc_resources, cpuset, "cpuset", check_cpuset, FIELD_OPTIONAL),
	{.key = "oom_score_adj",
	 .kind = FIELD_INTEGER,
	 FIELD_AT(struct doc_resources, oom_score_adj),
	 .flags = FIELD_OPTIONAL,
	 .min = (uint64_t)-1000,
	 .max = 1000},
	DOC_MAP(struct doc_resources, ulimits, "ulimits", &ulimit_item, doc_ulimit, 32,
		check_ulimit_name),
};

static void
check_resources(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	const struct doc_resources *r = section;

	if (n == NULL || r->memory_bytes == 0)
		return;
	if (r->memory_swap_bytes != 0 && r->memory_swap_bytes < r->memory_bytes)
		field_diag(ctx, yaml_node_get(n, "memory_swap"), "min-above-max", NULL,
			   "is memory and swap together: at least memory");
	if (r->memory_reservation_bytes > r->memory_bytes)
		field_diag(ctx, yaml_node_get(n, "memory_reservation"), "min-above-max", NULL,
			   "is more than memory");
}

static const char *const resources_advice[][2] = {
	{"limits", "write cpu and memory here, without limits"},
	{"requests", "write cpu and memory here: they are reserved and limited"},
	{"cpus", "the key is cpu"},
	{NULL, NULL},
};

const struct field_table doc_resources_table = {
	.what = "resources",
	FIELD_TABLE(resources_fields),
	.has_node = true,
	.advice = resources_advice,
	.check = check_resources,
};

/* ---- storage ---- */

static const char *const storage_types[] = {"bind",  "named",    "anonymous",
					    "tmpfs", "template", NULL};

static bool
read_mode(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_storage *s = section;
	const char *digits;
	uint32_t value = 0;

	s->mode = 01777;
	if (n == NULL)
		return true;
	if (!field_is_text(ctx, n, "a mode"))
		return false;
	digits = text_starts(n->text, "0o") ? n->text + 2 : n->text;
	if (strlen(digits) < 3 || strlen(digits) > 5 ||
	    digits[strspn(digits, "01234567")] != '\0') {
		field_diag(ctx, n, "invalid-mode", NULL, "\"%.20s\" is not a mode, as 1777 or 0700",
			   n->text);
		return false;
	}
	for (; *digits != '\0'; digits++)
		value = value * 8 + (uint32_t)(*digits - '0');
	if (value > 07777) {
		field_diag(ctx, n, "invalid-mode", NULL, "%.20s is more than 7777", n->text);
		return false;
	}
	s->mode = value;
	return true;
}

static void
put_mode(struct emit *e, const char *key, const void *section)
{
	char text[16];

	snprintf(text, sizeof(text), "%04o", ((const struct doc_storage *)section)->mode);
	emit_text(e, key, text);
}

static const struct field storage_fields[] = {
	{.key = "type",
	 .kind = FIELD_CHOICE,
	 FIELD_AT(struct doc_storage, type),
	 .names = storage_types,
	 .flags = FIELD_REQUIRED},
	DOC_TEXT(struct doc_storage, target, "target", doc_text_file, FIELD_REQUIRED),
	DOC_TEXT(struct doc_storage, source, "source", doc_text_file, FIELD_OPTIONAL),
	DOC_TEXT(struct doc_storage, name, "name", doc_text_label, FIELD_OPTIONAL),
	DOC_BOOL(struct doc_storage, readonly, "readonly", false),
	SIZE(struct doc_storage, size_bytes, "size", 4096),
	{.key = "mode", .kind = FIELD_OWN, .read = read_mode, .put = put_mode},
	{.key = "content",
	 .kind = FIELD_TEXT,
	 FIELD_AT(struct doc_storage, content),
	 .flags = FIELD_OPTIONAL,
	 .max = DOC_TEXT_MAX},
};

/* Keys of a storage by type: R required, O optional, anything else refused. */
static char
storage_key(enum doc_storage_type type, const char *key)
{
	static const struct {
		const char *key;
		const char *by_type;
	} keys[] = {
		{"source", "R...."}, {"name", ".R..."}, {"readonly", "OO..."},
		{"size", ".O.O."},   {"mode", "...O."}, {"content", "....R"},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(keys[i].key, key) == 0)
			return keys[i].by_type[type];
	}
	return 'R';
}

static bool
shows_storage(const void *section, const char *key)
{
	return storage_key(((const struct doc_storage *)section)->type, key) != '.';
}

static void
check_storage(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	const struct doc_storage *s = section;
	const struct yaml_node *type = n == NULL ? NULL : yaml_node_get(n, "type");
	char why[64];

	if (type == NULL || type->kind != YAML_TEXT ||
	    strcmp(type->text, storage_types[s->type]) != 0)
		return;
	for (size_t i = 0; i < sizeof(storage_fields) / sizeof(storage_fields[0]); i++) {
		const char *keys[2] = {storage_fields[i].key, NULL};
		char rule = storage_key(s->type, keys[0]);

		if (rule == '.') {
			text_format(why, sizeof(why), "%s has no %s", storage_types[s->type],
				    keys[0]);
			field_refuse(ctx, n, keys, why);
		} else if (rule == 'R' && strcmp(keys[0], "target") != 0) {
			text_format(why, sizeof(why), "by type %s", storage_types[s->type]);
			field_require(ctx, n, keys, why);
		}
	}
}

static const struct field_table storage_table = {
	.what = "storage",
	FIELD_TABLE(storage_fields),
	.has_node = true,
	.check = check_storage,
	.shows = shows_storage,
};

const struct field doc_storage_item = {.kind = FIELD_SECTION, .table = &storage_table};
