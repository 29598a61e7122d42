/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The turn of a worker's loop. Callbacks gather output; before the loop sleeps, the prepare handle
 * writes it: first frames of HTTP/2 connections, then the last connection's stage; requests that
 * ended are freed. A tick of 100 ms runs deadlines and publishes access records and tables; it
 * stops when there is nothing that it would look at, so an idle worker sleeps.
 */

#include "proxy/worker.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "proxy/downstream.h"
#include "proxy/listener.h"
#include "proxy/relay_udp.h"
#include "proxy/session_h2.h"
#include "proxy/stream.h"
#include "proxy/tables.h"
#include "proxy/worker_turn.h"

enum {
	APPLIED_TICKS = 10,
	RESERVED_FDS = 256, /* of the process, not for connections */
};

uint64_t
worker_now_ms(const struct worker *w)
{
	return uv_now(w->loop);
}

void
worker_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *out)
{
	struct worker *w = handle->loop->data;

	(void)hint;
	*out = uv_buf_init((char *)w->read, sizeof(w->read));
}

static void
end_turn(struct worker *w)
{
	while (!list_empty(&w->dirty)) {
		struct downstream *c = container_of(w->dirty.next, struct downstream, dirty);

		list_remove(&c->dirty);
		session_h2_flush(c);
	}
	downstream_flush_stage(w);
	stream_sweep(w);
}

static void
on_prepare(uv_prepare_t *prepare)
{
	struct worker *w = prepare->data;

	end_turn(w);
	if (w->demand.changed)
		tables_publish_demand(w);
	w->random.world.wall_ns = world_wall_ns();
	downstream_next_handshakes(w);
}

static void
publish(struct worker *w)
{
	if (w->log_pending) {
		w->log_pending = false;
		ring_log_publish(station_writer(w->st));
		station_kick(w->st);
	}
}

static void
leave_when_empty(struct worker *w)
{
	bool busy = w->conns_count > 0 || relay_udp_busy(w);

	if (!w->draining || w->leaving || (busy && worker_now_ms(w) < w->leave_at_ms))
		return;
	if (w->conns_count > 0)
		log_event(LOG_WARN, "connections were cut at the end of the grace",
			  log_u("connections", w->conns_count), LOG_END);
	w->leaving = true;
	publish(w);
	tables_publish_applied(w);
	station_leave(w->st, 0);
}

static void
on_tick(uv_timer_t *timer)
{
	struct worker *w = timer->data;
	bool draining_replicas;

	wheel_run(&w->wheel, worker_now_ms(w));
	listener_retry(w);
	end_turn(w);
	publish(w);
	draining_replicas = tables_publish_drain(w);
	if (++w->ticks % APPLIED_TICKS == 0)
		tables_publish_applied(w);
	leave_when_empty(w);
	if (w->wheel.count == 0 && !draining_replicas && !w->draining && !w->log_pending) {
		tables_publish_applied(w);
		w->ticking = false;
		(void)uv_timer_stop(&w->tick);
	}
}

void
worker_wake_tick(struct worker *w)
{
	if (w->ticking)
		return;
	w->ticking = uv_timer_start(&w->tick, on_tick, WHEEL_TICK_MS, WHEEL_TICK_MS) == 0;
}

static void
on_patience(uv_timer_t *timer)
{
	struct worker *w = timer->data;

	if (w->orphan)
		return;
	log_event(LOG_WARN, "accepting without all routes and certificates", LOG_END);
	worker_accept(w);
}

static void
share_descriptors(struct worker *w)
{
	struct rlimit limit;
	size_t all = 128;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= 2 * RESERVED_FDS)
		all = (size_t)limit.rlim_cur - RESERVED_FDS;
	w->sessions_max = all / 4 < RELAY_UDP_SESSIONS_MAX ? all / 4 : RELAY_UDP_SESSIONS_MAX;
	/* Each connection may need one to a replica. */
	w->conns_max = (all - w->sessions_max) / 2;
}

static size_t
memory_max(unsigned workers)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	size_t all = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : SIZE_MAX;

	return all / 100 * WORKER_MEMORY_PERCENT_MAX / (workers > 0 ? workers : 1);
}

void
worker_init(struct worker *w, struct station *st)
{
	struct world real;

	w->st = st;
	list_init(&w->listeners);
	list_init(&w->conns);
	list_init(&w->dirty);
	list_init(&w->shaking);
	list_init(&w->dead_streams);
	list_init(&w->unanswered);
	map_init(&w->sessions, MEM_PROXY);
	relay_init(&w->relay);
	demand_init(&w->demand);
	world_real(&real);
	world_seeded_init(&w->random, world_random_u64(&real), real.mono_ns, real.wall_ns);
	backend_table_init(&w->backends, &w->account, upstream_drop, upstream_doubt);
	sni_init(&w->sni);
}

int
worker_start(struct worker *w, struct err *err)
{
	const struct leash_welcome *welcome = station_welcome(w->st);
	int rc;

	w->loop = station_loop(w->st);
	w->loop->data = w;
	w->memory_max = memory_max(welcome->instances);
	share_descriptors(w);
	account_init(&w->account, station_metrics(w->st), station_writer(w->st), welcome->node);
	wheel_init(&w->wheel, worker_now_ms(w));
	w->tick.data = w->prepare.data = w;
	rc = uv_timer_init(w->loop, &w->tick);
	if (rc == 0)
		rc = uv_prepare_init(w->loop, &w->prepare);
	if (rc == 0)
		rc = uv_prepare_start(&w->prepare, on_prepare);
	if (rc < 0)
		return err_set(err, ERR_SYSTEM, "cannot start the worker: %s", uv_strerror(rc));
	uv_unref((uv_handle_t *)&w->prepare);
	(void)uv_timer_init(w->loop, &w->patience);
	w->patience.data = w;
	(void)uv_timer_start(&w->patience, on_patience, WORKER_PATIENCE_MS, 0);
	return 0;
}

void
worker_accept(struct worker *w)
{
	if (w->draining)
		return;
	w->accepting = true;
	(void)uv_timer_stop(&w->patience);
	listener_accept_all(w);
}

void
worker_drain(struct worker *w, uint64_t grace_ms)
{
	struct list *it, *tmp;

	if (w->draining)
		return;
	w->draining = true;
	w->leave_at_ms = worker_now_ms(w) + grace_ms;
	listener_close_all(w);
	list_each (it, tmp, &w->conns)
		downstream_drain(container_of(it, struct downstream, link));
	tables_publish_applied(w);
	worker_wake_tick(w);
}
