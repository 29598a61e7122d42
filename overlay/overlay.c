/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The overlay process. The prefix file is the truth: it is read at every start and written only
 * when it is not there, when node.yaml wants another one, or when the scheduler of a node without
 * containers does because a node of its cluster has the same; then this process ends, and its
 * successor reads it. A
 * damaged file is an error that names it, because containers that run have addresses out of it. The
 * nodes of the cluster, as they were known last, stand in another one (peers_keep.h). The
 * name server of the node's containers lives here too (nameserver.c).
 */
#include "overlay/overlay.h"

#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "overlay/nameserver.h"
#include "overlay/peers.h"
#include "overlay/peers_keep.h"
#include "overlay/prefix.h"
#include "overlay/probing.h"
#include "overlay/sealed.h"
#include "overlay/sealed_heard.h"
#include "overlay/wg/kernel_wire.h"

enum { KEEP_MS = 500 };

static const char file[] = "prefix";
static struct station *station;
static struct peers peers;
static struct prefix prefix;
static uv_timer_t keeping;

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	(void)welcome;
	out->tables[0] = (struct ring_table_layout){
		.table = MSG_TABLE_PREFIX,
		.version = 1,
		.row_bytes = sizeof(struct msg_prefix),
		.rows_max = 4,
	};
	out->tables[1] = peers_layout();
	out->tables[2] = sealed_layout();
	out->tables[3] = sealed_heard_layout();
	out->tables_count = 4;
	out->metric_series = 160 + 4 * MSG_PEERS_MEASURED;
}

static int
keep_prefix(int folder, const struct prefix *p, struct err *err)
{
	char text[PREFIX_TEXT_BYTES];

	prefix_put(p, text, sizeof(text));
	return fd_replace(folder, file, text, strlen(text), 0600, err);
}

static int
make_prefix(const struct config *config, int folder, struct prefix *out, struct err *err)
{
	static const struct config_overlay usual;
	struct addr_prefix network = config_network(config ? &config->overlay : &usual);
	struct world world;

	world_real(&world);
	prefix_choose(&world, &network, out);
	return keep_prefix(folder, out, err);
}

static int
load_prefix(const struct config *config, int folder, struct prefix *out, struct err *err)
{
	struct buf b;
	int rc;

	buf_init(&b, MEM_OVERLAY, PREFIX_TEXT_BYTES);
	if (fd_read_file(folder, file, &b, err) < 0) {
		rc = err->kind == ERR_NOT_FOUND ? make_prefix(config, folder, out, err) : -1;
	} else {
		rc = prefix_parse(buf_cstr(&b), out, err);
		if (rc < 0)
			err_where(err, "overlay/%s below the data folder", file);
	}
	buf_fini(&b);
	return rc;
}

/* NULL when what node handed over is no configuration. */
static const struct config *
configuration(const struct station *st)
{
	size_t bytes;
	const void *data = station_config(st, &bytes);

	return config_check(data, bytes);
}

/* What node.yaml says goes before what was chosen, and is kept from then on. */
static int
apply_config(const struct config *config, int folder, struct prefix *p, struct err *err)
{
	const struct addr_prefix *network = config ? &config->overlay.network : NULL;
	struct prefix before = *p;
	struct world world;

	world_real(&world);
	if (config && config->overlay.prefix4.bits)
		p->v4 = config->overlay.prefix4;
	else if (network && network->bits && !addr_in_prefix(&p->v4.base, network))
		prefix_choose4(&world, network, &p->v4);
	if (config && config->overlay.prefix6.bits)
		p->v6 = config->overlay.prefix6;
	return memcmp(&before, p, sizeof(*p)) == 0 ? 0 : keep_prefix(folder, p, err);
}

/* Another one can be reached in another way. */
static void
publish_peers(void)
{
	if (!peers_publish(station_writer(station), &peers, sealed_reaches, probing_mtu))
		return;
	station_kick(station);
	nameserver_peers();
}

/* Another size fits the way to one of them. */
static void
look_at_sizes(void)
{
	sealed_look();
	publish_peers();
}

