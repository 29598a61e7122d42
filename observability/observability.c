/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The observability process. It reads every other process's segment and writes nothing that another
 * one needs: when it is late, records are lost and counted; when it dies, nothing else notices.
 */
#include "observability/observability.h"

#include <bpf/libbpf_version.h>
#include <openssl/crypto.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "base/world.h"
#include "observability/access.h"
#include "observability/gzip.h"
#include "observability/revision.h"
#include "observability/scrape.h"
#include "ring/metrics.h"
#include "spec/config.h"

enum { RECORDS_PER_TURN = 512, SERIES_PER_SERVICE = 200, ALL_HERE_MS = 5000 };

struct observability {
	struct station *st;
	bool listening, stopping;
	bool complete;
	struct metric_series *node_info;
	uint64_t wait_until_ms;
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
	metric_label(&lost_labels, "ring", ring);
	metric_label(&lost_labels, "direction", "lost");
	metric_add(metrics_get(station_metrics(o.st), METRICS_RING_MESSAGES, &lost_labels), lost);
	if (lost)
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
	if (ring_reader_role(reader) == ROLE_DATAPLANE)
		ring_table_sync(reader, MSG_TABLE_DATAPATH, sizeof(struct msg_datapath), keep_copy,
				NULL);
	if (ring_reader_role(reader) == ROLE_NODE) {
		ring_table_sync(reader, MSG_TABLE_NODE, sizeof(struct msg_node), keep_copy, NULL);
		ring_table_sync(reader, MSG_TABLE_PROCESS, sizeof(struct msg_process), keep_copy,
				NULL);
	}
	if (ring_reader_role(reader) == ROLE_PROXY)
		drain(NULL, reader);
}

static void
peer(struct station *st, struct ring_reader *reader)
{
	ring_log_start(reader, true);
	if (ring_reader_role(reader) == ROLE_PROXY)
		count_records(reader, 0, 0);
	wake(st, reader);
}

/* ---- /metrics ---- */

#define LIBBPF_TEXT_(n) #n
#define LIBBPF_TEXT(n) LIBBPF_TEXT_(n)

static void
set_build_info(void)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "version", ZLAYER_VERSION);
	metric_label(&labels, "revision", ZLAYER_REVISION);
	metric_label(&labels, "libbpf",
		     LIBBPF_TEXT(LIBBPF_MAJOR_VERSION) "." LIBBPF_TEXT(LIBBPF_MINOR_VERSION));
	metric_label(&labels, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
	metric_set(metrics_get(station_metrics(o.st), METRICS_BUILD_INFO, &labels), 1);
}

static const char *
xdp_mode(void)
{
	struct ring_reader *dataplane = station_reader(o.st, ROLE_DATAPLANE, 0);
	const struct msg_datapath *row =
		dataplane ? ring_table_get(dataplane, MSG_TABLE_DATAPATH, 1) : NULL;

	if (row && row->xdp == MSG_XDP_NATIVE)
		return "native";
	return row && row->xdp == MSG_XDP_GENERIC ? "generic" : "off";
}

static void
set_node_info(void)
{
	struct ring_reader *node = station_reader(o.st, ROLE_NODE, 0);
	const struct msg_node *row = node ? ring_table_get(node, MSG_TABLE_NODE, 1) : NULL;
	struct metric_labels labels = {0};
	struct metric_series *info;

	if (!row || !MSG_OK(row->name) || !MSG_OK(row->zone) || !MSG_OK(row->kernel))
		return;
	metric_label(&labels, "node", row->name);
	metric_label(&labels, "zone", row->zone);
	metric_label(&labels, "kernel", row->kernel);
	metric_label(&labels, "xdp_mode", xdp_mode());
	info = metrics_get(station_metrics(o.st), METRICS_NODE_INFO, &labels);
	metric_set(info, 1);
	if (o.node_info && o.node_info != info)
		metric_hide(o.node_info);
	o.node_info = info;
}

static void
gather_reader(void *arg, struct ring_reader *reader)
{
	const struct metric_page *page = ring_reader_metrics(reader);

	if (page)
		gather_page(arg, page, ring_reader_metric_series(reader));
}

