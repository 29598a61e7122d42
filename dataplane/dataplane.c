/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dataplane process: makes the kernel's hooks and maps follow runtime's table of veths. Without
 * BPF (no right, no kernel support, dataplane.mode: off) it says so in table datapath, and the
 * fabric's routes carry the packets.
 */
#include "dataplane/dataplane.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "dataplane/across.h"
#include "dataplane/balancer.h"
#include "dataplane/bpf/tc_veth.h"
#include "dataplane/denied.h"
#include "dataplane/hook.h"
#include "dataplane/identities.h"
#include "dataplane/links.h"
#include "dataplane/members.h"
#include "dataplane/packets.h"
#include "dataplane/program.h"
#include "dataplane/skel.h"
#include "dataplane/tunnel.h"
#include "dataplane/veth.h"
#include "dataplane/telling.h"
#include "ring/metrics.h"
#include "spec/config.h"

enum {
	DRAIN_ROWS = 256,
	SWEEP_MS = 30000,
	COUNT_MS = 5000,
	LOG_BYTES = 1 << 20, /* some thousand flows */
};

struct dataplane {
	struct station *st;
	struct veth *veth;         /* NULL: BPF is not in force */
	struct tunnel *tunnel;     /* NULL: as well */
	struct identities *ids;    /* NULL: as well */
	struct telling *telling;   /* NULL: as well */
	struct balancer *balancer; /* NULL: as well */
	struct across *across;     /* NULL: as well */
	struct lb *left;           /* by a predecessor, for the balancer */
	struct links links;
	bool peers_failed, devices_failed; /* they are tried again */
	struct log_few few;
	struct err why_not;
	uv_timer_t sweep;
	uv_timer_t counter;
	struct packets packets;
};

static struct dataplane dataplane;

/* ---- tables ---- */

static void
publish_datapath(void)
{
	struct msg_datapath row = {0};

	row.bpf = dataplane.veth != NULL;
	row.generation = station_welcome(dataplane.st)->generation;
	text_format(row.pin, sizeof(row.pin), "/sys/fs/bpf/zlayer/%s/%d",
		    station_welcome(dataplane.st)->instance, TC_VETH_FOLDER);
	if (!dataplane.veth)
		msg_reason_from(&dataplane.why_not, &row.reason);
	if (dataplane.balancer)
		balancer_tell(dataplane.balancer, &row);
	ring_table_set(station_writer(dataplane.st), MSG_TABLE_DATAPATH, 1, &row, NULL);
	station_kick(dataplane.st);
}

/* ---- the way to other nodes ---- */

struct peers {
	struct members members;
	struct tunnel_row rows[TUNNEL_PEERS_MAX];
	size_t count, more; /* those that have no place */
};

static bool
add_peer(void *arg, uint64_t key, const void *row)
{
	struct peers *p = arg;

	(void)key;
	if (p->count == TUNNEL_PEERS_MAX) {
		p->more++;
		return true;
	}
	enum members_answer is = members_is(&p->members, row);
	p->rows[p->count++] = (struct tunnel_row){.peer = row,
						  .member = is == MEMBERS_YES,
						  .member_as_before = is == MEMBERS_AS_BEFORE};
	return true;
}

static void
tell_more(size_t more)
{
	static size_t told;

	if (more && more != told)
		log_event(LOG_ERROR, "more peers than the data path can have",
			  log_u("most", TUNNEL_PEERS_MAX), log_u("left_out", more), LOG_END);
	told = more;
}

static bool
said(const struct ring_reader *reader, uint16_t table)
{
	return reader && ring_table_version(reader, table) > 0;
}

static void
sync_peers(void)
{
	static struct peers peers;
	struct ring_reader *overlay = station_reader(dataplane.st, ROLE_OVERLAY, 0);
	struct err err = {0};

	if (!said(overlay, MSG_TABLE_PEER))
		return;
	peers.count = peers.more = 0;
	members_init(&peers.members, station_reader(dataplane.st, ROLE_SCHEDULER, 0));
	ring_table_each(overlay, MSG_TABLE_PEER, add_peer, &peers);
	members_fini(&peers.members);
	tell_more(peers.more);
	dataplane.peers_failed = tunnel_peers(dataplane.tunnel, peers.rows, peers.count, &err) < 0;
	if (dataplane.peers_failed && log_few(&dataplane.few, world_mono_ns()))
		log_err(LOG_ERROR, "the data path does not know all peers", &err);
	if (dataplane.balancer)
		balancer_mesh(dataplane.balancer);
}

