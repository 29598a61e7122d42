/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures of services between the nodes, for scaling by those of all (scaling.h). Each node says
 * what it has of a service, by entries of its own; one without replicas and without demand says
 * nothing, and its entry of id 0 says that nothing means nothing. So what is missing is told from
 * what is zero: a node that has said neither, that is suspected, or whose figures are old makes the
 * sum incomplete. What a dead node said does not count, as its replicas do not.
 *
 * An entry goes out when something of it has changed by more than a tenth, and now and then as it
 * is, so that its age says something; that somebody waits goes out at once.
 */
#include "scheduler/placing_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "scheduler/scaling.h"

_Static_assert((int)PLACING_RATHER_MAX == (int)FLEET_RATHER_MAX, "all of them have room");

enum {
	REFRESH_MS = 9500, /* a little less than the usual time between two looks */
	TENTH = 10,
};

struct key {
	uint64_t service;
	uint32_t node;
	uint32_t pad_;
};

/* What another node says of a service. */
struct heard {
	bool has_figures, has_scale;
	bool asked;                /* since it was taken into account */
	uint32_t life, scale_life; /* of the node, in which it said that */
	uint64_t heard_ns;
	struct tidings_figures figures;
	struct tidings_scale scale;
};

/* What this node says of it. */
struct told {
	bool figures_out, scale_out;
	uint32_t asks, beat;
	uint64_t told_ns;
	struct tidings_figures figures;
	struct tidings_scale scale;
};

static struct heard *
heard_of(const struct placing *p, uint32_t node, uint64_t service)
{
	const struct key key = {service, node, 0};

	return map_get(&p->heard, &key, sizeof(key));
}

static struct told *
told_of(struct placing *p, uint64_t service)
{
	struct told *t = map_get_u64(&p->told_figures, service);

	if (t)
		return t;
	t = mem_zalloc(MEM_SCHEDULER, sizeof(*t));
	if (t && map_put_u64(&p->told_figures, service, t) < 0) {
		mem_free(t);
		t = NULL;
	}
	/* The others hear nothing of it, which is not whole; the next look tries again. */
	if (!t)
		log_event(LOG_WARN, "no memory to tell of a service", log_u("service", service),
			  LOG_END);
	return t;
}

/* ---- what is heard ---- */

static struct heard *
make_heard(struct placing *p, uint32_t node, uint64_t service)
{
	const struct key key = {service, node, 0};
	struct heard *h = heard_of(p, node, service);

	if (h)
		return h;
	h = mem_zalloc(MEM_SCHEDULER, sizeof(*h));
	if (h && map_put(&p->heard, &key, sizeof(key), h, NULL) < 0) {
		mem_free(h);
		h = NULL;
	}
	return h;
}

static void
forget(struct placing *p, uint32_t node, uint64_t service)
{
	const struct key key = {service, node, 0};
	const struct heard *h = heard_of(p, node, service);

	if (h && !h->has_figures && !h->has_scale)
		mem_free(map_remove(&p->heard, &key, sizeof(key)));
}

static void
drop(struct placing *p, uint32_t node, uint16_t type, uint64_t service)
{
	struct heard *h = heard_of(p, node, service);

	if (!h)
		return;
	if (type == TIDINGS_FIGURES)
		h->has_figures = false;
	else
		h->has_scale = false;
	forget(p, node, service);
}

/* The same again is no news: entries are read again for other reasons. */
static void
hear_figures(struct placing *p, struct heard *h, const struct placing_peer *n,
	     const struct tidings_figures *f)
{
	if (h->has_figures && h->life == n->life && memcmp(&h->figures, f, sizeof(*f)) == 0)
		return;
	h->asked |= !h->has_figures || h->figures.asks != f->asks;
	h->has_figures = true;
	h->life = n->life;
	h->heard_ns = p->m->now_ns;
	h->figures = *f;
}

bool
placing_figures_entry(struct placing *p, struct placing_peer *n, uint16_t type, uint64_t id,
		      const void *value, size_t bytes)
{
	struct tidings_figures figures;
	struct tidings_scale scale;
	bool is_figures = type == TIDINGS_FIGURES;
	struct heard *h;

	if (!value) {
		drop(p, n->id, type, id);
		return true;
	}
	if (is_figures ? !tidings_take_figures(value, bytes, &figures)
		       : !tidings_take_scale(value, bytes, &scale))
		return true;
	h = make_heard(p, n->id, id);
	if (!h)
		return false;
	if (is_figures) {
		hear_figures(p, h, n, &figures);
	} else {
		h->has_scale = true;
		h->scale_life = n->life;
		h->scale = scale;
	}
	return true;
}

