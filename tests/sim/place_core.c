/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two cores behind one step. Each sub-step writes to a list of its own, which fits the real one as
 * it is; what remains to be done is noted in flags, and `more` asks to be stepped again. Tokens of
 * the disk are told apart by a bit, datagrams by `what`, which the simulator carries.
 */
#include "tests/sim/place_core.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "scheduler/gossip/gossip.h"

enum { GOSSIP, PLACE, CORES };
enum {
	FILE_LIFE = 1,
	ENTRY_CLAIM = 1,
	ENTRY_LOAD,
	ENTRY_FACTS,
	LOAD_BYTES = 16,
	ZONES = 3,
	DRAINING = 0, /* of the facts */
	STUCK,
	FACTS_BYTES,
	LATER_BYTES = 6
};
/* Set in gossip's tokens, which count from 1; placement has a use for the highest two. */
#define GOSSIPS (UINT64_C(1) << 59)
#define MEMORY_BYTES (UINT64_C(8) << 30)

struct core {
	struct sim_core_config config;
	struct gossip *gossip;
	struct fleet fleet;
	struct placement placement;
	uint64_t timer_ns[CORES];
	uint64_t armed_ns;
	bool more[CORES];  /* it has more to say */
	bool local[CORES]; /* it is to be told that something changed */
	bool due[CORES];   /* its timer */
	uint8_t facts[FACTS_BYTES];
	uint64_t specs_version;
};

static struct step_actions said; /* by a sub-step; one thread, one at a time */

/* ---- the fleet ---- */

static void
set_node(struct core *c, uint32_t node, bool draining)
{
	char name[16], zone[16];
	struct fleet_facts facts = {
		.node = node,
		.name = name,
		.zone = zone,
		.platform = "linux/amd64",
		.cpu_milli = PLACE_CPU_MILLI,
		.memory_bytes = MEMORY_BYTES,
		.draining = draining,
	};

	snprintf(name, sizeof(name), "n%u", node);
	snprintf(zone, sizeof(zone), "z%u", node % ZONES);
	if (fleet_node_set(&c->fleet, &facts) < 0)
		assert(!"memory");
}

static const uint8_t no_facts[FACTS_BYTES];

static void
set_facts(struct core *c, uint32_t node, const uint8_t facts[FACTS_BYTES])
{
	set_node(c, node, facts[DRAINING]);
	fleet_node_stuck(&c->fleet, node, facts[STUCK]);
	(void)fleet_bar(&c->fleet, 1, 0); /* sooner than a node does it */
}

static void
set_status(struct core *c, const uint8_t *data)
{
	struct gossip_tell_member m;

	memcpy(&m, data, sizeof(m));
	if (m.node == c->config.node)
		return;
	fleet_node_status(&c->fleet, m.node,
			  m.state == GOSSIP_ALIVE     ? FLEET_ALIVE
			  : m.state == GOSSIP_SUSPECT ? FLEET_SUSPECT
						      : FLEET_DEAD);
}

static void
set_load(struct core *c, uint32_t node, const uint8_t *data)
{
	uint64_t memory;
	uint32_t cpu;

	memcpy(&cpu, data, sizeof(cpu));
	memcpy(&memory, data + 8, sizeof(memory));
	fleet_node_load(&c->fleet, node, cpu, memory);
}

static void
set_claim(struct core *c, const uint8_t *data)
{
	struct claim claim;

	if (!claim_decode(data, &claim) || fleet_claim_set(&c->fleet, &claim) < 0)
		assert(!"a claim of no use");
}

static void
set_entry(struct core *c, const uint8_t *data)
{
	struct gossip_tell_entry e;

	memcpy(&e, data, sizeof(e));
	if (e.type == ENTRY_CLAIM && e.dropped)
		fleet_claim_remove(&c->fleet, e.node, e.id);
	else if (e.type == ENTRY_CLAIM)
		set_claim(c, data + sizeof(e));
	else if (e.type == ENTRY_FACTS)
		set_facts(c, e.node, e.dropped ? no_facts : data + sizeof(e));
	else if (!e.dropped)
		set_load(c, e.node, data + sizeof(e));
}

