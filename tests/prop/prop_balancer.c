/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections through tables that change at random, by the rules of the programs
 * (dataplane/bpf/edge_pick.h) written again here: a connection keeps its backend as long as that
 * backend is there, whatever else comes, drains and goes.
 */
#include "dataplane/plan.h"
#include "tests/support/prop.h"

enum { CONNECTIONS = 400, ROUNDS = 1500, BACKENDS = 60 };

struct connection {
	bool open;
	uint32_t hash;
	uint16_t backend;
	bool pinned;
	uint16_t pin;
	uint32_t pin_epoch;
};

enum life { GONE, ACTIVE, DRAINING };

static struct plan plan;
static struct connection connections[CONNECTIONS];
static enum life lives[BACKENDS]; /* of backend i + 1 */
static uint64_t now, kept;

static bool
is_there(uint16_t backend)
{
	return backend == 0 || lives[backend - 1] != GONE;
}

static uint16_t
packet(struct connection *c, bool syn)
{
	uint32_t slot = plan.slots[c->hash % plan.slots_count];

	if (!(slot & EDGE_CHANGES))
		return (uint16_t)EDGE_CUR(slot);
	if (syn) {
		c->pinned = true;
		c->pin = (uint16_t)EDGE_CUR(slot);
		c->pin_epoch = plan.epoch;
		return c->pin;
	}
	if (c->pinned && c->pin_epoch == plan.epoch && is_there(c->pin)) {
		kept += c->pin != EDGE_CUR(slot);
		return c->pin;
	}
	kept++;
	return (uint16_t)EDGE_PREV(slot);
}

static void
update(void)
{
	struct plan_member members[BACKENDS];
	size_t count = 0;
	bool failed;

	for (uint16_t i = 0; i < BACKENDS; i++)
		if (lives[i] != GONE)
			members[count++] = (struct plan_member){.id = 7000u + i,
								.index = (uint16_t)(i + 1),
								.draining = lives[i] == DRAINING};
	(void)plan_update(&plan, members, count, now, &failed);
	prop_check(!failed);
}

static void
change(struct prop *p)
{
	enum life *life = &lives[prop_below(p, BACKENDS)];

	switch (*life) {
	case GONE:
		*life = ACTIVE;
		break;
	case ACTIVE:
		*life = prop_below(p, 3) ? DRAINING : GONE;
		break;
	case DRAINING:
		*life = prop_below(p, 3) ? GONE : ACTIVE;
		break;
	}
	update();
}

static void
check_all(void)
{
	for (size_t i = 0; i < CONNECTIONS; i++) {
		struct connection *c = &connections[i];

		if (!c->open)
			continue;
		if (!is_there(c->backend)) {
			c->open = false;
			continue;
		}
		prop_check(packet(c, false) == c->backend);
	}
}

static void
open_some(struct prop *p)
{
	for (int n = 0; n < 20; n++) {
		struct connection *c = &connections[prop_below(p, CONNECTIONS)];

		*c = (struct connection){.open = true, .hash = (uint32_t)prop_u64(p)};
		c->backend = packet(c, true);
		prop_check(is_there(c->backend));
		prop_check(c->backend == 0 || lives[c->backend - 1] == ACTIVE);
	}
}

int
main(int argc, char **argv)
{
	struct prop p;

	prop_init(&p, argc, argv);
	prop_check(plan_init(&plan) == 0);
	now = 1000;
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (prop_below(&p, 3) == 0)
			change(&p);
		open_some(&p);
		check_all();
		/* Every connection speaks more often than a change is kept for silent ones. */
		now += prop_below(&p, PLAN_IDLE_MS / 2);
		(void)plan_tick(&plan, kept, now);
		check_all();
	}
	plan_fini(&plan);
	return 0;
}
