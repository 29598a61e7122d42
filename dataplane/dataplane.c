/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dataplane process: makes the kernel's hooks and maps follow runtime's table of veths. Without
 * BPF (no right, no kernel support, dataplane.mode: off) it says so in table datapath, and the
 * fabric's routes carry the packets.
 *
 * A runtime that restarts publishes its veths again bit by bit. So a veth goes when its row is
 * removed, or when a runtime that came back has not named it for a while: never just because a new
 * table is still empty. By the same rule what a predecessor of this process left in the kernel of
 * containers that went meanwhile is dropped.
 */
#include "dataplane/dataplane.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/text.h"
#include "dataplane/balancer.h"
#include "dataplane/bpf/tc_veth.h"
#include "dataplane/program.h"
#include "dataplane/skel.h"
#include "dataplane/tunnel.h"
#include "dataplane/veth.h"
#include "ring/metrics.h"
#include "spec/config.h"

enum { VETHS_MAX = 4096, DRAIN_ROWS = 256, SWEEP_MS = 30000, COUNT_MS = 5000 };

struct dataplane {
	struct station *st;
	struct veth *veth;         /* NULL: BPF is not in force */
	struct tunnel *tunnel;     /* NULL: as well */
	struct balancer *balancer; /* NULL: as well */
	struct lb *left;           /* by a predecessor, for the balancer */
	struct err why_not;
	uv_timer_t sweep;
	uv_timer_t counter;
	uint64_t counted[TC_VETH_COUNTS];
	bool has_counted;
	struct program_time times[3]; /* of programs of tc_veth */
};

static struct dataplane dataplane = {
	.times = {{.name = "tc_veth_in"}, {.name = "tc_vxlan_in"}, {.name = "tc_vxlan_out"}}};

/* ---- tables ---- */

static void
publish_datapath(void)
{
	struct msg_datapath row = {0};

	row.bpf = dataplane.veth != NULL;
	row.generation = station_welcome(dataplane.st)->generation;
	text_format(row.pin, sizeof(row.pin), "/sys/fs/bpf/zlayer/%s/%d",
		    station_welcome(dataplane.st)->instance, TC_VETH_ABI);
	if (!dataplane.veth)
		msg_reason_from(&dataplane.why_not, &row.reason);
	if (dataplane.balancer)
		balancer_tell(dataplane.balancer, &row);
	ring_table_set(station_writer(dataplane.st), MSG_TABLE_DATAPATH, 1, &row, NULL);
	station_kick(dataplane.st);
}

static void
publish_attached(const struct msg_veth *veth, enum msg_hook hook, const struct err *err)
{
	struct msg_attached row = {
		.replica = veth->replica,
		.ifindex = veth->ifindex,
		.hook = err->kind ? 0 : (uint32_t)hook,
	};

	if (err->kind)
		msg_reason_from(err, &row.reason);
	if (ring_table_set(station_writer(dataplane.st), MSG_TABLE_ATTACHED, veth->replica, &row,
			   NULL) != RING_OK)
		log_event(LOG_ERROR, "no place to say that a device is attached", LOG_END);
	station_kick(dataplane.st);
}

static void
detach(uint64_t replica)
{
	if (dataplane.veth)
		veth_remove(dataplane.veth, replica);
	if (dataplane.balancer)
		balancer_veth(dataplane.balancer, replica, NULL);
	ring_table_remove(station_writer(dataplane.st), MSG_TABLE_ATTACHED, replica);
	station_kick(dataplane.st);
}

static void
changed(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_veth *row = bytes;
	enum msg_hook hook = 0;
	struct err err = {0};

	(void)arg;
	if (!row) {
		detach(key);
		return;
	}
	if (!dataplane.veth)
		err = dataplane.why_not;
	else if (row->replica != key || row->ifindex == 0)
		err_set(&err, ERR_CORRUPT, "a row of runtime's veths does not hold");
	else if (veth_add(dataplane.veth, row, &hook, &err) < 0)
		log_err(LOG_ERROR, "a container's device is not attached", &err);
	else if (dataplane.balancer)
		balancer_veth(dataplane.balancer, key, row);
	publish_attached(row, hook, &err);
}

/* ---- the way to other nodes ---- */

struct peers {
	const struct msg_peer *rows[TUNNEL_PEERS_MAX];
	size_t count;
};

