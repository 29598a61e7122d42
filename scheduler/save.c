/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way from memory to the store. A put raises the version in the row at once, so each row that
 * was put is remembered and set back when the transaction does not come through.
 */
#include "scheduler/save.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"

#define SECOND_NS 1000000000ull

enum { OPERATIONS_KEPT = 1000 };

struct put {
	void *row;
	bool *dirty;
	uint64_t head[2]; /* before */
};

struct saving {
	struct model *m;
	struct put *puts;
	size_t count;
	size_t capacity;
};

static int
put(struct saving *s, enum store_kind kind, void *row, bool *dirty, struct err *err)
{
	if (dirty && !*dirty)
		return 0;
	if (s->count == s->capacity) {
		size_t more = s->capacity ? s->capacity * 2 : 64;
		void *p = mem_resize(MEM_SCHEDULER, s->puts, more, sizeof(*s->puts));

		if (!p)
			return err_set(err, ERR_NO_MEMORY, "no memory to write to the store");
		s->puts = p;
		s->capacity = more;
	}
	struct put *item = &s->puts[s->count];
	item->row = row;
	item->dirty = dirty;
	memcpy(item->head, row, sizeof(item->head));
	if (store_put(s->m->store, kind, row, err) < 0)
		return -1;
	s->count++;
	return 0;
}

static int
put_service(struct saving *s, struct service *v, struct err *err)
{
	struct list *it, *next;

	if (put(s, STORE_SERVICE, &v->row, &v->dirty, err) < 0)
		return -1;
	list_each (it, next, &v->replicas) {
		struct replica *p = container_of(it, struct replica, link);

		if (!p->life.gone && put(s, STORE_REPLICA, &p->row, &p->dirty, err) < 0)
			return -1;
	}
	return 0;
}

static int
put_deployment(struct saving *s, struct deployment *d, struct err *err)
{
	struct list *it, *next;

	if (d->gone)
		return store_drop(s->m->store, STORE_DEPLOYMENT, d->row.id, d->row.version, err);
	if (put(s, STORE_DEPLOYMENT, &d->row, &d->dirty, err) < 0)
		return -1;
	list_each (it, next, &d->services) {
		if (put_service(s, container_of(it, struct service, link), err) < 0)
			return -1;
	}
	list_each (it, next, &d->revisions) {
		struct revision *r = container_of(it, struct revision, link);

		if (put(s, STORE_REVISION, &r->row, &r->dirty, err) < 0)
			return -1;
		for (size_t i = 0; i < r->pins_count && r->pins_dirty; i++) {
			if (put(s, STORE_PIN, &r->pins[i], &r->pins_dirty, err) < 0)
				return -1;
		}
	}
	return 0;
}

static int
drop_replicas(struct saving *s, struct err *err)
{
	struct map_iter it = {0};

	while (map_next(&s->m->replicas, &it)) {
		struct replica *p = it.value;

		if (p->life.gone && !p->service->deployment->gone &&
		    store_drop(s->m->store, STORE_REPLICA, p->row.id, p->row.version, err) < 0)
			return -1;
	}
	return 0;
}

static int
put_events(struct saving *s, struct err *err)
{
	struct list *it, *next;
	uint64_t last = 0;

	list_each (it, next, &s->m->events) {
		struct event *e = container_of(it, struct event, link);

		if (put(s, STORE_EVENT, &e->row, NULL, err) < 0)
			return -1;
		last = e->row.id;
	}
	if (last <= MODEL_EVENTS_KEPT)
		return 0;
	return store_drop_through(s->m->store, STORE_EVENT, last - MODEL_EVENTS_KEPT, err);
}

static int
put_all(struct saving *s, struct err *err)
{
	struct list *it, *next;
	uint64_t last = 0;

	/* A replica that is gone is not written first: its version must stay. */
	if (drop_replicas(s, err) < 0)
		return -1;
	list_each (it, next, &s->m->deployments) {
		if (put_deployment(s, container_of(it, struct deployment, link), err) < 0)
			return -1;
	}
	list_each (it, next, &s->m->operations) {
		struct operation *o = container_of(it, struct operation, link);

		if (put(s, STORE_OPERATION, &o->row, &o->dirty, err) < 0)
			return -1;
		last = o->row.id;
	}
	if (last > OPERATIONS_KEPT &&
	    store_drop_through(s->m->store, STORE_OPERATION, last - OPERATIONS_KEPT, err) < 0)
		return -1;
	return put_events(s, err);
}

static bool
deployment_is_dirty(struct deployment *d)
{
	struct list *it, *next, *at, *after;

	if (d->dirty || d->gone)
		return true;
	list_each (it, next, &d->services) {
		struct service *v = container_of(it, struct service, link);

		if (v->dirty)
			return true;
		list_each (at, after, &v->replicas) {
			struct replica *p = container_of(at, struct replica, link);

			if (p->dirty || p->life.gone)
				return true;
		}
	}
	list_each (it, next, &d->revisions) {
		const struct revision *r = container_of(it, struct revision, link);

		if (r->dirty || r->pins_dirty)
			return true;
	}
	return false;
}

