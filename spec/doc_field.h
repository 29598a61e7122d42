/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_DOC_FIELD_H
#define SPEC_DOC_FIELD_H

/* Inside of spec/: the tables of the document's sections and the checks of single texts, shared by
 * the doc_*.c files. Not for other folders. */

#include "spec/doc.h"
#include "spec/field.h"

/* Shorthands for the lines of the tables: struct, member, key, default. */
#define DOC_BOOL(type, m, k, d)                                               \
	{                                                                     \
		.key = (k), .kind = FIELD_BOOL, FIELD_AT(type, m), .def = (d) \
	}
#define DOC_NUMBER(type, m, k, least, most, d)                                       \
	{                                                                            \
		.key = (k), .kind = FIELD_NUMBER, FIELD_AT(type, m), .min = (least), \
		.max = (most), .def = (d)                                            \
	}
#define DOC_DURATION(type, m, k, least, d)                                             \
	{                                                                              \
		.key = (k), .kind = FIELD_DURATION, FIELD_AT(type, m), .min = (least), \
		.max = DOC_MS_MAX, .def = (d)                                          \
	}
#define DOC_CHOICE(type, m, k, list, d)                                               \
	{                                                                             \
		.key = (k), .kind = FIELD_CHOICE, FIELD_AT(type, m), .names = (list), \
		.def = (uint64_t)(d)                                                  \
	}
#define DOC_SECTION(type, m, k, t, f)                                                            \
	{                                                                                        \
		.key = (k), .kind = FIELD_SECTION, FIELD_AT(type, m), .table = (t), .flags = (f) \
	}
#define DOC_TEXT(type, m, k, check, f)                                                            \
	{                                                                                         \
		.key = (k), .kind = FIELD_TEXT, FIELD_AT(type, m), .text = (check), .flags = (f), \
		.min = 1, .max = DOC_TEXT_MAX                                                     \
	}
#define DOC_TEXTS(type, m, k, f)                                                              \
	{                                                                                     \
		.key = (k), .kind = FIELD_LIST, FIELD_AT(type, m.items), .flags = (f),        \
		.item = &doc_field_text, .stride = sizeof(const char *), .cap = DOC_LIST_MAX, \
		.count_offset = offsetof(type, m.count)                                       \
	}
#define DOC_PAIRS(type, m, k, key_check)                                                         \
	{                                                                                        \
		.key = (k), .kind = FIELD_MAP, FIELD_AT(type, m.items), .flags = FIELD_OPTIONAL, \
		.item = &doc_field_pair, .stride = sizeof(struct doc_pair), .cap = DOC_LIST_MAX, \
		.count_offset = offsetof(type, m.count),                                         \
		.name_offset = offsetof(struct doc_pair, key), .name = (key_check)               \
	}
