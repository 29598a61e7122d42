/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_CONFIG_FIELD_H
#define SPEC_CONFIG_FIELD_H

/* Inside of spec/: the table of node.yaml and the values that have a form of their own. */

#include "spec/config.h"
#include "spec/field.h"

/* Shorthands for the lines of the tables: section, member, key, default. */
#define CONFIG_MS_MAX (UINT64_C(86400000) * 3650)

#define CONFIG_BOOL(s, m, d)                                                              \
	{                                                                                 \
		.key = #m, .kind = FIELD_BOOL, FIELD_AT(struct config_##s, m), .def = (d) \
	}
#define CONFIG_TEXT(s, m, k, check, d)                                          \
	{                                                                       \
		.key = (k), .kind = FIELD_TEXT, FIELD_AT(struct config_##s, m), \
		.flags = FIELD_INLINE, .text = (check), .def_text = (d)         \
	}
#define CONFIG_NUMBER(s, m, least, most, d)                                                      \
	{                                                                                        \
		.key = #m, .kind = FIELD_NUMBER, FIELD_AT(struct config_##s, m), .min = (least), \
		.max = (most), .def = (d)                                                        \
	}
#define CONFIG_DURATION(s, m, k, least, d)                                          \
	{                                                                           \
		.key = (k), .kind = FIELD_DURATION, FIELD_AT(struct config_##s, m), \
		.min = (least), .max = CONFIG_MS_MAX, .def = (d)                    \
	}
#define CONFIG_CHOICE(s, m, list, d)                                                              \
	{                                                                                         \
		.key = #m, .kind = FIELD_CHOICE, FIELD_AT(struct config_##s, m), .names = (list), \
		.def = (uint64_t)(d)                                                              \
	}
#define CONFIG_SECTION(s, m, t)                                                \
	{                                                                      \
		.key = #m, .kind = FIELD_SECTION, FIELD_AT(s, m), .table = (t) \
	}
#define CONFIG_LIST(s, m, item_, most)                                                   \
	{                                                                                \
		.key = #m, .kind = FIELD_LIST, .offset = offsetof(struct config_##s, m), \
		.flags = FIELD_INLINE, .item = (item_),                                  \
		.stride = sizeof(((struct config_##s *)0)->m[0]), .cap = (most),         \
		.count_offset = offsetof(struct config_##s, m##_count)                   \
	}
#define CONFIG_OWN(k, r, p)                                            \
	{                                                              \
		.key = (k), .kind = FIELD_OWN, .read = (r), .put = (p) \
	}

extern const struct field_table config_field_table;
extern const struct field_table config_observe_logs;
extern const struct field_table config_observe_metrics;
extern const struct field_table config_observe_tracing;
extern const struct field_table config_observe_dashboard;
extern const struct field config_observe_gitops; /* of a list */
extern const struct field_table config_store;
void config_store_check(const struct config *c, struct diag_list *diags);
extern const struct field_table config_overlay;
/* What the section must agree on; each report is (diags, path, code, text). */
void config_overlay_check(const struct config *c, struct diag_list *diags);

/* FIELD_OWN readers and writers; the section is the struct that the key stands in. */
bool config_value_addr(struct field_ctx *ctx, const struct yaml_node *n, void *section);
void config_value_put_addr(struct emit *e, const char *key, const void *section);
bool config_value_prefix(struct field_ctx *ctx, const struct yaml_node *n, void *section);
void config_value_put_prefix(struct emit *e, const char *key, const void *section);
bool config_value_advertise(struct field_ctx *ctx, const struct yaml_node *n, void *section);
void config_value_put_advertise(struct emit *e, const char *key, const void *section);
bool config_value_workers(struct field_ctx *ctx, const struct yaml_node *n, void *section);
void config_value_put_workers(struct emit *e, const char *key, const void *section);

/* One listener of struct config_listeners each, "off" allowed. */
#define CONFIG_VALUE_LISTENERS(X)    \
	X(api, "127.0.0.1:9880")     \
	X(metrics, "127.0.0.1:9883") \
	X(gossip, "0.0.0.0:9881")    \
	X(overlay, "0.0.0.0:9882")   \
	X(vxlan, "0.0.0.0:9884")     \
	X(store, "0.0.0.0:9885")
#define CONFIG_VALUE_DECLARE(m, text)                                                           \
	bool config_value_##m(struct field_ctx *ctx, const struct yaml_node *n, void *section); \
	void config_value_put_##m(struct emit *e, const char *key, const void *section);
CONFIG_VALUE_LISTENERS(CONFIG_VALUE_DECLARE)

/* Checks of texts (field_text_fn). */
bool config_value_label(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool config_value_label_key(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool config_value_variable(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool config_value_interface(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool config_value_file(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool config_value_cgroup(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool config_value_seccomp(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
/* Where another node is reached. */
bool config_value_address(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool config_value_url(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool config_value_url_or_empty(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool config_value_url_path(struct field_ctx *ctx, const struct yaml_node *n, const char **text);

/* Nothing but spaces and comments: a configuration may be empty. */
bool config_value_is_blank(const char *text, size_t bytes);
/* Reports what a file asks for and this version cannot do. */
void config_available_check(const struct config *c, const struct yaml_node *root,
			    struct diag_list *diags);

#endif
