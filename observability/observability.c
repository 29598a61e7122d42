/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The observability process. It reads every other process's segment and writes nothing that another
 * one needs: when it is late, records are lost and counted; when it dies, nothing else notices.
 */
#include "observability/observability.h"

#include <openssl/crypto.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "observability/access.h"
#include "observability/scrape.h"
#include "ring/metrics.h"
#include "spec/config.h"

enum { RECORDS_PER_TURN = 512 };

struct observability {
	struct station *st;
	bool listening;
	uv_idle_t again; /* runs while more records wait */
};

static struct observability o;

static const struct config *
config_now(void)
{
	size_t bytes;
	const struct config *config = station_config(o.st, &bytes);

	return bytes >= sizeof(*config) ? config : NULL;
}

/* ---- records ---- */

static const char *
service_of(uint64_t route)
{
	struct ring_reader *scheduler = station_reader(o.st, ROLE_SCHEDULER, 0);
	const struct msg_route *row =
		scheduler ? ring_table_get(scheduler, MSG_TABLE_ROUTE, route) : NULL;

	return row && MSG_OK(row->service_label) ? row->service_label : "";
}

static void
count_dropped(const char *reason, uint64_t n)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "service", "");
	metric_label(&labels, "sink", "access");
	metric_label(&labels, "reason", reason);
	metric_add(metrics_get(station_metrics(o.st), METRICS_LOG_LINES_DROPPED, &labels), n);
}

static void
take_access(const struct ring_record *record)
{
	const struct config *config = config_now();
	struct access_record r;

	if (!access_parse(record->data, record->bytes, &r))
		count_dropped("malformed", 1);
	else if (config && access_wanted(&config->logs.access, &r))
		access_write(&r, service_of(r.fixed.route));
}

static void
count_records(const struct ring_reader *reader, uint64_t n, uint64_t lost)
{
	struct metric_labels labels = {0}, lost_labels = {0};
	char ring[40];

	text_format(ring, sizeof(ring), "%s.%u", role_name(ring_reader_role(reader)),
		    ring_reader_index(reader));
	metric_label(&labels, "ring", ring);
	metric_label(&labels, "direction", "read");
	metric_add(metrics_get(station_metrics(o.st), METRICS_RING_MESSAGES, &labels), n);
	if (!lost)
		return;
	metric_label(&lost_labels, "ring", ring);
	metric_label(&lost_labels, "direction", "lost");
	metric_add(metrics_get(station_metrics(o.st), METRICS_RING_MESSAGES, &lost_labels), lost);
	count_dropped("late", lost);
}

static void go_on(uv_idle_t *idle);

static void
drain(void *arg, struct ring_reader *reader)
{
	struct ring_record record;
	uint16_t role = ring_reader_role(reader);
	uint64_t n = 0, lost = 0;

	(void)arg;
	while (n < RECORDS_PER_TURN && ring_log_next(reader, &record) == RING_OK) {
		n++;
		lost += record.lost;
		if (record.type == MSG_RECORD_ACCESS && role == ROLE_PROXY)
			take_access(&record);
	}
	if (n)
		count_records(reader, n, lost);
	if (n == RECORDS_PER_TURN)
		uv_idle_start(&o.again, go_on);
}

/* A turn of the loop lies between two batches: scrapes are answered in between. */
static void
go_on(uv_idle_t *idle)
{
	uv_idle_stop(idle);
	station_readers(o.st, ROLE_PROXY, drain, NULL);
}

static void
keep_copy(void *arg, uint64_t key, const void *row)
{
	(void)arg;
	(void)key;
	(void)row;
}

static void
wake(struct station *st, struct ring_reader *reader)
{
	(void)st;
	if (ring_reader_role(reader) == ROLE_SCHEDULER)
		ring_table_sync(reader, MSG_TABLE_ROUTE, sizeof(struct msg_route), keep_copy, NULL);
	if (ring_reader_role(reader) == ROLE_NODE)
		ring_table_sync(reader, MSG_TABLE_NODE, sizeof(struct msg_node), keep_copy, NULL);
	if (ring_reader_role(reader) == ROLE_PROXY)
		drain(NULL, reader);
}

static void
peer(struct station *st, struct ring_reader *reader)
{
	ring_log_start(reader, true);
	wake(st, reader);
}

/* ---- /metrics ---- */

static void
set_build_info(void)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "version", ZLAYER_VERSION);
	metric_label(&labels, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
	metric_set(metrics_get(station_metrics(o.st), METRICS_BUILD_INFO, &labels), 1);
}

static void
set_node_info(void)
{
	struct ring_reader *node = station_reader(o.st, ROLE_NODE, 0);
	const struct msg_node *row = node ? ring_table_get(node, MSG_TABLE_NODE, 1) : NULL;
	struct metric_labels labels = {0};

	if (!row || !MSG_OK(row->name) || !MSG_OK(row->zone) || !MSG_OK(row->kernel))
		return;
	metric_label(&labels, "node", row->name);
	metric_label(&labels, "zone", row->zone);
	metric_label(&labels, "kernel", row->kernel);
	metric_label(&labels, "xdp_mode", "off");
	metric_set(metrics_get(station_metrics(o.st), METRICS_NODE_INFO, &labels), 1);
}

static void
gather_reader(void *arg, struct ring_reader *reader)
{
	const struct metric_page *page = ring_reader_metrics(reader);

	if (page)
		gather_page(arg, page, ring_reader_metric_series(reader));
}

static bool
render(void *arg, enum exposition_format format, struct buf *out)
{
	uint64_t begin = world_mono_ns();
	struct metric_page *own = station_metrics(o.st);
	struct metric_series *folded = metrics_get(own, METRICS_SERIES_FOLDED, NULL);
	struct gather g;

	(void)arg;
	set_node_info();
	gather_init(&g);
	for (unsigned role = 1; role < ROLES_; role++)
		station_readers(o.st, (uint16_t)role, gather_reader, &g);
	if (g.folded > folded->values[0])
		metric_add(folded, g.folded - folded->values[0]);
	gather_page(&g, own, own->capacity);
	gather_sort(&g);
	exposition_write(&g, format, out);
	bool ok = !g.failed && buf_ok(out);
	gather_fini(&g);
	metric_set(metrics_get(own, METRICS_SCRAPE_DURATION, NULL),
		   (int64_t)(world_mono_ns() - begin));
	return ok;
}

static void
message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	struct err err = {0};

	if (m->kind != LEASH_LISTENER || count != 1 || !text_equal(m->name, "metrics") ||
	    o.listening)
		return;
	if (scrape_listen(station_loop(st), fd_take(&fds[0]), render, NULL, &err) < 0)
		log_err(LOG_ERROR, "metrics are not served", &err);
	else
		o.listening = true;
}

/* ---- the role ---- */

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	(void)welcome;
	out->metric_series = 512;
}

static int
start(struct station *st, struct err *err)
{
	(void)err;
	o.st = st;
	uv_idle_init(station_loop(st), &o.again);
	set_build_info();
	metric_set(metrics_get(station_metrics(st), METRICS_SCRAPE_DURATION, NULL), 0);
	return 0;
}

const struct station_role observability_role = {
	.role = ROLE_OBSERVABILITY,
	.layout = layout,
	.start = start,
	.peer = peer,
	.wake = wake,
	.message = message,
};
