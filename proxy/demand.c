/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Counters and queues by service. That somebody waits is what wakes a service, so it is told at
 * once; everything else is read when the worker publishes its figures anyway.
 *
 * Those that are let go may come back (the replica took fewer than there were, or has gone again):
 * they join behind those that wait by then, and only as many are let go as there were.
 */

#include "proxy/demand.h"

#include <assert.h>
#include "base/mem.h"

void
demand_init(struct demand *d)
{
	map_init(&d->services, MEM_PROXY);
	d->waiting = 0;
	d->changed = false;
}

void
demand_fini(struct demand *d)
{
	struct map_iter it = {0};

	assert(d->waiting == 0);
	while (map_next(&d->services, &it))
		mem_free(it.value);
	map_fini(&d->services);
}

/* ---- services ---- */

void
demand_begin(struct demand *d)
{
	struct map_iter it = {0};

	while (map_next(&d->services, &it))
		((struct demand_service *)it.value)->named = false;
}

int
demand_name(struct demand *d, uint64_t service)
{
	struct demand_service *s = demand_find(d, service);

	if (!s) {
		s = map_count(&d->services) < DEMAND_SERVICES_MAX
			    ? mem_zalloc(MEM_PROXY, sizeof(*s))
			    : NULL;
		if (!s || map_put_u64(&d->services, service, s)) {
			mem_free(s);
			return -1;
		}
		s->id = service;
		list_init(&s->queue);
	}
	s->named = true;
	return 0;
}

void
demand_commit(struct demand *d, void (*gone)(void *arg, uint64_t service), void *arg)
{
	struct map_iter it = {0};

	while (map_next(&d->services, &it)) {
		struct demand_service *s = it.value;
		uint64_t id = s->id;

		if (s->named || s->in_flight > 0)
			continue;
		(void)map_remove_u64(&d->services, id);
		mem_free(s);
		if (gone)
			gone(arg, id);
	}
}

struct demand_service *
demand_find(const struct demand *d, uint64_t service)
{
	return map_get_u64(&d->services, service);
}

void
demand_enter(struct demand_service *s)
{
	s->requests++;
	s->in_flight++;
}

void
demand_leave(struct demand_service *s)
{
	assert(s->in_flight > s->waiting);
	s->in_flight--;
}

/* ---- the queue ---- */

void
demand_wait_init(struct demand_wait *w, void (*go)(struct demand_wait *w))
{
	list_init(&w->link);
	w->service = NULL;
	w->go = go;
}

bool
demand_wait(struct demand *d, struct demand_service *s, struct demand_wait *w)
{
	assert(s->in_flight > 0);
	if (w->service)
		return true;
	if (s->waiting >= DEMAND_WAITING_MAX || d->waiting >= DEMAND_WAITING_ALL_MAX)
		return false;
	d->changed |= s->waiting == 0;
	s->waiting++;
	d->waiting++;
	w->service = s;
	list_push(&s->queue, &w->link);
	return true;
}

void
demand_stop(struct demand *d, struct demand_wait *w)
{
	struct demand_service *s = w->service;

	if (!s)
		return;
	w->service = NULL;
	list_remove(&w->link);
	s->waiting--;
	d->waiting--;
	d->changed |= s->waiting == 0;
}

void
demand_go(struct demand *d, struct demand_service *s)
{
	for (uint32_t n = s->waiting; n > 0 && !list_empty(&s->queue); n--) {
		struct demand_wait *w = container_of(s->queue.next, struct demand_wait, link);

		demand_stop(d, w);
		w->go(w);
	}
}
