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
}

/* edge-2 is reached, and takes no clients. */
static int
overlay_start(struct station *st, struct err *err)
{
	struct msg_peer row = {.id = 20, .name = "edge-2", .ways = MSG_WAY_SEALED};

	(void)err;
	(void)addr_parse_prefix("10.200.2.0/24", &row.v4);
	ring_table_set(station_writer(st), MSG_TABLE_PEER, row.id, &row, NULL);
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
