/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services are numbered anew for each view; what depends on another service names it by that
 * number. Of a service's rules those of the target count, or, without one, of what serves.
 */
#include "scheduler/rollout_view.h"

#include <string.h>

#define MS_NS 1000000ull

enum { VIEW_BYTES = 4 << 20, WEAK_EXTRA_MS = 30000 };

struct service *
rollout_view_service(const struct view *view, uint32_t slot)
{
	return slot < view->v.services_count ? view->services[slot] : NULL;
}

static void
add_depends(struct view *view, struct service *s, const struct doc_service *doc,
	    struct rollout_service *out)
{
	out->depends = doc->depends_count ? arena_array(&view->arena, doc->depends_count,
							sizeof(*out->depends))
					  : NULL;
	if (!out->depends)
		return;
	for (size_t i = 0; i < doc->depends_count && i < 64; i++) {
		const struct doc_depend *d = &doc->depends[i];
		struct service *other = model_service(s->deployment, d->service);

		if (!other)
			continue;
		out->depends[out->depends_count++] = (struct rollout_depend){
			.service = other->slot,
			.condition = (enum rollout_condition)d->condition,
			.on_timeout = (enum rollout_on_timeout)d->on_timeout,
			.timeout_ns = d->timeout_ms * MS_NS,
			.over = s->depends_over >> i & 1,
		};
	}
}

/* The next one can only begin when the one before has ended. */
static bool
is_unique(const struct doc_service *s)
{
	return s && s->scale.unique;
}

static void
add_service(struct model *m, struct view *view, struct service *s, struct rollout_service *out)
{
	const struct store_deployment *d = &s->deployment->row;
	const struct doc_service *target = model_service_doc(m, s, d->target);
	const struct doc_service *serving = model_service_doc(m, s, d->revision);
	const struct doc_service *rules = target ? target : serving;
	uint64_t wait_ms = m->config->deploy.health_timeout_ms + (rules ? model_init_ms(rules) : 0);

	memset(out, 0, sizeof(*out));
	out->want = target && target->rtype == DOC_RTYPE_SERVICE ? s->row.wanted : 0;
	out->had = serving && serving->rtype == DOC_RTYPE_SERVICE ? s->row.desired : 0;
	if (s->deployment->operation && s->deployment->operation->row.kind == MSG_OPERATION_REMOVE)
		out->want = out->had = 0;
	if (!rules)
		return;
	out->surge = rules->update.max_surge;
	out->unavailable = rules->update.max_unavailable;
	out->stop_first = rules->update.order == DOC_ORDER_STOP_FIRST || is_unique(serving) ||
			  is_unique(target);
	out->pause = rules->update.on_failure == DOC_UPDATE_PAUSE;
	if (rules->health.node)
		out->monitor_ns = rules->update.monitor_ms * MS_NS;
	else
		wait_ms += rules->update.monitor_ms + WEAK_EXTRA_MS;
	out->ready_max_ns = wait_ms * MS_NS;
	if (target)
		add_depends(view, s, target, out);
}

/* A restart: what was there before counts as old, though it is made as the target says. */
static bool
is_to_be_replaced(const struct operation *o, const struct replica *p)
{
	return o && o->row.kind == MSG_OPERATION_RESTART && p->row.operation != o->row.id &&
	       (!o->row.service || o->row.service == p->row.service) &&
	       (!o->row.index || o->row.index == p->row.index);
}

static void
add_replica(struct model *m, struct replica *p, struct rollout_replica *out)
{
	const struct deployment *d = p->service->deployment;
	const struct lifecycle *l = &p->life;
	bool fresh = d->operation && p->row.operation == d->operation->row.id;

	*out = (struct rollout_replica){
		.id = p->row.id,
		.service = p->service->slot,
		.index = p->row.index,
		.target = model_made_as(m, p, d->row.target) && !is_to_be_replaced(d->operation, p),
		.previous = model_made_as(m, p, d->row.revision),
		.fresh = fresh,
		.leaving = l->order == LIFECYCLE_REMOVE || p->retiring,
		/* A claim that was told to leave does not come back. */
		.draining = !m->placing && l->order == LIFECYCLE_REMOVE &&
			    l->state == MSG_REPLICA_DRAINING,
		.started = p->has_container && !p->container.hold &&
			   p->container.state == MSG_CONTAINER_RUNNING &&
			   p->container.attempt == l->attempt,
		.passed = l->ready_attempt > 0,
		.ready = l->state == MSG_REPLICA_READY,
		.trouble = lifecycle_in_trouble(l),
		.misfit = p->misfit,
		.created_ns = p->created_ns,
		.ready_ns = p->ready_ns,
	};
}

/* Where nodes reach only their own containers, each is to have one all the time. */
static bool
is_covered(struct model *m, const struct replica *p, const struct rollout_replica *list,
	   size_t first, size_t count)
{
	for (size_t i = first; i < count; i++) {
		const struct replica *other = model_replica(m, list[i].id);

		/* In a restart it loses to the one that it comes for: that is no reason. */
		if (list[i].target && list[i].ready && !list[i].leaving && other && other != p &&
		    (!other->misfit || other->loser) && other->remote == p->remote &&
		    other->node_id == p->node_id)
			return true;
	}
	return false;
}

