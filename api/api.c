/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The api process: wires the ring to the server. It keeps no state of its own: what it shows is in
 * other processes' tables, what it changes it asks for. Its libraries (libyaml for documents,
 * libjansson for bodies) are loaded before it is confined.
 */
#include "api/api.h"

#include <string.h>
#include "api/feed.h"
#include "api/hold.h"
#include "api/leave.h"
#include "api/logs.h"
#include "api/rows.h"
#include "api/server.h"
#include "api/upload.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "spec/yaml.h"
#include "wire/json_read.h"

enum { AGAIN_MS = 5, TICK_MS = 10000, ASK_SLOTS = 256 };

static struct server server;
static uv_timer_t again, tick;

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	(void)welcome;
	out->request_slots = ASK_SLOTS;
	out->request_body_bytes = RING_BODY_MAX;
	out->metric_series = 16;
}

static int
open_libraries(struct station *st, struct err *err)
{
	(void)st;
	if (dl_load_yaml(err) < 0)
		return -1;
	return json_read_open(err);
}

/* ---- the ring ---- */

static void on_again(uv_timer_t *timer);

static void
drain_log(struct ring_reader *reader)
{
	struct ring_record record;

	while (ring_log_next(reader, &record) == RING_OK) {
		struct msg_event event = {0};

		if (record.type != MSG_RECORD_EVENT)
			continue;
		memcpy(&event, record.data,
		       record.bytes < sizeof(event) ? record.bytes : sizeof(event));
		bus_put(&server.bus, &event);
	}
}

static void
wake(struct station *st, struct ring_reader *reader)
{
	uint16_t role = ring_reader_role(reader);

	(void)st;
	if (!rows_sync(&server, reader))
		uv_timer_start(&again, on_again, AGAIN_MS, 0);
	if (role == ROLE_SCHEDULER)
		drain_log(reader);
	if (role == ROLE_SCHEDULER || role == ROLE_RUNTIME) {
		feed_wake(&server);
		logs_wake(&server);
	}
	hold_wake(&server);
}

static void
wake_reader(void *arg, struct ring_reader *reader)
{
	wake(arg, reader);
}

static void
on_again(uv_timer_t *timer)
{
	struct station *st = timer->data;
	static const uint16_t roles[] = {ROLE_NODE, ROLE_SCHEDULER, ROLE_RUNTIME, ROLE_SIGNER,
					 ROLE_DATAPLANE};

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		station_readers(st, roles[i], wake_reader, st);
}

static void
peer(struct station *st, struct ring_reader *reader)
{
	wake(st, reader);
	if (ring_reader_role(reader) == ROLE_SCHEDULER)
		feed_scheduler_here(&server);
}

static void
on_tick(uv_timer_t *timer)
{
	(void)timer;
	feed_tick(&server);
}

/* ---- life ---- */

static int
start(struct station *st, struct err *err)
{
	uv_timer_t *timers[] = {&again, &tick};
	const struct api_times none = {0}, *times = station_arg(st);

	(void)err;
	server_init(&server, st);
	times = times ? times : &none;
	hold_init(&server, times->hold_ms);
	server.linger_ms = times->linger_ms ? times->linger_ms : SERVER_LINGER_MS;
	server.drain_ms = times->drain_ms ? times->drain_ms : SERVER_DRAIN_MS;
	for (size_t i = 0; i < 2; i++) {
		uv_timer_init(station_loop(st), timers[i]);
		timers[i]->data = st;
	}
	uv_timer_start(&tick, on_tick, TICK_MS, TICK_MS);
	return 0;
}

static void
message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	struct err err = {0};

	(void)st;
	if (m->kind == LEASH_SPOOLED) {
		upload_spooled(&server, m, fds, count);
	} else if (m->kind == LEASH_LISTENER && count == 1 && text_equal(m->name, "admin")) {
		if (server_listen(&server, fds[0], &err) == 0)
			(void)fd_take(&fds[0]);
		else
			log_err(LOG_ERROR, "cannot listen", &err);
	}
}

static void
left(struct server *s)
{
	station_leave(s->station, 0);
}

static void
stop(struct station *st, uint64_t grace_ms)
{
	(void)st;
	if (!server.stopping)
		leave_begin(&server, grace_ms, left);
}

const struct station_role api_role = {
	.role = ROLE_API,
	.layout = layout,
	.open = open_libraries,
	.start = start,
	.peer = peer,
	.wake = wake,
	.message = message,
	.stop = stop,
};
