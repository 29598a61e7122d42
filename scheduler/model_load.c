/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model out of the store, once at a start. A row that refers to nothing cannot come from the
 * store (foreign keys and the check at opening see to that), so it is skipped rather than mourned.
 * What was ready is taken to be where it was, unless the machine was started again since.
 */
#include "scheduler/model.h"

#include <string.h>
#include "base/text.h"
#include "scheduler/cronjob.h"
#include "scheduler/news.h"

struct loading {
	struct model *m;
	struct revision *revision; /* of the last pin */
	bool no_memory;
	uint64_t last_event;
};

static void
load_deployment(void *arg, const void *row)
{
	struct loading *l = arg;

	l->no_memory |= !model_add_deployment(l->m, row);
}

static void
load_service(void *arg, const void *row)
{
	const struct store_service *s = row;
	struct loading *l = arg;
	struct deployment *d = model_deployment_by_id(l->m, s->deployment);

	l->no_memory |= d && !model_add_service(d, s);
}

static void
load_revision(void *arg, const void *row)
{
	const struct store_revision *r = row;
	struct loading *l = arg;
	struct deployment *d = model_deployment_by_id(l->m, r->deployment);

	l->no_memory |= d && !model_add_revision(d, r);
}

static void
load_pin(void *arg, const void *row)
{
	const struct store_pin *pin = row;
	struct loading *l = arg;

	if (!l->revision || l->revision->row.id != pin->revision)
		l->revision = model_revision_by_id(l->m, pin->revision);
	l->no_memory |= l->revision && model_add_pin(l->revision, pin) < 0;
}

static void
load_route(void *arg, const void *row)
{
	const struct store_route *route = row;
	struct loading *l = arg;
	struct service *s = model_service_by_id(l->m, route->service);

	l->no_memory |= s && model_add_route(s, route) < 0;
}

static void
load_replica(void *arg, const void *row)
{
	const struct store_replica *r = row;
	struct loading *l = arg;
	struct service *s = model_service_by_id(l->m, r->service);

	l->no_memory |= s && !model_add_replica(l->m, s, r);
}

static void
load_operation(void *arg, const void *row)
{
	const struct store_operation *o = row;
	struct loading *l = arg;
	struct operation *added = model_add_operation(l->m, o);

	if (!added) {
		l->no_memory = true;
		return;
	}
	struct deployment *d = model_deployment_by_id(l->m, o->deployment);
	if (d && o->state == MSG_OPERATION_RUNNING && o->id == d->row.operation) {
		d->operation = added;
		d->rollout.keep = o->keep;
	}
	if (l->m->operations_count <= MODEL_OPERATIONS_MAX)
		return;
	struct operation *oldest = container_of(l->m->operations.next, struct operation, link);
	if (oldest->row.state == MSG_OPERATION_RUNNING)
		return;
	model_drop_operation(l->m, oldest);
}

static void
load_cron(void *arg, const void *row)
{
	const struct store_cron *c = row;
	struct loading *l = arg;
	struct service *s = model_service_by_id(l->m, c->service);
	struct cronjob *job = s ? cronjob_get(s) : NULL;

	l->no_memory |= s && !job;
	if (job)
		job->row = *c;
}

static void
load_firing(void *arg, const void *row)
{
	const struct store_firing *f = row;
	struct loading *l = arg;
	struct service *s = model_service_by_id(l->m, f->service);
	struct cronjob *job = s ? cronjob_get(s) : NULL;
	struct cronjob_firing *added = job ? cronjob_add(job, f) : NULL;

	l->no_memory |= s && !added;
	if (added)
		added->found = true;
}

static void
load_event(void *arg, const void *row)
{
	struct loading *l = arg;

	l->last_event = ((const struct store_event *)row)->id;
}

/* ---- what was there before ---- */

/* A container outlives the scheduler: until the runtime says otherwise it is where it was, so that
 * its backend is published before anybody looks. Not after a reboot. */
