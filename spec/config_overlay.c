/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The section `overlay` of node.yaml: this node's prefixes, and other nodes that are written by
 * hand. Prefixes have one size (/24, /64) on all nodes, so that nobody needs to be told which part
 * of an address names the node.
 */
#include "spec/config_field.h"

#include <assert.h>
#include <string.h>

enum {
	PREFIX4_BITS = 96 + 24,
	PREFIX6_BITS = 64,
	NETWORK_BITS_MIN = 96 + 8,
	NETWORK_BITS = 96 + 22
};

/* ---- the network of all nodes ---- */

struct addr_prefix
config_network(const struct config_overlay *o)
{
	struct addr_prefix usual;
	bool ok = addr_parse_prefix(CONFIG_NETWORK, &usual);

	assert(ok);
	(void)ok;
	return o->network.bits ? o->network : usual;
}

uint32_t
config_network_places(const struct addr_prefix *network)
{
	return (UINT32_C(1) << (PREFIX4_BITS - network->bits)) - 2;
}

void
config_network_place(const struct addr_prefix *network, uint32_t nth, struct addr_prefix *out)
{
	assert(nth < config_network_places(network));
	addr_prefix_part(network, PREFIX4_BITS, 1 + nth, out);
}

bool
config_network_fits(const struct addr_prefix *network)
{
	return network->bits >= NETWORK_BITS_MIN && network->bits <= NETWORK_BITS &&
	       addr_prefix_is_private4(network);
}

/* ---- values ---- */

static bool
read_sized(struct field_ctx *ctx, const struct yaml_node *n, struct addr_prefix *out, bool v4)
{
	memset(out, 0, sizeof(*out));
	if (!config_value_prefix(ctx, n, out))
		return false;
	if (addr_is_v4(&out->base) == v4 && out->bits == (v4 ? PREFIX4_BITS : PREFIX6_BITS))
		return true;
	memset(out, 0, sizeof(*out));
	field_diag(ctx, n, "invalid-prefix", NULL, "a prefix here is %s",
		   v4 ? "an IPv4 /24, as 10.200.7.0/24" : "an IPv6 /64, as fd00:1:2:3::/64");
	return false;
}

static bool
is_auto(const struct yaml_node *n)
{
	return n == NULL || (n->kind == YAML_TEXT && strcmp(n->text, "auto") == 0);
}

static bool
read_own(struct field_ctx *ctx, const struct yaml_node *n, struct addr_prefix *out, bool v4)
{
	memset(out, 0, sizeof(*out));
	if (is_auto(n))
		return true;
	return read_sized(ctx, n, out, v4);
}

static void
put_own(struct emit *e, const char *key, const struct addr_prefix *p)
{
	if (p->bits == 0)
		emit_text(e, key, "auto");
	else
		config_value_put_prefix(e, key, p);
}

#define OWN(m, is_v4)                                                                         \
	static bool read_##m(struct field_ctx *ctx, const struct yaml_node *n, void *section) \
	{                                                                                     \
		return read_own(ctx, n, &((struct config_overlay *)section)->m, is_v4);       \
	}                                                                                     \
	static void put_##m(struct emit *e, const char *key, const void *section)             \
	{                                                                                     \
		put_own(e, key, &((const struct config_overlay *)section)->m);                \
	}
OWN(prefix4, true)
OWN(prefix6, false)

/* Others take no prefix for a route that is not private. */
static bool
read_network(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct addr_prefix *out = &((struct config_overlay *)section)->network;

	memset(out, 0, sizeof(*out));
	if (is_auto(n))
		return true;
	if (!config_value_prefix(ctx, n, out))
		return false;
	if (config_network_fits(out))
		return true;
	memset(out, 0, sizeof(*out));
	field_diag(ctx, n, "invalid-prefix", NULL,
		   "the network of all nodes' containers is private IPv4 of /8 to /22, as "
		   "10.128.0.0/9");
	return false;
}

static void
put_network(struct emit *e, const char *key, const void *section)
{
	put_own(e, key, &((const struct config_overlay *)section)->network);
}

static bool
read_address(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	struct config_peer *peer = section;

	if (n == NULL || !field_is_text(ctx, n, "an address"))
		return false;
	if (addr_parse_ip(n->text, &peer->address) && !addr_is_zero(&peer->address))
		return true;
	field_diag(ctx, n, "invalid-address", NULL, "\"%.60s\" is not an IP address without a port",
		   n->text);
	return false;
}

static void
put_address(struct emit *e, const char *key, const void *section)
{
	char text[ADDR_TEXT_BYTES];

	addr_put_ip(&((const struct config_peer *)section)->address, text, sizeof(text));
	emit_text(e, key, text);
}

static bool
read_peer4(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	return n != NULL && read_sized(ctx, n, &((struct config_peer *)section)->prefix4, true);
}

static bool
read_peer6(struct field_ctx *ctx, const struct yaml_node *n, void *section)
{
	return n != NULL && read_sized(ctx, n, &((struct config_peer *)section)->prefix6, false);
}