static void
forget_claims(struct core *c, uint32_t node)
{
	struct fleet_node *n = fleet_node(&c->fleet, node);

	while (n && !list_empty(&n->claims)) {
		struct fleet_claim *claim =
			container_of(n->claims.next, struct fleet_claim, of_node);

		fleet_claim_remove(&c->fleet, node, claim->claim.number);
	}
}

static void
set_specs(struct core *c, const struct step_input *in)
{
	struct place_specs specs;

	assert(in->bytes == sizeof(specs));
	memcpy(&specs, in->data, sizeof(specs));
	if (specs.version <= c->specs_version)
		return;
	c->specs_version = specs.version;
	for (uint32_t i = 0; i < PLACE_SERVICES; i++) {
		char name[32];
		struct fleet_spec spec = {
			.id = 1 + i,
			.name = name,
			.revision = specs.services[i].revision,
			.replicas = specs.services[i].replicas,
			.cpu_milli = PLACE_SERVICE_CPU_MILLI,
			.memory_bytes = UINT64_C(64) << 20,
			.spread = i % 2 ? FLEET_SPREAD_ZONE : FLEET_SPREAD_NODE,
			.platform = "",
			.surge = 1,
			.unavailable = i / 2,
			.monitor_ns = SIM_S,
			.leased = i % 2,
		};

		snprintf(name, sizeof(name), "shop/s%u", i);
		if (fleet_service_set(&c->fleet, &spec) < 0)
			assert(!"memory");
	}
	c->fleet.complete = true;
	c->local[PLACE] = true;
}

/* ---- a later version ---- */

static bool
speaks_later(const struct core *c)
{
	return c->config.wire > PLACEMSG_VERSION;
}

/* As a node of a later version may write: behind each message something that nobody knows yet. 0:
 * it has no room. */
static size_t
speak_later(const struct core *c, const uint8_t *data, size_t bytes, uint8_t out[STEP_DATAGRAM_MAX])
{
	static const uint8_t more[LATER_BYTES] = {LATER_BYTES - 2, 0, 1, 2, 3, 4};
	struct cursor cursor;
	struct placemsg m;
	size_t used = 0;

	cursor_init(&cursor, data, bytes);
	for (;;) {
		const uint8_t *from = cursor.at;

		if (placemsg_decode(&cursor, &m) != PLACEMSG_OK)
			break;
		size_t length = (size_t)(cursor.at - from);
		if (used + length + sizeof(more) > STEP_DATAGRAM_MAX)
			return 0;
		memcpy(out + used, from, length);
		out[used + 1] = (uint8_t)c->config.wire;
		memcpy(out + used + length, more, sizeof(more));
		used += length + sizeof(more);
	}
	assert(cursor_done(&cursor));
	return used;
}

/* ---- what the cores say ---- */

static void
hear_gossip(struct core *c, const struct step_action *a, const uint8_t *data)
{
	switch ((enum gossip_tell_kind)a->what) {
	case GOSSIP_MEMBER:
		set_status(c, data);
		break;
	case GOSSIP_ENTRY:
		set_entry(c, data);
		break;
	case GOSSIP_RESET:
		forget_claims(c, a->node);
		set_facts(c, a->node, no_facts);
		break;
	case GOSSIP_LOST:
	case GOSSIP_LEAVING:
		assert(!"not asked for");
	}
	c->local[PLACE] = true;
}

/* One of a later version says more of it. */
static enum gossip_result
put_claim(struct core *c, uint64_t number, const uint8_t claim[CLAIM_BYTES])
{
	uint8_t data[CLAIM_BYTES + LATER_BYTES] = {0};

	memcpy(data, claim, CLAIM_BYTES);
	return gossip_put(c->gossip, ENTRY_CLAIM, number, data,
			  speaks_later(c) ? sizeof(data) : CLAIM_BYTES);
}

static void
told(struct core *c, const struct step_input *in)
{
	enum gossip_result r = GOSSIP_OK;
	struct place_told t;

	assert(in->bytes == sizeof(t));
	memcpy(&t, in->data, sizeof(t));
	switch ((enum placement_tell)t.what) {
	case PLACEMENT_CLAIM:
		r = put_claim(c, in->token, t.data);
		set_claim(c, t.data);
		break;
	case PLACEMENT_UNCLAIM:
		r = gossip_drop(c->gossip, ENTRY_CLAIM, in->token);
		fleet_claim_remove(&c->fleet, c->config.node, in->token);
		break;
	case PLACEMENT_LOAD:
		r = gossip_put(c->gossip, ENTRY_LOAD, 0, t.data, LOAD_BYTES);
		set_load(c, c->config.node, t.data);
		break;
	case PLACEMENT_STOP:
	case PLACEMENT_ORPHAN:
		return;
	}
	assert(r == GOSSIP_OK || r == GOSSIP_UNCHANGED);
	c->local[GOSSIP] = true;
	c->local[PLACE] = true;
}