static const void *
row_of(const struct ring_reader *reader, uint16_t table)
{
	return reader ? ring_table_get(reader, table, 1) : NULL;
}

static void
sync_devices(void)
{
	struct ring_reader *overlay = station_reader(dataplane.st, ROLE_OVERLAY, 0);
	struct ring_reader *node = station_reader(dataplane.st, ROLE_NODE, 0);
	struct ring_reader *runtime = station_reader(dataplane.st, ROLE_RUNTIME, 0);
	struct err err = {0};

	/* Nor do programs go to devices before the maps that they look into have somebody in them.
	 */
	if (!said(overlay, MSG_TABLE_PEER) || !said(runtime, MSG_TABLE_VETH))
		return;
	const struct tunnel_devices devices = {
		.underlay = row_of(node, MSG_TABLE_UNDERLAY),
		.tunnel = row_of(node, MSG_TABLE_TUNNEL),
		.prefix = row_of(overlay, MSG_TABLE_PREFIX),
	};
	/* Who has just begun has said nothing: what stands goes on. A way that is off has a row. */
	if (!devices.underlay || !devices.tunnel || !devices.prefix)
		return;
	dataplane.devices_failed = tunnel_devices(dataplane.tunnel, &devices, &err) < 0;
	if (dataplane.devices_failed && log_few(&dataplane.few, world_mono_ns()))
		log_err(LOG_ERROR, "the data path to other nodes is not whole", &err);
}

/* Addresses that are nobody's here are refused from then on. */
static void
sync_prefix(struct ring_reader *overlay)
{
	const struct msg_prefix *row;
	struct err err = {0};

	ring_table_sync(overlay, MSG_TABLE_PREFIX, sizeof(struct msg_prefix), NULL, NULL);
	row = ring_table_get(overlay, MSG_TABLE_PREFIX, 1);
	if (!row || !said(overlay, MSG_TABLE_PEER))
		return;
	if (tunnel_prefix(dataplane.tunnel, row, &err) < 0) {
		log_err(LOG_ERROR, "the data path does not know this node's addresses", &err);
		return;
	}
	dataplane.links.has_prefix = true;
	links_look(&dataplane.links);
}

/* ---- whose addresses are ---- */

static void
identity_changed(void *arg, uint64_t key, const void *row)
{
	static struct log_few few;
	struct err err = {0};

	(void)arg;
	if (identities_change(dataplane.ids, key, row, &err) < 0 && log_few(&few, world_mono_ns()))
		log_err(LOG_ERROR, "the data path does not know what a replica is", &err);
}

static void
sync_identities(struct ring_reader *scheduler)
{
	struct err err = {0};

	identities_begin(dataplane.ids, ring_reader_generation(scheduler));
	if (ring_table_sync(scheduler, MSG_TABLE_IDENTITY, sizeof(struct msg_identity),
			    identity_changed, NULL) != RING_OK)
		return;
	if (dataplane.balancer)
		balancer_mesh(dataplane.balancer);
	if (identities_settle(dataplane.ids,
			      ring_table_get(scheduler, MSG_TABLE_IDENTITY, MSG_IDENTITY_WHOLE),
			      &err) < 0)
		log_err(LOG_ERROR, "the data path does not know what all replicas are", &err);
	links_look(&dataplane.links);
}

/* ---- who observes ---- */

static uint64_t
wish_of(uint16_t role)
{
	struct ring_reader *reader = station_reader(dataplane.st, role, 0);
	const struct msg_observe *row =
		reader ? ring_table_get(reader, MSG_TABLE_OBSERVE, 1) : NULL;

	return row ? row->until_mono_ns : 0;
}

static void
sync_observe(struct ring_reader *reader)
{
	uint64_t scheduler, api;
	struct err err = {0};

	if (ring_table_sync(reader, MSG_TABLE_OBSERVE, sizeof(struct msg_observe), NULL, NULL) !=
	    RING_OK)
		return;
	scheduler = wish_of(ROLE_SCHEDULER);
	api = wish_of(ROLE_API);
	if (telling_observe(dataplane.telling, scheduler > api ? scheduler : api, &err) < 0)
		log_err(LOG_ERROR, "flows are not told", &err);
}

