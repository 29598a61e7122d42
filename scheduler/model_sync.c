/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One deployment is brought to its rows: whatever happened to them, and however much of it was
 * missed, what counts is what they say now. Rows of the version that memory has are not touched.
 *
 * What follows from it: a phase that somebody asked for (a pause, a removal) begins in the roll-out
 * core, an operation that has begun is taken up. Replicas are this node's own and keep their lives;
 * when their deployment is gone they leave.
 */
#include "scheduler/news.h"

#include <string.h>
#include "base/mem.h"

struct sync {
	struct model *m;
	struct deployment *d;
	bool discard; /* rows count, also those that memory has changed since */
	bool no_memory;
	uint32_t mark;
};

/* ---- the parts of a deployment ---- */

static void
see_service(void *arg, const void *data)
{
	const struct store_service *row = data;
	struct sync *y = arg;
	struct service *s = model_service_by_id(y->m, row->id);

	if (!s) {
		s = model_add_service(y->d, row);
		y->no_memory |= !s;
	} else if (s->row.version != row->version || y->discard) {
		s->row = *row;
		s->dirty = false;
	}
	if (s)
		s->mark = y->mark;
}

static void
see_revision(void *arg, const void *data)
{
	const struct store_revision *row = data;
	struct sync *y = arg;
	struct revision *r = model_revision_by_id(y->m, row->id);

	if (!r) {
		r = model_add_revision(y->d, row);
		y->no_memory |= !r;
	} else if (r->row.version != row->version || y->discard) {
		r->row = *row;
		r->dirty = false;
	}
	if (r)
		r->mark = y->mark;
}

struct seeing_pins {
	struct revision *r;
	struct store_pin *pins;
	size_t count;
	bool changed;
	bool no_memory;
};

static const struct store_pin *
pin_by_id(const struct revision *r, uint64_t id)
{
	for (size_t i = 0; i < r->pins_count; i++) {
		if (r->pins[i].id == id)
			return &r->pins[i];
	}
	return NULL;
}

static void
see_pin(void *arg, const void *row)
{
	struct seeing_pins *s = arg;
	struct store_pin *more =
		mem_resize(MEM_SCHEDULER, s->pins, s->count + 1, sizeof(struct store_pin));

	if (!more) {
		s->no_memory = true;
		return;
	}
	s->pins = more;
	s->pins[s->count] = *(const struct store_pin *)row;
	const struct store_pin *known = pin_by_id(s->r, s->pins[s->count].id);
	s->changed |= !known || known->version != s->pins[s->count].version;
	s->count++;
}

static int
sync_pins(struct sync *y, struct revision *r, struct err *err)
{
	struct seeing_pins s = {.r = r};

	int rc = store_each(y->m->store, STORE_PIN, 0, r->row.id, see_pin, &s, err);
	y->no_memory |= s.no_memory;
	if (rc < 0 || s.no_memory || (!s.changed && s.count == r->pins_count && !y->discard)) {
		mem_free(s.pins);
		return rc;
	}
	mem_free(r->pins);
	r->pins = s.pins;
	r->pins_count = s.count;
	r->pins_dirty = false;
	return 0;
}

struct seeing_routes {
	struct service *s;
	bool no_memory;
};

static void
see_route(void *arg, const void *data)
{
	const struct store_route *row = data;
	struct seeing_routes *r = arg;

	for (size_t i = 0; i < r->s->routes_count; i++) {
		if (r->s->routes[i].id == row->id) {
			r->s->routes[i] = *row;
			return;
		}
	}
	r->no_memory |= model_add_route(r->s, row) < 0;
}

/* What was not seen is not there any more. */
static void
drop_unseen(struct sync *y)
{
	struct list *it, *next;

	list_each (it, next, &y->d->services) {
		struct service *s = container_of(it, struct service, link);

		if (s->mark != y->mark)
			model_drop_service(y->m, s);
	}
	list_each (it, next, &y->d->revisions) {
		struct revision *r = container_of(it, struct revision, link);

		if (r->mark != y->mark)
			model_drop_revision(r);
	}
}

