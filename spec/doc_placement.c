/* SPDX-License-Identifier: Apache-2.0 */
/* Where replicas go and how many: node, network, scale, update, depends. */
#include "spec/doc_field.h"

#include <string.h>

/* ---- network ---- */

static const struct field overlay_service_fields[] = {
	DOC_BOOL(struct doc_overlay, enabled, "enabled", true),
	DOC_BOOL(struct doc_overlay, encrypted, "encrypted", true),
	DOC_BOOL(struct doc_overlay, isolated, "isolated", true),
};

static const struct field overlay_global_fields[] = {
	DOC_BOOL(struct doc_overlay, enabled, "enabled", true),
	DOC_BOOL(struct doc_overlay, encrypted, "encrypted", true),
	DOC_BOOL(struct doc_overlay, isolated, "isolated", false),
};

static const struct field_table overlay_service_table = {
	.what = "an overlay", FIELD_TABLE(overlay_service_fields), .has_node = true};
static const struct field_table overlay_global_table = {
	.what = "an overlay", FIELD_TABLE(overlay_global_fields), .has_node = true};

static const struct field overlays_fields[] = {
	DOC_SECTION(struct doc_overlays, service, "service", &overlay_service_table, 0),
	DOC_SECTION(struct doc_overlays, global, "global", &overlay_global_table, 0),
};

static const struct field_table overlays_table = {
	.what = "overlays", FIELD_TABLE(overlays_fields), .has_node = true};

static const char *const join_modes[] = {"open", "token", "closed", NULL};
static const char *const join_scopes[] = {"service", "global", NULL};

static const struct field join_fields[] = {
	DOC_CHOICE(struct doc_join, mode, "mode", join_modes, DOC_JOIN_TOKEN),
	DOC_CHOICE(struct doc_join, scope, "scope", join_scopes, DOC_JOIN_SERVICE),
};

static const struct field_table join_table = {
	.what = "join", FIELD_TABLE(join_fields), .has_node = true};

static const struct field network_fields[] = {
	DOC_SECTION(struct doc_network, overlays, "overlays", &overlays_table, 0),
	DOC_SECTION(struct doc_network, join, "join", &join_table, 0),
};

const struct field_table doc_network_table = {
	.what = "network", FIELD_TABLE(network_fields), .has_node = true};

/* ---- node ---- */

static const char *const node_modes[] = {"shared", "dedicated", "exclusive", NULL};
static const char *const spreads[] = {"node", "zone", "none", NULL};

static const struct field selector_fields[] = {
	DOC_PAIRS(struct doc_selector, labels, "labels", doc_text_label_key),
	DOC_PAIRS(struct doc_selector, prefer_labels, "prefer_labels", doc_text_label_key),
};

static const struct field_table selector_table = {
	.what = "selector", FIELD_TABLE(selector_fields), .has_node = true};

static const struct field placement_fields[] = {
	DOC_CHOICE(struct doc_placement, mode, "mode", node_modes, DOC_NODE_SHARED),
	DOC_SECTION(struct doc_placement, selector, "selector", &selector_table, 0),
	DOC_TEXTS(struct doc_placement, tolerate, "tolerate", FIELD_OPTIONAL),
	DOC_CHOICE(struct doc_placement, spread, "spread", spreads, DOC_SPREAD_NODE),
};

const struct field_table doc_placement_table = {
	.what = "node", FIELD_TABLE(placement_fields), .has_node = true};

bool
doc_placement_mode(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	static const struct field mode = {
		.kind = FIELD_CHOICE, .size = sizeof(enum doc_node_mode), .names = node_modes};
	struct doc_placement *p = &((struct doc_service *)section)->placement;

	return n == NULL || field_value_read(ctx, &mode, n, &p->mode);
}

bool
doc_placement_selector(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct doc_placement *p = &((struct doc_service *)section)->placement;

	if (n != NULL)
		field_read(ctx, &selector_table, n, &p->selector);
	return true;
}