static void
flow_told(void *arg, const struct msg_flow *told)
{
	struct ring_writer *w = station_writer(dataplane.st);
	struct msg_flow flow = *told;

	(void)arg;
	denied_name(station_reader(dataplane.st, ROLE_SCHEDULER, 0), &flow);
	ring_log_put(w, MSG_RECORD_FLOW, 1, &flow, sizeof(flow));
	ring_log_publish(w);
	station_kick(dataplane.st);
}

static void
wake_tunnel(unsigned role, struct ring_reader *reader)
{
	enum ring_status status;

	switch (role) {
	case ROLE_OVERLAY:
		/* Before containers' devices get programs that look for them. */
		if (ring_table_sync(reader, MSG_TABLE_PEER, sizeof(struct msg_peer), NULL, NULL) ==
		    RING_OK)
			sync_peers();
		sync_prefix(reader);
		sync_devices();
		return;
	case ROLE_NODE:
		status = ring_table_sync(reader, MSG_TABLE_UNDERLAY, sizeof(struct msg_underlay),
					 NULL, NULL);
		if (ring_table_sync(reader, MSG_TABLE_TUNNEL, sizeof(struct msg_tunnel), NULL,
				    NULL) == RING_OK ||
		    status == RING_OK)
			sync_devices();
		return;
	case ROLE_SCHEDULER:
		if (ring_table_sync(reader, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL) ==
		    RING_OK)
			sync_peers();
		sync_identities(reader);
		sync_observe(reader);
		return;
	case ROLE_API:
		sync_observe(reader);
		return;
	}
}

static void
wake(struct station *st, struct ring_reader *reader)
{
	unsigned role = ring_reader_role(reader);

	(void)st;
	if (role == ROLE_RUNTIME) {
		if (ring_table_sync(reader, MSG_TABLE_VETH, sizeof(struct msg_veth), links_changed,
				    &dataplane.links) == RING_OK &&
		    dataplane.tunnel)
			sync_devices();
	}
	/* Scheduler says that all replicas are named after it has put all backends: backends are
	 * read later than that. */
	if (dataplane.tunnel && role == ROLE_SCHEDULER)
		wake_tunnel(role, reader);
	if (dataplane.balancer && role != ROLE_RUNTIME)
		balancer_wake(dataplane.balancer, reader);
	if (dataplane.tunnel && role != ROLE_SCHEDULER)
		wake_tunnel(role, reader);
}

/* ---- what a runtime that came back no longer has ---- */

static void
sweep(uv_timer_t *timer)
{
	struct ring_reader *runtime = station_reader(dataplane.st, ROLE_RUNTIME, 0);

	if (runtime)
		wake(dataplane.st, runtime);
	links_sweep(&dataplane.links);
	if (dataplane.links.waits || dataplane.links.former)
		uv_timer_start(timer, sweep, SWEEP_MS, 0);
}

static void
peer(struct station *st, struct ring_reader *reader)
{
	wake(st, reader);
	if (ring_reader_role(reader) == ROLE_RUNTIME)
		uv_timer_start(&dataplane.sweep, sweep, SWEEP_MS, 0);
}

/* ---- counters ---- */

static void
count(uv_timer_t *timer)
{
	struct metric_page *page = station_metrics(dataplane.st);
	struct err err = {0};

	(void)timer;
	links_look(&dataplane.links);
	if (dataplane.peers_failed)
		sync_peers();
	if (dataplane.devices_failed)
		sync_devices();
	tunnel_count(dataplane.tunnel, page);
	if (packets_look(&dataplane.packets, dataplane.veth, page, &err) < 0)
		log_err(LOG_WARN, "packets are not counted", &err);
}

/* ---- the role ---- */

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	(void)welcome;
	out->tables[0] = (struct ring_table_layout){
		.table = MSG_TABLE_ATTACHED,
		.version = 1,
		.row_bytes = sizeof(struct msg_attached),
		.rows_max = LINKS_MAX,
	};
	out->tables[1] = (struct ring_table_layout){
		.table = MSG_TABLE_DATAPATH,
		.version = 1,
		.row_bytes = sizeof(struct msg_datapath),
		.rows_max = 4,
	};
	out->tables[2] = (struct ring_table_layout){
		.table = MSG_TABLE_APPLIED,
		.version = 1,
		.row_bytes = sizeof(struct msg_applied),
		.rows_max = 1,
	};
	out->tables[3] = (struct ring_table_layout){
		.table = MSG_TABLE_DRAIN,
		.version = 1,
		.row_bytes = sizeof(struct msg_drain),
		.rows_max = DRAIN_ROWS,
	};
	out->tables[4] = (struct ring_table_layout){
		.table = MSG_TABLE_DEMAND,
		.version = 1,
		.row_bytes = sizeof(struct msg_demand),
		.rows_max = MSG_STREAM_PORTS_MAX,
	};
	out->tables_count = 5;
	out->log_bytes = LOG_BYTES;
	out->metric_series = 1024 + 3 * MSG_PEERS_MEASURED;
}

