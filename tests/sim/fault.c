/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the items of a plan do when their time comes. Those that last (loss, cuts, a slow disk) are
 * summed up anew at each beginning and end, so that two at once are neither lost nor left behind.
 */
#include "tests/sim/inside.h"

enum { LATE_NS = 200000000, PPM_MAX = 1000000, ACTIONS = 16 };

#define CRASH_WAIT_NS (2 * SIM_S)

static uint32_t
more_ppm(uint32_t ppm, uint64_t strength)
{
	uint64_t sum = ppm + strength;

	return sum < PPM_MAX ? (uint32_t)sum : PPM_MAX;
}

static void
sum_cut(struct sim *s, size_t index)
{
	const struct plan_item *item = &s->plan->items[index];

	if (s->link.cut_count == LINK_CUTS_MAX)
		return;
	s->link.cuts[s->link.cut_count++] = (struct link_cut){
		.one_way = item->kind == PLAN_CUT_ONE_WAY,
		.half_ns = item->kind == PLAN_FLAP ? 50 * SIM_MS + item->strength % (5 * SIM_S) : 0,
		.from_ns = item->at_ns,
		.side = s->sides + index * s->side_bytes,
	};
}

static void
sum_node(struct sim *s, const struct plan_item *item)
{
	struct link_node *l = &s->link.nodes[item->node - 1];
	struct disk *d = &sim_shell_node(s, item->node)->disk;

	switch (item->kind) {
	case PLAN_NODE_LOSS:
		l->out_loss_ppm = more_ppm(l->out_loss_ppm, item->strength);
		l->in_loss_ppm = more_ppm(l->in_loss_ppm, item->strength);
		break;
	case PLAN_NARROW:
		if (l->bytes_per_s == 0 || l->bytes_per_s > item->strength)
			l->bytes_per_s = item->strength;
		break;
	case PLAN_DISK_SLOW:
		d->slow = (uint32_t)item->strength;
		break;
	case PLAN_DISK_FAIL:
		d->fail_ppm = more_ppm(d->fail_ppm, item->strength);
		break;
	case PLAN_DISK_FULL:
		d->full = true;
		break;
	default:
		break;
	}
}

static void
sum_item(struct sim *s, size_t index)
{
	const struct plan_item *item = &s->plan->items[index];

	switch (item->kind) {
	case PLAN_LOSS:
		s->link.loss_ppm = more_ppm(s->link.loss_ppm, item->strength);
		break;
	case PLAN_TWICE:
		s->link.twice_ppm = more_ppm(s->link.twice_ppm, item->strength);
		break;
	case PLAN_LATE:
		s->link.late_ppm = more_ppm(s->link.late_ppm, item->strength);
		s->link.late_ns = LATE_NS;
		break;
	case PLAN_DELAY:
		s->link.delay_ns += item->strength;
		break;
	case PLAN_CUT:
	case PLAN_CUT_ONE_WAY:
	case PLAN_FLAP:
		sum_cut(s, index);
		break;
	default:
		sum_node(s, item);
	}
}

static void
sum_up(struct sim *s)
{
	sim_link_heal(&s->link);
	for (uint32_t node = 1; node <= s->plan->nodes; node++) {
		struct disk *d = &sim_shell_node(s, node)->disk;

		d->slow = 0;
		d->fail_ppm = 0;
		d->full = false;
	}
	for (size_t i = 0; i < s->plan->item_count; i++)
		if (s->begun[i])
			sum_item(s, i);
}

void
sim_fault_crash(struct sim *s, const struct plan_item *item)
{
	struct sim_node *n = sim_shell_node(s, item->node);
	struct event *e;

	if (n->state == SIM_DOWN) {
		if (item->for_ns == PLAN_FOR_EVER)
			n->back_at_ns = PLAN_FOR_EVER;
		n->crash_again = item;
		return;
	}
	n->power = item->kind == PLAN_POWER;
	n->down_for_ns = item->for_ns;
	n->crash_after = item->strength % ACTIONS;
	n->crash_at_disk = item->strength >= ACTIONS;
	e = sim_queue_add(&s->queue, s->now_ns + (item->strength ? CRASH_WAIT_NS : 0), SIM_CRASH);
	e->node = item->node;
	e->number = n->boot;
}

void
sim_fault_begin(struct sim *s, size_t index)
{
	const struct plan_item *item = &s->plan->items[index];
	struct sim_node *n = sim_shell_node(s, item->node);

	if (s->healed)
		return;
	if (s->trace)
		sim_plan_print(s->plan, index, s->trace);
	switch (item->kind) {
	case PLAN_ACT:
		if (n->state == SIM_UP && s->profile->act)
			s->profile->act(s->observer, s, item->node, item->strength);
		break;
	case PLAN_PAUSE:
		sim_shell_pause(s, item->node, s->now_ns + item->for_ns, item->strength == 1);
		break;
	case PLAN_CRASH:
	case PLAN_POWER:
		sim_fault_crash(s, item);
		break;
	case PLAN_JUMP:
		skew_jump(&n->clock, s->now_ns, item->strength);
		sim_shell_arm(s, item->node);
		break;
	case PLAN_WALL:
		n->wall_off_ns += (int64_t)item->strength * (int64_t)SIM_MS;
		break;
	default:
		s->begun[index] = true;
		sum_up(s);
	}
}

void
sim_fault_end(struct sim *s, size_t index)
{
	if (!s->begun[index])
		return;
	s->begun[index] = false;
	sum_up(s);
}

static void
heal_node(struct sim *s, uint32_t node)
{
	struct sim_node *n = sim_shell_node(s, node);
	struct event *e;

	n->crash_again = NULL;
	if (n->state == SIM_PAUSED) {
		n->pause_until_ns = s->now_ns;
		sim_shell_resume(s, node);
	}
	if (n->state == SIM_UP && n->crash_after != UINT64_MAX) {
		if (n->down_for_ns == PLAN_FOR_EVER)
			sim_shell_crash(s, node, n->power, PLAN_FOR_EVER);
		n->crash_after = UINT64_MAX;
	}
	if (n->state == SIM_DOWN && n->back_at_ns != PLAN_FOR_EVER && n->back_at_ns > s->now_ns) {
		n->back_at_ns = s->now_ns;
		e = sim_queue_add(&s->queue, s->now_ns, SIM_RESTART);
		e->node = node;
		e->number = n->boot;
	}
}

void
sim_fault_heal(struct sim *s)
{
	for (size_t i = 0; i < s->plan->item_count; i++)
		s->begun[i] = false;
	sum_up(s);
	s->healed = true;
	for (uint32_t node = 1; node <= s->plan->nodes; node++)
		heal_node(s, node);
}