static void
restore_address(struct model *m, struct replica *p)
{
	const struct store_replica *row = &p->row;
	struct addr addr;

	if (row->desired != MSG_RUN || !row->ready_attempt || row->ready_attempt != row->attempt ||
	    !text_equal(row->boot, m->boot) || !addr_parse_ip(row->address, &addr))
		return;
	p->container = (struct msg_container){
		.replica = row->id,
		.attempt = row->attempt,
		.state = MSG_CONTAINER_RUNNING,
		.started_wall_ns = row->ready_started_wall_ns,
		.addr4 = addr,
	};
	p->has_container = true;
}

static void
restore_replicas(struct model *m)
{
	struct map_iter it = {0};

	while (map_next(&m->replicas, &it)) {
		struct replica *p = it.value;
		struct lifecycle_policy policy;

		model_policy(m, p, &policy);
		lifecycle_init(&p->life, &policy);
		lifecycle_restore(&p->life, p->row.desired, p->row.attempt, p->row.ready_attempt,
				  p->row.ready_started_wall_ns, p->row.restarts);
		restore_address(m, p);
	}
}

/* A removal ends what was under way; when the scheduler died before it could say so, it does now:
 * whoever follows that operation would wait for ever. */
static void
end_overtaken(struct model *m)
{
	struct list *it, *next;

	list_each (it, next, &m->operations) {
		struct operation *o = container_of(it, struct operation, link);
		struct deployment *d = model_deployment_by_id(m, o->row.deployment);
		struct err over = {0};

		if (o->row.state != MSG_OPERATION_RUNNING || (d && d->operation == o))
			continue;
		err_set(&over, ERR_INTERRUPTED, "%s was removed meanwhile", o->row.deployment_name);
		msg_reason_from(&over, &o->row.reason);
		o->row.state = MSG_OPERATION_FAILED;
		o->row.ended_wall_ns = m->wall_ns;
		o->dirty = true;
	}
}

static int
load(struct model *m, struct err *err)
{
	static const struct {
		enum store_kind kind;
		store_visit_fn visit;
	} kinds[] = {
		{STORE_DEPLOYMENT, load_deployment},
		{STORE_SERVICE, load_service},
		{STORE_REVISION, load_revision},
		{STORE_PIN, load_pin},
		{STORE_ROUTE, load_route},
		{STORE_REPLICA, load_replica},
		{STORE_OPERATION, load_operation},
		{STORE_EVENT, load_event},
		{STORE_CRON, load_cron},
		{STORE_FIRING, load_firing},
	};
	struct loading l = {.m = m};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct store *store =
			store_kind_is_local(kinds[i].kind) ? store_local(m->store) : m->store;

		if (store_each(store, kinds[i].kind, 0, 0, kinds[i].visit, &l, err) < 0)
			return -1;
	}
	if (l.no_memory)
		return err_set(err, ERR_NO_MEMORY, "no memory for what the store holds");
	m->next_event = l.last_event + 1;
	end_overtaken(m);
	restore_replicas(m);
	return 0;
}

int
model_open(struct model *m, struct store *store, const struct config *config, const char *node,
	   const char *boot, uint64_t now_ns, int64_t wall_ns, struct err *err)
{
	memset(m, 0, sizeof(*m));
	m->store = store;
	m->config = config;
	m->node = node;
	m->boot = boot;
	m->now_ns = now_ns;
	m->wall_ns = wall_ns;
	list_init(&m->deployments);
	list_init(&m->operations);
	list_init(&m->uniques);
	list_init(&m->events);
	map_init(&m->replicas, MEM_SCHEDULER);
	map_init(&m->news.deployments, MEM_SCHEDULER);
	map_init(&m->news.operations, MEM_SCHEDULER);
	for (unsigned t = 0; t < MSG_TABLES_; t++)
		map_init(&m->published[t], MEM_SCHEDULER);
	if (load(m, err) == 0) {
		news_follow(m);
		return 0;
	}
	model_close(m);
	return -1;
}
