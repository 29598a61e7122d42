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
	NOTE_BYTES = PLACING_THINGS_MAX * TIDINGS_THING_MAX
};

static const char volumes_note[] = "placing.volumes";

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

/* ---- volumes that are here ---- */

struct things {
	char items[PLACING_THINGS_MAX][TIDINGS_THING_MAX];
	size_t count;
	bool changed;
};

static void
add_thing(struct things *t, const char *thing)
{
	for (size_t i = 0; i < t->count; i++) {
		if (text_equal(t->items[i], thing))
			return;
	}
	if (t->count == PLACING_THINGS_MAX)
		return;
	text_copy(t->items[t->count++], TIDINGS_THING_MAX, thing);
	t->changed = true;
}

static void
remove_thing(struct things *t, const char *thing)
{
	for (size_t i = 0; i < t->count; i++) {
		if (!text_equal(t->items[i], thing))
			continue;
		t->count--;
		memmove(t->items[i], t->items[t->count], TIDINGS_THING_MAX);
		t->changed = true;
		return;
	}
}

static void
look_at_volumes(struct placing *p, struct replica *r, struct things *t)
{
	const struct doc_service *spec = model_spec(p->m, r);
	bool goes = r->row.remove_volumes && r->life.gone;
	char thing[TIDINGS_THING_MAX];

	for (size_t i = 0; spec && i < spec->storage_count; i++) {
		if (spec->storage[i].type != DOC_STORAGE_NAMED)
			continue;
		placing_volume(r->service, spec->storage[i].name, thing);
		if (goes)
			remove_thing(t, thing);
		else if (r->has_container)
			add_thing(t, thing);
	}
}

static void
read_note(struct placing *p, struct placing_peer *self)
{
	char *text = mem_alloc(MEM_SCHEDULER, NOTE_BYTES);
	struct err err = {0};

	self->life = 1; /* read */
	if (!text)
		return;
	if (store_get_note(store_local(p->m->store), volumes_note, text, NOTE_BYTES, &err) < 0) {
		log_err(LOG_WARN, "volumes of this node cannot be read", &err);
		text[0] = '\0';
	}
	for (char *at = text; *at && self->things_count < PLACING_THINGS_MAX;) {
		size_t length = strcspn(at, "\n");

		text_ncopy(self->things[self->things_count++], TIDINGS_THING_MAX, at, length);
		at += length + (at[length] == '\n');
	}
	mem_free(text);
}

static void
write_note(struct placing *p, const struct things *t)
{
	struct store *store = store_local(p->m->store);
	struct err err = {0};
	struct buf text;
	int rc;

	buf_init(&text, MEM_SCHEDULER, NOTE_BYTES);
	for (size_t i = 0; i < t->count; i++)
		buf_printf(&text, "%s\n", t->items[i]);
	rc = store_begin(store, &err);
	if (rc == 0 && store_put_note(store, volumes_note, buf_cstr(&text), &err) < 0) {
		store_abort(store);
		rc = -1;
	} else if (rc == 0) {
		rc = store_commit(store, &err);
	}
	if (rc < 0)
		log_err(LOG_WARN, "volumes of this node cannot be noted", &err);
	buf_fini(&text);
}

static void
tell_things(struct placing *p, const struct placing_peer *self, const struct things *now)
{
	struct tidings_value v;

	for (size_t i = 0; i < self->things_count; i++)
		p->link.drop(p->link.arg, TIDINGS_THING, rendezvous_text(self->things[i]));
	for (size_t i = 0; i < now->count; i++) {
		if (tidings_put_thing(now->items[i], &v))
			p->link.put(p->link.arg, TIDINGS_THING, rendezvous_text(now->items[i]), &v);
	}
}

static bool
has_thing(const struct things *t, const char *thing)
{
	for (size_t i = 0; i < t->count; i++) {
		if (text_equal(t->items[i], thing))
			return true;
	}
	return false;
}

static void
asked_devices(struct placing *p, struct service *s, struct things *out)
{
	uint32_t revision = placing_asked_revision(s->deployment);
	const struct doc_service *doc = revision ? model_service_doc(p->m, s, revision) : NULL;
	char thing[TIDINGS_THING_MAX];

	for (size_t i = 0; doc && i < doc->devices_count; i++) {
		if (!p->link.has_device(p->link.arg, doc->devices[i].path))
			continue;
		placing_device(doc->devices[i].path, thing);
		add_thing(out, thing);
	}
}

/* Those that some service asks for, and that are there now. */
static void
look_at_devices(struct placing *p, struct things *t)
{
	static struct things now;
	struct list *it, *next, *at, *after;

	now.count = 0;
	list_each (it, next, &p->m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->services)
			asked_devices(p, container_of(at, struct service, link), &now);
	}
	for (size_t i = t->count; i-- > 0;) {
		if (text_starts(t->items[i], "device:") && !has_thing(&now, t->items[i]))
			remove_thing(t, t->items[i]);
	}
	for (size_t i = 0; i < now.count; i++)
		add_thing(t, now.items[i]);
}

void
placing_own_things(struct placing *p)
{
	static struct things t;
	struct placing_peer *self = placing_peer(p, p->self);
	struct map_iter it = {0};

	if (!self)
		return;
	bool begins = !self->life;
	if (begins)
		read_note(p, self);
	memcpy(t.items, self->things, sizeof(t.items));
	t.count = self->things_count;
	t.changed = false;
	while (map_next(&p->m->replicas, &it)) {
		struct replica *r = it.value;

		if (!r->remote)
			look_at_volumes(p, r, &t);
	}
	if (p->link.has_device)
		look_at_devices(p, &t);
	if (!t.changed && !begins)
		return;
	if (t.changed)
		write_note(p, &t);
	tell_things(p, self, &t);
	memcpy(self->things, t.items, sizeof(self->things));
	self->things_count = t.count;
	if (placing_peer_facts(p, self) < 0)
		log_event(LOG_WARN, "no memory for the volumes of this node", LOG_END);
}
