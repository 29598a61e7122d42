/* SPDX-License-Identifier: Apache-2.0 */
/* The cluster as a whole: it is set up from a plan, and its events are taken in the order of their
 * time until one of the rules is broken or the time has come. */
#include "tests/sim/inside.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>
#include "base/mem.h"

enum { DRAW_SHELL = 10, DRAW_CLOCKS, DRAW_DISKS };

#define BOOTED_NS_MAX (3600 * SIM_S)

static void
set_up_node(struct sim *s, uint32_t node, struct draw *d)
{
	struct sim_node *n = sim_shell_node(s, node);
	const struct plan *p = s->plan;
	int32_t rate =
		(int32_t)draw_below(d, 2ull * p->rate_max_ppb + 1) - (int32_t)p->rate_max_ppb;
	struct event *e;

	skew_init(&n->clock, 0, draw_between(d, 1, BOOTED_NS_MAX), rate);
	n->wire = (uint32_t)draw_between(d, p->wire_low, p->wire_high);
	n->timer_ns = UINT64_MAX;
	n->crash_after = UINT64_MAX;
	n->streams = UINT32_MAX;
	sim_disk_init(&n->disk, draw_of(draw_mix(p->seed, DRAW_DISKS), node), &s->parcels);
	if (p->sync_ns_max)
		n->disk.sync_ns_max = p->sync_ns_max;
	n->back_at_ns = p->spread_ns ? draw_below(d, p->spread_ns) : 0;
	e = sim_queue_add(&s->queue, n->back_at_ns, SIM_RESTART);
	e->node = node;
}

static void
set_up_item(struct sim *s, size_t index)
{
	const struct plan_item *item = &s->plan->items[index];

	if (item->kind == PLAN_CUT || item->kind == PLAN_CUT_ONE_WAY || item->kind == PLAN_FLAP)
		sim_plan_side(s->plan, item, s->sides + index * s->side_bytes, s->side_bytes);
	if (item->dropped)
		return;
	sim_queue_add(&s->queue, item->at_ns, SIM_BEGIN)->number = index;
	if (item->for_ns != PLAN_FOR_EVER && item->for_ns > 0)
		sim_queue_add(&s->queue, item->at_ns + item->for_ns, SIM_END)->number = index;
}

struct sim *
sim_new(const struct plan *plan, const struct sim_profile *profile)
{
	struct sim *s = mem_zalloc(MEM_BASE, sizeof(*s));
	struct draw clocks = draw_of(plan->seed, DRAW_CLOCKS);

	assert(s);
	s->plan = plan;
	s->profile = profile;
	s->draw = draw_of(plan->seed, DRAW_SHELL);
	s->stream_unused = UINT32_MAX;
	s->side_bytes = plan->nodes / 8 + 1;
	s->nodes = mem_array(MEM_BASE, plan->nodes, sizeof(s->nodes[0]));
	s->sides = mem_array(MEM_BASE, plan->item_count + 1, s->side_bytes);
	s->begun = mem_array(MEM_BASE, plan->item_count + 1, sizeof(s->begun[0]));
	assert(s->nodes && s->sides && s->begun);
	sim_queue_init(&s->queue);
	sim_link_init(&s->link, &plan->link, plan->seed, plan->nodes);
	for (uint32_t node = 1; node <= plan->nodes; node++)
		set_up_node(s, node, &clocks);
	for (size_t i = 0; i < plan->item_count; i++)
		set_up_item(s, i);
	if (profile->observer_new)
		s->observer = profile->observer_new(s);
	return s;
}

void
sim_free(struct sim *s)
{
	struct event e;

	if (!s)
		return;
	for (uint32_t node = 1; node <= s->plan->nodes; node++)
		sim_shell_free(s, node);
	while (sim_queue_take(&s->queue, &e))
		parcel_put(&s->parcels, e.parcel);
	sim_stream_free_all(s);
	if (s->profile->observer_free)
		s->profile->observer_free(s->observer);
	assert(s->parcels.held == 0);
	sim_queue_fini(&s->queue);
	parcel_fini(&s->parcels);
	sim_link_fini(&s->link);
	mem_free(s->nodes);
	mem_free(s->sides);
	mem_free(s->begun);
	mem_free(s);
}

