/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The observer plays what stands around placement: the store (its copy reaches each node that is up
 * at once, others when they start), and the runtime of each node, whose containers outlive a crash
 * of the process and not of the machine. What it knows of both is what the rules compare:
 *
 *   capacity  what runs on a node, or is being started, never exceeds it
 *   drain     a node that knows that it is being drained takes nothing
 *   placed    in the end each slot of each service is ready once, in the wanted revision, on a node
 *             that is up, and nothing else runs there
 */
#include "tests/sim/profile_place.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "tests/sim/place_core.h"

enum { CONTAINERS_MAX = 256, LATER_DRAIN = 0, LATER_STUCK };

#define START_NS (300 * SIM_MS)
#define STOP_NS (200 * SIM_MS)

struct container {
	uint64_t number;
	struct claim claim; /* as its node last told it */
	bool ready;
	bool stopping;
};

struct runtime {
	struct container items[CONTAINERS_MAX];
	size_t count;
};

struct drain {
	uint64_t until_ns; /* then it is called off */
	uint64_t end_ns;   /* then the node ends what is still there */
	bool known;        /* the node has been told */
};

struct observer {
	uint32_t nodes;
	struct place_specs specs;
	struct runtime *runtimes; /* node n at n - 1 */
	struct drain *drains;     /* likewise */
	uint64_t *stuck_until_ns; /* likewise: it cannot write the store */
	struct draw draw;
};

static uint32_t
replicas_max(uint32_t nodes)
{
	/* A third of what all could bear, so that those that are left can. */
	uint32_t slots = nodes * (PLACE_CPU_MILLI / PLACE_SERVICE_CPU_MILLI) / 3;
	uint32_t each = slots / PLACE_SERVICES;

	return each < 1 ? 1 : each > 20 ? 20 : each;
}

static void *
observer_new(struct sim *s)
{
	struct observer *o = mem_zalloc(MEM_BASE, sizeof(*o));

	assert(o);
	o->nodes = s->plan->nodes;
	o->draw = draw_of(s->plan->seed, 55);
	o->runtimes = mem_array(MEM_BASE, o->nodes, sizeof(o->runtimes[0]));
	o->drains = mem_array(MEM_BASE, o->nodes, sizeof(o->drains[0]));
	o->stuck_until_ns = mem_array(MEM_BASE, o->nodes, sizeof(o->stuck_until_ns[0]));
	assert(o->runtimes && o->drains && o->stuck_until_ns);
	o->specs.version = 1;
	for (size_t i = 0; i < PLACE_SERVICES; i++)
		o->specs.services[i] = (struct place_spec){
			1, (uint32_t)draw_between(&o->draw, 1, replicas_max(o->nodes))};
	return o;
}

static void
observer_free(void *observer)
{
	struct observer *o = observer;

	mem_free(o->runtimes);
	mem_free(o->drains);
	mem_free(o->stuck_until_ns);
	mem_free(o);
}

static void
give_specs(struct observer *o, struct sim *s, uint32_t node)
{
	sim_local(s, node, PLACE_SPECS, 0, &o->specs, sizeof(o->specs));
}

static void
say_drain(struct observer *o, struct sim *s, uint32_t node)
{
	const struct drain *d = &o->drains[node - 1];
	uint64_t left = d->end_ns > s->now_ns ? d->end_ns - s->now_ns : 1;

	if (s->now_ns >= d->until_ns)
		left = 0;
	if (sim_core(s, node))
		sim_local(s, node, PLACE_DRAIN, 0, &left, sizeof(left));
}

/* No more of them at a time than what is left can bear. */
static void
begin_drain(struct observer *o, struct sim *s, uint32_t node, struct draw *d)
{
	uint32_t there = 0;

	for (uint32_t n = 0; n < o->nodes; n++)
		there += o->drains[n].until_ns > s->now_ns;
	if (there >= o->nodes / 4)
		return;
	o->drains[node - 1].until_ns = s->now_ns + draw_scale(d, SIM_S, 40 * SIM_S);
	o->drains[node - 1].end_ns = s->now_ns + draw_scale(d, SIM_S, 40 * SIM_S);
	say_drain(o, s, node);
	sim_later(s, o->drains[node - 1].until_ns - s->now_ns, LATER_DRAIN, node, NULL, 0);
}

