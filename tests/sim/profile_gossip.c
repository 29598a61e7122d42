/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler/gossip behind the simulator's calls: the roster is all nodes, a few entries are put
 * before the start (what a node has journalled), and local inputs put, drop and leave. A node that
 * has said good-bye is as good as stopped: it takes no further input.
 *
 * The observer keeps what every owner really wrote, by version, and compares with what the others
 * are told (STEP_TELL): they may be late, never wrong.
 */
#include "tests/sim/profile_gossip.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"

enum {
	FILE_LIFE = 1,
	TYPES = 3,
	IDS = 8,
	VALUE_MAX = 200,
	BURST = 60,
	KEPT_ENTRIES = 2, /* put at each start */
	/* Budgets, generous beside what is measured (bench/gossip-sim.md), so that only what grows
	 * without bound or storms goes beyond. */
	MEMORY_MAX = 1024 * 1024,
	QUIET_BYTES_PER_S = 8 * 1024,
	BYTES_PER_S = 128 * 1024,
	MEMORY_EVERY = 4096, /* steps */
};

struct core {
	struct gossip *gossip;
	struct sim_core_config config;
	bool left;
};

/* ---- the core ---- */

static void
put(struct core *c, uint16_t type, uint64_t id, const void *value, size_t bytes)
{
	enum gossip_result r = gossip_put(c->gossip, type, id, value, bytes);

	assert(r != GOSSIP_NO_MEMORY);
}

static void *
start(const struct sim_core_config *config)
{
	struct gossip_config own = {.self = config->node, .seed = config->seed, .file = FILE_LIFE};
	struct core *c = mem_zalloc(MEM_BASE, sizeof(*c));

	assert(c);
	c->config = *config;
	if (gossip_new(&own, &c->gossip) < 0)
		assert(!"memory");
	for (uint32_t node = 1; node <= config->nodes; node++)
		if (gossip_roster_add(c->gossip, node) == GOSSIP_NO_MEMORY)
			assert(!"memory");
	if (config->profile)
		for (uint64_t id = 0; id < KEPT_ENTRIES; id++)
			put(c, TYPES, id, &config->boot, sizeof(config->boot));
	return c;
}

static void
act(struct core *c, const struct step_input *in)
{
	struct profile_gossip_put p = {0};

	if (in->bytes >= sizeof(p))
		memcpy(&p, in->data, sizeof(p));
	switch ((enum profile_gossip_act)in->what) {
	case PROFILE_GOSSIP_PUT:
		put(c, p.type, p.id, (const uint8_t *)in->data + sizeof(p), in->bytes - sizeof(p));
		break;
	case PROFILE_GOSSIP_DROP:
		gossip_drop(c->gossip, p.type, p.id);
		break;
	case PROFILE_GOSSIP_LEAVE:
		gossip_leave(c->gossip);
		break;
	}
}

static void
step(void *core, const struct step_input *in, struct step_actions *out)
{
	struct core *c = core;

	if (c->left)
		return;
	if (in->kind == STEP_LOCAL)
		act(c, in);
	gossip_step(c->gossip, in, out);
	for (size_t i = 0; i < out->count; i++)
		if (out->items[i].kind == STEP_TELL && out->items[i].what == GOSSIP_LEAVING)
			c->left = true;
}

static void
free_core(void *core)
{
	struct core *c = core;

	gossip_free(c->gossip);
	mem_free(c);
}

struct gossip *
profile_gossip_core(void *core)
{
	return ((struct core *)core)->gossip;
}

bool
profile_gossip_has_left(void *core)
{
	return ((struct core *)core)->left;
}

/* ---- what is true ---- */

struct written {
	uint64_t version;
	uint64_t id;
	uint64_t hash;
	uint16_t type;
	bool heard; /* another node has been told of it */
};

struct owner {
	struct map written; /* by version */
	uint64_t version;   /* the greatest */
	uint32_t heard;     /* the greatest incarnation that another node holds of it */
	bool leaving;       /* in this boot it was asked to leave */
	uint32_t left;      /* the greatest incarnation in which it was */
};

struct observer {
	uint32_t nodes;
	struct owner *owners; /* by node */
	uint32_t *known;      /* by holder and member: incarnation << 8 | state */
	uint32_t leaves;
	uint64_t steps;
};

static void *
observer_new(struct sim *s)
{
	struct observer *o = mem_zalloc(MEM_BASE, sizeof(*o));

	assert(o);
	o->nodes = s->plan->nodes;
	o->owners = mem_array(MEM_BASE, o->nodes + 1, sizeof(o->owners[0]));
	o->known = mem_array(MEM_BASE, (o->nodes + 1) * (o->nodes + 1), sizeof(o->known[0]));
	assert(o->owners && o->known);
	for (uint32_t node = 0; node <= o->nodes; node++)
		map_init_seeded(&o->owners[node].written, MEM_BASE, node);
	return o;
}

