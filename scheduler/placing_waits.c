/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That replicas of a service have no node, from its conductor to the others. Only that one has the
 * nodes' own answers: another one, who judges from afar, may see room where a node has refused, or
 * replicas enough where a roll-out waits for a place. So what is shown of a service (its reason,
 * the metric, whether it waits) is what its conductor says, at every node.
 *
 * An entry stands as long as replicas wait. That it begins or ends, and another number of them, is
 * told at once; the words alone change with what is free somewhere, and wait a little. Who conducts
 * no more takes back what it said.
 */
#include "scheduler/placing_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"

enum { AGAIN_MS = 2000 };

struct key {
	uint64_t service;
	uint32_t node;
	uint32_t pad_;
};

struct heard {
	uint32_t life; /* of the node, in which it said that */
	struct tidings_waits waits;
};

struct told {
	uint64_t told_ns;
	struct tidings_waits waits;
};

static struct heard *
heard_of(const struct placing *p, uint32_t node, uint64_t service)
{
	const struct key key = {service, node, 0};

	return map_get(&p->heard_waits, &key, sizeof(key));
}

/* ---- what is heard ---- */

static bool
keep(struct placing *p, uint32_t node, uint64_t service, uint32_t life,
     const struct tidings_waits *waits)
{
	const struct key key = {service, node, 0};
	struct heard *h = heard_of(p, node, service);

	if (!h) {
		h = mem_zalloc(MEM_SCHEDULER, sizeof(*h));
		if (!h || map_put(&p->heard_waits, &key, sizeof(key), h, NULL) < 0) {
			mem_free(h);
			return false;
		}
	}
	h->life = life;
	h->waits = *waits;
	return true;
}

bool
placing_waits_entry(struct placing *p, const struct placing_peer *n, uint64_t id, const void *value,
		    size_t bytes)
{
	const struct key key = {id, n->id, 0};
	struct tidings_waits waits;

	if (!value) {
		mem_free(map_remove(&p->heard_waits, &key, sizeof(key)));
		return true;
	}
	return !tidings_take_waits(value, bytes, &waits) || keep(p, n->id, id, n->life, &waits);
}

void
placing_waits_reap(struct placing *p, const struct placing_peer *n, bool all)
{
	struct map_iter it = {0};

	while (map_next(&p->heard_waits, &it)) {
		struct heard *h = it.value;
		struct key key;

		memcpy(&key, it.key, sizeof(key));
		if (key.node == n->id && (all || h->life != n->life))
			mem_free(map_remove(&p->heard_waits, &key, sizeof(key)));
	}
}

const struct tidings_waits *
placing_waits_heard(struct placing *p, const struct service *s)
{
	const struct heard *h;

	if (!map_count(&p->heard_waits) || fleet_refresh(&p->fleet) < 0)
		return NULL;
	h = heard_of(p, fleet_coordinator(&p->fleet, s->deployment->row.id), s->row.id);
	return h ? &h->waits : NULL;
}

/* ---- what is told ---- */

static void
take_back(struct placing *p, uint64_t service)
{
	struct told *t = map_remove_u64(&p->told_waits, service);

	if (t)
		p->link.drop(p->link.arg, TIDINGS_WAITS, service);
	mem_free(t);
}

static struct told *
told_of(struct placing *p, uint64_t service)
{
	struct told *t = map_get_u64(&p->told_waits, service);

	if (t)
		return t;
	t = mem_zalloc(MEM_SCHEDULER, sizeof(*t));
	if (t && map_put_u64(&p->told_waits, service, t) < 0) {
		mem_free(t);
		t = NULL;
	}
	/* The others judge for themselves; the next pass tries again. */
	if (!t)
		log_event(LOG_WARN, "no memory to tell that a service waits",
			  log_u("service", service), LOG_END);
	return t;
}

void
placing_waits_tell(struct placing *p, const struct service *s, const struct tidings_waits *waits)
{
	struct tidings_value v;
	struct told *t;

	if (!waits) {
		take_back(p, s->row.id);
		return;
	}
	t = told_of(p, s->row.id);
	if (!t || memcmp(&t->waits, waits, sizeof(*waits)) == 0)
		return;
	uint64_t at = t->told_ns + AGAIN_MS * PLACING_MS_NS;
	if (t->waits.missing == waits->missing && p->m->now_ns < at) {
		model_wake_at(p->m, at);
		return;
	}
	t->told_ns = p->m->now_ns;
	t->waits = *waits;
	tidings_put_waits(waits, &v);
	p->link.put(p->link.arg, TIDINGS_WAITS, s->row.id, &v);
}

/* Of services that are no more. */
void
placing_waits_after(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->told_waits, &it)) {
		uint64_t id;

		memcpy(&id, it.key, sizeof(id));
		const struct service *s = model_service_by_id(p->m, id);
		if (!s || s->deployment->lost)
			take_back(p, id);
	}
}

void
placing_waits_fini(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->heard_waits, &it))
		mem_free(it.value);
	map_fini(&p->heard_waits);
	it = (struct map_iter){0};
	while (map_next(&p->told_waits, &it))
		mem_free(it.value);
	map_fini(&p->told_waits);
}