static void
pass_on(struct core *c, unsigned core, struct step_actions *out)
{
	for (size_t i = 0; i < said.count; i++) {
		const struct step_action *a = &said.items[i];
		const uint8_t *data = said.data + a->offset;
		struct step_action *copy;

		if (a->kind == STEP_SET_TIMER) {
			c->timer_ns[core] = a->at_ns;
			continue;
		}
		if (a->kind == STEP_TELL && core == GOSSIP) {
			hear_gossip(c, a, data);
			continue;
		}
		uint8_t later[STEP_DATAGRAM_MAX];
		size_t bytes = core == PLACE && a->kind == STEP_SEND && speaks_later(c)
				       ? speak_later(c, data, a->bytes, later)
				       : 0;
		if (bytes > 0 && step_actions_room(out, 1, bytes))
			copy = step_add(out, a->kind, later, bytes);
		else
			copy = step_add(out, a->kind, data, a->bytes);
		copy->node = a->node;
		copy->stream = a->stream;
		copy->what = a->kind == STEP_SEND ? (uint16_t)core : a->what;
		copy->token = a->token;
		copy->after = a->after;
		if (core == GOSSIP && a->token)
			copy->token |= GOSSIPS;
		if (core == GOSSIP && a->after)
			copy->after |= GOSSIPS;
	}
	c->more[core] = said.more;
}

static void
sub_step(struct core *c, unsigned core, const struct step_input *in, struct step_actions *out)
{
	step_actions_clear(&said);
	if (core == GOSSIP)
		gossip_step(c->gossip, in, &said);
	else
		placement_step(&c->placement, in, &said);
	pass_on(c, core, out);
}

/* ---- inputs ---- */

static bool
take_flag(bool *flag)
{
	bool set = *flag;

	*flag = false;
	return set;
}

/* The next of what is left to do; gossip goes first, for placement stands on it. */
static void
go_on(struct core *c, const struct step_input *in, struct step_actions *out)
{
	for (unsigned core = 0; core < CORES; core++) {
		struct step_input next = {.now_ns = in->now_ns, .wall_ns = in->wall_ns};

		if (take_flag(&c->more[core]))
			next.kind = STEP_MORE;
		else if (take_flag(&c->due[core]))
			next.kind = STEP_TIMER;
		else if (take_flag(&c->local[core]))
			next.kind = STEP_LOCAL;
		else
			continue;
		if (next.kind == STEP_LOCAL && core == PLACE)
			next.what = PLACEMENT_FLEET;
		sub_step(c, core, &next, out);
		return;
	}
}

/* The node's facts, to itself and the others. */
static void
put_facts(struct core *c)
{
	set_facts(c, c->config.node, c->facts);
	if (gossip_put(c->gossip, ENTRY_FACTS, 0, c->facts, sizeof(c->facts)) > GOSSIP_UNCHANGED)
		assert(!"no room");
	c->local[GOSSIP] = c->local[PLACE] = true;
}

/* Gives what its ledger is told. */
static uint64_t
drain(struct core *c, const struct step_input *in)
{
	uint64_t ns;

	assert(in->bytes == sizeof(ns));
	memcpy(&ns, in->data, sizeof(ns));
	c->facts[DRAINING] = ns > 0;
	put_facts(c);
	return ns ? in->now_ns + ns : 0;
}