static int
sync_parts(struct sync *y, struct err *err)
{
	struct store *store = y->m->store;
	uint64_t id = y->d->row.id;
	struct list *it, *next;

	if (store_each(store, STORE_SERVICE, 0, id, see_service, y, err) < 0 ||
	    store_each(store, STORE_REVISION, 0, id, see_revision, y, err) < 0)
		return -1;
	if (!y->no_memory)
		drop_unseen(y);
	list_each (it, next, &y->d->revisions) {
		if (sync_pins(y, container_of(it, struct revision, link), err) < 0)
			return -1;
	}
	list_each (it, next, &y->d->services) {
		struct seeing_routes r = {.s = container_of(it, struct service, link)};

		if (store_each(store, STORE_ROUTE, 0, r.s->row.id, see_route, &r, err) < 0)
			return -1;
		y->no_memory |= r.no_memory;
	}
	if (y->no_memory)
		return err_set(err, ERR_NO_MEMORY, "no memory for %s", y->d->row.name);
	return 0;
}

/* ---- operations ---- */

static void
unlink_operation(struct model *m, const struct operation *o)
{
	struct list *it, *next;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		if (d->operation == o)
			d->operation = NULL;
	}
}

static int
sync_operation(struct model *m, uint64_t id, bool discard, struct err *err)
{
	struct operation *o = model_operation(m, id);
	struct store_operation row;
	struct err why = {0};

	if (store_get(m->store, STORE_OPERATION, id, &row, &why) < 0) {
		if (why.kind != ERR_NOT_FOUND) {
			*err = why;
			return -1;
		}
		if (o) {
			unlink_operation(m, o);
			model_drop_operation(m, o);
		}
		return 0;
	}
	if (!o) {
		if (!model_add_operation(m, &row))
			return err_set(err, ERR_NO_MEMORY, "no memory for an operation");
		return 0;
	}
	if (o->row.version != row.version || discard) {
		o->row = row;
		o->dirty = false;
		if (row.state != MSG_OPERATION_RUNNING)
			unlink_operation(m, o);
	}
	return 0;
}

int
model_sync_operation(struct model *m, uint64_t id, struct err *err)
{
	return sync_operation(m, id, false, err);
}

static int
sync_own_operation(struct sync *y, struct err *err)
{
	const struct operation *before = y->d->operation;

	/* What a removal has ended. */
	if (before && before->row.id != y->d->row.operation &&
	    sync_operation(y->m, before->row.id, false, err) < 0)
		return -1;
	if (!y->d->row.operation)
		return 0;
	/* Discarding brings one back that only memory has ended. */
	if (sync_operation(y->m, y->d->row.operation, y->discard, err) < 0)
		return -1;
	struct operation *o = model_operation(y->m, y->d->row.operation);
	y->d->operation = o && o->row.state == MSG_OPERATION_RUNNING ? o : NULL;
	return 0;
}

/* ---- what follows from it ---- */

/* What was made before gets its time anew, and does not wait for its next try. */
static void
forget_troubles(struct model *m, struct deployment *d)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		list_each (at, after, &s->replicas) {
			struct replica *p = container_of(at, struct replica, link);

			p->created_ns = m->now_ns;
			if (p->life.state == MSG_REPLICA_BACKOFF)
				p->life.due_ns = m->now_ns;
		}
	}
}

static void
begin_deploy(struct deployment *d)
{
	struct list *it, *next;

	d->start_again = true;
	list_each (it, next, &d->services)
		container_of(it, struct service, link)->depends_over = 0;
}

static void
follow(struct model *m, struct deployment *d)
{
	enum rollout_phase phase = d->row.phase ? (enum rollout_phase)d->row.phase : ROLLOUT_IDLE;
	bool begins = d->row.operation != d->followed;
	bool moves =
		phase == ROLLOUT_FORWARD || phase == ROLLOUT_COMMITTED || phase == ROLLOUT_BACK;
	bool resumed = d->rollout.phase == ROLLOUT_PAUSED && phase == ROLLOUT_FORWARD && !begins;

	d->followed = d->row.operation;
	if (phase != d->rollout.phase || (begins && moves))
		rollout_init(&d->rollout, phase, d->operation && d->operation->row.keep, m->now_ns);
	if (begins && d->operation && d->operation->row.kind == MSG_OPERATION_DEPLOY)
		begin_deploy(d);
	if (resumed)
		forget_troubles(m, d);
}