static void
observer_free(void *observer)
{
	struct observer *o = observer;

	for (uint32_t node = 0; node <= o->nodes; node++) {
		struct map *m = &o->owners[node].written;
		struct map_iter it = {0};

		while (map_next(m, &it))
			mem_free(it.value);
		map_fini(m);
	}
	mem_free(o->owners);
	mem_free(o->known);
	mem_free(o);
}

static uint32_t *
known(struct observer *o, uint32_t holder, uint32_t member)
{
	return &o->known[holder * (o->nodes + 1) + member];
}

static void
turned(void *observer, struct sim *s, uint32_t node, bool up)
{
	struct observer *o = observer;

	(void)s;
	if (!up)
		return;
	o->owners[node].leaving = false;
	for (uint32_t member = 1; member <= o->nodes; member++)
		*known(o, node, member) = 0;
}

static uint64_t
hash_value(const void *value, size_t bytes)
{
	static const uint64_t key[2] = {1, 2};

	return map_siphash(key, value, bytes);
}

static struct gossip *
live_core(struct sim *s, uint32_t node)
{
	void *core = sim_core(s, node);

	return core && !profile_gossip_has_left(core) ? profile_gossip_core(core) : NULL;
}

/* ---- entries ---- */

static void
note_written(struct observer *o, struct sim *s, uint32_t node, const struct gossip_entry *e)
{
	struct owner *owner = &o->owners[node];
	struct written *w = map_get_u64(&owner->written, e->version);
	struct written now = {e->version, e->id, hash_value(e->value, e->bytes), e->type, false};

	if (e->version > owner->version)
		owner->version = e->version;
	if (!w) {
		w = mem_dup(MEM_BASE, &now, sizeof(now));
		if (!w || map_put_u64(&owner->written, e->version, w) < 0)
			assert(!"memory");
	} else if (w->id != now.id || w->type != now.type || w->hash != now.hash) {
		/* A birth that was not durable before a crash may come again if nobody heard. */
		if (w->heard)
			sim_fail(s, "version", node, "gives version %llx to two different changes",
				 (unsigned long long)e->version);
		*w = now;
	}
}

/* Whatever of the own namespace is there after a step was written by its owner. */
static void
note_own(struct observer *o, struct sim *s, uint32_t node)
{
	struct gossip *g = profile_gossip_core(sim_core(s, node));
	struct gossip_walk walk = {.node = node};
	struct gossip_member self;
	struct gossip_entry e;

	while (gossip_each(g, &walk, &e))
		note_written(o, s, node, &e);
	if (gossip_member(g, node, &self) && self.version > o->owners[node].version)
		o->owners[node].version = self.version;
}

static void
check_entry(struct observer *o, struct sim *s, uint32_t node, const uint8_t *data, size_t bytes)
{
	struct gossip_tell_entry t;
	struct written *w;

	assert(bytes >= sizeof(t));
	memcpy(&t, data, sizeof(t));
	if (t.node == node)
		sim_fail(s, "entry", node, "is told of an entry of its own");
	if (t.version > o->owners[t.node].version)
		sim_fail(s, "entry", node, "holds version %llx of node %u, which wrote up to %llx",
			 (unsigned long long)t.version, t.node,
			 (unsigned long long)o->owners[t.node].version);
	if (t.dropped || s->failure.failed)
		return;
	w = map_get_u64(&o->owners[t.node].written, t.version);
	if (!w || w->id != t.id || w->type != t.type ||
	    w->hash != hash_value(data + sizeof(t), bytes - sizeof(t)))
		sim_fail(s, "entry", node, "holds version %llx of node %u as it was never written",
			 (unsigned long long)t.version, t.node);
	else
		w->heard = true;
}

/* ---- members ---- */

static void
check_member(struct observer *o, struct sim *s, uint32_t node, const struct gossip_tell_member *t)
{
	uint32_t status = t->incarnation << 8 | t->state, *before = known(o, node, t->node);
	struct owner *owner = &o->owners[t->node];

	if (status < *before)
		sim_fail(s, "order", node, "goes back from %u.%u to %u.%u with node %u",
			 *before >> 8, *before & 0xff, t->incarnation, t->state, t->node);
	*before = status;
	if (t->node == node)
		return;
	if (t->incarnation > owner->heard)
		owner->heard = t->incarnation;
	if (t->state == GOSSIP_LEFT && t->incarnation > owner->left)
		sim_fail(s, "left", node, "holds node %u as left, which never said so", t->node);
	if (t->state == GOSSIP_DEAD && s->plan->quiet && live_core(s, t->node))
		sim_fail(s, "false-death", node, "holds node %u as dead, and nothing was wrong",
			 t->node);
}

