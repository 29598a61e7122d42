/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A replica is in the store, with its plan, before it is in the model: its id comes from there.
 */
#include "scheduler/create.h"

#include <string.h>
#include "base/text.h"
#include "ring/plan.h"
#include "scheduler/placing.h"
#include "scheduler/plan_make.h"
#include "scheduler/reconcile.h"

static int
store_replica(struct model *m, struct store_replica *row, struct plan_make_input *in,
	      struct buf *plan, struct err *err)
{
	struct store *store = store_local(m->store);

	if (store_put(store, STORE_REPLICA, row, err) < 0)
		return -1;
	in->replica = row->id;
	if (plan_make_bytes(in, plan, row->plan_sha256, err) < 0 ||
	    store_put(store, STORE_REPLICA, row, err) < 0)
		return -1;
	return store_put_blob(store, STORE_PLAN, row->id, plan->data, plan->length, err);
}

struct keeping {
	struct err *err;
	int rc;
};

/* At once: it is this node's own. */
static void
kept(void *arg, const struct err *err)
{
	struct keeping *k = arg;

	k->rc = err ? -1 : 0;
	if (err)
		*k->err = *err;
}

static int
make_row(struct model *m, struct service *s, const struct revision *r, uint32_t index,
	 const struct words *args, struct store_replica *row, struct err *err)
{
	const struct store_pin *pin = model_pin(r, s->row.name);
	const struct doc_service *spec = doc_service_find(r->doc, s->row.name);
	struct store *store = store_local(m->store);
	struct buf plan;

	if (!pin || !spec)
		return err_set(err, ERR_INTERNAL, "%s is not in revision %u", s->row.name,
			       r->row.revision);
	struct plan_make_input in = {
		.config = m->config,
		.deployment = s->deployment->row.name,
		.service = spec,
		.image_digest = pin->image_digest,
		.service_id = s->row.id,
		.index = index,
		.revision = r->row.revision,
		.args = args,
	};
	row->service = s->row.id;
	row->index = index;
	row->revision = r->row.revision;
	row->desired = MSG_RUN;
	row->created_wall_ns = m->wall_ns;
	memcpy(row->make, pin->make, sizeof(row->make));
	if (store_begin(store, err) < 0)
		return -1;
	buf_init(&plan, MEM_SCHEDULER, PLAN_BYTES_MAX);
	int rc = store_replica(m, row, &in, &plan, err);
	if (rc == 0) {
		struct keeping k = {.err = err};

		store_submit(store, kept, &k);
		rc = k.rc;
	} else {
		store_abort(store);
	}
	buf_fini(&plan);
	return rc;
}

static int
check_room(const struct model *m, struct err *err)
{
	if (map_count(&m->replicas) >= MODEL_REPLICAS_MAX)
		return err_set(err, ERR_LIMIT, "a node has at most %d replicas",
			       MODEL_REPLICAS_MAX);
	return 0;
}

/* Of a row that is in the store. */
static struct replica *
begin_life(struct model *m, struct service *s, const struct store_replica *row, bool released,
	   struct err *err)
{
	struct lifecycle_policy policy;
	struct replica *p = model_add_replica(m, s, row);

	if (!p) {
		err_set(err, ERR_NO_MEMORY, "no memory for a replica");
		return NULL;
	}
	p->released = released;
	model_policy(m, p, &policy);
	lifecycle_init(&p->life, &policy);
	reconcile_order(m, p, LIFECYCLE_RUN);
	return p;
}

int
create_replica(struct model *m, struct service *s, uint32_t index, bool of_target, struct err *err)
{
	struct deployment *d = s->deployment;
	struct revision *r = model_document(m, d, of_target ? d->row.target : d->row.revision, err);
	struct store_replica row = {0};

	if (!r || check_room(m, err) < 0)
		return -1;
	if (d->operation && (d->rollout.phase == ROLLOUT_FORWARD ||
			     d->operation->row.kind == MSG_OPERATION_RESTART))
		row.operation = d->operation->row.id;
	if (make_row(m, s, r, index, NULL, &row, err) < 0)
		return -1;
	/* On the way forward it was waited for before; on the way back nothing may wait. */
	return begin_life(m, s, &row, d->rollout.phase != ROLLOUT_IDLE, err) ? 0 : -1;
}

int
create_placed(struct model *m, struct service *s, const struct claim *c, uint64_t id,
	      struct err *err)
{
	struct revision *r = model_document(m, s->deployment, c->revision, err);
	struct store_replica row = {.id = id, .operation = c->epoch};
	struct replica *p;

	if (!r || check_room(m, err) < 0 || make_row(m, s, r, c->slot + 1, NULL, &row, err) < 0)
		return -1;
	p = begin_life(m, s, &row, s->deployment->rollout.phase != ROLLOUT_IDLE, err);
	if (!p)
		return -1;
	p->claim = c->number;
	return 0;
}

struct replica *
create_run(struct model *m, struct service *s, const struct words *args,
	   const struct store_firing *firing, struct err *err)
{
	struct deployment *d = s->deployment;
	struct revision *r = model_document(m, d, d->row.revision, err);
	struct store_replica row = {.job = 1};
	struct list *it, *next;
	uint32_t index = 1;

	if (!r || check_room(m, err) < 0)
		return NULL;
	list_each (it, next, &s->replicas) {
		const struct replica *p = container_of(it, struct replica, link);

		if (p->row.index >= index)
			index = p->row.index + 1;
	}
	/* The run before may have gone with its node. */
	if (firing && index <= firing->index)
		index = firing->index + 1;
	text_copy(row.boot, sizeof(row.boot), m->boot);
	row.firing = firing ? firing->id : 0;
	row.tries = firing ? firing->tries : 0;
	row.due_s = firing ? firing->at_s : 0;
	if (m->placing)
		row.id = placing_run_id(m->placing);
	if (make_row(m, s, r, index, args, &row, err) < 0)
		return NULL;
	return begin_life(m, s, &row, false, err);
}
