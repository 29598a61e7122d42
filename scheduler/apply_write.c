/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A revision is written. The store's transaction and the objects in memory are made side by side:
 * when the transaction does not come through, the objects that were added are dropped again, and
 * rows that were there are untouched.
 */
#include "scheduler/apply_private.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/event.h"
#include "scheduler/places.h"
#include "scheduler/ports.h"
#include "scheduler/reconcile.h"

static int
no_memory(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "no memory for a deployment");
}

static void
prepare_row(struct apply *a)
{
	if (a->d)
		a->row = a->d->row;
	else
		a->row.created_wall_ns = a->m->wall_ns;
	text_copy(a->row.name, sizeof(a->row.name), a->doc->deployment);
	a->row.newest++;
	a->row.target = a->row.newest;
	a->row.phase = ROLLOUT_FORWARD;
	a->row.stopped = 0;
	a->row.failed = 0;
	a->row.updated_wall_ns = a->m->wall_ns;
	memset(&a->row.reason, 0, sizeof(a->row.reason));
}

static int
put_deployment(struct apply *a, struct err *err)
{
	if (store_put(a->m->store, STORE_DEPLOYMENT, &a->row, err) < 0)
		return -1;
	if (a->d)
		return 0;
	a->d = model_add_deployment(a->m, &a->row);
	a->added = a->d != NULL;
	return a->d ? 0 : no_memory(err);
}

static int
put_revision(struct apply *a, struct err *err)
{
	struct store_revision row = {
		.deployment = a->row.id,
		.revision = a->row.newest,
		.who_uid = a->request->who_uid,
		.result = STORE_RESULT_PENDING,
		.created_wall_ns = a->m->wall_ns,
		.copy_of = a->from ? a->from->row.revision : 0,
	};

	memcpy(row.sha256, a->sha256, sizeof(row.sha256));
	if (store_put(a->m->store, STORE_REVISION, &row, err) < 0 ||
	    store_put_blob(a->m->store, STORE_DOCUMENT, row.id, a->text.data, a->text.length, err) <
		    0)
		return -1;
	a->revision = model_add_revision(a->d, &row);
	if (!a->revision)
		return no_memory(err);
	for (size_t i = 0; i < a->parts_count; i++) {
		a->parts[i].pin.revision = row.id;
		if (store_put(a->m->store, STORE_PIN, &a->parts[i].pin, err) < 0)
			return -1;
		if (model_add_pin(a->revision, &a->parts[i].pin) < 0)
			return no_memory(err);
	}
	return 0;
}

static int
put_routes(struct apply *a, struct part *p, struct err *err)
{
	p->routes_before = p->service->routes_count;
	for (size_t i = 0; i < p->doc->endpoints_count; i++) {
		const struct doc_endpoint *e = &p->doc->endpoints[i];
		struct store_route row = {.service = p->service->row.id};
		bool known = false;

		for (size_t k = 0; k < p->service->routes_count; k++)
			known |= text_equal(p->service->routes[k].endpoint, e->name);
		if (known || (!places_is_edge(e) && !ports_is_stream(e)))
			continue;
		text_copy(row.endpoint, sizeof(row.endpoint), e->name);
		if (store_put(a->m->store, STORE_ROUTE, &row, err) < 0)
			return -1;
		if (model_add_route(p->service, &row) < 0)
			return no_memory(err);
	}
	return 0;
}

static int
put_services(struct apply *a, struct err *err)
{
	for (size_t i = 0; i < a->parts_count; i++) {
		struct part *p = &a->parts[i];

		p->row.deployment = a->row.id;
		if (store_put(a->m->store, STORE_SERVICE, &p->row, err) < 0)
			return -1;
		if (!p->service) {
			p->service = model_add_service(a->d, &p->row);
			p->added = true;
		}
		if (!p->service)
			return no_memory(err);
		if (put_routes(a, p, err) < 0)
			return -1;
	}
	return 0;
}