static void
local(struct core *c, const struct step_input *in, struct step_actions *out)
{
	struct step_input next = *in;

	switch ((enum place_act)in->what) {
	case PLACE_SPECS:
		set_specs(c, in);
		return;
	case PLACE_STATE:
		next.what = PLACEMENT_STATE;
		next.status = *(const uint8_t *)in->data;
		next.bytes = 0;
		break;
	case PLACE_ENDED:
		next.what = PLACEMENT_ENDED;
		break;
	case PLACE_STUCK:
		c->facts[STUCK] = *(const uint8_t *)in->data;
		put_facts(c);
		return;
	case PLACE_TOLD:
		told(c, in);
		return;
	case PLACE_RUNNING:
		next.what = PLACEMENT_RUNNING;
		break;
	case PLACE_DRAIN:
		next.what = PLACEMENT_DRAIN;
		next.token = drain(c, in);
		next.bytes = 0;
		break;
	}
	sub_step(c, PLACE, &next, out);
}

static void
take(struct core *c, const struct step_input *in, struct step_actions *out)
{
	struct step_input next = *in;

	switch (in->kind) {
	case STEP_START:
		sub_step(c, GOSSIP, in, out);
		step_actions_clear(&said);
		placement_step(&c->placement, in, &said);
		pass_on(c, PLACE, out);
		break;
	case STEP_FILE:
		sub_step(c, in->what == PLACEMENT_FILE ? PLACE : GOSSIP, in, out);
		break;
	case STEP_TIMER:
		c->armed_ns = UINT64_MAX;
		for (unsigned core = 0; core < CORES; core++)
			if (c->timer_ns[core] <= in->now_ns) {
				c->timer_ns[core] = UINT64_MAX;
				c->due[core] = true;
			}
		break;
	case STEP_MORE:
		break;
	case STEP_DATAGRAM:
		next.what = 0;
		sub_step(c, in->what, &next, out);
		break;
	case STEP_DISK_DONE:
		next.token = in->token & ~GOSSIPS;
		sub_step(c, in->token & GOSSIPS ? GOSSIP : PLACE, &next, out);
		break;
	case STEP_LOCAL:
		local(c, in, out);
		break;
	case STEP_STREAM_UP:
	case STEP_STREAM_DATA:
	case STEP_STREAM_DOWN:
	case STEP_STREAM_ROOM:
		sub_step(c, GOSSIP, in, out);
	}
}

/* The shell has one timer for both. */
static void
set_timer(struct core *c, struct step_actions *out)
{
	uint64_t at =
		c->timer_ns[GOSSIP] < c->timer_ns[PLACE] ? c->timer_ns[GOSSIP] : c->timer_ns[PLACE];

	if (at == c->armed_ns)
		return;
	if (!step_actions_room(out, 1, 0)) {
		out->more = true;
		return;
	}
	step_add(out, STEP_SET_TIMER, NULL, 0)->at_ns = at;
	c->armed_ns = at;
}

static void
step(void *core, const struct step_input *in, struct step_actions *out)
{
	struct core *c = core;

	take(c, in, out);
	if (in->kind == STEP_MORE || in->kind == STEP_TIMER)
		go_on(c, in, out);
	for (unsigned i = 0; i < CORES; i++)
		out->more |= c->more[i] || c->due[i] || c->local[i];
	set_timer(c, out);
}

/* ---- coming and going ---- */

static void *
start(const struct sim_core_config *config)
{
	struct gossip_config own = {.self = config->node,
				    .seed = config->seed,
				    .file = FILE_LIFE,
				    .wire = config->wire};
	struct core *c = mem_zalloc(MEM_BASE, sizeof(*c));

	assert(c);
	c->config = *config;
	c->timer_ns[GOSSIP] = c->timer_ns[PLACE] = c->armed_ns = UINT64_MAX;
	if (gossip_new(&own, &c->gossip) < 0)
		assert(!"memory");
	fleet_init(&c->fleet);
	placement_init(&c->placement, &c->fleet, config->node, config->seed + 1);
	fleet_on_change(&c->fleet, placement_changed, &c->placement);
	for (uint32_t node = 1; node <= config->nodes; node++) {
		if (gossip_roster_add(c->gossip, node) == GOSSIP_NO_MEMORY)
			assert(!"memory");
		set_node(c, node, false);
		if (node != config->node)
			fleet_node_status(&c->fleet, node, FLEET_DEAD);
	}
	return c;
}

static void
free_core(void *core)
{
	struct core *c = core;

	placement_fini(&c->placement);
	fleet_fini(&c->fleet);
	gossip_free(c->gossip);
	mem_free(c);
}

const struct sim_core_calls place_core_calls = {start, step, free_core};