static bool
add_peer(void *arg, uint64_t key, const void *row)
{
	struct peers *p = arg;

	(void)key;
	p->rows[p->count++] = row;
	return p->count < TUNNEL_PEERS_MAX;
}

static void
sync_peers(struct ring_reader *overlay)
{
	struct peers peers = {.count = 0};
	struct err err = {0};

	if (ring_table_sync(overlay, MSG_TABLE_PEER, sizeof(struct msg_peer), NULL, NULL) !=
	    RING_OK)
		return;
	ring_table_each(overlay, MSG_TABLE_PEER, add_peer, &peers);
	if (tunnel_peers(dataplane.tunnel, peers.rows, peers.count, &err) < 0)
		log_err(LOG_ERROR, "the data path does not know all peers", &err);
}

static void
sync_device(void)
{
	struct ring_reader *overlay = station_reader(dataplane.st, ROLE_OVERLAY, 0);
	struct ring_reader *node = station_reader(dataplane.st, ROLE_NODE, 0);
	struct err err = {0};

	/* Who is not there yet says nothing: what stands goes on. */
	if (!overlay || !node || ring_table_version(node, MSG_TABLE_UNDERLAY) == 0 ||
	    ring_table_version(overlay, MSG_TABLE_PREFIX) == 0)
		return;
	const struct msg_underlay *underlay = ring_table_get(node, MSG_TABLE_UNDERLAY, 1);
	if (underlay && tunnel_device(dataplane.tunnel, underlay,
				      ring_table_get(overlay, MSG_TABLE_PREFIX, 1), &err) < 0)
		log_err(LOG_ERROR, "the data path to other nodes is not in force", &err);
}

static void
wake(struct station *st, struct ring_reader *reader)
{
	unsigned role = ring_reader_role(reader);

	(void)st;
	if (role == ROLE_RUNTIME)
		ring_table_sync(reader, MSG_TABLE_VETH, sizeof(struct msg_veth), changed, NULL);
	else if (dataplane.balancer)
		balancer_wake(dataplane.balancer, reader);
	if (!dataplane.tunnel)
		return;
	if (role == ROLE_OVERLAY) {
		ring_table_sync(reader, MSG_TABLE_PREFIX, sizeof(struct msg_prefix), NULL, NULL);
		sync_peers(reader);
		sync_device();
	} else if (role == ROLE_NODE &&
		   ring_table_sync(reader, MSG_TABLE_UNDERLAY, sizeof(struct msg_underlay), NULL,
				   NULL) == RING_OK) {
		sync_device();
	}
}

/* ---- what a runtime that came back no longer has ---- */

struct stale {
	struct ring_reader *runtime;
	uint64_t replicas[VETHS_MAX];
	size_t count;
};

static void
note_stale(void *arg, uint64_t replica)
{
	struct stale *s = arg;

	if (!ring_table_get(s->runtime, MSG_TABLE_VETH, replica) && s->count < VETHS_MAX)
		s->replicas[s->count++] = replica;
}

static void
sweep(uv_timer_t *timer)
{
	static struct stale stale;

	(void)timer;
	stale.runtime = station_reader(dataplane.st, ROLE_RUNTIME, 0);
	stale.count = 0;
	if (!stale.runtime || !dataplane.veth)
		return;
	wake(dataplane.st, stale.runtime);
	veth_each(dataplane.veth, note_stale, &stale);
	for (size_t i = 0; i < stale.count; i++)
		detach(stale.replicas[i]);
	if (ring_table_version(stale.runtime, MSG_TABLE_VETH) > 0)
		veth_forget_others(dataplane.veth);
}

static void
peer(struct station *st, struct ring_reader *reader)
{
	wake(st, reader);
	if (ring_reader_role(reader) == ROLE_RUNTIME)
		uv_timer_start(&dataplane.sweep, sweep, SWEEP_MS, 0);
}

/* ---- counters ---- */

