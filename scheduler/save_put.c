/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is dirty, into a transaction. Rows are copied: memory goes on while a shared store takes its
 * time. A deployment's rows are written by who conducts it; what an image is, by whoever has it.
 */
#include "scheduler/save_private.h"

#include <string.h>
#include "base/mem.h"

enum { OPERATIONS_KEPT = 1000, OPERATIONS_DROPPED = 16 };

/* ---- putting ---- */

static struct save_put *
add_put(struct saving *s)
{
	if (s->count == s->capacity) {
		size_t more = s->capacity ? s->capacity * 2 : 64;
		void *p = mem_resize(MEM_SCHEDULER, s->puts, more, sizeof(*s->puts));

		if (!p)
			return NULL;
		s->puts = p;
		s->capacity = more;
	}
	return &s->puts[s->count];
}

static int
put(struct saving *s, enum store_kind kind, const void *row, bool *dirty, struct err *err)
{
	size_t bytes = store_shape(kind)->row_bytes;
	uint64_t head[2];

	if (!*dirty || !(store_kind_is_local(kind) ? s->local : s->shared))
		return 0;
	struct save_put *item = add_put(s);
	void *copy = item ? mem_alloc(MEM_SCHEDULER, bytes) : NULL;
	if (!copy)
		return err_set(err, ERR_NO_MEMORY, "no memory to write to the store");
	memcpy(copy, row, bytes);
	memcpy(head, row, sizeof(head));
	*item = (struct save_put){kind, head[0], head[1], copy};
	s->count++;
	*dirty = false;
	return store_put(s->store, kind, copy, err);
}

static int
put_service(struct saving *s, struct service *v, bool conducts, struct err *err)
{
	struct list *it, *next;

	if (conducts && put(s, STORE_SERVICE, &v->row, &v->dirty, err) < 0)
		return -1;
	list_each (it, next, &v->replicas) {
		struct replica *p = container_of(it, struct replica, link);

		if (!p->life.gone && put(s, STORE_REPLICA, &p->row, &p->dirty, err) < 0)
			return -1;
	}
	return 0;
}

/* Whoever runs a replica may know what its image is: pins are everybody's. */
static int
put_pins(struct saving *s, struct revision *r, struct err *err)
{
	for (size_t i = 0; i < r->pins_count && r->pins_dirty; i++) {
		bool waits = true;

		if (put(s, STORE_PIN, &r->pins[i], &waits, err) < 0)
			return -1;
	}
	if (s->shared)
		r->pins_dirty = false;
	return 0;
}

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

		if (r->going)
			continue;
		++*count_out;
		if (!in_use(m, d, r) && (!oldest || r->row.revision < oldest->row.revision))
			oldest = r;
	}
	return oldest;
}

static int
drop_old_revisions(struct saving *s, struct deployment *d, struct err *err)
{
	const struct config *config = s->m->config;
	size_t keep = config->deploy.keep_revisions ? config->deploy.keep_revisions : 1;

	for (;;) {
		size_t count;
		struct revision *r = oldest_unused(s->m, d, &count);

		if (!r || count <= keep || r->dirty)
			return 0;
		r->going = true;
		if (store_drop(s->store, STORE_REVISION, r->row.id, r->row.version, err) < 0)
			return -1;
	}
}

static int
put_revisions(struct saving *s, struct deployment *d, bool conducts, struct err *err)
{
	struct list *it, *next;

	list_each (it, next, &d->revisions) {
		struct revision *r = container_of(it, struct revision, link);

		if (r->going)
			continue;
		if (conducts && put(s, STORE_REVISION, &r->row, &r->dirty, err) < 0)
			return -1;
		if (put_pins(s, r, err) < 0)
			return -1;
	}
	return 0;
}

static int
put_deployment(struct saving *s, struct deployment *d, struct err *err)
{
	bool conducts = model_conducts(s->m, d);
	struct list *it, *next;

	if (d->lost)
		return 0;
	if (d->gone && s->shared) {
		d->going = true;
		return store_drop(s->store, STORE_DEPLOYMENT, d->row.id, d->row.version, err);
	}
	if (conducts && put(s, STORE_DEPLOYMENT, &d->row, &d->dirty, err) < 0)
		return -1;
	if (conducts && s->shared && d->prune) {
		d->prune = false;
		if (drop_old_revisions(s, d, err) < 0)
			return -1;
	}
	list_each (it, next, &d->services) {
		if (put_service(s, container_of(it, struct service, link), conducts, err) < 0)
			return -1;
	}
	return put_revisions(s, d, conducts, err);
}

/* Where the deployment's row is dropped in the same transaction, they go with it. */
static bool
goes_along(const struct saving *s, const struct replica *p)
{
	const struct deployment *d = p->service->deployment;

	return d->lost || (d->gone && s->shared);
}

static int
drop_replicas(struct saving *s, struct err *err)
{
	struct map_iter it = {0};

	while (s->local && map_next(&s->m->replicas, &it)) {
		struct replica *p = it.value;

		if (p->life.gone && !goes_along(s, p) &&
		    store_drop(s->store, STORE_REPLICA, p->row.id, p->row.version, err) < 0)
			return -1;
	}
	return 0;
}

