/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_CONFIG_FIELD_H
#define SPEC_CONFIG_FIELD_H

/* Inside of spec/: the table of node.yaml and the values that have a form of their own. */

#include "spec/config.h"
#include "spec/field.h"

extern const struct field_table config_field_table;

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
bool config_value_url(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool config_value_url_or_empty(struct field_ctx *ctx, const struct yaml_node *n, const char **text);
bool config_value_url_path(struct field_ctx *ctx, const struct yaml_node *n, const char **text);

/* Nothing but spaces and comments: a configuration may be empty. */
bool config_value_is_blank(const char *text, size_t bytes);
/* Reports what a file asks for and this version cannot do. */
void config_available_check(const struct config *c, const struct yaml_node *root,
			    struct diag_list *diags);

#endif
