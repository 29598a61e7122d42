/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe process: one timer per target, at most one connection under way for each. A row that
 * changed (another attempt, another address) starts its counts anew; a row that left takes its
 * result with it. A scheduler that came again may publish bit by bit: what its table does not name
 * is asked on for a while, so that no replica loses its results to a restart. Connections are made
 * inside the fabric's network namespace, where this process lives; it has no other right.
 */
#include "runtime/probe.h"

#include <string.h>
#include "base/log.h"
#include "base/map.h"
#include "base/world.h"
#include "ring/metrics.h"
#include "runtime/probe_check.h"

enum { TARGETS_MAX = 4096, SWEEP_MS = 30000 };

struct target;

/* One check under way: outlives its target until libuv has closed it. */
struct attempt {
	union {
		uv_handle_t handle;
		uv_tcp_t tcp;
		uv_udp_t udp;
	};
	uv_connect_t connect;
	uv_write_t write;
	struct target *target; /* NULL: nobody waits for it any more */
	uint64_t started_ns;
	size_t request_bytes;
	char request[PROBE_REQUEST_BYTES];
	char input[4096];
	struct probe_check check;
};

struct target {
	uint64_t key;
	struct msg_probe row;
	struct msg_result result;
	uv_timer_t timer;
	struct attempt *attempt;
	struct metric_series *succeeded, *failed;
};

struct probe_state {
	struct station *st;
	struct map targets; /* key -> struct target */
	uv_timer_t sweep;
};

static struct probe_state probe;

static void plan_next(struct target *t, uint64_t wait_ms);

/* ---- one check ---- */

static void
attempt_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void
attempt_drop(struct attempt *a)
{
	if (a->target)
		a->target->attempt = NULL;
	a->target = NULL;
	if (!uv_is_closing(&a->handle))
		uv_close(&a->handle, attempt_closed);
}

static void
attempt_end(struct attempt *a, enum msg_result_failure failure)
{
	struct target *t = a->target;

	if (!t)
		return;
	probe_check_count(&t->result, failure, world_mono_ns() - a->started_ns, world_wall_ns());
	attempt_drop(a);
	metric_add(t->result.ok ? t->succeeded : t->failed, 1);
	if (ring_table_set(station_writer(probe.st), MSG_TABLE_RESULT, t->key, &t->result, NULL) !=
	    RING_OK)
		log_event(LOG_WARN, "a check's result found no place", LOG_END);
	station_kick(probe.st);
	plan_next(t, probe_check_wait_ms(&t->row, &t->result));
}

/* A step that failed at once or later. */
static void
attempt_fail(struct attempt *a, int uv_status)
{
	struct target *t = a->target;

	if (!t || !probe_check_is_own(uv_status)) {
		attempt_end(a, probe_check_failure(uv_status));
		return;
	}
	attempt_drop(a);
	plan_next(t, t->row.interval_ms);
}

static void
give_memory(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct attempt *a = handle->data;

	(void)suggested;
	*out = uv_buf_init(a->input, sizeof(a->input));
}

static void
was_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct attempt *a = stream->data;
	enum msg_result_failure failure;

	if (n == 0 || !a->target)
		return;
	if (n < 0 && n != UV_EOF) {
		attempt_fail(a, (int)n);
		return;
	}
	if (probe_check_feed(&a->check, &a->target->row, buf->base, n > 0 ? (size_t)n : 0,
			     &a->target->result, &failure) == PROBE_DONE)
		attempt_end(a, failure);
}

static void
was_written(uv_write_t *request, int status)
{
	struct attempt *a = request->data;

	if (status < 0 && status != UV_ECANCELED)
		attempt_fail(a, status);
}

static void
was_connected(uv_connect_t *request, int status)
{
	struct attempt *a = request->data;

	if (!a->target)
		return;
	if (status < 0 || a->target->row.check == MSG_CHECK_TCP) {
		attempt_fail(a, status);
		return;
	}
	uv_buf_t out = uv_buf_init(a->request, (unsigned)a->request_bytes);

	a->write.data = a;
	int rc = uv_read_start((uv_stream_t *)&a->tcp, give_memory, was_read);
	if (rc == 0)
		rc = uv_write(&a->write, (uv_stream_t *)&a->tcp, &out, 1, was_written);
	if (rc < 0)
		attempt_fail(a, rc);
}

static void
was_answered(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
	     unsigned flags)
{
	struct attempt *a = udp->data;

	(void)flags;
	/* n 0 without an address: nothing more to read. */
	if (!a->target || (n == 0 && !from))
		return;
	if (n < 0)
		attempt_fail(a, (int)n);
	else
		attempt_end(a, probe_check_datagram(&a->target->row, buf->base, (size_t)n,
						    &a->target->result));
}

/* A closed port is told by ICMP when the socket is connected. */
static int
send_datagram(struct attempt *a, const struct sockaddr *to)
{
	struct target *t = a->target;
	uv_buf_t out = uv_buf_init(t->row.request, (unsigned)strlen(t->row.request));
	int rc = uv_udp_init(station_loop(probe.st), &a->udp);

	a->handle.data = a;
	if (rc == 0)
		rc = uv_udp_connect(&a->udp, to);
	if (rc == 0)
		rc = uv_udp_recv_start(&a->udp, give_memory, was_answered);
	if (rc == 0)
		rc = uv_udp_try_send(&a->udp, &out, 1, NULL);
	return rc < 0 ? rc : 0;
}

static void
timed_out(uv_timer_t *timer)
{
	struct target *t = timer->data;

	if (t->attempt)
		attempt_end(t->attempt, MSG_FAILURE_TIMEOUT);
}

