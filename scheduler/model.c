/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects and how they are found; they come out of the store in model_load.c. A document in the
 * store that this version cannot parse is an error when it is needed, not before.
 */
#include "scheduler/model.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/cronjob.h"
#include "scheduler/unique.h"

#define MS_NS 1000000ull

/* ---- look-up ---- */

struct deployment *
model_deployment(struct model *m, const char *name)
{
	struct list *it, *next;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		if (!d->lost && text_equal(d->row.name, name))
			return d;
	}
	return NULL;
}

struct service *
model_service(struct deployment *d, const char *name)
{
	struct list *it, *next;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		if (text_equal(s->row.name, name))
			return s;
	}
	return NULL;
}

struct replica *
model_replica(struct model *m, uint64_t id)
{
	return map_get_u64(&m->replicas, id);
}

struct revision *
model_revision(struct deployment *d, uint32_t number)
{
	struct list *it, *next;

	list_each (it, next, &d->revisions) {
		struct revision *r = container_of(it, struct revision, link);

		if (r->row.revision == number)
			return r;
	}
	return NULL;
}

struct operation *
model_operation(struct model *m, uint64_t id)
{
	struct list *it, *next;

	list_each (it, next, &m->operations) {
		struct operation *o = container_of(it, struct operation, link);

		if (o->row.id == id)
			return o;
	}
	return NULL;
}

struct revision *
model_last_good(struct deployment *d)
{
	struct revision *serving = model_revision(d, d->row.revision), *best = NULL;
	struct list *it, *next;

	list_each (it, next, &d->revisions) {
		struct revision *r = container_of(it, struct revision, link);

		if (r->row.result != STORE_RESULT_GOOD || r->row.revision == d->row.revision ||
		    (serving && r->row.revision == serving->row.copy_of) ||
		    (best && best->row.revision > r->row.revision))
			continue;
		best = r;
	}
	return best;
}

const struct store_pin *
model_pin(const struct revision *r, const char *service)
{
	for (size_t i = 0; r && i < r->pins_count; i++) {
		if (text_equal(r->pins[i].service, service))
			return &r->pins[i];
	}
	return NULL;
}

static int
parse_document(struct model *m, struct deployment *d, struct revision *r, struct err *err)
{
	struct diag_list *diags = mem_zalloc(MEM_SCHEDULER, sizeof(*diags));
	struct doc_update defaults;
	struct buf text;
	int rc = -1;

	if (!diags)
		return err_set(err, ERR_NO_MEMORY, "no memory for a document");
	buf_init(&text, MEM_SCHEDULER, DOC_BYTES_MAX);
	diag_list_init(diags);
	if (store_get_blob(m->store, STORE_DOCUMENT, r->row.id, &text, err) == 0) {
		rc = doc_parse((const char *)text.data, text.length, d->row.name, &r->doc, diags);
		if (rc < 0)
			diag_err(diags, err);
	}
	if (rc == 0) {
		config_update_defaults(m->config, &defaults);
		doc_set_update_defaults(r->doc, &defaults);
	}
	diag_list_fini(diags);
	buf_fini(&text);
	mem_free(diags);
	return rc < 0 ? err_where(err, "%s revision %u", d->row.name, r->row.revision) : 0;
}

struct revision *
model_document(struct model *m, struct deployment *d, uint32_t number, struct err *err)
{
	struct revision *r = model_revision(d, number);

	if (!r) {
		err_set(err, ERR_NOT_FOUND, "%s has no revision %u", d->row.name, number);
		return NULL;
	}
	if (!r->doc && parse_document(m, d, r, err) < 0)
		return NULL;
	return r;
}

const struct doc_service *
model_service_doc(struct model *m, struct service *s, uint32_t number)
{
	struct err err = {0};

	if (!number)
		return NULL;
	struct revision *r = model_document(m, s->deployment, number, &err);
	if (!r) {
		log_err(LOG_ERROR, "a document cannot be read", &err);
		return NULL;
	}
	return doc_service_find(r->doc, s->row.name);
}

const struct doc_service *
model_in_force(struct model *m, struct service *s)
{
	const struct store_deployment *d = &s->deployment->row;

	return model_service_doc(m, s, d->revision ? d->revision : d->target);
}