static void
restart(struct sim *s, const struct event *e)
{
	struct sim_node *n = sim_shell_node(s, e->node);

	if (n->state == SIM_DOWN && n->boot == e->number && n->back_at_ns <= s->now_ns)
		sim_shell_start(s, e->node);
}

static void
crash(struct sim *s, const struct event *e)
{
	struct sim_node *n = sim_shell_node(s, e->node);

	if (n->state != SIM_DOWN && n->boot == e->number && n->crash_after != UINT64_MAX)
		sim_shell_crash(s, e->node, n->power, n->down_for_ns);
}

static void
happen(struct sim *s, struct event *e)
{
	switch (e->kind) {
	case SIM_BEGIN:
		sim_fault_begin(s, e->number);
		break;
	case SIM_END:
		sim_fault_end(s, e->number);
		break;
	case SIM_CRASH:
		crash(s, e);
		break;
	case SIM_RESUME:
		sim_shell_resume(s, e->node);
		break;
	case SIM_RESTART:
		restart(s, e);
		break;
	case SIM_STREAM_OPEN:
	case SIM_STREAM_PUMP:
	case SIM_STREAM_INPUT:
		sim_stream_event(s, e);
		break;
	case SIM_LATER:
		s->profile->later(s->observer, s, e->what, e->number, e->parcel->data);
		parcel_put(&s->parcels, e->parcel);
		break;
	default:
		if (e->kind == SIM_DATAGRAM && e->peer != e->node &&
		    sim_link_is_cut(&s->link, s->now_ns, e->peer - 1, e->node - 1))
			parcel_put(&s->parcels, e->parcel);
		else
			sim_shell_deliver(s, e->node, e);
	}
}

void
sim_run(struct sim *s, uint64_t until_ns)
{
	struct event e;

	while (!s->failure.failed && sim_queue_next_at(&s->queue) <= until_ns &&
	       sim_queue_take(&s->queue, &e)) {
		assert(e.at >= s->now_ns);
		s->now_ns = e.at;
		s->events++;
		happen(s, &e);
	}
	if (!s->failure.failed && until_ns != UINT64_MAX)
		s->now_ns = until_ns;
}

void
sim_heal(struct sim *s)
{
	if (!s->failure.failed)
		sim_fault_heal(s);
}

void
sim_fail(struct sim *s, const char *check, uint32_t node, const char *fmt, ...)
{
	struct sim_failure *f = &s->failure;
	va_list args;

	if (f->failed)
		return;
	f->failed = true;
	f->at_ns = s->now_ns;
	f->node = node;
	snprintf(f->check, sizeof(f->check), "%s", check);
	va_start(args, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, args);
	va_end(args);
}

void
sim_local(struct sim *s, uint32_t node, uint16_t what, uint64_t number, const void *data,
	  size_t bytes)
{
	sim_local_in(s, node, 0, what, number, data, bytes);
}

void
sim_local_in(struct sim *s, uint32_t node, uint64_t in_ns, uint16_t what, uint64_t number,
	     const void *data, size_t bytes)
{
	struct event *e = sim_queue_add(&s->queue, s->now_ns + in_ns, SIM_LOCAL);

	e->node = node;
	e->what = what;
	e->number = number;
	e->parcel = parcel_new(&s->parcels, data, bytes);
}

void
sim_later(struct sim *s, uint64_t in_ns, uint16_t what, uint64_t number, const void *data,
	  size_t bytes)
{
	struct event *e = sim_queue_add(&s->queue, s->now_ns + in_ns, SIM_LATER);

	e->what = what;
	e->number = number;
	e->parcel = parcel_new(&s->parcels, data, bytes);
}

void *
sim_core(const struct sim *s, uint32_t node)
{
	assert(node >= 1 && node <= s->plan->nodes);
	return s->nodes[node - 1].core;
}

bool
sim_is_up(const struct sim *s, uint32_t node)
{
	assert(node >= 1 && node <= s->plan->nodes);
	return s->nodes[node - 1].state == SIM_UP;
}

uint64_t
sim_local_ns(const struct sim *s, uint32_t node)
{
	return skew_local(&s->nodes[node - 1].clock, s->now_ns);
}

const struct disk_file *
sim_file(const struct sim *s, uint32_t node, uint16_t what)
{
	return sim_disk_file(&s->nodes[node - 1].disk, what);
}