static int
put_events(struct saving *s, struct err *err)
{
	struct list *it, *next;
	uint64_t last = 0;

	if (!s->local)
		return 0;
	list_each (it, next, &s->m->events) {
		struct event *e = container_of(it, struct event, link);
		bool waits = true;

		if (put(s, STORE_EVENT, &e->row, &waits, err) < 0)
			return -1;
		last = e->row.id;
	}
	if (last <= MODEL_EVENTS_KEPT)
		return 0;
	return store_drop_through(s->store, STORE_EVENT, last - MODEL_EVENTS_KEPT, err);
}

/* ---- operations ---- */

struct old_operations {
	size_t count;
	struct store_operation oldest[OPERATIONS_DROPPED]; /* by when they began */
	size_t found;
};

static void
see_operation(void *arg, const void *row)
{
	const struct store_operation *o = row;
	struct old_operations *old = arg;
	size_t at = old->found;

	old->count++;
	if (o->state == MSG_OPERATION_RUNNING)
		return;
	while (at > 0 && old->oldest[at - 1].started_wall_ns > o->started_wall_ns) {
		if (at < OPERATIONS_DROPPED)
			old->oldest[at] = old->oldest[at - 1];
		at--;
	}
	if (at == OPERATIONS_DROPPED)
		return;
	old->oldest[at] = *o;
	if (old->found < OPERATIONS_DROPPED)
		old->found++;
}

/* Ids of several nodes are in no order of time. */
static int
drop_old_operations(struct saving *s, struct err *err)
{
	struct old_operations *old = mem_zalloc(MEM_SCHEDULER, sizeof(*old));

	if (!old)
		return err_set(err, ERR_NO_MEMORY, "no memory to write to the store");
	int rc = store_each(s->m->store, STORE_OPERATION, 0, 0, see_operation, old, err);
	for (size_t i = 0; rc == 0 && i < old->found && old->count > OPERATIONS_KEPT; i++) {
		old->count--;
		rc = store_drop(s->store, STORE_OPERATION, old->oldest[i].id,
				old->oldest[i].version, err);
	}
	mem_free(old);
	return rc;
}

static bool
may_write(struct model *m, const struct operation *o)
{
	struct deployment *d = model_deployment_by_id(m, o->row.deployment);

	return !d || model_conducts(m, d);
}

static int
put_operations(struct saving *s, struct err *err)
{
	struct list *it, *next;
	size_t before = s->count;
	uint64_t last = 0;

	if (!s->shared)
		return 0;
	list_each (it, next, &s->m->operations) {
		struct operation *o = container_of(it, struct operation, link);

		if (may_write(s->m, o) && put(s, STORE_OPERATION, &o->row, &o->dirty, err) < 0)
			return -1;
		last = o->row.id;
	}
	if (!s->local)
		return s->count > before ? drop_old_operations(s, err) : 0;
	if (last <= OPERATIONS_KEPT)
		return 0;
	return store_drop_through(s->store, STORE_OPERATION, last - OPERATIONS_KEPT, err);
}

int
save_put_all(struct saving *s, struct err *err)
{
	struct list *it, *next;

	/* A replica that is gone is not written first: its version must stay. */
	if (drop_replicas(s, err) < 0)
		return -1;
	list_each (it, next, &s->m->deployments) {
		if (put_deployment(s, container_of(it, struct deployment, link), err) < 0)
			return -1;
	}
	if (put_operations(s, err) < 0)
		return -1;
	return put_events(s, err);
}

/* ---- is there anything? ---- */

bool
save_put_local_waits(struct model *m)
{
	struct map_iter it = {0};

	if (m->events_count)
		return true;
	while (map_next(&m->replicas, &it)) {
		const struct replica *p = it.value;

		if (p->life.gone || (p->dirty && !p->service->deployment->lost))
			return true;
	}
	return false;
}

bool
save_put_rows_wait(const struct deployment *d)
{
	struct list *it, *next;

	if (d->dirty || d->gone || d->prune)
		return true;
	list_each (it, next, &d->services) {
		if (container_of(it, struct service, link)->dirty)
			return true;
	}
	list_each (it, next, &d->revisions) {
		if (container_of(it, struct revision, link)->dirty)
			return true;
	}
	return false;
}

bool
save_put_operation_waits(struct model *m, const struct deployment *d)
{
	struct list *it, *next;

	list_each (it, next, &m->operations) {
		const struct operation *o = container_of(it, struct operation, link);

		if (o->dirty && o->row.deployment == d->row.id)
			return true;
	}
	return false;
}

static bool
pins_are_dirty(const struct deployment *d)
{
	struct list *it, *next;

	list_each (it, next, &d->revisions) {
		if (container_of(it, struct revision, link)->pins_dirty)
			return true;
	}
	return false;
}

static bool
operations_are_dirty(struct model *m)
{
	struct list *it, *next;

	list_each (it, next, &m->operations) {
		const struct operation *o = container_of(it, struct operation, link);

		if (o->dirty && may_write(m, o))
			return true;
	}
	return false;
}

bool
save_put_shared_waits(struct model *m)
{
	struct list *it, *next;

	list_each (it, next, &m->deployments) {
		const struct deployment *d = container_of(it, struct deployment, link);

		if (!d->lost &&
		    (pins_are_dirty(d) || (save_put_rows_wait(d) && model_conducts(m, d))))
			return true;
	}
	return operations_are_dirty(m);
}