bool
model_made_as(struct model *m, const struct replica *p, uint32_t revision)
{
	const struct store_pin *pin =
		model_pin(model_revision(p->service->deployment, revision), p->service->row.name);

	(void)m;
	return pin && memcmp(pin->make, p->row.make, sizeof(pin->make)) == 0;
}

const struct doc_service *
model_spec(struct model *m, struct replica *p)
{
	const struct store_deployment *d = &p->service->deployment->row;

	if (model_made_as(m, p, d->target))
		return model_service_doc(m, p->service, d->target);
	if (model_made_as(m, p, d->revision))
		return model_service_doc(m, p->service, d->revision);
	return model_service_doc(m, p->service, p->row.revision);
}

/* ---- objects ---- */

struct deployment *
model_add_deployment(struct model *m, const struct store_deployment *row)
{
	struct deployment *d = mem_zalloc(MEM_SCHEDULER, sizeof(*d));

	if (!d)
		return NULL;
	d->row = *row;
	d->followed = row->operation;
	list_init(&d->services);
	list_init(&d->revisions);
	rollout_init(&d->rollout, row->phase ? (enum rollout_phase)row->phase : ROLLOUT_IDLE, false,
		     m->now_ns);
	list_push(&m->deployments, &d->link);
	m->deployments_count++;
	return d;
}

struct service *
model_add_service(struct deployment *d, const struct store_service *row)
{
	struct service *s = mem_zalloc(MEM_SCHEDULER, sizeof(*s));

	if (!s)
		return NULL;
	s->row = *row;
	s->deployment = d;
	list_init(&s->replicas);
	list_push(&d->services, &s->link);
	return s;
}

struct revision *
model_add_revision(struct deployment *d, const struct store_revision *row)
{
	struct revision *r = mem_zalloc(MEM_SCHEDULER, sizeof(*r));

	if (!r)
		return NULL;
	r->row = *row;
	list_push(&d->revisions, &r->link);
	return r;
}

struct replica *
model_add_replica(struct model *m, struct service *s, const struct store_replica *row)
{
	struct replica *p = mem_zalloc(MEM_SCHEDULER, sizeof(*p));

	if (!p || map_put_u64(&m->replicas, row->id, p) < 0) {
		mem_free(p);
		return NULL;
	}
	p->row = *row;
	p->service = s;
	p->created_ns = m->now_ns;
	p->since_wall_ns = m->wall_ns;
	list_push(&s->replicas, &p->link);
	return p;
}

struct operation *
model_add_operation(struct model *m, const struct store_operation *row)
{
	struct operation *o = mem_zalloc(MEM_SCHEDULER, sizeof(*o));

	if (!o)
		return NULL;
	o->row = *row;
	list_push(&m->operations, &o->link);
	m->operations_count++;
	return o;
}

int
model_add_route(struct service *s, const struct store_route *row)
{
	void *p = mem_resize(MEM_SCHEDULER, s->routes, s->routes_count + 1, sizeof(*s->routes));

	if (!p)
		return -1;
	s->routes = p;
	s->routes[s->routes_count++] = *row;
	return 0;
}

int
model_add_pin(struct revision *r, const struct store_pin *row)
{
	void *p = mem_resize(MEM_SCHEDULER, r->pins, r->pins_count + 1, sizeof(*r->pins));

	if (!p)
		return -1;
	r->pins = p;
	r->pins[r->pins_count++] = *row;
	return 0;
}

void
model_drop_replica(struct model *m, struct replica *p)
{
	map_remove_u64(&m->replicas, p->row.id);
	list_remove(&p->link);
	unique_part(p);
	mem_free(p);
}

void
model_drop_revision(struct revision *r)
{
	list_remove(&r->link);
	doc_free(r->doc);
	mem_free(r->pins);
	mem_free(r);
}

void
model_each_replica(struct deployment *d, model_replica_fn fn, void *arg)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		list_each (at, after, &s->replicas)
			fn(arg, s, container_of(at, struct replica, link));
	}
}