/* An owner that speaks is never behind what is said of it, in any of its lives. */
static void
check_own(struct observer *o, struct sim *s, uint32_t node)
{
	struct owner *owner = &o->owners[node];
	struct gossip_member self;

	if (!gossip_member(profile_gossip_core(sim_core(s, node)), node, &self)) {
		sim_fail(s, "own", node, "does not know itself");
		return;
	}
	if (owner->leaving && self.incarnation > owner->left)
		owner->left = self.incarnation;
	if (self.incarnation < owner->heard)
		sim_fail(s, "own", node, "speaks as incarnation %u; others have heard of %u",
			 self.incarnation, owner->heard);
}

static void
check_memory(struct observer *o, struct sim *s)
{
	size_t used = mem_used(MEM_SCHEDULER), most = (size_t)o->nodes * MEMORY_MAX;

	if (used > most)
		sim_fail(s, "memory", 0, "%zu bytes are held by %u nodes; the budget is %zu", used,
			 o->nodes, most);
}

static void
check_step(void *observer, struct sim *s, uint32_t node, const struct step_input *in,
	   const struct step_actions *out)
{
	struct observer *o = observer;
	bool sends = false;

	if (in->kind == STEP_LOCAL && in->what == PROFILE_GOSSIP_LEAVE)
		o->owners[node].leaving = true;
	if (in->kind == STEP_START || in->kind == STEP_LOCAL || in->kind == STEP_DISK_DONE)
		note_own(o, s, node);
	for (size_t i = 0; i < out->count && !s->failure.failed; i++) {
		const struct step_action *a = &out->items[i];
		struct gossip_tell_member t;

		sends |= a->kind == STEP_SEND || a->kind == STEP_STREAM_WRITE;
		if (a->kind != STEP_TELL)
			continue;
		if (a->what == GOSSIP_ENTRY)
			check_entry(o, s, node, out->data + a->offset, a->bytes);
		if (a->what != GOSSIP_MEMBER)
			continue;
		assert(a->bytes == sizeof(t));
		memcpy(&t, out->data + a->offset, sizeof(t));
		check_member(o, s, node, &t);
	}
	if (sends && !s->failure.failed)
		check_own(o, s, node);
	if (o->steps++ % MEMORY_EVERY == 0)
		check_memory(o, s);
}

/* ---- in the end ---- */

static bool
member_settled(struct sim *s, uint32_t holder, const struct gossip_member *m, char *why, size_t cap)
{
	static const char *const names[] = {"unknown", "alive", "suspect", "dead", "left"};
	bool live = live_core(s, m->node) != NULL;

	if (live ? m->state == GOSSIP_ALIVE
		 : m->state == GOSSIP_DEAD || m->state == GOSSIP_LEFT || m->state == GOSSIP_UNKNOWN)
		return true;
	snprintf(why, cap, "node %u holds node %u as %s; it is %s", holder, m->node,
		 names[m->state], live ? "alive" : "gone");
	return false;
}

static bool
members_settled(void *observer, struct sim *s, char *why, size_t cap)
{
	struct observer *o = observer;

	for (uint32_t node = 1; node <= o->nodes; node++) {
		struct gossip *g = live_core(s, node);

		for (size_t i = 0; g && i < gossip_members(g); i++) {
			struct gossip_member m;

			gossip_member_at(g, i, &m);
			if (!member_settled(s, node, &m, why, cap))
				return false;
		}
	}
	return true;
}

static bool
digests_settled(void *observer, struct sim *s, char *why, size_t cap)
{
	struct observer *o = observer;
	struct gossip *first = NULL;
	uint32_t of = 0;

	for (uint32_t node = 1; node <= o->nodes; node++) {
		struct gossip *g = live_core(s, node);

		if (!g)
			continue;
		if (first && gossip_digest(first) != gossip_digest(g)) {
			snprintf(why, cap, "nodes %u and %u hold different things", of, node);
			return false;
		}
		if (!first)
			of = node;
		first = first ? first : g;
	}
	return true;
}

static bool
same_entry(const struct gossip_entry *a, const struct gossip_entry *b)
{
	return a->id == b->id && a->type == b->type && a->version == b->version &&
	       a->bytes == b->bytes && memcmp(a->value, b->value, a->bytes) == 0;
}