static int
start(struct station *st, struct err *err)
{
	const struct config *config = configuration(st);
	struct msg_prefix row;
	char v4[ADDR_TEXT_BYTES], v6[ADDR_TEXT_BYTES];

	station = st;
	uv_timer_init(station_loop(st), &keeping);
	if (load_prefix(config, station_folder(st, 0), &prefix, err) < 0 ||
	    apply_config(config, station_folder(st, 0), &prefix, err) < 0)
		return -1;
	prefix_row(&prefix, &row);
	if (config)
		row.mtu = config->overlay.mtu - PREFIX_ROOM;
	if (ring_table_set(station_writer(st), MSG_TABLE_PREFIX, 1, &row, NULL) != RING_OK)
		return err_set(err, ERR_INTERNAL, "the prefix found no place in its table");
	peers_keep_load(station_folder(st, 0), &peers);
	if (!peers_gather(config, NULL, &peers))
		return err_set(err, ERR_NO_MEMORY, "no memory for the other nodes");
	if (sealed_start(st, &peers, publish_peers, err) < 0)
		return -1;
	probing_start(st, &row.service4, row.mtu, look_at_sizes);
	probing_peers(&peers);
	peers_publish(station_writer(st), &peers, sealed_reaches, probing_mtu);
	station_kick(st);
	addr_put_prefix(&prefix.v4, v4, sizeof(v4));
	addr_put_prefix(&prefix.v6, v6, sizeof(v6));
	log_event(LOG_INFO, "containers of this node get addresses from", log_s("v4", v4),
		  log_s("v6", v6), LOG_END);
	return nameserver_start(st, &row, &peers, err);
}

/* Rows come in a bunch. */
static void
keep_peers(uv_timer_t *timer)
{
	(void)timer;
	peers_keep_save(station_folder(station, 0), &peers);
}

static void
look_at_peers(struct station *st)
{
	(void)peers_gather(configuration(st), station_reader(st, ROLE_SCHEDULER, 0), &peers);
	uv_timer_start(&keeping, keep_peers, KEEP_MS, 0);
	probing_peers(&peers);
	sealed_look();
	publish_peers();
}

/* What node.yaml says is never changed for anybody. */
static void
take_wish(struct station *st, const struct addr_prefix *wish)
{
	const struct config *config = configuration(st);
	struct prefix next = {.v4 = *wish, .v6 = prefix.v6};
	struct err err = {0};

	if (!config || config->overlay.prefix4.bits ||
	    memcmp(&next.v4, &prefix.v4, sizeof(next.v4)) == 0)
		return;
	if (keep_prefix(station_folder(st, 0), &next, &err) < 0) {
		log_err(LOG_ERROR, "the addresses of this node stay as another node's are", &err);
		return;
	}
	log_event(LOG_INFO, "another node has these addresses: others from now on", LOG_END);
	station_leave(st, 0);
}

static void
wake(struct station *st, struct ring_reader *reader)
{
	struct addr_prefix wish;

	nameserver_wake(reader);
	if (ring_reader_role(reader) != ROLE_SCHEDULER ||
	    ring_table_sync(reader, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL) != RING_OK)
		return;
	look_at_peers(st);
	if (peers_wish(reader, &wish))
		take_wish(st, &wish);
}

static void
message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	if (m->kind == LEASH_CONFIG)
		look_at_peers(st);
	probing_message(m, fds);
	sealed_message(m, fds, count);
	if (m->kind != LEASH_LISTENER || text_starts(m->name, "dns-"))
		nameserver_message(m, fds, count);
}

static void
leave(struct station *st)
{
	uv_timer_stop(&keeping);
	peers_keep_save(station_folder(st, 0), &peers);
	probing_end();
	sealed_end();
	station_leave(st, 0);
}

static void
stop(struct station *st, uint64_t grace_ms)
{
	(void)grace_ms;
	leave(st);
}

/* Without it the kernel's WireGuard is not to be had: said when somebody wants that. */
static int
open_libraries(struct station *st, struct err *err)
{
	struct err missing = {0};

	(void)st;
	(void)err;
	if (kernel_wire_open(&missing) < 0)
		log_err(LOG_DEBUG, "the kernel's WireGuard cannot be spoken to", &missing);
	return 0;
}

const struct station_role overlay_role = {
	.role = ROLE_OVERLAY,
	.layout = layout,
	.open = open_libraries,
	.start = start,
	.peer = wake,
	.wake = wake,
	.message = message,
	.stop = stop,
	.orphaned = leave,
};
