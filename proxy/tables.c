/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tables of the ring, in and out.
 *
 * A producer that restarts brings a new, at first empty segment: until it has committed a table
 * once (its version is then above 1), what served goes on serving. After that the table is the
 * truth: what is not in it is removed here.
 *
 * Order matters for a replica that is drained: how many requests it still has is published before
 * the version of the table that said so. Whoever sees the version sees the number.
 */

#include "proxy/tables.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "proxy/listener.h"
#include "proxy/worker.h"
#include "ring/ring_rows.h"

/* The version of a table that its producer has not committed yet. */
enum { UNSAID = 1 };

/* ---- backends ---- */

struct removal {
	struct ring_reader *reader;
	uint16_t table;
	uint64_t keys[256];
	size_t count;
};

static bool
take_backend(void *arg, uint64_t key, const void *row)
{
	struct worker *w = arg;
	const struct backend *b = map_get_u64(&w->backends.replicas, key);

	if (!b || memcmp(&b->row, row, sizeof(b->row)) != 0)
		backend_table_change(&w->backends, key, row);
	return true;
}

/* Keys of a map that the table does not have any more; at most as many as fit. */
static void
collect_gone(const struct map *m, struct removal *r)
{
	struct map_iter it = {0};

	r->count = 0;
	while (map_next(m, &it) && r->count < sizeof(r->keys) / sizeof(r->keys[0])) {
		uint64_t key;

		memcpy(&key, it.key, sizeof(key));
		if (!ring_table_get(r->reader, r->table, key))
			r->keys[r->count++] = key;
	}
}

static void
sync_backends(struct worker *w, struct ring_reader *reader)
{
	struct removal r = {.reader = reader, .table = MSG_TABLE_BACKEND};

	if (ring_table_sync(reader, MSG_TABLE_BACKEND, sizeof(struct msg_backend), NULL, NULL) !=
		    RING_OK ||
	    ring_table_version(reader, MSG_TABLE_BACKEND) <= UNSAID)
		return;
	ring_table_each(reader, MSG_TABLE_BACKEND, take_backend, w);
	do {
		collect_gone(&w->backends.replicas, &r);
		for (size_t i = 0; i < r.count; i++) {
			backend_table_change(&w->backends, r.keys[i], NULL);
			(void)ring_table_remove(station_writer(w->st), MSG_TABLE_DRAIN, r.keys[i]);
		}
	} while (r.count > 0);
}

/* ---- routes ---- */

static bool
sync_routes(struct worker *w, struct ring_reader *reader)
{
	struct ring_rows r;
	struct router *fresh;
	struct err err = {0};
	size_t skipped = 0;

	if (ring_table_sync(reader, MSG_TABLE_ROUTE, sizeof(struct msg_route), NULL, NULL) !=
		    RING_OK ||
	    ring_table_version(reader, MSG_TABLE_ROUTE) <= UNSAID)
		return false;
	ring_rows_init(&r, MEM_PROXY);
	ring_table_each(reader, MSG_TABLE_ROUTE, ring_rows_take, &r);
	const struct msg_route **routes = (const struct msg_route **)r.items;
	if (r.failed || router_new(routes, r.count, &fresh, &skipped, &err)) {
		log_event(LOG_ERROR, "out of memory: new routes were not taken over", LOG_END);
	} else {
		router_unref(w->router);
		w->router = fresh;
		for (size_t i = 0; i < r.count; i++)
			if (MSG_OK(routes[i]->service_label) && MSG_OK(routes[i]->endpoint))
				(void)account_route(&w->account, routes[i]);
	}
	if (skipped > 0)
		log_event(LOG_ERROR, "routes that do not hold were left out",
			  log_u("count", skipped), LOG_END);
	ring_rows_fini(&r);
	return true;
}

/* ---- streams ---- */

static bool
take_stream(void *arg, uint64_t key, const void *row)
{
	if (relay_change(arg, key, row) < 0)
		log_event(LOG_ERROR, "out of memory: a port was not taken over", LOG_END);
	return true;
}

static bool
sync_streams(struct worker *w, struct ring_reader *reader)
{
	if (ring_table_sync(reader, MSG_TABLE_STREAM, sizeof(struct msg_stream), NULL, NULL) !=
		    RING_OK ||
	    ring_table_version(reader, MSG_TABLE_STREAM) <= UNSAID)
		return false;
	relay_begin(&w->relay);
	ring_table_each(reader, MSG_TABLE_STREAM, take_stream, &w->relay);
	relay_commit(&w->relay);
	listener_endpoints(w);
	return true;
}

/* ---- demand ---- */

static void
count_service(struct worker *w, uint64_t service)
{
	if (demand_name(&w->demand, service) < 0)
		log_event(LOG_ERROR, "out of memory: what is asked of a service is not counted",
			  log_u("service", service), LOG_END);
}

static bool
take_counted_route(void *arg, uint64_t key, const void *row)
{
	const struct msg_route *r = row;

	(void)key;
	if (r->flags & MSG_ROUTE_COUNTED)
		count_service(arg, r->service);
	return true;
}

static bool
take_counted_stream(void *arg, uint64_t key, const void *row)
{
	const struct msg_stream *s = row;

	(void)key;
	if (s->flags & MSG_STREAM_COUNTED)
		count_service(arg, s->service);
	return true;
}

static void
forget_demand(void *arg, uint64_t service)
{
	struct worker *w = arg;

	(void)ring_table_remove(station_writer(w->st), MSG_TABLE_DEMAND, service);
}

