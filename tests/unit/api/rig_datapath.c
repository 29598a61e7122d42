/* SPDX-License-Identifier: Apache-2.0 */
/* The data path, overlay and node that pretend: each has a table or two, and never changes. */
#include "base/text.h"
#include "ring/msg.h"
#include "tests/unit/api/rig.h"

static void
one_table(struct ring_layout *l, uint16_t table, uint32_t bytes)
{
	l->tables[0] = (struct ring_table_layout){table, 1, bytes, 8};
	l->tables_count = 1;
	l->metric_series = 16;
}

static void
dataplane_layout(const struct leash_welcome *w, struct ring_layout *l)
{
	(void)w;
	one_table(l, MSG_TABLE_DATAPATH, sizeof(struct msg_datapath));
}

static int
dataplane_start(struct station *st, struct err *err)
{
	const struct msg_datapath row = {.bpf = 1,
					 .hook = MSG_HOOK_TCX,
					 .edge = 1,
					 .across = 1,
					 .xdp = MSG_XDP_GENERIC,
					 .links_count = 1,
					 .links = {"eth0"}};

	(void)err;
	ring_table_set(station_writer(st), MSG_TABLE_DATAPATH, 1, &row, NULL);
	return 0;
}

static void
overlay_layout(const struct leash_welcome *w, struct ring_layout *l)
{
	(void)w;
	one_table(l, MSG_TABLE_PEER, sizeof(struct msg_peer));
	l->tables[l->tables_count++] =
		(struct ring_table_layout){MSG_TABLE_PREFIX, 1, sizeof(struct msg_prefix), 4};
}

static void
put_peer(struct station *st, const char *name, const char *v4, uint32_t ways)
{
	static uint64_t id;
	struct msg_peer row = {.id = ++id, .ways = ways};

	text_copy(row.name, sizeof(row.name), name);
	(void)addr_parse_prefix(v4, &row.v4);
	(void)addr_parse_prefix("fd00:1::/64", &row.v6);
	row.address = row.v6.base; /* where it is nobody knows */
	ring_table_set(station_writer(st), MSG_TABLE_PEER, row.id, &row, NULL);
}

/* edge-2 and edge-9 are reached, and take no clients. */
static int
overlay_start(struct station *st, struct err *err)
{
	const struct msg_prefix own = {.mtu = 1420};

	(void)err;
	ring_table_set(station_writer(st), MSG_TABLE_PREFIX, 1, &own, NULL);
	put_peer(st, "edge-9", "10.200.3.0/24", MSG_WAY_SEALED);
	put_peer(st, "hand", "10.200.4.0/24", MSG_WAY_PLAIN | MSG_WAY_TRUSTED | MSG_WAY_CLIENTS);
	put_peer(st, "edge-2", "10.200.2.0/24", MSG_WAY_SEALED);
	put_peer(st, "wide", "10.0.0.0/16", MSG_WAY_PLAIN | MSG_WAY_TRUSTED);
	return 0;
}

static void
node_layout(const struct leash_welcome *w, struct ring_layout *l)
{
	(void)w;
	one_table(l, MSG_TABLE_UPLINK, sizeof(struct msg_uplink));
}

static int
node_start(struct station *st, struct err *err)
{
	const struct msg_uplink row = {.state = MSG_UPLINK_UP, .ifindex = 2};

	(void)err;
	ring_table_set(station_writer(st), MSG_TABLE_UPLINK, 1, &row, NULL);
	return 0;
}

const struct station_role rig_dataplane = {
	.role = ROLE_DATAPLANE, .layout = dataplane_layout, .start = dataplane_start};
const struct station_role rig_overlay = {
	.role = ROLE_OVERLAY, .layout = overlay_layout, .start = overlay_start};
const struct station_role rig_node = {
	.role = ROLE_NODE, .layout = node_layout, .start = node_start};