/* What a node said in a life of its that is over, or one that was sent away: only_old, or all. */
void
placing_figures_reap(struct placing *p, const struct placing_peer *n, bool all)
{
	struct map_iter it = {0};

	while (map_next(&p->heard, &it)) {
		struct heard *h = it.value;
		struct key key;

		memcpy(&key, it.key, sizeof(key));
		if (key.node != n->id)
			continue;
		h->has_figures &= !all && h->life == n->life;
		h->has_scale &= !all && h->scale_life == n->life;
		forget(p, key.node, key.service);
	}
}

static uint32_t
ready_there(const struct service *s, uint32_t node)
{
	struct list *it, *next;
	uint32_t count = 0;

	list_each (it, next, &s->replicas) {
		const struct replica *r = container_of(it, struct replica, link);

		count += r->remote && r->node_id == node && !r->row.job &&
			 r->life.state == MSG_REPLICA_READY;
	}
	return count;
}

/* Nothing is said of the service, and that means that there is nothing. */
static bool
has_nothing(const struct placing *p, const struct placing_peer *n, const struct service *s)
{
	const struct heard *all = heard_of(p, n->id, 0);

	return n->state == PLACING_ALIVE && all && all->has_figures && all->life == n->life &&
	       !ready_there(s, n->id);
}

/* One that was never heard of is waited for, but not for ever. */
static bool
counts(const struct placing *p, const struct placing_peer *n)
{
	switch (n->state) {
	case PLACING_ALIVE:
	case PLACING_SUSPECT:
		return n->id != p->self;
	case PLACING_NEW:
		return n->id != p->self &&
		       p->m->now_ns < p->start_ns + PLACING_HEAR_MS * PLACING_MS_NS;
	case PLACING_DEAD:
		break;
	}
	return false;
}

void
placing_figures_each(const struct placing *p, const struct service *s,
		     void (*visit)(void *arg, const struct placing_figures *f), void *arg)
{
	uint64_t now_ns = p->m->now_ns, old_ns = FIGURES_OLD_MS * PLACING_MS_NS;
	struct map_iter it = {0};

	while (map_next(&p->peers, &it)) {
		const struct placing_peer *n = it.value;
		const struct heard *h = heard_of(p, n->id, s->row.id);
		struct placing_figures f = {.node = n->id, .name = n->name};

		if (!counts(p, n))
			continue;
		if (h && h->has_figures) {
			f.there = true;
			f.good = n->state == PLACING_ALIVE && h->life == n->life &&
				 now_ns - h->heard_ns <= old_ns;
			f.asked = h->asked;
			f.age_ns = now_ns - h->heard_ns;
			f.said = h->figures;
		} else {
			f.good = has_nothing(p, n, s);
		}
		visit(arg, &f);
	}
}

void
placing_figures_taken(struct placing *p, const struct service *s)
{
	struct map_iter it = {0};

	while (map_next(&p->peers, &it)) {
		struct heard *h =
			heard_of(p, ((const struct placing_peer *)it.value)->id, s->row.id);

		if (h)
			h->asked = false;
	}
}

const struct tidings_scale *
placing_scale_heard(struct placing *p, const struct service *s)
{
	uint32_t node = fleet_refresh(&p->fleet) == 0
				? fleet_coordinator(&p->fleet, s->deployment->row.id)
				: 0;
	const struct heard *h = heard_of(p, node, s->row.id);

	return h && h->has_scale ? &h->scale : NULL;
}

/* A successor has nothing yet of its own: the last change is that of whoever conducted before. */
const struct tidings_scale *
placing_scale_last(const struct placing *p, const struct service *s)
{
	const struct tidings_scale *last = NULL;
	struct map_iter it = {0};

	while (map_next(&p->peers, &it)) {
		const struct heard *h =
			heard_of(p, ((const struct placing_peer *)it.value)->id, s->row.id);

		if (h && h->has_scale && h->scale.from != h->scale.to &&
		    (!last || h->scale.changed_wall_ns > last->changed_wall_ns))
			last = &h->scale;
	}
	return last;
}

/* ---- what is told ---- */

static bool
differs(uint64_t a, uint64_t b)
{
	uint64_t more = a > b ? a : b, less = a > b ? b : a;

	return more - less > more / TENTH;
}

static bool
sums_differ(const uint64_t a[AUTOSCALE_METRICS_], const uint64_t b[AUTOSCALE_METRICS_])
{
	bool differ = false;

	for (int i = 0; i < AUTOSCALE_METRICS_; i++)
		differ |= differs(a[i], b[i]);
	return differ;
}