static void
say_stuck(struct observer *o, struct sim *s, uint32_t node)
{
	const uint8_t stuck = o->stuck_until_ns[node - 1] > s->now_ns;

	if (sim_core(s, node))
		sim_local(s, node, PLACE_STUCK, 0, &stuck, 1);
}

/* Any number of them, also all. */
static void
begin_stuck(struct observer *o, struct sim *s, uint32_t node, struct draw *d)
{
	o->stuck_until_ns[node - 1] = s->now_ns + draw_scale(d, SIM_S, 40 * SIM_S);
	say_stuck(o, s, node);
	sim_later(s, o->stuck_until_ns[node - 1] - s->now_ns, LATER_STUCK, node, NULL, 0);
}

static void
later(void *observer, struct sim *s, uint16_t what, uint64_t number, const void *data)
{
	(void)data;
	if (what == LATER_STUCK)
		say_stuck(observer, s, (uint32_t)number);
	else
		say_drain(observer, s, (uint32_t)number);
}

static void
turned(void *observer, struct sim *s, uint32_t node, bool up)
{
	struct observer *o = observer;
	struct runtime *r = &o->runtimes[node - 1];
	uint64_t numbers[CONTAINERS_MAX];

	if (!up && s->nodes[node - 1].power)
		r->count = 0;
	if (!up)
		return;
	for (size_t i = 0; i < r->count; i++)
		numbers[i] = r->items[i].number;
	give_specs(o, s, node);
	o->drains[node - 1].known = false;
	if (o->drains[node - 1].until_ns > s->now_ns)
		say_drain(o, s, node);
	if (o->stuck_until_ns[node - 1] > s->now_ns)
		say_stuck(o, s, node);
	sim_local(s, node, PLACE_RUNNING, 0, numbers, r->count * sizeof(numbers[0]));
}

/* Another revision or number of replicas of one service, or for a while a node is drained, or
 * cannot write the store, so that others coordinate what it did. */
static void
do_act(void *observer, struct sim *s, uint32_t node, uint64_t number)
{
	struct observer *o = observer;
	struct draw d = draw_of(number, 1);
	struct place_spec *spec = &o->specs.services[draw_below(&d, PLACE_SERVICES)];

	switch (draw_below(&d, 5)) {
	case 0:
		begin_drain(o, s, node, &d);
		return;
	case 1:
		begin_stuck(o, s, node, &d);
		return;
	}
	if (draw_below(&d, 2))
		spec->revision++;
	else
		spec->replicas = (uint32_t)draw_between(&d, 1, replicas_max(o->nodes));
	o->specs.version++;
	for (uint32_t n = 1; n <= o->nodes; n++)
		if (sim_core(s, n))
			give_specs(o, s, n);
}

/* ---- the runtime ---- */

static struct container *
find(struct runtime *r, uint64_t number)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->items[i].number == number)
			return &r->items[i];
	return NULL;
}

static void
report(struct observer *o, struct sim *s, uint32_t node, uint64_t number, uint64_t mean_ns)
{
	const uint8_t state = CLAIM_READY;

	sim_local_in(s, node, draw_wait(&o->draw, mean_ns), PLACE_STATE, number, &state, 1);
}

static void
on_claim(struct observer *o, struct sim *s, uint32_t node, const uint8_t *data)
{
	struct runtime *r = &o->runtimes[node - 1];
	struct container *c;
	struct claim claim;
	uint32_t used = 0;

	if (!claim_decode(data, &claim) || claim.node != node) {
		sim_fail(s, "claim", node, "writes a claim that is none");
		return;
	}
	c = find(r, claim.number);
	if (!c && claim.state != CLAIM_STARTING)
		return;
	if (!c) {
		assert(r->count < CONTAINERS_MAX);
		c = &r->items[r->count++];
		*c = (struct container){.number = claim.number};
	}
	c->claim = claim;
	c->ready = claim.state == CLAIM_READY;
	if (claim.state == CLAIM_STARTING) {
		c->stopping = false;
		report(o, s, node, claim.number, START_NS);
	}
	used = (uint32_t)r->count * PLACE_SERVICE_CPU_MILLI;
	if (used > PLACE_CPU_MILLI)
		sim_fail(s, "capacity", node, "runs %zu containers: %u of %u millicores", r->count,
			 used, (unsigned)PLACE_CPU_MILLI);
}

static void
forget(struct runtime *r, uint64_t number)
{
	struct container *c = find(r, number);

	if (c)
		*c = r->items[--r->count];
}