/* ---- scale ---- */

static const char *const scale_modes[] = {"fixed", "adaptive", "manual", NULL};

#define TARGET(m, k, kind_, most)                                             \
	{                                                                     \
		.key = (k), .kind = (kind_), FIELD_AT(struct doc_targets, m), \
		.flags = FIELD_OPTIONAL, .min = 1, .max = (most)              \
	}

static const struct field targets_fields[] = {
	TARGET(cpu_percent, "cpu", FIELD_PERCENT, 100),
	TARGET(memory_percent, "memory", FIELD_PERCENT, 100),
	TARGET(rps, "rps", FIELD_NUMBER, 10000000),
};

static const struct field_table targets_table = {
	.what = "targets", FIELD_TABLE(targets_fields), .has_node = true};

static const struct field scale_fields[] = {
	DOC_CHOICE(struct doc_scale, mode, "mode", scale_modes, DOC_SCALE_FIXED),
	DOC_NUMBER(struct doc_scale, replicas, "replicas", 0, DOC_REPLICAS_MAX, 1),
	DOC_NUMBER(struct doc_scale, min, "min", 0, DOC_REPLICAS_MAX, 0),
	DOC_NUMBER(struct doc_scale, max, "max", 0, DOC_REPLICAS_MAX, 0),
	DOC_DURATION(struct doc_scale, cooldown_ms, "cooldown", 0, 30000),
	DOC_SECTION(struct doc_scale, targets, "targets", &targets_table, FIELD_OPTIONAL),
	DOC_BOOL(struct doc_scale, unique, "unique", false),
};

static void
check_adaptive(struct field_ctx *ctx, const struct yaml_node *n, struct doc_scale *s)
{
	static const char *const fixed[] = {"replicas", NULL};
	static const char *const bounds[] = {"min", "max", NULL};
	const struct yaml_node *min = yaml_node_get(n, "min"), *max = yaml_node_get(n, "max");

	field_refuse(ctx, n, fixed, "mode adaptive has min and max");
	field_require(ctx, n, bounds, "by mode adaptive");
	if (max != NULL && max->kind == YAML_TEXT && strcmp(max->text, "0") == 0)
		field_diag(ctx, max, "max-zero", NULL, "is 0: at least 1 is wanted");
	else if (min != NULL && max != NULL && s->max != 0 && s->min > s->max)
		field_diag(ctx, min, "min-above-max", NULL, "%u is more than max (%u)", s->min,
			   s->max);
	s->replicas = s->min;
}

static void
check_scale(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	static const char *const adaptive[] = {"min", "max", "cooldown", "targets", NULL};
	struct doc_scale *s = section;

	if (n != NULL && s->mode == DOC_SCALE_ADAPTIVE) {
		check_adaptive(ctx, n, s);
		return;
	}
	if (n != NULL)
		field_refuse(ctx, n, adaptive, "it belongs to mode adaptive");
	s->min = s->mode == DOC_SCALE_MANUAL ? 0 : s->replicas;
	s->max = s->mode == DOC_SCALE_MANUAL ? (uint32_t)DOC_REPLICAS_MAX : s->replicas;
}

static bool
shows_scale(const void *section, const char *key)
{
	bool adaptive = ((const struct doc_scale *)section)->mode == DOC_SCALE_ADAPTIVE;

	if (strcmp(key, "mode") == 0)
		return true;
	if (strcmp(key, "unique") == 0)
		return ((const struct doc_scale *)section)->unique;
	return adaptive != (strcmp(key, "replicas") == 0);
}

static const char *const scale_advice[][2] = {
	{"count", "the key is replicas"},
	{NULL, NULL},
};

const struct field_table doc_scale_table = {
	.what = "scale",
	FIELD_TABLE(scale_fields),
	.has_node = true,
	.advice = scale_advice,
	.check = check_scale,
	.shows = shows_scale,
};