static bool
anything(struct model *m)
{
	struct list *it, *next;

	if (m->events_count)
		return true;
	list_each (it, next, &m->deployments) {
		if (deployment_is_dirty(container_of(it, struct deployment, link)))
			return true;
	}
	list_each (it, next, &m->operations) {
		if (container_of(it, struct operation, link)->dirty)
			return true;
	}
	return false;
}

/* Only so many have a row on the ring; the store keeps the older ones. */
static void
forget_operations(struct model *m)
{
	struct list *it, *next;

	list_each (it, next, &m->operations) {
		struct operation *o = container_of(it, struct operation, link);

		if (m->operations_count <= MODEL_OPERATIONS_MAX)
			return;
		if (o->row.state == MSG_OPERATION_RUNNING || o->dirty)
			continue;
		list_remove(&o->link);
		m->operations_count--;
		mem_free(o);
	}
}

/* The store has it: what was to be dropped is dropped here, too. */
static void
forget(struct model *m)
{
	struct list *it, *next;
	struct map_iter at = {0};

	list_each (it, next, &m->events)
		mem_free(container_of(it, struct event, link));
	list_init(&m->events);
	m->events_count = 0;
	while (map_next(&m->replicas, &at)) {
		struct replica *p = at.value;

		if (p->life.gone)
			model_drop_replica(m, p);
	}
	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		if (d->gone)
			model_drop_deployment(m, d);
	}
	forget_operations(m);
}

static void
failed(struct model *m, const struct err *err)
{
	if (!m->store_failing)
		log_err(LOG_ERROR, "the store cannot be written; containers go on", err);
	m->store_failing = true;
	m->retry_ns = m->now_ns + SECOND_NS;
}

void
save_all(struct model *m)
{
	struct saving s = {.m = m};
	struct err err = {0};

	if ((m->store_failing && m->now_ns < m->retry_ns) || !anything(m)) {
		if (m->store_failing)
			model_wake_at(m, m->retry_ns);
		return;
	}
	int rc = store_begin(m->store, &err);
	if (rc == 0) {
		rc = put_all(&s, &err);
		if (rc == 0)
			rc = store_commit(m->store, &err);
		else
			store_abort(m->store);
	}
	for (size_t i = 0; i < s.count; i++) {
		if (rc < 0)
			memcpy(s.puts[i].row, s.puts[i].head, sizeof(s.puts[i].head));
		else if (s.puts[i].dirty)
			*s.puts[i].dirty = false;
	}
	mem_free(s.puts);
	if (rc < 0) {
		failed(m, &err);
		model_wake_at(m, m->retry_ns);
		return;
	}
	if (m->store_failing)
		log_event(LOG_INFO, "the store is written again", LOG_END);
	m->store_failing = false;
	forget(m);
}

/* ---- pruning ---- */

static bool
in_use(struct model *m, struct deployment *d, const struct revision *r)
{
	struct map_iter it = {0};

	if (r->row.revision == d->row.revision || r->row.revision == d->row.target ||
	    r->row.revision == d->row.newest || r == model_last_good(d))
		return true;
	while (map_next(&m->replicas, &it)) {
		const struct replica *p = it.value;

		if (p->service->deployment == d && p->row.revision == r->row.revision)
			return true;
	}
	return false;
}

static struct revision *
oldest_unused(struct model *m, struct deployment *d, size_t *count_out)
{
	struct revision *oldest = NULL;
	struct list *it, *next;

	*count_out = 0;
	list_each (it, next, &d->revisions) {
		struct revision *r = container_of(it, struct revision, link);

		++*count_out;
		if (!in_use(m, d, r) && (!oldest || r->row.revision < oldest->row.revision))
			oldest = r;
	}
	return oldest;
}

void
save_prune(struct model *m, struct deployment *d)
{
	size_t keep = m->config->deploy.keep_revisions ? m->config->deploy.keep_revisions : 1;

	for (;;) {
		struct err err = {0};
		size_t count;
		struct revision *r = oldest_unused(m, d, &count);

		if (!r || count <= keep || r->dirty || store_begin(m->store, &err) < 0)
			return;
		if (store_drop(m->store, STORE_REVISION, r->row.id, r->row.version, &err) < 0) {
			store_abort(m->store);
			log_err(LOG_WARN, "an old revision cannot be removed", &err);
			return;
		}
		if (store_commit(m->store, &err) < 0) {
			log_err(LOG_WARN, "an old revision cannot be removed", &err);
			return;
		}
		model_drop_revision(r);
	}
}
