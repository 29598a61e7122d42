/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects by the ids of their rows, as the store's news and ends of transactions name them; and
 * whose business they are.
 */
#include "scheduler/model.h"

#include "scheduler/placing.h"

struct deployment *
model_deployment_by_id(struct model *m, uint64_t id)
{
	struct list *it, *next;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		if (d->row.id == id)
			return d;
	}
	return NULL;
}

struct service *
model_service_by_id(struct model *m, uint64_t id)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->services) {
			struct service *s = container_of(at, struct service, link);

			if (s->row.id == id)
				return s;
		}
	}
	return NULL;
}

struct revision *
model_revision_by_id(struct model *m, uint64_t id)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->revisions) {
			struct revision *r = container_of(at, struct revision, link);

			if (r->row.id == id)
				return r;
		}
	}
	return NULL;
}

void
model_forget_operations(struct model *m)
{
	struct list *it, *next;

	list_each (it, next, &m->operations) {
		struct operation *o = container_of(it, struct operation, link);

		if (m->operations_count <= MODEL_OPERATIONS_MAX)
			return;
		if (o->row.state == MSG_OPERATION_RUNNING || o->dirty)
			continue;
		model_drop_operation(m, o);
	}
}

bool
model_is_shared(const struct model *m)
{
	return store_local(m->store) != m->store;
}

bool
model_knows_runtime(const struct model *m)
{
	return m->runtime && ring_table_version(m->runtime, MSG_TABLE_CONTAINER) > 0;
}

bool
model_conducts(const struct model *m, const struct deployment *d)
{
	if (m->placing)
		return placing_conducts(m->placing, d);
	/* A node of a cluster that does not hear the others yet. */
	if (m->node_id && !m->hooks.conducts)
		return false;
	return !m->hooks.conducts || m->hooks.conducts(m->hooks.arg, d);
}

void
model_stir(struct model *m)
{
	if (m->hooks.stir)
		m->hooks.stir(m->hooks.arg);
}