/* Of the replicas of a service, which are list[first] to list[count - 1]. */
static void
look_at_old(struct model *m, struct rollout_replica *list, size_t first, size_t count)
{
	for (size_t i = first; m->placing && i < count; i++) {
		const struct replica *p = model_replica(m, list[i].id);

		if (!p)
			continue;
		placing_is_old(m->placing, p, !list[i].target);
		list[i].covered =
			!list[i].target && !list[i].leaving && is_covered(m, p, list, first, count);
	}
}

/* The make that a revision says; NULL: it has no such service. */
static const uint8_t *
make_of(const struct service *s, uint32_t revision)
{
	const struct store_pin *pin =
		model_pin(model_revision(s->deployment, revision), s->row.name);

	return pin ? pin->make : NULL;
}

static bool
same_make(const struct service *s, uint32_t a, uint32_t b)
{
	const uint8_t *x = make_of(s, a), *y = make_of(s, b);

	return x && y && memcmp(x, y, sizeof(((struct store_pin *)0)->make)) == 0;
}

static bool
is_of_before(const struct operation *o, const struct placing_coming *c)
{
	return o && o->row.kind == MSG_OPERATION_RESTART && c->node && c->operation != o->row.id &&
	       (!o->row.service || o->row.service == c->service->row.id) &&
	       (!o->row.index || o->row.index == c->index);
}

static void
add_coming(struct view *view, struct rollout_replica *list, const struct placing_coming *c)
{
	const struct deployment *d = c->service->deployment;
	size_t n = view->coming_count++;

	view->coming[n] = *c;
	list[view->v.replicas_count++] = (struct rollout_replica){
		.id = PLACING_COMES | n,
		.service = c->service->slot,
		.index = c->index,
		.target = same_make(c->service, c->revision, d->row.target) &&
			  !is_of_before(d->operation, c),
		.previous = same_make(c->service, c->revision, d->row.revision),
		.fresh = d->operation && c->operation == d->operation->row.id,
		.leaving = c->leaving,
		.created_ns = c->since_ns,
	};
}

static size_t
count_coming(const struct model *m, struct deployment *d)
{
	struct list *it, *next;
	size_t count = 0;

	list_each (it, next, &d->services) {
		if (m->placing)
			count += placing_coming_count(m->placing,
						      container_of(it, struct service, link));
	}
	return count;
}

static size_t
count_replicas(struct deployment *d)
{
	struct list *it, *next, *at, *after;
	size_t count = 0;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		list_each (at, after, &s->replicas)
			count++;
	}
	return count;
}

static size_t
number_services(struct deployment *d)
{
	struct list *it, *next;
	uint32_t slot = 0;

	list_each (it, next, &d->services)
		container_of(it, struct service, link)->slot = slot++;
	return slot;
}

/* Runs of jobs are nobody's replicas, but go with the deployment. */
static bool
removes(const struct deployment *d)
{
	return d->operation && d->operation->row.kind == MSG_OPERATION_REMOVE;
}

/* False when there is no memory: the next pass tries again. */
bool
rollout_view_make(struct model *m, struct deployment *d, struct view *view)
{
	size_t services = number_services(d), coming = count_coming(m, d);
	size_t replicas = count_replicas(d) + coming;
	struct list *it, *next, *at, *after;

	arena_init(&view->arena, MEM_SCHEDULER, VIEW_BYTES);
	struct rollout_service *out =
		arena_array(&view->arena, services + 1, sizeof(struct rollout_service));
	struct rollout_replica *list =
		arena_array(&view->arena, replicas + 1, sizeof(struct rollout_replica));
	view->services = arena_array(&view->arena, services + 1, sizeof(struct service *));
	view->coming = arena_array(&view->arena, coming + 1, sizeof(struct placing_coming));
	view->coming_count = 0;
	if (!arena_ok(&view->arena))
		return false;
	view->v = (struct rollout_view){m->now_ns, out, services, list, 0};
	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);

		view->services[s->slot] = s;
		add_service(m, view, s, &out[s->slot]);
		if (m->placing && placing_judge(m->placing, s))
			out[s->slot].room = placing_has_room(m->placing, s);
		size_t first = view->v.replicas_count;
		list_each (at, after, &s->replicas) {
			struct replica *p = container_of(at, struct replica, link);

			if (!p->life.gone && (!p->row.job || removes(d)))
				add_replica(m, p, &list[view->v.replicas_count++]);
		}
		look_at_old(m, list, first, view->v.replicas_count);
		for (size_t n = 0, all = m->placing ? placing_coming_count(m->placing, s) : 0;
		     n < all; n++) {
			struct placing_coming c;

			placing_coming(m->placing, s, n, &c);
			add_coming(view, list, &c);
		}
	}
	return arena_ok(&view->arena);
}
