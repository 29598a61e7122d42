/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The overlay process. The prefix file is the truth: it is read at every start and written only
 * when it is not there; a damaged one is an error that names it, because containers that run have
 * addresses out of it. The name server of the node's containers lives here too (nameserver.c).
 */
#include "overlay/overlay.h"

#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "overlay/nameserver.h"
#include "overlay/prefix.h"

static const char file[] = "prefix";
static const char cluster4_text[] = "10.200.0.0/16";

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
	out->tables_count = 1;
	out->metric_series = 96;
}

static int
make_prefix(int folder, struct prefix *out, struct err *err)
{
	char text[PREFIX_TEXT_BYTES];
	struct addr_prefix cluster4;
	struct world world;

	world_real(&world);
	if (!addr_parse_prefix(cluster4_text, &cluster4))
		return err_set(err, ERR_INTERNAL, "the cluster's prefix is wrong");
	prefix_choose(&world, &cluster4, out);
	prefix_put(out, text, sizeof(text));
	return fd_replace(folder, file, text, strlen(text), 0600, err);
}

static int
load_prefix(int folder, struct prefix *out, struct err *err)
{
	struct buf b;
	int rc;

	buf_init(&b, MEM_OVERLAY, PREFIX_TEXT_BYTES);
	if (fd_read_file(folder, file, &b, err) < 0) {
		rc = err->kind == ERR_NOT_FOUND ? make_prefix(folder, out, err) : -1;
	} else {
		rc = prefix_parse(buf_cstr(&b), out, err);
		if (rc < 0)
			err_where(err, "overlay/%s below the data folder", file);
	}
	buf_fini(&b);
	return rc;
}

static int
start(struct station *st, struct err *err)
{
	struct prefix prefix;
	struct msg_prefix row;
	char v4[ADDR_TEXT_BYTES], v6[ADDR_TEXT_BYTES];

	if (load_prefix(station_folder(st, 0), &prefix, err) < 0)
		return -1;
	prefix_row(&prefix, &row);
	if (ring_table_set(station_writer(st), MSG_TABLE_PREFIX, 1, &row, NULL) != RING_OK)
		return err_set(err, ERR_INTERNAL, "the prefix found no place in its table");
	station_kick(st);
	addr_put_prefix(&prefix.v4, v4, sizeof(v4));
	addr_put_prefix(&prefix.v6, v6, sizeof(v6));
	log_event(LOG_INFO, "containers of this node get addresses from", log_s("v4", v4),
		  log_s("v6", v6), LOG_END);
	return nameserver_start(st, &row, err);
}

static void
wake(struct station *st, struct ring_reader *reader)
{
	(void)st;
	nameserver_wake(reader);
}

static void
message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	(void)st;
	nameserver_message(m, fds, count);
}

const struct station_role overlay_role = {
	.role = ROLE_OVERLAY,
	.layout = layout,
	.start = start,
	.peer = wake,
	.wake = wake,
	.message = message,
};
