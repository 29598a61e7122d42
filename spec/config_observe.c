/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of node.yaml, second part: what is seen of a node (logs, metrics, traces, the dashboard),
 * and where its documents come from (gitops). */
#include "spec/config_field.h"

static const struct field path_item = {.kind = FIELD_TEXT,
				       .size = CONFIG_URL_BYTES,
				       .flags = FIELD_INLINE,
				       .min = 1,
				       .text = config_value_url_path};
static const char *const formats[] = {"auto", "text", "json", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};

#define RATIO(s, m, k, d)                                                                   \
	{                                                                                   \
		.key = (k), .kind = FIELD_RATIO, FIELD_AT(struct config_##s, m), .def = (d) \
	}

static const struct field access_fields[] = {
	CONFIG_BOOL(access, enabled, true),
	RATIO(access, sample_ppm, "sample", 1000000),
	CONFIG_LIST(access, exclude_paths, &path_item, CONFIG_EXCLUDE_MAX),
};
static const struct field_table access_table = {.what = "access", FIELD_TABLE(access_fields)};

static const struct field containers_fields[] = {
	{.key = "max_size",
	 .kind = FIELD_SIZE,
	 FIELD_AT(struct config_container_logs, max_size_bytes),
	 .min = 4096,
	 .max = UINT64_C(1) << 50,
	 .def = 10 << 20},
	CONFIG_NUMBER(container_logs, max_files, 1, 64, 3),
};
static const struct field_table containers_table = {.what = "containers",
						    FIELD_TABLE(containers_fields)};

static const char *const forward_types[] = {"fluent", "syslog", NULL};

static const struct field forward_fields[] = {
	{.key = "type",
	 .kind = FIELD_CHOICE,
	 FIELD_AT(struct config_forward, type),
	 .names = forward_types,
	 .flags = FIELD_REQUIRED},
	{.key = "address",
	 .kind = FIELD_TEXT,
	 FIELD_AT(struct config_forward, address),
	 .flags = FIELD_INLINE | FIELD_REQUIRED,
	 .min = 1},
};
static const struct field_table forward_table = {.what = "forward", FIELD_TABLE(forward_fields)};
static const struct field forward_item = {.kind = FIELD_SECTION, .table = &forward_table};

static const struct field logs_fields[] = {
	CONFIG_CHOICE(logs, format, formats, LOG_FORMAT_AUTO),
	CONFIG_CHOICE(logs, level, levels, LOG_INFO),
	CONFIG_SECTION(struct config_logs, access, &access_table),
	CONFIG_SECTION(struct config_logs, containers, &containers_table),
	CONFIG_LIST(logs, forward, &forward_item, CONFIG_FORWARD_MAX),
};
const struct field_table config_observe_logs = {.what = "logs", FIELD_TABLE(logs_fields)};

static const struct field metrics_fields[] = {
	CONFIG_BOOL(metrics, enabled, true),
	CONFIG_BOOL(metrics, per_replica, true),
	CONFIG_NUMBER(metrics, max_series_per_service, 10, 100000, 200),
	CONFIG_BOOL(metrics, exemplars, true),
};
const struct field_table config_observe_metrics = {.what = "metrics", FIELD_TABLE(metrics_fields)};

static const char *const propagates[] = {"w3c", "none", NULL};

static const struct field tracing_fields[] = {
	CONFIG_TEXT(tracing, endpoint, "endpoint", config_value_url_or_empty, ""),
	RATIO(tracing, sample_ppm, "sample", 10000),
	CONFIG_CHOICE(tracing, propagate, propagates, CONFIG_PROPAGATE_W3C),
};
const struct field_table config_observe_tracing = {.what = "tracing", FIELD_TABLE(tracing_fields)};

static const char *const dashboard_auths[] = {"token", "none", NULL};

static const struct field dashboard_fields[] = {
	CONFIG_BOOL(dashboard, enabled, true),
	CONFIG_CHOICE(dashboard, auth, dashboard_auths, CONFIG_DASHBOARD_TOKEN),
};
const struct field_table config_observe_dashboard = {.what = "dashboard",
						     FIELD_TABLE(dashboard_fields)};

static const char *const gitops_modes[] = {"apply", "report", NULL};

static const struct field gitops_fields[] = {
	{.key = "url",
	 .kind = FIELD_TEXT,
	 FIELD_AT(struct config_gitops, url),
	 .flags = FIELD_INLINE | FIELD_REQUIRED,
	 .min = 1},
	CONFIG_TEXT(gitops, ref, "ref", NULL, "main"),
	CONFIG_TEXT(gitops, path, "path", NULL, ""),
	CONFIG_DURATION(gitops, interval_ms, "interval", 1000, 60000),
	CONFIG_CHOICE(gitops, mode, gitops_modes, CONFIG_GITOPS_APPLY),
};
static const struct field_table gitops_table = {.what = "gitops", FIELD_TABLE(gitops_fields)};
const struct field config_observe_gitops = {.kind = FIELD_SECTION, .table = &gitops_table};