static int
put_operation(struct apply *a, struct err *err)
{
	struct store_operation row = {
		.deployment = a->row.id,
		.kind = MSG_OPERATION_DEPLOY,
		.state = MSG_OPERATION_RUNNING,
		.revision = a->row.newest,
		.previous_revision = a->row.revision,
		.keep = a->request->no_rollback,
		.who_uid = a->request->who_uid,
		.started_wall_ns = a->m->wall_ns,
	};

	text_copy(row.deployment_name, sizeof(row.deployment_name), a->row.name);
	if (store_put(a->m->store, STORE_OPERATION, &row, err) < 0)
		return -1;
	a->operation = model_add_operation(a->m, &row);
	if (!a->operation)
		return no_memory(err);
	a->row.operation = row.id;
	return store_put(a->m->store, STORE_DEPLOYMENT, &a->row, err);
}

static void
undo(struct apply *a)
{
	if (a->operation) {
		list_remove(&a->operation->link);
		a->m->operations_count--;
		mem_free(a->operation);
	}
	if (a->added) {
		model_drop_deployment(a->m, a->d);
		return;
	}
	if (a->revision)
		model_drop_revision(a->revision);
	for (size_t i = 0; i < a->parts_count; i++) {
		struct part *p = &a->parts[i];

		if (!p->service)
			continue;
		/* SIZE_MAX: it did not come to that. */
		if (p->routes_before < p->service->routes_count)
			p->service->routes_count = p->routes_before;
		if (p->added) {
			list_remove(&p->service->link);
			mem_free(p->service->routes);
			mem_free(p->service);
		}
	}
}

int
apply_write(struct apply *a, struct err *err)
{
	prepare_row(a);
	if (store_begin(a->m->store, err) < 0)
		return -1;
	int rc = put_deployment(a, err);
	if (rc == 0)
		rc = put_services(a, err);
	if (rc == 0)
		rc = put_revision(a, err);
	if (rc == 0)
		rc = put_operation(a, err);
	if (rc == 0)
		rc = store_commit(a->m->store, err);
	else
		store_abort(a->m->store);
	if (rc < 0)
		undo(a);
	return rc;
}

/* ---- what was written takes effect ---- */

static void
tell_weak_gates(struct apply *a)
{
	for (size_t i = 0; i < a->parts_count; i++) {
		if (!a->parts[i].doc->health.node)
			event_deployment(a->m, a->d, a->parts[i].service, "deploy.weak_gate",
					 LOG_WARN, NULL,
					 "%s has no health block: it counts as healthy when its "
					 "ports accept TCP and it stays up",
					 a->parts[i].row.name);
	}
}

/* The store has it: from here on nothing fails. */
void
apply_take_effect(struct apply *a)
{
	struct deployment *d = a->d;
	struct list *it, *next, *at, *after;

	d->row = a->row;
	d->operation = a->operation;
	a->revision->doc = a->doc;
	a->doc = NULL;
	for (size_t i = 0; i < a->parts_count; i++) {
		a->parts[i].service->row = a->parts[i].row;
		a->parts[i].service->depends_over = 0;
	}
	rollout_init(&d->rollout, ROLLOUT_FORWARD, a->request->no_rollback, a->m->now_ns);
	if (a->from)
		event_deployment(a->m, d, NULL, "rollback.started", LOG_INFO, NULL,
				 "%s revision %u is deployed: what revision %u was", d->row.name,
				 d->row.target, a->from->row.revision);
	else
		event_deployment(a->m, d, NULL, "deploy.started", LOG_INFO, NULL,
				 "%s revision %u is deployed", d->row.name, d->row.target);
	tell_weak_gates(a);
	/* A deploy starts again what was stopped by hand. */
	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		list_each (at, after, &s->replicas) {
			struct replica *p = container_of(at, struct replica, link);

			if (p->life.order == LIFECYCLE_STOP && !p->row.job)
				reconcile_order(a->m, p, LIFECYCLE_RUN);
		}
	}
}