#define DOC_LIST(type, m, k, item_field, element, most)                                     \
	{                                                                                   \
		.key = (k), .kind = FIELD_LIST, FIELD_AT(type, m), .flags = FIELD_OPTIONAL, \
		.item = (item_field), .stride = sizeof(struct element), .cap = (most),      \
		.count_offset = offsetof(type, m##_count)                                   \
	}
#define DOC_MAP(type, m, k, item_field, element, most, key_check)                          \
	{                                                                                  \
		.key = (k), .kind = FIELD_MAP, FIELD_AT(type, m), .flags = FIELD_OPTIONAL, \
		.item = (item_field), .stride = sizeof(struct element), .cap = (most),     \
		.count_offset = offsetof(type, m##_count),                                 \
		.name_offset = offsetof(struct element, name), .name = (key_check)         \
	}

#define DOC_MS_MAX (UINT64_C(365) * 86400 * 1000)
#define DOC_SIZE_MAX (UINT64_C(1) << 60)
enum { DOC_TEXT_MAX = 65536, DOC_PATH_MAX = 4095, DOC_HOST_MAX = 253 };

extern const struct field doc_field_text; /* an element of a list of texts */
extern const struct field doc_field_pair; /* the value of a struct doc_pair */
extern const char *const doc_field_on_failure[];
extern const char *const doc_field_exposes[];

extern const struct field_table doc_service_table;
extern const struct field_table doc_endpoint_table;
extern const struct field_table doc_stream_table;
extern const struct field_table doc_limits_table;
extern const struct field_table doc_auth_table;
extern const struct field_table doc_tunnel_table;
extern const struct field_table doc_endpoint_tunnel_table;
extern const struct field_table doc_health_table;
extern const struct field_table doc_init_table;
extern const struct field_table doc_errors_table;
extern const struct field_table doc_resources_table;
extern const struct field_table doc_network_table;
extern const struct field_table doc_placement_table;
extern const struct field_table doc_scale_table;
extern const struct field_table doc_update_table;
extern const struct field_table doc_external_table;
extern const struct field_table doc_route_table;
extern const struct field_table doc_top_table;

extern const struct field doc_endpoint_item; /* of a list */
extern const struct field doc_env_item;      /* of a map */
extern const struct field doc_storage_item;
extern const struct field doc_depend_item;

/* FIELD_OWN readers and writers. */
bool doc_placement_mode(struct field_ctx *ctx, const struct yaml_node *n, void *section);
bool doc_placement_selector(struct field_ctx *ctx, const struct yaml_node *n, void *section);
bool doc_balance_read(struct field_ctx *ctx, const struct yaml_node *n, void *section);
void doc_balance_put(struct emit *e, const char *key, const void *section);
/* A struct doc_run at `out`. */
bool doc_run_read(struct field_ctx *ctx, const struct yaml_node *n, struct doc_run *out);
void doc_run_put(struct emit *e, const char *key, const struct doc_run *run);

/* doc_word.c: readers, writers and checks of values with a form of their own. */
bool doc_word_cap_add(struct field_ctx *ctx, const struct yaml_node *n, void *section);
void doc_word_put_cap_add(struct emit *e, const char *key, const void *section);
bool doc_word_cap_drop(struct field_ctx *ctx, const struct yaml_node *n, void *section);
void doc_word_put_cap_drop(struct emit *e, const char *key, const void *section);
bool doc_word_stop_signal(struct field_ctx *ctx, const struct yaml_node *n, void *section);
void doc_word_put_stop_signal(struct emit *e, const char *key, const void *section);
bool doc_word_runtime(struct field_ctx *ctx, const struct yaml_node *n, void *section);
void doc_word_put_runtime(struct emit *e, const char *key, const void *section);
bool doc_word_seccomp(struct field_ctx *ctx, const struct yaml_node *n, void *section);
void doc_word_put_seccomp(struct emit *e, const char *key, const void *section);
bool doc_word_user(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool doc_word_hostname(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool doc_word_sysctl(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool doc_word_extra_host(struct field_ctx *ctx, const struct yaml_node *n, const char **text);

/* Checks of texts (field_text_fn). */
bool doc_text_label(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool doc_text_host(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool doc_text_url_path(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool doc_text_file(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool doc_text_variable(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool doc_text_label_key(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool doc_text_token(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool doc_text_secret(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool doc_text_url(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
/* After the last edge of a name, as "my_App" -> "my-app"; false when nothing good comes out. */
bool doc_text_as_label(const char *text, char *out, size_t cap);

/* Cuts an env value into pieces; false: reported. */
bool doc_env_split(struct field_ctx *ctx, const struct yaml_node *n, const char *value,
		   struct doc_env *out);

/* What concerns several sections, after all of them were read. Called in this order. */
void doc_graph_check(struct field_ctx *ctx, struct doc *doc); /* depends; sets start_order */
void doc_edge_check(struct field_ctx *ctx, struct doc *doc);  /* endpoints, ports, routes */
/* Names that overlays take away. */
void doc_network_check(struct field_ctx *ctx, const struct doc *doc);
/* Update order where the document does not say. */
enum doc_order doc_placement_order(const struct doc_service *s, enum doc_order otherwise);

#endif
