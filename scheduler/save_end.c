/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transaction has ended. Its objects are looked for by their ids: they may be gone, may have
 * changed again, or may hold a newer row of another node.
 */
#include "scheduler/save_private.h"

#include <string.h>
#include "base/mem.h"

static void
settle_row(struct save_put *p, void *object, bool *dirty, bool kept)
{
	uint64_t head[2];

	memcpy(head, object, sizeof(head));
	if (head[1] != p->before)
		return; /* the store's row was taken meanwhile */
	if (!kept)
		*dirty = true;
	else if (!*dirty)
		memcpy(object, p->row, store_shape(p->kind)->row_bytes);
	else
		memcpy(object, p->row, sizeof(head));
}

static void
settle_pin(struct model *m, struct save_put *p, bool kept)
{
	const struct store_pin *row = p->row;
	struct revision *r = model_revision_by_id(m, row->revision);

	for (size_t i = 0; r && i < r->pins_count; i++) {
		if (r->pins[i].id == p->id)
			settle_row(p, &r->pins[i], &r->pins_dirty, kept);
	}
}

static void
settle(struct model *m, struct save_put *p, bool kept)
{
	switch (p->kind) {
	case STORE_DEPLOYMENT: {
		struct deployment *d = model_deployment_by_id(m, p->id);
		if (d)
			settle_row(p, &d->row, &d->dirty, kept);
		break;
	}
	case STORE_SERVICE: {
		struct service *v = model_service_by_id(m, p->id);
		if (v)
			settle_row(p, &v->row, &v->dirty, kept);
		break;
	}
	case STORE_REVISION: {
		struct revision *r = model_revision_by_id(m, p->id);
		if (r)
			settle_row(p, &r->row, &r->dirty, kept);
		break;
	}
	case STORE_REPLICA: {
		struct replica *v = model_replica(m, p->id);
		if (v)
			settle_row(p, &v->row, &v->dirty, kept);
		break;
	}
	case STORE_OPERATION: {
		struct operation *o = model_operation(m, p->id);
		if (o)
			settle_row(p, &o->row, &o->dirty, kept);
		break;
	}
	case STORE_PIN:
		settle_pin(m, p, kept);
		break;
	default:
		break; /* events wait in their list */
	}
}

static void
settle_going(struct model *m, bool kept)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->revisions) {
			struct revision *r = container_of(at, struct revision, link);

			if (!r->going)
				continue;
			r->going = false;
			d->prune |= !kept;
			if (kept)
				model_drop_revision(r);
		}
		if (d->going && kept)
			model_drop_deployment(m, d);
		else
			d->going = false;
	}
}

void
save_end_settle(struct saving *s, bool kept)
{
	for (size_t i = 0; i < s->count; i++)
		settle(s->m, &s->puts[i], kept);
	if (s->shared)
		settle_going(s->m, kept);
}

/* ---- what need not be remembered ---- */

static bool
is_empty(const struct deployment *d)
{
	struct list *it, *next;

	list_each (it, next, &d->services) {
		if (!list_empty(&container_of(it, struct service, link)->replicas))
			return false;
	}
	return true;
}

/* The store has it: what was to be dropped is dropped here, too. */
static void
forget_local(struct model *m)
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

		if (d->lost && is_empty(d))
			model_drop_deployment(m, d);
	}
}

void
save_end_forget(struct saving *s)
{
	if (s->local)
		forget_local(s->m);
	if (s->shared)
		model_forget_operations(s->m);
}

void
save_end_free(struct saving *s)
{
	for (size_t i = 0; i < s->count; i++)
		mem_free(s->puts[i].row);
	mem_free(s->puts);
	mem_free(s);
}