static struct metric_series *
series_of(enum tc_veth_count which)
{
	static const struct {
		enum metrics_id id;
		const char *label, *value;
	} names[TC_VETH_COUNTS] = {
		[TC_VETH_REDIRECTED] = {METRICS_DATAPLANE_PACKETS, "verdict", "redirect"},
		[TC_VETH_PASSED] = {METRICS_DATAPLANE_PACKETS, "verdict", "pass"},
		[TC_VETH_DROP_SOURCE] = {METRICS_DATAPLANE_DROPS, "reason", "source"},
		[TC_VETH_DROP_SHORT] = {METRICS_DATAPLANE_DROPS, "reason", "short"},
		[TC_VETH_DROP_UNKNOWN_LINK] = {METRICS_DATAPLANE_DROPS, "reason", "unknown_link"},
	};
	struct metric_labels labels = {0};

	metric_label(&labels, "interface", "veth");
	metric_label(&labels, names[which].label, names[which].value);
	return metrics_get(station_metrics(dataplane.st), names[which].id, &labels);
}

static void
count_times(void)
{
	const struct tc_veth *loaded = veth_loaded(dataplane.veth);
	const struct bpf_program *const programs[] = {
		loaded->progs.tc_veth_in, loaded->progs.tc_vxlan_in, loaded->progs.tc_vxlan_out};

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		program_count(&dataplane.times[i], libbpf.bpf_program__fd(programs[i]),
			      station_metrics(dataplane.st));
}

/* The map outlives this process: only what was added since the last look is counted here, so that
 * node's sum over generations counts every packet once. */
static void
count(uv_timer_t *timer)
{
	uint64_t now[TC_VETH_COUNTS];
	struct err err = {0};

	(void)timer;
	tunnel_count(dataplane.tunnel, station_metrics(dataplane.st));
	count_times();
	if (veth_counts(dataplane.veth, now, &err) < 0) {
		log_err(LOG_WARN, "packets are not counted", &err);
		return;
	}
	for (unsigned i = 0; i < TC_VETH_COUNTS; i++) {
		if (dataplane.has_counted && now[i] > dataplane.counted[i])
			metric_add(series_of(i), now[i] - dataplane.counted[i]);
		dataplane.counted[i] = now[i];
	}
	dataplane.has_counted = true;
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
		.rows_max = VETHS_MAX,
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
	out->metric_series = 1024 + 3 * TUNNEL_PEERS_MAX;
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
	if (lb_open(veth_folder(dataplane.veth), config->dataplane.max_flows,
		    veth_chain(dataplane.veth), &dataplane.left, &err) < 0)
		log_err(LOG_WARN, "the balancer that was left is not taken over", &err);
}

/* No BPF is no reason not to serve. */
static int
open_role(struct station *st, struct err *err)
{
	if (switched_off(st)) {
		err_set(&dataplane.why_not, ERR_UNSUPPORTED, "dataplane.mode is off");
		return 0;
	}
	if (fchdir(station_folder(st, 0)) < 0) {
		err_sys(&dataplane.why_not, errno, "cannot enter the BPF file system");
		return 0;
	}
	if (veth_open(station_welcome(st)->uid, &dataplane.veth, &dataplane.why_not) < 0) {
		dataplane.veth = NULL;
		log_err(LOG_WARN, "BPF is not in force", &dataplane.why_not);
		return 0;
	}
	adopt_balancer(st);
	dataplane.tunnel = tunnel_new(dataplane.veth);
	return dataplane.tunnel ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for the data path");
}

static int
start(struct station *st, struct err *err)
{
	dataplane.st = st;
	if (dataplane.veth) {
		dataplane.balancer =
			balancer_new(st, dataplane.veth, dataplane.left, publish_datapath);
		if (!dataplane.balancer)
			return err_set(err, ERR_NO_MEMORY, "no memory for the balancer");
	}
	publish_datapath();
	uv_timer_init(station_loop(st), &dataplane.sweep);
	uv_timer_init(station_loop(st), &dataplane.counter);
	if (dataplane.veth)
		uv_timer_start(&dataplane.counter, count, 0, COUNT_MS);
	for (unsigned i = 0; i < TC_VETH_COUNTS; i++)
		metric_add(series_of(i), 0);
	for (size_t i = 0; i < sizeof(dataplane.times) / sizeof(dataplane.times[0]); i++)
		program_begin(station_metrics(st), dataplane.times[i].name);
	program_begin(station_metrics(st), "xdp_root");
	program_begin(station_metrics(st), "tc_uplink");
	tunnel_begin_metrics(station_metrics(st));
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