static bool
is_news(const struct placing *p, const struct told *t, const struct tidings_figures *f)
{
	return !t->figures_out || t->figures.whole != f->whole || t->figures.ready != f->ready ||
	       differs(t->figures.waiting, f->waiting) ||
	       differs(t->figures.in_flight, f->in_flight) || sums_differ(t->figures.sum, f->sum) ||
	       p->m->now_ns - t->told_ns >= REFRESH_MS * PLACING_MS_NS;
}

static bool
is_empty(const struct tidings_figures *f)
{
	bool any = !f->whole || f->ready || f->waiting || f->in_flight;

	for (int i = 0; i < AUTOSCALE_METRICS_; i++)
		any |= f->sum[i] > 0;
	return !any;
}

/* In every life once, after the first look at all services: those not named have nothing. */
void
placing_figures_begin(struct placing *p)
{
	const struct tidings_figures nothing = {.whole = true};
	struct tidings_value v;

	if (p->figures_begun)
		return;
	p->figures_begun = true;
	tidings_put_figures(&nothing, &v);
	p->link.put(p->link.arg, TIDINGS_FIGURES, 0, &v);
}

static void
take_back_figures(struct placing *p, struct told *t, uint64_t service)
{
	if (t->figures_out)
		p->link.drop(p->link.arg, TIDINGS_FIGURES, service);
	t->figures_out = false;
}

static void
take_back_scale(struct placing *p, struct told *t, uint64_t service)
{
	if (t->scale_out)
		p->link.drop(p->link.arg, TIDINGS_SCALE, service);
	t->scale_out = false;
}

void
placing_figures_tell(struct placing *p, const struct service *s, const struct figures *own,
		     bool asks_count)
{
	struct told *t = told_of(p, s->row.id);
	struct tidings_figures f = {
		.whole = own->whole,
		.ready = own->ready,
		.waiting = own->waiting,
		.in_flight = own->in_flight,
	};
	struct tidings_value v;

	if (!t)
		return;
	memcpy(f.sum, own->sum, sizeof(f.sum));
	t->asks += own->asked;
	if (is_empty(&f) && !own->asked) {
		take_back_figures(p, t, s->row.id);
		return;
	}
	if (!is_news(p, t, &f) && !(asks_count && t->asks != t->figures.asks))
		return;
	f.asks = t->asks;
	f.beat = ++t->beat;
	t->figures = f;
	t->figures_out = true;
	t->told_ns = p->m->now_ns;
	tidings_put_figures(&f, &v);
	p->link.put(p->link.arg, TIDINGS_FIGURES, s->row.id, &v);
}

static bool
same_decision(const struct tidings_scale *a, const struct tidings_scale *b)
{
	struct tidings_scale x = *a;

	memcpy(x.mean, b->mean, sizeof(x.mean));
	return memcmp(&x, b, sizeof(x)) == 0;
}

void
placing_scale_tell(struct placing *p, const struct service *s, const struct tidings_scale *scale)
{
	struct told *t = told_of(p, s->row.id);
	struct tidings_value v;

	if (!t)
		return;
	if (t->scale_out && same_decision(&t->scale, scale) &&
	    !sums_differ(t->scale.mean, scale->mean))
		return;
	t->scale = *scale;
	t->scale_out = true;
	tidings_put_scale(scale, &v);
	p->link.put(p->link.arg, TIDINGS_SCALE, s->row.id, &v);
}

/* Those that are scaled no more, or not at all. */
void
placing_figures_after(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->told_figures, &it)) {
		struct told *t = it.value;
		uint64_t id;

		memcpy(&id, it.key, sizeof(id));
		const struct service *s = model_service_by_id(p->m, id);
		if (s && s->scaling && !s->deployment->lost)
			continue;
		take_back_figures(p, t, id);
		take_back_scale(p, t, id);
		map_remove_u64(&p->told_figures, id);
		mem_free(t);
	}
}

void
placing_figures_fini(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->heard, &it))
		mem_free(it.value);
	map_fini(&p->heard);
	it = (struct map_iter){0};
	while (map_next(&p->told_figures, &it))
		mem_free(it.value);
	map_fini(&p->told_figures);
}

/* ---- where a replica is rather to be ---- */

void
placing_rather(struct placing *p, const struct service *s, const uint32_t *nodes, size_t count)
{
	struct fleet_service *f = fleet_service(&p->fleet, s->row.id);

	if (!f)
		return;
	f->rather_count = 0;
	for (size_t i = 0; i < count && i < FLEET_RATHER_MAX; i++)
		f->rather[f->rather_count++] = nodes[i];
}