/* ---- the whole ---- */

static void
lose(struct model *m, struct deployment *d)
{
	struct list *it, *next;
	bool empty = true;

	d->operation = NULL;
	d->dirty = d->gone = d->going = false;
	list_each (it, next, &d->services)
		empty &= list_empty(&container_of(it, struct service, link)->replicas);
	if (empty)
		model_drop_deployment(m, d);
	else
		d->lost = true;
}

int
model_sync_deployment(struct model *m, uint64_t id, bool own, struct err *err)
{
	struct deployment *d = model_deployment_by_id(m, id);
	struct sync y = {.m = m, .mark = ++m->news.mark};
	struct store_deployment row;
	struct err why = {0};

	if (store_get(m->store, STORE_DEPLOYMENT, id, &row, &why) < 0) {
		if (why.kind != ERR_NOT_FOUND) {
			*err = why;
			return -1;
		}
		if (d && !d->lost)
			lose(m, d);
		return 0;
	}
	bool added = !d;
	if (!d)
		d = model_add_deployment(m, &row);
	if (!d)
		return err_set(err, ERR_NO_MEMORY, "no memory for %s", row.name);
	if (added)
		d->followed = 0;
	y.d = d;
	y.discard = d->unread || (!own && d->row.version != row.version);
	if (d->row.version != row.version || y.discard) {
		d->row = row;
		d->dirty = d->gone = false;
	}
	d->unread = y.discard;
	if (sync_parts(&y, err) < 0 || sync_own_operation(&y, err) < 0)
		return -1;
	d->unread = false;
	follow(m, d);
	return 0;
}

struct ids {
	uint64_t *items;
	size_t count;
	size_t capacity;
	bool no_memory;
};

static void
add_id(void *arg, const void *row)
{
	struct ids *ids = arg;

	if (ids->count == ids->capacity) {
		size_t more = ids->capacity ? ids->capacity * 2 : 256;
		void *p = mem_resize(MEM_SCHEDULER, ids->items, more, sizeof(*ids->items));

		if (!p) {
			ids->no_memory = true;
			return;
		}
		ids->items = p;
		ids->capacity = more;
	}
	memcpy(&ids->items[ids->count++], row, sizeof(uint64_t));
}

/* Of more than `most` the newest. */
static int
sync_ids(struct model *m, enum store_kind kind, const struct ids *ids, size_t most, struct err *err)
{
	if (ids->no_memory)
		return err_set(err, ERR_NO_MEMORY, "no memory for what the store holds");
	for (size_t i = ids->count > most ? ids->count - most : 0; i < ids->count; i++) {
		int rc = kind == STORE_OPERATION
				 ? model_sync_operation(m, ids->items[i], err)
				 : model_sync_deployment(m, ids->items[i], false, err);

		if (rc < 0)
			return -1;
	}
	return 0;
}

static int
sync_known(struct model *m, enum store_kind kind, struct err *err)
{
	struct list *it, *next;
	struct ids ids = {0};

	if (kind == STORE_OPERATION) {
		list_each (it, next, &m->operations)
			add_id(&ids, &container_of(it, struct operation, link)->row);
	} else {
		list_each (it, next, &m->deployments)
			add_id(&ids, &container_of(it, struct deployment, link)->row);
	}
	int rc = sync_ids(m, kind, &ids, SIZE_MAX, err);
	mem_free(ids.items);
	return rc;
}

static int
sync_kept(struct model *m, enum store_kind kind, size_t most, struct err *err)
{
	struct ids ids = {0};
	int rc = store_each(m->store, kind, 0, 0, add_id, &ids, err);

	if (rc == 0)
		rc = sync_ids(m, kind, &ids, most, err);
	mem_free(ids.items);
	return rc;
}

int
model_sync_all(struct model *m, struct err *err)
{
	/* An operation that is under way comes with its deployment, however old it is. */
	if (sync_known(m, STORE_OPERATION, err) < 0 ||
	    sync_kept(m, STORE_OPERATION, MODEL_OPERATIONS_MAX, err) < 0 ||
	    sync_known(m, STORE_DEPLOYMENT, err) < 0)
		return -1;
	return sync_kept(m, STORE_DEPLOYMENT, SIZE_MAX, err);
}