static void
put_peer4(struct emit *e, const char *key, const void *section)
{
	config_value_put_prefix(e, key, &((const struct config_peer *)section)->prefix4);
}

static void
put_peer6(struct emit *e, const char *key, const void *section)
{
	config_value_put_prefix(e, key, &((const struct config_peer *)section)->prefix6);
}

/* ---- tables ---- */

#define NEEDED(k, r, p)                                                                         \
	{                                                                                       \
		.key = (k), .kind = FIELD_OWN, .read = (r), .put = (p), .flags = FIELD_REQUIRED \
	}

static const struct field peer_fields[] = {
	{.key = "name",
	 .kind = FIELD_TEXT,
	 FIELD_AT(struct config_peer, name),
	 .flags = FIELD_INLINE | FIELD_REQUIRED,
	 .min = 1,
	 .text = config_value_label},
	NEEDED("address", read_address, put_address),
	NEEDED("prefix4", read_peer4, put_peer4),
	NEEDED("prefix6", read_peer6, put_peer6),
};
static const struct field_table peer_table = {.what = "peers", FIELD_TABLE(peer_fields)};
static const struct field peer_item = {.kind = FIELD_SECTION, .table = &peer_table};

static const char *const backends[] = {"auto", "engine", "kernel", NULL};

static const struct field overlay_fields[] = {
	CONFIG_OWN("prefix4", read_prefix4, put_prefix4),
	CONFIG_OWN("prefix6", read_prefix6, put_prefix6),
	CONFIG_OWN("network", read_network, put_network),
	/* Containers get 80 less, and at least IPv6's least. */
	CONFIG_NUMBER(overlay, mtu, 1360, 65535, 1500),
	CONFIG_NUMBER(overlay, vni, 1, 16777215, 9884),
	CONFIG_DURATION(overlay, rotate_ms, "rotate", 0, UINT64_C(30) * 86400000),
	CONFIG_CHOICE(overlay, backend, backends, CONFIG_BACKEND_AUTO),
	CONFIG_LIST(overlay, peers, &peer_item, CONFIG_PEERS_MAX),
};
const struct field_table config_overlay = {.what = "overlay", FIELD_TABLE(overlay_fields)};

/* ---- what must agree ---- */

static const char *
clash(const struct config_peer *a, const struct config_peer *b)
{
	if (strcmp(a->name, b->name) == 0)
		return "two peers have the same name";
	if (addr_equal_ip(&a->address, &b->address))
		return "two peers have the same address";
	if (addr_prefix_overlap(&a->prefix4, &b->prefix4) ||
	    addr_prefix_overlap(&a->prefix6, &b->prefix6))
		return "two peers have the same prefix";
	return NULL;
}

static const char *
clash_with_own(const struct config *c, const struct config_peer *p)
{
	const struct config_overlay *o = &c->overlay;

	if ((o->prefix4.bits && addr_prefix_overlap(&o->prefix4, &p->prefix4)) ||
	    (o->prefix6.bits && addr_prefix_overlap(&o->prefix6, &p->prefix6)))
		return "a peer has this node's own prefix";
	return NULL;
}

bool
config_listens_everywhere(const struct config_listen *l)
{
	return l->on && (addr_is_zero(&l->addr) || (addr_is_v4(&l->addr) && !addr_v4_be(&l->addr)));
}

void
config_overlay_check(const struct config *c, struct diag_list *diags)
{
	const struct config_overlay *o = &c->overlay;
	const char *wrong = NULL;

	for (uint32_t i = 0; i < o->peers_count && !wrong; i++) {
		wrong = clash_with_own(c, &o->peers[i]);
		for (uint32_t k = 0; k < i && !wrong; k++)
			wrong = clash(&o->peers[i], &o->peers[k]);
	}
	if (wrong)
		diag_add(diags, "duplicate-peer", (struct diag_pos){0}, "overlay.peers", NULL, "%s",
			 wrong);
	if (o->peers_count && c->cluster.encrypt)
		diag_add(
			diags, "invalid-choice", (struct diag_pos){0}, "cluster.encrypt", NULL,
			"peers that are written by hand are reached without encryption: it must be "
			"false");
	if (o->rotate_ms && o->rotate_ms < CONFIG_ROTATE_MIN_MS)
		diag_add(
			diags, "too-small", (struct diag_pos){0}, "overlay.rotate", NULL,
			"must be at least 10m, or 0s for never: each new key is told to all nodes");
	if (o->backend == CONFIG_BACKEND_KERNEL && c->listen.overlay.on &&
	    !config_listens_everywhere(&c->listen.overlay))
		diag_add(diags, "invalid-choice", (struct diag_pos){0}, "listen.overlay", NULL,
			 "the kernel's WireGuard listens at all addresses: with overlay.backend "
			 "\"kernel\" it must be 0.0.0.0:PORT");
}