static void
name_demand(struct worker *w, struct ring_reader *reader)
{
	demand_begin(&w->demand);
	ring_table_each(reader, MSG_TABLE_ROUTE, take_counted_route, w);
	ring_table_each(reader, MSG_TABLE_STREAM, take_counted_stream, w);
	demand_commit(&w->demand, forget_demand, w);
}

static bool
has_replica(struct worker *w, uint64_t id)
{
	const struct service *s = backend_table_service(&w->backends, id);

	for (size_t i = 0; s && i < s->count; i++) {
		if (!s->loads[i]->draining)
			return true;
	}
	return false;
}

/* Requests that wait go on; routes do not change before they do. */
static void
wake_up(struct worker *w)
{
	struct map_iter it = {0};

	if (w->demand.waiting == 0)
		return;
	while (map_next(&w->demand.services, &it)) {
		struct demand_service *s = it.value;

		if (s->waiting > 0 && has_replica(w, s->id))
			demand_go(&w->demand, s);
	}
}

/* ---- certificates ---- */

static void
change_certificate(void *arg, uint64_t key, const void *row)
{
	struct worker *w = arg;

	if (row)
		sni_change(&w->sni, key, row);
}

static void
sync_certificates(struct worker *w, struct ring_reader *reader)
{
	struct removal r = {.reader = reader, .table = MSG_TABLE_CERTIFICATE};

	if (ring_table_sync(reader, MSG_TABLE_CERTIFICATE, sizeof(struct msg_certificate),
			    change_certificate, w) != RING_OK ||
	    ring_table_version(reader, MSG_TABLE_CERTIFICATE) <= UNSAID)
		return;
	do {
		collect_gone(&w->sni.by_id, &r);
		for (size_t i = 0; i < r.count; i++)
			sni_change(&w->sni, r.keys[i], NULL);
	} while (r.count > 0);
	sni_rebuild(&w->sni);
}

bool
tables_complete(struct worker *w)
{
	struct ring_reader *signer = station_reader(w->st, ROLE_SIGNER, 0);

	return w->router && signer && ring_table_version(signer, MSG_TABLE_CERTIFICATE) > UNSAID;
}

/* ---- out ---- */

bool
tables_publish_drain(struct worker *w)
{
	struct ring_writer *writer = station_writer(w->st);
	struct map_iter it = {0};
	bool any = false, changed = false;

	ring_table_begin(writer, MSG_TABLE_DRAIN);
	while (map_next(&w->backends.replicas, &it)) {
		const struct backend *b = it.value;
		struct msg_drain row = {.replica = b->row.replica,
					.in_flight = b->load.in_flight,
					.upgraded = b->load.upgraded};
		bool row_changed = false;

		if (b->load.draining)
			(void)ring_table_set(writer, MSG_TABLE_DRAIN, row.replica, &row,
					     &row_changed);
		else
			row_changed = ring_table_remove(writer, MSG_TABLE_DRAIN, row.replica);
		any = any || b->load.draining;
		changed = changed || row_changed;
	}
	ring_table_commit(writer, MSG_TABLE_DRAIN);
	if (changed)
		station_kick(w->st);
	return any;
}

void
tables_publish_applied(struct worker *w)
{
	struct ring_reader *scheduler = station_reader(w->st, ROLE_SCHEDULER, 0);
	struct msg_applied row = {
		.draining = w->draining, .connections = w->conns_count, .requests = w->requests};
	const struct msg_applied *old = ring_table_own(station_writer(w->st), MSG_TABLE_APPLIED, 1);
	bool changed = false;

	if (scheduler) {
		row.scheduler_generation = ring_reader_generation(scheduler);
		row.routes_version = ring_table_version(scheduler, MSG_TABLE_ROUTE);
		row.backends_version = ring_table_version(scheduler, MSG_TABLE_BACKEND);
	} else if (old) {
		row.scheduler_generation = old->scheduler_generation;
		row.routes_version = old->routes_version;
		row.backends_version = old->backends_version;
	}
	(void)ring_table_set(station_writer(w->st), MSG_TABLE_APPLIED, 1, &row, &changed);
	if (changed)
		station_kick(w->st);
	tables_publish_demand(w);
}

void
tables_publish_demand(struct worker *w)
{
	struct ring_writer *writer = station_writer(w->st);
	struct map_iter it = {0};
	bool changed = false;

	w->demand.changed = false;
	if (map_count(&w->demand.services) == 0)
		return;
	ring_table_begin(writer, MSG_TABLE_DEMAND);
	while (map_next(&w->demand.services, &it)) {
		const struct demand_service *s = it.value;
		struct msg_demand row = {
			.service = s->id,
			.requests = s->requests,
			.in_flight = s->in_flight,
			.waiting = s->waiting,
		};
		bool row_changed = false;

		(void)ring_table_set(writer, MSG_TABLE_DEMAND, s->id, &row, &row_changed);
		changed |= row_changed;
	}
	ring_table_commit(writer, MSG_TABLE_DEMAND);
	if (changed)
		station_kick(w->st);
}

void
tables_sync(struct worker *w, struct ring_reader *reader)
{
	if (ring_reader_role(reader) == ROLE_SIGNER) {
		sync_certificates(w, reader);
		return;
	}
	if (ring_reader_role(reader) != ROLE_SCHEDULER)
		return;
	sync_backends(w, reader);
	bool named = sync_streams(w, reader);
	named |= sync_routes(w, reader);
	if (named)
		name_demand(w, reader);
	wake_up(w);
	if (tables_publish_drain(w))
		worker_wake_tick(w);
	tables_publish_applied(w);
}