static void
told(void *observer, struct sim *s, uint32_t node, const struct step_action *a, const uint8_t *data)
{
	struct observer *o = observer;
	struct place_told t = {.what = a->what};

	assert(a->bytes <= sizeof(t.data));
	memcpy(t.data, data, a->bytes);
	sim_local(s, node, PLACE_TOLD, a->token, &t, sizeof(t));
	if (a->what == PLACEMENT_CLAIM)
		on_claim(o, s, node, data);
	else if (a->what == PLACEMENT_STOP)
		sim_local_in(s, node, draw_wait(&o->draw, STOP_NS), PLACE_ENDED, a->token, NULL, 0);
	else if (a->what == PLACEMENT_ORPHAN)
		forget(&o->runtimes[node - 1], a->token);
}

/* What is claimed is in the journal first. */
static void
check_drain(struct sim *s, uint32_t node, const struct step_actions *out)
{
	for (size_t i = 0; i < out->count; i++) {
		const struct step_action *a = &out->items[i];
		struct claimlog_reader reader;
		struct claimlog_record r;

		if (a->kind != STEP_APPEND)
			continue;
		claimlog_open(&reader, out->data + a->offset, a->bytes);
		while (claimlog_next(&reader, &r))
			if (r.kind == CLAIMLOG_CLAIM && r.claim.state == CLAIM_STARTING)
				sim_fail(s, "drain", node,
					 "takes slot %u of service %u while it is drained",
					 r.claim.slot, (unsigned)r.claim.service);
	}
}

static void
check_step(void *observer, struct sim *s, uint32_t node, const struct step_input *in,
	   const struct step_actions *out)
{
	struct observer *o = observer;
	uint64_t left = 0;

	if (in->kind == STEP_LOCAL && in->what == PLACE_ENDED)
		forget(&o->runtimes[node - 1], in->token);
	if (o->drains[node - 1].known)
		check_drain(s, node, out);
	if (in->kind != STEP_LOCAL || in->what != PLACE_DRAIN)
		return;
	memcpy(&left, in->data, sizeof(left));
	o->drains[node - 1].known = left > 0;
}

/* ---- in the end ---- */

static bool
slot_settled(struct observer *o, struct sim *s, uint32_t service, uint32_t slot, char *why,
	     size_t cap)
{
	const struct place_spec *spec = &o->specs.services[service - 1];
	unsigned there = 0, good = 0;

	for (uint32_t node = 1; node <= o->nodes; node++)
		for (size_t i = 0; sim_core(s, node) && i < o->runtimes[node - 1].count; i++) {
			const struct container *c = &o->runtimes[node - 1].items[i];

			if (c->claim.service != service || c->claim.slot != slot)
				continue;
			there++;
			good += c->ready && c->claim.revision == spec->revision;
		}
	if (there == 1 && good == 1)
		return true;
	snprintf(why, cap, "slot %u of service %u runs %u times, %u of it as wanted", slot, service,
		 there, good);
	return false;
}

static bool
settled(void *observer, struct sim *s, char *why, size_t cap)
{
	struct observer *o = observer;
	size_t wanted = 0, there = 0;

	for (uint32_t service = 1; service <= PLACE_SERVICES; service++) {
		uint32_t replicas = o->specs.services[service - 1].replicas;

		wanted += replicas;
		for (uint32_t slot = 0; slot < replicas; slot++)
			if (!slot_settled(o, s, service, slot, why, cap))
				return false;
	}
	for (uint32_t node = 1; node <= o->nodes; node++)
		there += sim_core(s, node) ? o->runtimes[node - 1].count : 0;
	if (there != wanted)
		snprintf(why, cap, "%zu containers run, %zu are wanted", there, wanted);
	return there == wanted;
}

const struct sim_profile *
profile_place(void)
{
	static const struct sim_check checks[] = {
		{.name = "placed", .step = check_step, .settled = settled},
	};
	static const struct sim_profile profile = {
		.name = "place",
		.core = &place_core_calls,
		.wish = {.nodes_max = 48,
			 .acts_per_minute = 8,
			 .bound_ns = 120 * SIM_S,
			 .disk = true,
			 .wire_low = 1,
			 .wire_high = 2},
		.sends_to_self = true,
		.observer_new = observer_new,
		.observer_free = observer_free,
		.act = do_act,
		.turned = turned,
		.told = told,
		.later = later,
		.checks = checks,
		.check_count = sizeof(checks) / sizeof(checks[0]),
	};

	return &profile;
}