void
model_drop_service(struct model *m, struct service *s)
{
	struct list *it, *next;

	list_each (it, next, &s->replicas)
		model_drop_replica(m, container_of(it, struct replica, link));
	list_remove(&s->link);
	cronjob_free(s->cron);
	mem_free(s->routes);
	scaling_free(s->scaling);
	mem_free(s->epochs);
	mem_free(s);
}

void
model_drop_operation(struct model *m, struct operation *o)
{
	list_remove(&o->link);
	m->operations_count--;
	mem_free(o);
}

void
model_drop_deployment(struct model *m, struct deployment *d)
{
	struct list *it, *next;

	list_each (it, next, &d->services)
		model_drop_service(m, container_of(it, struct service, link));
	list_each (it, next, &d->revisions)
		model_drop_revision(container_of(it, struct revision, link));
	list_remove(&d->link);
	m->deployments_count--;
	mem_free(d);
}

/* ---- policy ---- */

bool
model_address(const struct replica *p, struct addr *out)
{
	if (!p->has_container || p->container.attempt != p->life.attempt)
		return false;
	*out = addr_is_zero(&p->container.addr4) ? p->container.addr6 : p->container.addr4;
	return !addr_is_zero(out);
}

void
model_label(const struct service *s, char out[MSG_TARGET])
{
	text_format(out, MSG_TARGET, "%s/%s", s->deployment->row.name, s->row.name);
}

uint64_t
model_init_ms(const struct doc_service *s)
{
	const uint64_t retry_ms = 1000;
	uint64_t sum = 0;

	for (size_t i = 0; i < s->init.steps_count; i++) {
		const struct doc_init_step *step = &s->init.steps[i];

		sum += (step->timeout_ms + retry_ms) * (step->retry + 1);
	}
	return sum;
}

void
model_policy(struct model *m, struct replica *p, struct lifecycle_policy *out)
{
	static const struct lifecycle_policy fallback = {
		.grace_ns = 5000 * MS_NS,
		.patience_ns = 30000 * MS_NS,
		.retries = 3,
		.drain_max_ns = 30000 * MS_NS,
	};
	const struct doc_service *s = model_spec(m, p);

	*out = fallback;
	out->job = p->row.job != 0;
	if (!s)
		return;
	out->drain_max_ns = s->update.drain_ms * MS_NS;
	switch (s->errors.on_panic.action) {
	case DOC_PANIC_RESTART:
		out->panic = LIFECYCLE_RESTART;
		break;
	case DOC_PANIC_SHUTDOWN:
		out->panic = LIFECYCLE_SHUTDOWN;
		break;
	case DOC_PANIC_ISOLATE:
		out->panic = LIFECYCLE_ISOLATE;
		break;
	}
	out->init = s->errors.on_init_failure.action == DOC_INIT_RESTART   ? LIFECYCLE_INIT_RESTART
		    : s->errors.on_init_failure.action == DOC_INIT_BACKOFF ? LIFECYCLE_INIT_BACKOFF
									   : LIFECYCLE_INIT_FAIL;
	if (s->health.node) {
		out->grace_ns = s->health.start_grace_ms * MS_NS;
		out->retries = s->health.retries;
		out->patience_ns = s->health.retries * s->health.interval_ms * MS_NS;
		return;
	}
	out->weak = true;
	out->stay_up_ns = s->update.monitor_ms * MS_NS;
	out->grace_ns += out->stay_up_ns;
}

void
model_wake_at(struct model *m, uint64_t at_ns)
{
	if (!m->due_ns || at_ns < m->due_ns)
		m->due_ns = at_ns;
}

/* ---- the end ---- */

void
model_close(struct model *m)
{
	struct list *it, *next;

	/* What is under way ends with it, and may look at the objects. */
	store_free(m->store);
	m->store = NULL;
	unique_forget(m);
	list_each (it, next, &m->deployments)
		model_drop_deployment(m, container_of(it, struct deployment, link));
	list_each (it, next, &m->operations)
		mem_free(container_of(it, struct operation, link));
	list_each (it, next, &m->events)
		mem_free(container_of(it, struct event, link));
	map_fini(&m->replicas);
	for (unsigned t = 0; t < MSG_TABLES_; t++)
		map_fini(&m->published[t]);
	map_fini(&m->news.deployments);
	map_fini(&m->news.operations);
}
