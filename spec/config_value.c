/* SPDX-License-Identifier: Apache-2.0 */
/* Values of node.yaml that have a form of their own: addresses, listeners, urls, workers. */
#include "spec/config_field.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "spec/doc_field.h"

/* ---- addresses ---- */

bool
config_value_addr(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	if (n == NULL || !field_is_text(ctx, n, "an address with a port"))
		return false;
	if (addr_parse(n->text, section) && ((struct addr *)section)->port != 0)
		return true;
	field_diag(ctx, n, "invalid-address", NULL,
		   "\"%.60s\" is not an address with a port, as 0.0.0.0:80 or [::]:80", n->text);
	return false;
}

void
config_value_put_addr(struct emit *e, const char *key, const void *section)
{
	char text[ADDR_TEXT_BYTES];

	addr_put(section, text, sizeof(text));
	emit_text(e, key, text);
}

bool
config_value_prefix(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	if (n == NULL || !field_is_text(ctx, n, "a prefix"))
		return false;
	if (addr_parse_prefix(n->text, section))
		return true;
	field_diag(ctx, n, "invalid-prefix", NULL,
		   "\"%.60s\" is not a prefix, as 203.0.113.0/28 (the bits behind it are zero)",
		   n->text);
	return false;
}

void
config_value_put_prefix(struct emit *e, const char *key, const void *section)
{
	char text[ADDR_TEXT_BYTES];

	addr_put_prefix(section, text, sizeof(text));
	emit_text(e, key, text);
}

bool
config_value_advertise(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct config_node *node = section;

	if (n == NULL) {
		node->advertise_auto = true;
		return true;
	}
	if (!field_is_text(ctx, n, "auto, none or an address"))
		return false;
	node->advertise_auto = strcmp(n->text, "auto") == 0;
	node->advertise_none = strcmp(n->text, "none") == 0;
	memset(&node->advertise, 0, sizeof(node->advertise));
	if (node->advertise_auto || node->advertise_none ||
	    addr_parse_ip(n->text, &node->advertise))
		return true;
	field_diag(ctx, n, "invalid-address", NULL,
		   "\"%.60s\" is not an IP address without a port, not auto and not none", n->text);
	return false;
}

void
config_value_put_advertise(struct emit *e, const char *key, const void *section)
{
	const struct config_node *node = section;
	char text[ADDR_TEXT_BYTES];

	addr_put_ip(&node->advertise, text, sizeof(text));
	emit_text(e, key, node->advertise_auto ? "auto" : node->advertise_none ? "none" : text);
}

static bool
read_listener(struct field_ctx *ctx, const struct yaml_node *n, struct config_listen *out,
	      const char *otherwise)
{
	memset(out, 0, sizeof(*out));
	if (n == NULL) {
		out->on = true;
		return addr_parse(otherwise, &out->addr);
	}
	if (n->kind == YAML_TEXT && strcmp(n->text, "off") == 0)
		return true;
	out->on = true;
	return config_value_addr(ctx, n, &out->addr);
}

static void
put_listener(struct emit *e, const char *key, const struct config_listen *l)
{
	if (l->on)
		config_value_put_addr(e, key, &l->addr);
	else
		emit_text(e, key, "off");
}

#define DEFINE(m, text)                                                                        \
	bool config_value_##m(struct field_ctx *ctx, const struct yaml_node *n, void *section) \
	{                                                                                      \
		return read_listener(ctx, n, &((struct config_listeners *)section)->m, text);  \
	}                                                                                      \
	void config_value_put_##m(struct emit *e, const char *key, const void *section)        \
	{                                                                                      \
		put_listener(e, key, &((const struct config_listeners *)section)->m);          \
	}
CONFIG_VALUE_LISTENERS(DEFINE)

/* ---- workers ---- */

bool
config_value_workers(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	static const struct field number = {.kind = FIELD_NUMBER,
					    .size = sizeof(uint32_t),
					    .min = 1,
					    .max = CONFIG_WORKERS_MAX};
	struct config_proxy *proxy = section;

	if (n == NULL || (n->kind == YAML_TEXT && strcmp(n->text, "auto") == 0)) {
		proxy->workers = 0;
		return true;
	}
	return field_value_read(ctx, &number, n, &proxy->workers);
}

void
config_value_put_workers(struct emit *e, const char *key, const void *section)
{
	const struct config_proxy *proxy = section;
	char text[16];

	snprintf(text, sizeof(text), "%" PRIu32, proxy->workers);
	if (proxy->workers == 0)
		emit_text(e, key, "auto");
	else
		emit_raw(e, key, text);
}

/* ---- texts ---- */

bool
config_value_label(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	return (*text)[0] == '\0' || doc_text_label(ctx, n, text);
}

bool
config_value_label_key(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	return doc_text_label_key(ctx, n, text);
}

bool
config_value_variable(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	return doc_text_variable(ctx, n, text);
}

bool
config_value_interface(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	if (strlen(*text) < 16 && (*text)[strcspn(*text, "/ \t:")] == '\0' && **text != '.')
		return true;
	field_diag(ctx, n, "invalid-name", NULL, "\"%.40s\" is not the name of an interface",
		   *text);
	return false;
}

bool
config_value_file(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	return doc_text_file(ctx, n, text);
}

bool
config_value_cgroup(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	return strcmp(*text, "auto") == 0 || doc_text_file(ctx, n, text);
}

bool
config_value_seccomp(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	return strcmp(*text, "default") == 0 || strcmp(*text, "unconfined") == 0 ||
	       doc_text_file(ctx, n, text);
}

bool
config_value_address(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	struct addr a;

	if (addr_parse(*text, &a) && a.port != 0 && !addr_is_zero(&a))
		return true;
	field_diag(
		ctx, n, "invalid-address", NULL,
		"\"%.60s\" is not where a node is reached, as 192.0.2.1:9881 or [2001:db8::1]:9881",
		*text);
	return false;
}

bool
config_value_url(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	const char *rest = text_starts(*text, "https://")  ? *text + 8
			   : text_starts(*text, "http://") ? *text + 7
							   : NULL;

	if (rest != NULL && strcspn(rest, "/ \t\"") > 0 && strpbrk(rest, " \t\r\n\"") == NULL)
		return true;
	field_diag(ctx, n, "invalid-url", NULL, "\"%.80s\" is not a url, as http://127.0.0.1:5000",
		   *text);
	return false;
}

bool
config_value_url_or_empty(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	return (*text)[0] == '\0' || config_value_url(ctx, n, text);
}

bool
config_value_url_path(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	return doc_text_url_path(ctx, n, text);
}

bool
config_value_is_blank(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (text[i] == '#') {
			while (i < bytes && text[i] != '\n')
				i++;
		} else if (strchr(" \t\r\n", text[i]) == NULL || text[i] == '\0') {
			return false;
		}
	}
	return true;
}