/* ---- update ---- */

static const char *const orders[] = {"start-first", "stop-first", NULL};
static const char *const update_failures[] = {"rollback", "pause", NULL};

static const struct field update_fields[] = {
	DOC_CHOICE(struct doc_update, order, "order", orders, DOC_ORDER_START_FIRST),
	DOC_NUMBER(struct doc_update, max_surge, "max_surge", 0, 1000, 1),
	DOC_NUMBER(struct doc_update, max_unavailable, "max_unavailable", 0, 1000, 0),
	DOC_DURATION(struct doc_update, drain_ms, "drain", 0, 30000),
	DOC_DURATION(struct doc_update, monitor_ms, "monitor", 0, 10000),
	DOC_CHOICE(struct doc_update, on_failure, "on_failure", update_failures,
		   DOC_UPDATE_ROLLBACK),
};

static void
check_update(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	const struct doc_update *u = section;
	const struct yaml_node *surge = n == NULL ? NULL : yaml_node_get(n, "max_surge");

	if (surge != NULL && u->max_surge == 0 && u->max_unavailable == 0 &&
	    u->order == DOC_ORDER_START_FIRST &&
	    strcmp(surge->text == NULL ? "" : surge->text, "0") == 0)
		field_diag(ctx, surge, "max-zero", NULL,
			   "max_surge and max_unavailable are both 0: nothing could be replaced");
}

const struct field_table doc_update_table = {
	.what = "update",
	FIELD_TABLE(update_fields),
	.has_node = true,
	.check = check_update,
};

static bool
owns_alone(const struct doc_service *s)
{
	if (s->scale.max > 1)
		return false;
	for (size_t i = 0; i < s->storage_count; i++) {
		if (s->storage[i].type == DOC_STORAGE_NAMED && !s->storage[i].readonly)
			return true;
	}
	return false;
}

/* Public tcp and udp ports need no say here: the edge listens on them, not the replica. */
enum doc_order
doc_placement_order(const struct doc_service *s, enum doc_order otherwise)
{
	return s->scale.unique || owns_alone(s) ? DOC_ORDER_STOP_FIRST : otherwise;
}

void
doc_set_update_defaults(struct doc *doc, const struct doc_update *defaults)
{
	for (size_t i = 0; i < doc->services_count; i++) {
		struct doc_service *s = &doc->services[i];
		const struct yaml_node *n = s->update.node;

		if (!doc_given(n, "order"))
			s->update.order = doc_placement_order(s, defaults->order);
		if (!doc_given(n, "max_surge"))
			s->update.max_surge = defaults->max_surge;
		if (!doc_given(n, "max_unavailable"))
			s->update.max_unavailable = defaults->max_unavailable;
		if (!doc_given(n, "drain"))
			s->update.drain_ms = defaults->drain_ms;
		if (!doc_given(n, "monitor"))
			s->update.monitor_ms = defaults->monitor_ms;
		if (!doc_given(n, "on_failure"))
			s->update.on_failure = defaults->on_failure;
	}
}

/* ---- depends ---- */

static const char *const conditions[] = {"started", "healthy", "ready", NULL};

static const struct field depend_fields[] = {
	DOC_TEXT(struct doc_depend, service, "service", doc_text_label, FIELD_REQUIRED),
	DOC_CHOICE(struct doc_depend, condition, "condition", conditions, DOC_CONDITION_HEALTHY),
	DOC_DURATION(struct doc_depend, timeout_ms, "timeout", 1, 300000),
	DOC_CHOICE(struct doc_depend, on_timeout, "on_timeout", doc_field_on_failure,
		   DOC_ON_FAILURE_FAIL),
};

static const struct field_table depend_table = {
	.what = "a dependency", FIELD_TABLE(depend_fields), .has_node = true};

const struct field doc_depend_item = {.kind = FIELD_SECTION, .table = &depend_table};
