/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This node's own: claims that its ledger holds become replicas, what the ledger ends leaves, and
 * what becomes of replicas goes back as the claims' states and out as entries.
 *
 * The core tells in the middle of its steps: that is written down, and the next pass acts on it.
 * A claim of which no replica can be made (a variable that this node does not have, a full disk)
 * is given up with CLAIM_FAILED, and somebody else is asked.
 */
#include "scheduler/placing_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/create.h"
#include "scheduler/reconcile.h"
#include "scheduler/remote.h"

enum {
	CREATE_RETRY_MS = 1000,
	MISSED_MS = 30000,
};

struct replica *
placing_own_replica(const struct placing *p, uint64_t number)
{
	struct replica *r = model_replica(p->m, (uint64_t)p->self << 32 | number);

	if (!r)
		r = model_replica(p->m, number);
	return r && !r->remote && r->claim == number ? r : NULL;
}

/* ---- what the core tells ---- */

static void
tell_claim(struct placing *p, uint64_t number, const void *data)
{
	struct placing_claim *c = map_get_u64(&p->claims, number);
	struct tidings_value v;
	struct claim claim;

	if (!claim_decode(data, &claim))
		return;
	if (!c) {
		c = mem_zalloc(MEM_SCHEDULER, sizeof(*c));
		if (!c || map_put_u64(&p->claims, number, c) < 0) {
			/* It is journaled: the next process finds it. */
			log_event(LOG_ERROR, "no memory for a claim", log_u("claim", number),
				  LOG_END);
			mem_free(c);
			return;
		}
	}
	c->claim = claim;
	if (fleet_claim_set(&p->fleet, &claim) == 0 &&
	    !fleet_claim(&p->fleet, p->self, number)->seen_ns)
		fleet_claim(&p->fleet, p->self, number)->seen_ns = p->m->now_ns;
	tidings_put_claim(&claim, &v);
	p->link.put(p->link.arg, TIDINGS_CLAIM, number, &v);
}

static void
tell_stop(struct placing *p, uint64_t number, uint8_t why)
{
	struct placing_claim *c = map_get_u64(&p->claims, number);

	if (!c)
		return;
	c->stop = true;
	c->why = why;
}

/* Nobody claims it: it leaves. */
static void
tell_orphan(struct placing *p, uint64_t number)
{
	struct replica *r = placing_own_replica(p, number);

	if (!r)
		return;
	log_event(LOG_WARN, "a replica that no claim names is removed",
		  log_s("service", r->service->row.name), log_u("index", r->row.index), LOG_END);
	r->claim = 0;
	r->retiring = true;
}

void
placing_own_tell(void *arg, uint16_t what, uint32_t node, uint64_t token, const void *data,
		 size_t bytes)
{
	struct placing *p = arg;

	(void)node;
	switch ((enum placement_tell)what) {
	case PLACEMENT_CLAIM:
		if (bytes == CLAIM_BYTES)
			tell_claim(p, token, data);
		break;
	case PLACEMENT_UNCLAIM:
		mem_free(map_remove_u64(&p->claims, token));
		fleet_claim_remove(&p->fleet, p->self, token);
		p->link.drop(p->link.arg, TIDINGS_CLAIM, token);
		break;
	case PLACEMENT_STOP:
		tell_stop(p, token, bytes ? *(const uint8_t *)data : 0);
		break;
	case PLACEMENT_ORPHAN:
		tell_orphan(p, token);
		break;
	case PLACEMENT_LOAD:
		break; /* asked for: placing_free_room */
	}
	p->link.stir(p->link.arg);
}

/* ---- claims become replicas ---- */

static void
local_state(struct placing *p, uint64_t number, enum claim_state state)
{
	uint16_t words[2] = {0, (uint16_t)state};

	p->link.local(p->link.arg, PLACEMENT_STATE, number, words, sizeof(words));
}

static void
failed(struct placing *p, struct placing_claim *c, const struct service *s, const struct err *err)
{
	struct err told = *err;

	/* The store may be written again, memory may be there again. */
	if (err->kind == ERR_NO_SPACE || err->kind == ERR_NO_MEMORY || err->kind == ERR_SYSTEM ||
	    err->kind == ERR_NOT_FOUND || err->kind == ERR_CONFLICT) {
		c->again_ns = p->m->now_ns + CREATE_RETRY_MS * PLACING_MS_NS;
		model_wake_at(p->m, c->again_ns);
	} else {
		c->failed = true;
		local_state(p, c->claim.number, CLAIM_FAILED);
	}
	err_where(&told, "%s/%s.%u", s->deployment->row.name, s->row.name, c->claim.slot + 1);
	log_err(LOG_ERROR, "a replica cannot be made", &told);
}

static void
end(struct placing *p, struct placing_claim *c)
{
	if (c->ended)
		return;
	c->ended = true;
	p->link.local(p->link.arg, PLACEMENT_ENDED, c->claim.number, NULL, 0);
}

/* Its service is not in the store (any more): it ends, if that stays so. */
static void
miss(struct placing *p, struct placing_claim *c)
{
	uint64_t until = c->missed_ns + MISSED_MS * PLACING_MS_NS;

	if (!c->missed_ns)
		c->missed_ns = p->m->now_ns;
	else if (p->m->now_ns >= until)
		end(p, c);
	model_wake_at(p->m, c->missed_ns + MISSED_MS * PLACING_MS_NS);
}

