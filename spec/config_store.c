/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The section `store` of node.yaml: an etcd that somebody else keeps. Members are addresses, since
 * the process that speaks to them resolves no names. Secrets are in files; here are their paths.
 */
#include "spec/config_field.h"

#include <string.h>
#include "base/text.h"

/* ---- values ---- */

static bool
read_endpoint(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	bool tls = text_starts(*text, "https://");
	const char *at = tls                             ? *text + strlen("https://")
			 : text_starts(*text, "http://") ? *text + strlen("http://")
							 : NULL;
	struct addr addr;

	if (!at || !addr_parse(at, &addr) || !addr.port || addr_is_zero(&addr)) {
		field_diag(ctx, n, "invalid-url", NULL,
			   "\"%.80s\" is not a member of etcd, as https://10.0.0.7:2379; names are "
			   "not resolved",
			   *text);
		return false;
	}
	if (!tls && !addr_is_loopback(&addr)) {
		field_diag(
			ctx, n, "invalid-url", NULL,
			"\"%.80s\" would be spoken to in the clear: https, or an address of this "
			"machine",
			*text);
		return false;
	}
	return true;
}

static bool
read_path(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	return (*text)[0] == '\0' || config_value_file(ctx, n, text);
}

static bool
read_prefix(struct field_ctx *ctx, const struct yaml_node *n, const char **text)
{
	const char *at = *text;

	if (at[0] == '/' && text_ends(at, "/") && !strstr(at, "//") &&
	    strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") ==
		    strlen(at))
		return true;
	field_diag(ctx, n, "invalid-prefix", NULL,
		   "\"%.64s\" is not the beginning of keys, as /zlayer/: letters, digits, - _ . "
		   "between slashes",
		   at);
	return false;
}

/* ---- tables ---- */

static const struct field endpoint_item = {.kind = FIELD_TEXT,
					   .size = CONFIG_URL_BYTES,
					   .flags = FIELD_INLINE,
					   .min = 1,
					   .text = read_endpoint};

static const struct field etcd_fields[] = {
	CONFIG_LIST(store_etcd, endpoints, &endpoint_item, CONFIG_ENDPOINTS_MAX),
	CONFIG_TEXT(store_etcd, ca, "ca", read_path, ""),
	CONFIG_TEXT(store_etcd, cert, "cert", read_path, ""),
	CONFIG_TEXT(store_etcd, key, "key", read_path, ""),
	CONFIG_TEXT(store_etcd, user, "user", NULL, ""),
	CONFIG_TEXT(store_etcd, password_file, "password_file", read_path, ""),
	CONFIG_TEXT(store_etcd, prefix, "prefix", read_prefix, "/zlayer/"),
};
static const struct field_table etcd_table = {.what = "etcd", FIELD_TABLE(etcd_fields)};

static const struct field store_fields[] = {
	CONFIG_SECTION(struct config_store, etcd, &etcd_table),
};
const struct field_table config_store = {.what = "store", FIELD_TABLE(store_fields)};

/* ---- what must agree ---- */

static bool
any_tls(const struct config_store_etcd *e)
{
	for (uint32_t i = 0; i < e->endpoints_count; i++)
		if (text_starts(e->endpoints[i].text, "https://"))
			return true;
	return false;
}

void
config_store_check(const struct config *c, struct diag_list *diags)
{
	const struct config_store_etcd *e = &c->store.etcd;
	const char *path = "store.etcd", *wrong = NULL;

	if ((e->cert[0] != '\0') != (e->key[0] != '\0'))
		wrong = "cert and key go together";
	else if ((e->user[0] != '\0') != (e->password_file[0] != '\0'))
		wrong = "user and password_file go together";
	else if (!e->endpoints_count && (e->ca[0] || e->cert[0] || e->user[0]))
		wrong = "endpoints are missing: https://ADDRESS:PORT of each member";
	else if (any_tls(e) && !e->ca[0])
		wrong = "ca is missing: the file with the authority of the members' certificates";
	if (wrong)
		diag_add(diags, "missing-key", (struct diag_pos){0}, path, NULL, "%s", wrong);
}
