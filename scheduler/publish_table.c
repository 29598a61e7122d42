/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For each table all keys of this pass are collected; a row whose object has gone is removed, found
 * by the keys of the pass before.
 */
#include "scheduler/publish_table.h"

#include <string.h>
#include "base/log.h"
#include "base/map.h"

void
publish_table_begin(struct publish_table *t, struct model *m, uint16_t id)
{
	t->m = m;
	t->id = id;
	t->before = &m->published[id];
	t->pass = (uintptr_t)++m->passes;
	ring_table_begin(m->writer, id);
}

void
publish_table_row(struct publish_table *t, uint64_t key, const void *row)
{
	enum ring_status status;

	/* A key that cannot be remembered is not published now: it could not be removed. */
	if (map_put_u64(t->before, key, (void *)t->pass) < 0)
		status = RING_NO_MEM;
	else
		status = ring_table_set(t->m->writer, t->id, key, row, NULL);
	if (status != RING_OK)
		log_event(LOG_ERROR, "a row found no place", log_u("table", t->id),
			  log_u("key", key), LOG_END);
}

void
publish_table_commit(struct publish_table *t)
{
	struct map_iter it = {0};

	while (map_next(t->before, &it)) {
		uint64_t key;

		if ((uintptr_t)it.value == t->pass)
			continue;
		memcpy(&key, it.key, sizeof(key));
		ring_table_remove(t->m->writer, t->id, key);
		map_remove(t->before, &key, sizeof(key));
	}
	ring_table_commit(t->m->writer, t->id);
}

void
publish_table_mark(struct model *m, uint16_t id)
{
	static const union {
		struct msg_route route;
		struct msg_mesh mesh;
	} nothing;
	_Static_assert(sizeof(nothing) >= sizeof(struct msg_backend), "as long as any row here");
	_Static_assert(sizeof(nothing) >= sizeof(struct msg_stream), "as long as any row here");
	_Static_assert(sizeof(nothing) >= sizeof(struct msg_claim), "as long as any row here");

	if (ring_table_own_version(m->writer, id) > 1)
		return;
	ring_table_begin(m->writer, id);
	if (ring_table_set(m->writer, id, UINT64_MAX, &nothing, NULL) == RING_OK)
		ring_table_remove(m->writer, id, UINT64_MAX);
	ring_table_commit(m->writer, id);
}

void
publish_table_services(struct publish_table *t, publish_service_fn visit)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &t->m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		if (d->gone || d->lost)
			continue;
		list_each (at, after, &d->services)
			visit(t, container_of(at, struct service, link));
	}
}

void
publish_table_replicas(struct publish_table *t, publish_replica_fn visit)
{
	struct map_iter it = {0};

	while (map_next(&t->m->replicas, &it)) {
		struct replica *p = it.value;

		if (!p->life.gone && !p->service->deployment->gone)
			visit(t, p);
	}
}