static void
make(struct placing *p, struct placing_claim *c)
{
	struct service *s = model_service_by_id(p->m, c->claim.service);
	struct err err = {0};

	if (!s || s->deployment->lost) {
		miss(p, c);
		return;
	}
	c->missed_ns = 0;
	if (c->failed || c->claim.state == CLAIM_LEAVING || p->m->now_ns < c->again_ns)
		return;
	if (create_placed(p->m, s, &c->claim, (uint64_t)p->self << 32 | c->claim.number, &err) < 0)
		failed(p, c, s, &err);
}

static void
part_with(struct placing *p, struct replica *r)
{
	const struct operation *o = r->service->deployment->operation;

	if (r->life.order == LIFECYCLE_REMOVE || r->life.gone)
		return;
	if (o && o->row.kind == MSG_OPERATION_REMOVE) {
		r->row.remove_volumes = o->row.volumes;
		r->row.stop_grace_ms = o->row.grace_ms;
		r->dirty = true;
	}
	reconcile_order(p->m, r, LIFECYCLE_REMOVE);
}

/* The numbers first: what is done with a claim may end it. */
static size_t
numbers(const struct placing *p, uint64_t **out)
{
	struct map_iter it = {0};
	size_t count = 0;

	*out = mem_array(MEM_SCHEDULER, map_count(&p->claims) + 1, sizeof(**out));
	while (*out && map_next(&p->claims, &it))
		(*out)[count++] = ((const struct placing_claim *)it.value)->claim.number;
	return count;
}

static void
look_at_claim(struct placing *p, uint64_t number)
{
	struct placing_claim *c = map_get_u64(&p->claims, number);
	struct replica *r = c ? placing_own_replica(p, number) : NULL;

	if (!c || c->ended)
		return;
	if (r && c->stop)
		part_with(p, r);
	else if (!r && c->stop)
		end(p, c);
	else if (!r)
		make(p, c);
}

static void
remove_orphans(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->m->replicas, &it)) {
		struct replica *r = it.value;

		if (!r->remote && !r->row.job && !r->claim && r->retiring)
			part_with(p, r);
	}
}

void
placing_own_before(struct placing *p)
{
	uint64_t *list;
	size_t count = numbers(p, &list);

	for (size_t i = 0; i < count; i++)
		look_at_claim(p, list[i]);
	mem_free(list);
	remove_orphans(p);
}

/* ---- replicas become states and entries ---- */

static enum claim_state
state_of(const struct replica *r)
{
	if (r->life.state == MSG_REPLICA_READY)
		return CLAIM_READY;
	return r->life.ready_attempt ? CLAIM_UNREADY : CLAIM_STARTING;
}

/* What it uses is told for people's eyes, and each word goes to all nodes: only when it is another
 * one by a quarter, and not so often. */
static void
note_memory(const struct model *m, struct replica *r)
{
	enum { STEP_BYTES = 1 << 20, EVERY_S = 30 };
	const struct msg_container *c = &r->container;
	bool runs = r->has_container && c->state == MSG_CONTAINER_RUNNING;
	uint64_t is = runs ? c->memory_bytes : 0, said = r->told_memory_bytes;
	uint64_t apart = is > said ? is - said : said - is;

	if (is && said &&
	    (apart < STEP_BYTES || apart < said / 4 ||
	     m->now_ns - r->told_memory_ns < EVERY_S * UINT64_C(1000000000)))
		return;
	r->told_memory_bytes = is;
	r->told_memory_ns = m->now_ns;
}

static void
tell_replica(struct placing *p, struct replica *r)
{
	struct tidings_replica t;
	struct tidings_value v;

	note_memory(p->m, r);
	remote_tell(p->m, r, &t);
	tidings_put_replica(&t, &v);
	p->link.put(p->link.arg, TIDINGS_REPLICA, r->row.id, &v);
	/* Without memory its end is not told; the next life of the namespace says it. */
	if (map_put_u64(&p->told, r->row.id, r->service) < 0)
		log_event(LOG_WARN, "no memory to tell of a replica", log_u("replica", r->row.id),
			  LOG_END);
}

static void
after_replica(struct placing *p, struct replica *r)
{
	enum claim_state state = state_of(r);

	if (r->life.gone)
		return;
	tell_replica(p, r);
	if (!r->claim || state == r->claim_state)
		return;
	r->claim_state = state;
	local_state(p, r->claim, state);
}

static void
forget_gone(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->told, &it)) {
		uint64_t id;
		struct placing_claim *c;
		struct replica *r;

		memcpy(&id, it.key, sizeof(id));
		r = model_replica(p->m, id);
		if (r && !r->remote && !r->life.gone)
			continue;
		c = map_get_u64(&p->claims, id & UINT32_MAX);
		if (c)
			end(p, c);
		p->link.drop(p->link.arg, TIDINGS_REPLICA, id);
		map_remove_u64(&p->told, id);
	}
}

void
placing_own_after(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->m->replicas, &it)) {
		struct replica *r = it.value;

		if (!r->remote)
			after_replica(p, r);
	}
	forget_gone(p);
	placing_own_things(p);
}

void
placing_tell_all(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->m->replicas, &it)) {
		struct replica *r = it.value;

		if (!r->remote && !r->life.gone)
			tell_replica(p, r);
	}
	placing_own_things(p);
}