static void
start_check(uv_timer_t *timer)
{
	struct target *t = timer->data;
	struct sockaddr_storage to;
	struct attempt *a = mem_zalloc(MEM_RUNTIME, sizeof(*a));

	if (!a) {
		plan_next(t, t->row.interval_ms);
		return;
	}
	a->target = t;
	a->started_ns = world_mono_ns();
	t->attempt = a;
	uv_timer_start(&t->timer, timed_out, t->row.timeout_ms, 0);
	addr_to_sockaddr(&t->row.addr, &to);
	if (t->row.check == MSG_CHECK_UDP) {
		int rc = send_datagram(a, (struct sockaddr *)&to);

		if (rc < 0)
			attempt_fail(a, rc);
		return;
	}
	probe_check_init(&a->check);
	a->request_bytes = probe_check_request(&t->row, a->request, sizeof(a->request));
	uv_tcp_init(station_loop(probe.st), &a->tcp);
	a->tcp.data = a;
	a->connect.data = a;
	int rc = uv_tcp_connect(&a->connect, &a->tcp, (struct sockaddr *)&to, was_connected);
	if (rc < 0)
		attempt_fail(a, rc);
}

static void
plan_next(struct target *t, uint64_t wait_ms)
{
	uv_timer_start(&t->timer, start_check, wait_ms, 0);
}

/* ---- targets ---- */

static void
target_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void
target_remove(struct target *t)
{
	if (t->attempt)
		attempt_drop(t->attempt);
	map_remove_u64(&probe.targets, t->key);
	ring_table_remove(station_writer(probe.st), MSG_TABLE_RESULT, t->key);
	station_kick(probe.st);
	uv_close((uv_handle_t *)&t->timer, target_closed);
}

static struct target *
target_add(uint64_t key)
{
	struct target *t = mem_zalloc(MEM_RUNTIME, sizeof(*t));

	if (!t)
		return NULL;
	if (map_count(&probe.targets) >= TARGETS_MAX || map_put_u64(&probe.targets, key, t) < 0) {
		mem_free(t);
		return NULL;
	}
	t->key = key;
	uv_timer_init(station_loop(probe.st), &t->timer);
	t->timer.data = t;
	return t;
}

static struct metric_series *
count_of(const struct msg_probe *row, const char *result)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "service", row->service_label);
	metric_label(&labels, "result", result);
	return metrics_get(station_metrics(probe.st), METRICS_HEALTH_CHECKS, &labels);
}

static void
changed(void *arg, uint64_t key, const void *bytes)
{
	const struct msg_probe *row = bytes;
	struct target *t = map_get_u64(&probe.targets, key);

	(void)arg;
	if (!row || !probe_check_row(row)) {
		if (row)
			log_event(LOG_WARN, "a probe that does not hold is not made",
				  log_u("key", key), LOG_END);
		if (t)
			target_remove(t);
		return;
	}
	if (!t)
		t = target_add(key);
	if (!t) {
		log_event(LOG_ERROR, "no place for another probe", log_u("key", key), LOG_END);
		return;
	}
	/* A scheduler that came again says the same: counts go on. */
	if (memcmp(&t->row, row, sizeof(*row)) == 0)
		return;
	if (t->attempt)
		attempt_drop(t->attempt);
	t->row = *row;
	t->succeeded = count_of(row, "success");
	t->failed = count_of(row, "failure");
	memset(&t->result, 0, sizeof(t->result));
	t->result.replica = row->replica;
	t->result.attempt = row->attempt;
	plan_next(t, 0);
}

static void
wake(struct station *st, struct ring_reader *reader)
{
	(void)st;
	if (ring_reader_role(reader) == ROLE_SCHEDULER)
		ring_table_sync(reader, MSG_TABLE_PROBE, sizeof(struct msg_probe), changed, NULL);
}

/* What the table of the scheduler that came again still does not name. */
static void
sweep(uv_timer_t *timer)
{
	struct ring_reader *reader = station_reader(probe.st, ROLE_SCHEDULER, 0);
	static uint64_t old[TARGETS_MAX];
	size_t count = 0;
	struct map_iter it = {0};

	(void)timer;
	if (!reader)
		return; /* its successor starts the time anew */
	wake(probe.st, reader);
	while (map_next(&probe.targets, &it)) {
		struct target *t = it.value;

		if (!ring_table_get(reader, MSG_TABLE_PROBE, t->key))
			old[count++] = t->key;
	}
	for (size_t i = 0; i < count; i++)
		target_remove(map_get_u64(&probe.targets, old[i]));
}

static void
peer(struct station *st, struct ring_reader *reader)
{
	wake(st, reader);
	if (ring_reader_role(reader) == ROLE_SCHEDULER)
		uv_timer_start(&probe.sweep, sweep, SWEEP_MS, 0);
}

/* ---- the role ---- */

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	(void)welcome;
	out->tables[0] = (struct ring_table_layout){
		.table = MSG_TABLE_RESULT,
		.version = 1,
		.row_bytes = sizeof(struct msg_result),
		.rows_max = TARGETS_MAX,
	};
	out->tables_count = 1;
	out->metric_series = 512;
}

static int
start(struct station *st, struct err *err)
{
	(void)err;
	probe.st = st;
	map_init(&probe.targets, MEM_RUNTIME);
	uv_timer_init(station_loop(st), &probe.sweep);
	return 0;
}

const struct station_role probe_role = {
	.role = ROLE_PROBE,
	.layout = layout,
	.start = start,
	.peer = peer,
	.wake = wake,
};
