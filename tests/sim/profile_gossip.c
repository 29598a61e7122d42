/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler/gossip behind the simulator's calls: the roster is all nodes, a few entries are put
 * before the start (what a node has journalled), and local inputs put, drop and leave. A node that
 * has said good-bye is as good as stopped: it takes no further input.
 */
#include "tests/sim/profile_gossip.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "tests/sim/gossip_truth.h"
#include "tests/sim/gossip_warm.h"
#include "tests/sim/traffic.h"

enum {
	FILE_LIFE = 1,
	TYPES = 3,
	IDS = 8,
	VALUE_MAX = 200,
	BURST = 60,
	/* Budgets, generous beside what is measured (bench/gossip-sim.md), so that only what grows
	 * without bound or storms goes beyond. */
	MEMORY_MAX = 1024 * 1024,
	QUIET_BYTES_PER_S = 8 * 1024,
	BYTES_PER_S = 128 * 1024,
	START_BYTES = 1024,  /* for each other member, at each start of a node */
	MEMORY_EVERY = 4096, /* steps */
};

/* What a profile's cores begin with. */
struct kind {
	unsigned entries; /* put at each start */
	bool warm;        /* all know all */
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
	struct gossip_config own = {.self = config->node,
				    .seed = config->seed,
				    .file = FILE_LIFE,
				    .wire = config->wire};
	const struct kind *kind = config->profile;
	struct core *c = mem_zalloc(MEM_BASE, sizeof(*c));

	assert(c);
	c->config = *config;
	if (gossip_new(&own, &c->gossip) < 0)
		assert(!"memory");
	for (uint32_t node = 1; node <= config->nodes; node++)
		if (gossip_roster_add(c->gossip, node) == GOSSIP_NO_MEMORY)
			assert(!"memory");
	for (uint64_t id = 0; id < kind->entries; id++)
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
	const struct kind *kind = c->config.profile;

	if (c->left)
		return;
	if (in->kind == STEP_LOCAL)
		act(c, in);
	if (in->kind == STEP_START && kind->warm)
		gossip_warm_file(c->gossip);
	gossip_step(c->gossip, in, out);
	if (in->kind == STEP_START && kind->warm)
		gossip_warm(c->gossip);
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

struct observer {
	uint32_t nodes;
	uint32_t leaves;
	uint64_t steps;
	struct gossip_truth *truth;
};

static void *
observer_new(struct sim *s)
{
	struct observer *o = mem_zalloc(MEM_BASE, sizeof(*o));

	assert(o);
	o->nodes = s->plan->nodes;
	o->truth = gossip_truth_new(s);
	return o;
}

static void
observer_free(void *observer)
{
	struct observer *o = observer;

	gossip_truth_free(o->truth);
	mem_free(o);
}

static void
turned(void *observer, struct sim *s, uint32_t node, bool up)
{
	struct observer *o = observer;

	(void)s;
	gossip_truth_turned(o->truth, node, up);
}

static struct gossip *
live_core(struct sim *s, uint32_t node)
{
	void *core = sim_core(s, node);

	return core && !profile_gossip_has_left(core) ? profile_gossip_core(core) : NULL;
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

	gossip_truth_step(o->truth, s, node, in, out);
	if (o->steps++ % MEMORY_EVERY == 0)
		check_memory(o, s);
}

static void
check_told(void *observer, struct sim *s)
{
	struct observer *o = observer;

	gossip_truth_end(o->truth, s);
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
	check_memory(observer, s);
	traffic_check(s, &(struct traffic_budget){BYTES_PER_S, QUIET_BYTES_PER_S, START_BYTES});
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
		{.name = "told", .step = check_step, .end = check_told},
		{.name = "members", .settled = members_settled},
		{.name = "digests", .settled = digests_settled, .end = check_contents},
		{.name = "budget", .end = check_budget},
	};
	static struct kind usual = {.entries = 2};
	static const struct sim_profile profile = {
		.name = "gossip",
		.core = &calls,
		.wish = {.nodes_max = 128,
			 .acts_per_minute = 120,
			 .bound_ns = 90 * SIM_S,
			 .disk = true,
			 .wire_low = 1,
			 .wire_high = 2},
		.data = &usual,
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
	static struct kind warm = {.warm = true};
	static const struct sim_profile profile = {
		.name = "gossip-bare", .core = &calls, .data = &warm};

	return &profile;
}

const struct sim_profile *
profile_gossip_cold(void)
{
	static struct kind cold;
	static const struct sim_profile profile = {
		.name = "gossip-cold", .core = &calls, .data = &cold};

	return &profile;
}