/* What an earlier process of this role, or an earlier scrape, counted already is not counted twice.
 * labels as in the text format. */
static void
count_folded(void *arg, const char *service, uint64_t label_sets)
{
	struct gather *g = arg;
	const struct gather_series *known = gather_find(g, METRICS_SERIES_FOLDED, service);
	uint64_t before = known ? known->values[0] : 0;
	struct metric_labels labels = {.length = strlen(service)};

	memcpy(labels.text, service, labels.length);
	if (label_sets > before) {
		metric_add(metrics_get(station_metrics(o.st), METRICS_SERIES_FOLDED, &labels),
			   label_sets - before);
		gather_count(g, METRICS_SERIES_FOLDED, service, label_sets - before);
	}
}

static void
reduce(struct gather *g)
{
	const struct config *config = config_now();
	struct gather_limits limits = {
		.per_replica = !config || config->metrics.per_replica,
		.series_max = config ? config->metrics.max_series_per_service : SERIES_PER_SERVICE,
		.folded = count_folded,
		.arg = g,
	};

	gather_reduce(g, &limits);
	count_folded(g, "service=\"\"", g->folded);
}

static bool
is_here(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_process *row = bytes;

	(void)key;
	*(bool *)arg = row->state != MSG_PROCESS_UP || row->role == ROLE_OBSERVABILITY ||
		       station_reader(o.st, row->role, row->index) != NULL;
	return *(bool *)arg;
}

/* After the start the others' pages come one by one. Until all are here, sums would be too small:
 * for whoever scrapes, counters that went back. */
static bool
all_here(void *arg)
{
	struct ring_reader *node = station_reader(o.st, ROLE_NODE, 0);

	(void)arg;
	if (o.complete || uv_now(station_loop(o.st)) > o.wait_until_ms)
		return true;
	if (!node)
		return false;
	wake(o.st, node);
	o.complete = true;
	ring_table_each(node, MSG_TABLE_PROCESS, is_here, &o.complete);
	return o.complete;
}

static bool
render(void *arg, enum exposition_format format, struct buf *out)
{
	uint64_t begin = world_mono_ns();
	struct metric_page *own = station_metrics(o.st);
	struct gather g;

	(void)arg;
	set_node_info();
	gather_init(&g);
	for (unsigned role = 1; role < ROLES_; role++)
		station_readers(o.st, (uint16_t)role, gather_reader, &g);
	gather_page(&g, own, own->capacity);
	reduce(&g);
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
	    o.listening || o.stopping)
		return;
	if (scrape_listen(station_loop(st), fd_take(&fds[0]), all_here, render, NULL, &err) < 0)
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

/* Answers are plain without zlib. */
static int
open_role(struct station *st, struct err *err)
{
	struct err missing = {0};

	(void)st;
	(void)err;
	if (gzip_load(&missing) < 0)
		log_err(LOG_WARN, "metrics are not compressed", &missing);
	return 0;
}

static int
start(struct station *st, struct err *err)
{
	struct metric_labels labels = {0};

	(void)err;
	o.st = st;
	o.wait_until_ms = uv_now(station_loop(st)) + ALL_HERE_MS;
	uv_idle_init(station_loop(st), &o.again);
	set_build_info();
	metric_set(metrics_get(station_metrics(st), METRICS_SCRAPE_DURATION, NULL), 0);
	metric_label(&labels, "service", "");
	metric_add(metrics_get(station_metrics(st), METRICS_SERIES_FOLDED, &labels), 0);
	count_dropped("late", 0);
	count_dropped("malformed", 0);
	return 0;
}

static void
left(void *arg)
{
	station_leave(arg, 0);
}

static void
stop(struct station *st, uint64_t grace_ms)
{
	if (o.stopping)
		return;
	o.stopping = true;
	scrape_stop(station_loop(st), grace_ms < SCRAPE_DRAIN_MS ? grace_ms : SCRAPE_DRAIN_MS, left,
		    st);
}

const struct station_role observability_role = {
	.role = ROLE_OBSERVABILITY,
	.layout = layout,
	.open = open_role,
	.start = start,
	.peer = peer,
	.wake = wake,
	.message = message,
	.stop = stop,
};