static void
compare(struct sim *s, uint32_t node, uint32_t owner)
{
	struct gossip_walk a = {.node = owner}, b = {.node = owner};
	struct gossip *g = live_core(s, node), *own = live_core(s, owner);
	struct gossip_entry x = {0}, y = {0};
	bool more = true;

	while (more) {
		bool there = gossip_each(g, &b, &y);

		more = gossip_each(own, &a, &x);
		if (more != there || (more && !same_entry(&x, &y))) {
			sim_fail(s, "contents", node,
				 "holds of node %u %s %u/%llx version %llx; it wrote %s %u/%llx "
				 "version %llx",
				 owner, there ? "entry" : "no more than", y.type,
				 (unsigned long long)y.id, (unsigned long long)y.version,
				 more ? "entry" : "no more than", x.type, (unsigned long long)x.id,
				 (unsigned long long)x.version);
			return;
		}
	}
}

/* Equal digests must mean equal contents, and those of the owner. */
static void
check_contents(void *observer, struct sim *s)
{
	struct observer *o = observer;

	for (uint32_t owner = 1; owner <= o->nodes; owner++)
		for (uint32_t node = 1; node <= o->nodes; node++)
			if (live_core(s, owner) && live_core(s, node))
				compare(s, node, owner);
}

static void
check_budget(void *observer, struct sim *s)
{
	struct observer *o = observer;
	uint64_t bytes = 0, most = s->plan->quiet ? QUIET_BYTES_PER_S : BYTES_PER_S;

	check_memory(o, s);
	for (uint32_t node = 1; node <= o->nodes; node++)
		bytes += s->nodes[node - 1].sent_bytes + s->nodes[node - 1].stream_bytes;
	bytes /= (s->now_ns / SIM_S + 1) * o->nodes;
	if (bytes > most)
		sim_fail(s, "budget", 0, "%llu bytes per second and node; the budget is %llu",
			 (unsigned long long)bytes, (unsigned long long)most);
}

/* ---- acts ---- */

static void
act_put(struct sim *s, uint32_t node, struct draw *d)
{
	struct {
		struct profile_gossip_put put;
		uint8_t value[GOSSIP_VALUE_MAX];
	} data = {.put = {.id = draw_below(d, IDS), .type = (uint16_t)draw_below(d, TYPES)}};
	size_t bytes = (size_t)draw_below(d, VALUE_MAX);

	if (draw_below(d, 20) == 0)
		bytes = (size_t)draw_between(d, 0, GOSSIP_VALUE_MAX);
	for (size_t i = 0; i < bytes; i++)
		data.value[i] = (uint8_t)draw_u64(d);
	sim_local(s, node, PROFILE_GOSSIP_PUT, 0, &data, sizeof(data.put) + bytes);
}

static void
do_act(void *observer, struct sim *s, uint32_t node, uint64_t number)
{
	struct observer *o = observer;
	struct draw d = draw_of(number, 1);
	struct profile_gossip_put drop = {0};
	uint64_t what = draw_below(&d, 100);

	if (what < 70 || (what >= 98 && o->leaves >= o->nodes / 4)) {
		act_put(s, node, &d);
	} else if (what < 95) {
		drop.id = draw_below(&d, IDS);
		drop.type = (uint16_t)draw_below(&d, TYPES);
		sim_local(s, node, PROFILE_GOSSIP_DROP, 0, &drop, sizeof(drop));
	} else if (what < 98) {
		for (unsigned i = 0; i < BURST; i++)
			act_put(s, node, &d);
	} else {
		o->leaves++;
		sim_local(s, node, PROFILE_GOSSIP_LEAVE, 0, NULL, 0);
	}
}

static const struct sim_core_calls calls = {start, step, free_core};

const struct sim_profile *
profile_gossip(void)
{
	static const struct sim_check checks[] = {
		{.name = "told", .step = check_step},
		{.name = "members", .settled = members_settled},
		{.name = "digests", .settled = digests_settled, .end = check_contents},
		{.name = "budget", .end = check_budget},
	};
	static char with_entries;
	static const struct sim_profile profile = {
		.name = "gossip",
		.core = &calls,
		.wish = {.nodes_max = 128,
			 .acts_per_minute = 120,
			 .bound_ns = 90 * SIM_S,
			 .disk = true,
			 .wire_low = 1,
			 .wire_high = 1},
		.data = &with_entries,
		.observer_new = observer_new,
		.observer_free = observer_free,
		.act = do_act,
		.turned = turned,
		.checks = checks,
		.check_count = sizeof(checks) / sizeof(checks[0]),
	};

	return &profile;
}

const struct sim_profile *
profile_gossip_bare(void)
{
	static const struct sim_profile profile = {.name = "gossip-bare", .core = &calls};

	return &profile;
}