static bool
switched_off(struct station *st)
{
	size_t bytes;
	const struct config *config = station_config(st, &bytes);

	return bytes >= sizeof(*config) && config->dataplane.mode == CONFIG_XDP_OFF;
}

static void
adopt_balancer(struct station *st)
{
	size_t bytes;
	const struct config *config = station_config(st, &bytes);
	struct err err = {0};

	if (bytes < sizeof(*config) || !lb_stands(veth_folder(dataplane.veth)))
		return;
	const struct lb_calls calls = {veth_chain(dataplane.veth), veth_denied(dataplane.veth)};
	if (lb_open(veth_folder(dataplane.veth), config->dataplane.max_flows, &calls,
		    &dataplane.left, &err) < 0)
		log_err(LOG_WARN, "the balancer that was left is not taken over", &err);
}

/* No BPF is no reason not to serve. What a predecessor hooked would judge by what was true then. */
static int
open_role(struct station *st, struct err *err)
{
	if (fchdir(station_folder(st, 0)) < 0) {
		err_sys(&dataplane.why_not, errno, "cannot enter the BPF file system");
		return 0;
	}
	if (switched_off(st)) {
		err_set(&dataplane.why_not, ERR_UNSUPPORTED, "dataplane.mode is off");
		hook_leave_all(TC_VETH_FOLDER);
		return 0;
	}
	if (veth_open(station_welcome(st)->uid, &dataplane.veth, &dataplane.why_not) < 0) {
		dataplane.veth = NULL;
		log_err(LOG_WARN, "BPF is not in force", &dataplane.why_not);
		hook_leave_all(TC_VETH_FOLDER);
		return 0;
	}
	if (across_new(dataplane.veth, &dataplane.across, err) < 0)
		return -1;
	adopt_balancer(st);
	dataplane.tunnel = tunnel_new(dataplane.veth);
	dataplane.ids = identities_new(dataplane.veth);
	if (!dataplane.tunnel || !dataplane.ids)
		return err_set(err, ERR_NO_MEMORY, "no memory for the data path");
	return telling_open(dataplane.veth, &dataplane.telling, err);
}

static int
start(struct station *st, struct err *err)
{
	dataplane.st = st;
	dataplane.links = (struct links){.st = st,
					 .veth = dataplane.veth,
					 .ids = dataplane.ids,
					 .why_not = &dataplane.why_not};
	if (dataplane.veth) {
		dataplane.balancer = balancer_new(st, dataplane.veth, dataplane.across,
						  dataplane.left, publish_datapath);
		if (!dataplane.balancer)
			return err_set(err, ERR_NO_MEMORY, "no memory for the balancer");
		dataplane.links.balancer = dataplane.balancer;
		if (telling_start(dataplane.telling, station_loop(st), flow_told, NULL, err) < 0)
			return -1;
	}
	publish_datapath();
	uv_timer_init(station_loop(st), &dataplane.sweep);
	uv_timer_init(station_loop(st), &dataplane.counter);
	if (dataplane.veth)
		uv_timer_start(&dataplane.counter, count, 0, COUNT_MS);
	packets_begin(&dataplane.packets, station_metrics(st));
	program_begin(station_metrics(st), "xdp_root");
	program_begin(station_metrics(st), "tc_uplink");
	return 0;
}

static void
message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	(void)st;
	(void)fds;
	(void)count;
	if (m->kind == LEASH_CONFIG && dataplane.balancer)
		balancer_config(dataplane.balancer);
}

const struct station_role dataplane_role = {
	.role = ROLE_DATAPLANE,
	.layout = layout,
	.open = open_role,
	.start = start,
	.peer = peer,
	.wake = wake,
	.message = message,
};
