/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two checks of a whole configuration: what several keys must agree on, once all files are read;
 * and, in a role that was handed the bytes, that every count and every terminator holds, so that
 * nothing in it can lead outside of the struct.
 */
#include "spec/config_field.h"

#include <string.h>
#include "base/text.h"

static void
report(struct diag_list *diags, const char *path, const char *code, const char *text)
{
	diag_add(diags, code, (struct diag_pos){0}, path, NULL, "%s", text);
}

static bool
same_listener(const struct addr *a, const struct addr *b)
{
	return a->port == b->port && (addr_equal_ip(a, b));
}

static void
check_listeners(const struct config *c, struct diag_list *diags)
{
	const struct config_listeners *l = &c->listen;
	const struct addr *all[2 * CONFIG_LISTENERS_MAX + 4];
	size_t count = 0;

	for (uint32_t i = 0; i < l->http_count; i++)
		all[count++] = &l->http[i];
	for (uint32_t i = 0; i < l->https_count; i++)
		all[count++] = &l->https[i];
	if (l->api.on)
		all[count++] = &l->api.addr;
	if (l->metrics.on)
		all[count++] = &l->metrics.addr;
	if (l->store.on && l->store.addr.port == UINT16_MAX) {
		report(diags, "listen.store", "too-large",
		       "the next port is needed as well, for other nodes' etcd");
		return;
	}
	struct addr peers = l->store.addr;
	peers.port++;
	if (l->store.on) {
		all[count++] = &l->store.addr;
		all[count++] = &peers;
	}
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < i; k++) {
			if (same_listener(all[i], all[k])) {
				report(diags, "listen", "port-conflict",
				       "two listeners have the same address and port");
				return;
			}
		}
	}
}

static void
check_dashboard(const struct config *c, struct diag_list *diags)
{
	if (c->dashboard.enabled && c->dashboard.auth == CONFIG_DASHBOARD_NONE &&
	    c->listen.api.on && !addr_is_loopback(&c->listen.api.addr))
		report(diags, "dashboard.auth", "invalid-choice",
		       "none is only allowed while listen.api is a loopback address");
}

/* Others are told of them in one datagram. */
static void
check_labels(const struct config_node *n, struct diag_list *diags)
{
	char text[96];
	size_t bytes = 0;

	for (uint32_t i = 0; i < n->labels_count; i++)
		bytes += strlen(n->labels[i].key) + strlen(n->labels[i].value) + 2;
	text_format(text, sizeof(text), "the labels take %zu bytes together; they may take %d",
		    bytes, CONFIG_LABELS_BYTES);
	if (bytes > CONFIG_LABELS_BYTES)
		report(diags, "node.labels", "too-large", text);
}

static void
check_cluster(const struct config_cluster *c, struct diag_list *diags)
{
	if (c->dead_after_ms <= c->suspect_after_ms)
		report(diags, "cluster.dead_after", "min-above-max",
		       "must be more than cluster.suspect_after");
	if (c->dead_after_ms > CONFIG_DEAD_AFTER_MAX_MS)
		report(diags, "cluster.dead_after", "too-large", "may be at most 10m");
}

int
config_finish(struct config *c, struct diag_list *diags)
{
	size_t before = diag_count(diags);

	check_listeners(c, diags);
	check_dashboard(c, diags);
	config_overlay_check(c, diags);
	config_store_check(c, diags);
	check_labels(&c->node, diags);
	check_cluster(&c->cluster, diags);
	if (c->runtime.gc.disk_low_percent >= c->runtime.gc.disk_high_percent)
		report(diags, "runtime.gc.disk_low", "min-above-max",
		       "must be less than runtime.gc.disk_high");
	if (c->deploy.max_surge == 0 && c->deploy.max_unavailable == 0)
		report(diags, "deploy.max_surge", "max-zero",
		       "max_surge and max_unavailable are both 0: nothing could be replaced");
	return diag_count(diags) == before && !diags->no_memory ? 0 : -1;
}

/* ---- bytes from another process ---- */

static bool
value_fits(const struct field *f, const char *at)
{
	if (f->kind == FIELD_TEXT)
		return memchr(at, '\0', f->size) != NULL;
	if (f->kind == FIELD_CHOICE) {
		int value, most = 0;

		memcpy(&value, at, sizeof(value));
		while (f->names[most] != NULL)
			most++;
		return value >= 0 && value < most;
	}
	if (f->kind == FIELD_BOOL)
		return *(const uint8_t *)at <= 1;
	return true;
}

static bool
section_fits(const struct field_table *t, const char *section)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct field *f = &t->fields[i];
		uint32_t count;

		if (f->kind == FIELD_SECTION) {
			if (!section_fits(f->table, section + f->offset))
				return false;
			continue;
		}
		if (f->kind != FIELD_LIST && f->kind != FIELD_MAP) {
			if (!value_fits(f, section + f->offset))
				return false;
			continue;
		}
		memcpy(&count, section + f->count_offset, sizeof(count));
		if (count > f->cap)
			return false;
		for (uint32_t k = 0; k < count; k++) {
			const char *element = section + f->offset + k * f->stride;

			if (f->kind == FIELD_MAP && memchr(element, '\0', f->name_size) == NULL)
				return false;
			if (f->item->kind == FIELD_SECTION
				    ? !section_fits(f->item->table, element)
				    : !value_fits(f->item, element + f->item->offset))
				return false;
		}
	}
	return true;
}

/* Of this node's, none is one to be chosen; of a peer's, none is one that was refused. */
static bool
prefixes_fit(const struct addr_prefix *v4, const struct addr_prefix *v6)
{
	return (v4->bits == 0 || (v4->bits == 120 && addr_is_v4(&v4->base))) &&
	       (v6->bits == 0 || (v6->bits == 64 && !addr_is_v4(&v6->base)));
}

static bool
overlay_fits(const struct config_overlay *o)
{
	for (uint32_t i = 0; i < o->peers_count; i++)
		if (!prefixes_fit(&o->peers[i].prefix4, &o->peers[i].prefix6))
			return false;
	return prefixes_fit(&o->prefix4, &o->prefix6) &&
	       (o->network.bits == 0 || config_network_fits(&o->network));
}

/* What FIELD_OWN readers fill, which the tables cannot know. */
static bool
own_fits(const struct config *c)
{
	if (c->dataplane.interfaces_count > CONFIG_INTERFACES_MAX ||
	    c->proxy.workers > CONFIG_WORKERS_MAX || !overlay_fits(&c->overlay))
		return false;
	for (uint32_t i = 0; i < c->dataplane.interfaces_count; i++) {
		if (memchr(c->dataplane.interfaces[i].text, '\0', CONFIG_NAME_BYTES) == NULL)
			return false;
	}
	for (uint32_t i = 0; i < c->runtime.mirrors_count; i++) {
		const struct config_mirror *m = &c->runtime.mirrors[i];

		if (m->urls_count > CONFIG_MIRROR_URLS_MAX)
			return false;
		for (uint32_t k = 0; k < m->urls_count; k++) {
			if (memchr(m->urls[k].text, '\0', CONFIG_URL_BYTES) == NULL)
				return false;
		}
	}
	return true;
}

const struct config *
config_check(const void *data, size_t bytes)
{
	const struct config *c = data;

	if (bytes != sizeof(*c) || c->magic != CONFIG_MAGIC || c->abi != CONFIG_ABI ||
	    c->bytes != sizeof(*c))
		return NULL;
	return section_fits(&config_field_table, data) && own_fits(c) ? c : NULL;
}
