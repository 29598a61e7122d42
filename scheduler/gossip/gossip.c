/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core's outside: what is called from elsewhere, and the step. A step takes its input, lets
 * the timers run when the input is the timer, and then gives out what came of it: packets to the
 * neighbours, pieces for the streams, tells, and the one timer.
 *
 * A stall: when now is far behind the time that was asked for, this node did not run, and what it
 * has not heard proves nothing. Probes under way are thrown away, its health score rises, and no
 * suspicion ends before the answers to what it says now could be here.
 *
 * Each part knows when it is due next; the timer is the least of them, and with nothing to do but
 * probes that is all it waits for.
 */
#include "scheduler/gossip/gossip.h"

#include <assert.h>
#include "scheduler/gossip/cast.h"
#include "scheduler/gossip/doubt.h"
#include "scheduler/gossip/graft.h"
#include "scheduler/gossip/hear.h"
#include "scheduler/gossip/inbox.h"
#include "scheduler/gossip/lane.h"
#include "scheduler/gossip/life.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/mesh.h"
#include "scheduler/gossip/pending.h"
#include "scheduler/gossip/prober.h"
#include "scheduler/gossip/rumour.h"
#include "scheduler/gossip/space.h"
#include "scheduler/gossip/sync.h"
#include "scheduler/gossip/tell.h"
#include "scheduler/gossip/trail.h"

const uint32_t gossip_age_bounds_ms[GOSSIP_AGE_BOUNDS] = {1,   2,   5,    10,   25,   50,   100,
							  250, 500, 1000, 2500, 5000, 10000};

enum {
	STALL_MS = 300,
	GRACE_MS = 1000,
};

static void
defaults(struct gossip_config *c)
{
	const struct {
		uint32_t *at, value;
	} all[] = {
		{&c->probe_ms, 500},     {&c->probe_direct_ms, 200},
		{&c->gossip_ms, 100},    {&c->suspicion_ms, 2000},
		{&c->batch_ms, 5},       {&c->suspicion_alone_ms, 8000},
		{&c->graft_ms, 25},      {&c->sync_ms, 30000},
		{&c->contact_ms, 10000},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (*all[i].at == 0)
			*all[i].at = all[i].value;
}

int
gossip_new(const struct gossip_config *config, struct gossip **out)
{
	struct gossip *g = mem_zalloc(MEM_SCHEDULER, sizeof(*g));

	assert(config->self != 0);
	if (!g)
		return -1;
	g->config = *config;
	defaults(&g->config);
	world_seeded_init(&g->random, config->seed, 0, 0);
	map_init_seeded(&g->doubts, MEM_SCHEDULER, config->seed);
	heap_init(&g->doubts_due, MEM_SCHEDULER);
	map_init_seeded(&g->dials, MEM_SCHEDULER, config->seed);
	g->timer_ns = CORE_NEVER;
	g->sync_ns = CORE_NEVER;
	g->contact_ns = CORE_NEVER;
	if (member_add(g, config->self) != GOSSIP_OK || !space_make(g, g->self_at)) {
		gossip_free(g);
		return -1;
	}
	*out = g;
	return 0;
}

void
gossip_free(struct gossip *g)
{
	if (!g)
		return;
	lane_fini(g);
	trail_fini(g);
	graft_fini(g);
	pending_fini(g);
	space_fini(g);
	doubt_fini(g);
	map_fini(&g->dials);
	mem_free(g->rumours);
	mem_free(g->tells);
	mem_free(g->ids);
	mem_free(g->status);
	mem_free(g->order);
	mem_free(g->space_at);
	mem_free(g);
}

/* ---- roster and members ---- */

enum gossip_result
gossip_roster_add(struct gossip *g, uint32_t node)
{
	enum gossip_result r = member_add(g, node);

	/* A new one is looked for at once. */
	if (r == GOSSIP_OK && g->started)
		prober_start_contacts(g);
	return r;
}

enum gossip_result
gossip_roster_dials(struct gossip *g, uint32_t node, bool dials)
{
	if (member_find(g, node) < 0 || node == g->config.self || member_dials(g, node) == dials)
		return GOSSIP_UNCHANGED;
	if (!dials)
		map_remove_u64(&g->dials, node);
	else if (map_put_u64(&g->dials, node, g) < 0)
		return GOSSIP_NO_MEMORY;
	return GOSSIP_OK;
}

enum gossip_result
gossip_roster_remove(struct gossip *g, uint32_t node)
{
	long at = member_find(g, node);

	if (at < 0 || (size_t)at == g->self_at)
		return GOSSIP_UNCHANGED;
	doubt_end(g, node);
	rumour_forget(g, node);
	pending_forget(g, node);
	if (core_live(g->status[at]))
		mesh_change(g, node, false);
	space_remove(g, (size_t)at);
	member_remove(g, (size_t)at);
	map_remove_u64(&g->dials, node);
	tell_member(g, node, 0);
	return GOSSIP_OK;
}

size_t
gossip_members(const struct gossip *g)
{
	return g->count;
}

size_t
gossip_members_live(const struct gossip *g)
{
	return g->live;
}

void
gossip_member_at(const struct gossip *g, size_t index, struct gossip_member *out)
{
	assert(index < g->count);
	const struct space *s = space_of(g, index);

	*out = (struct gossip_member){
		.node = g->ids[index],
		.incarnation = core_incarnation(g->status[index]),
		.state = core_state(g->status[index]),
		.version = s ? s->version : 0,
	};
}

bool
gossip_member(const struct gossip *g, uint32_t node, struct gossip_member *out)
{
	long at = member_find(g, node);

	if (at < 0)
		return false;
	gossip_member_at(g, (size_t)at, out);
	return true;
}

/* ---- entries ---- */

enum gossip_result
gossip_put(struct gossip *g, uint16_t type, uint64_t id, const void *value, size_t bytes)
{
	return space_put(g, type, id, value, bytes);
}

enum gossip_result
gossip_drop(struct gossip *g, uint16_t type, uint64_t id)
{
	return space_drop(g, type, id);
}

static void
show(const struct space *s, const struct entry *e, struct gossip_entry *out)
{
	*out = (struct gossip_entry){
		.node = s->node,
		.type = e->type,
		.bytes = e->bytes,
		.id = e->id,
		.version = gossip_version(gossip_version_birth(s->version), e->sequence),
		.value = e->value,
	};
}

bool
gossip_get(const struct gossip *g, uint32_t node, uint16_t type, uint64_t id,
	   struct gossip_entry *out)
{
	const struct space *s = space_find(g, node);
	const struct entry *e = s ? space_entry(s, type, id) : NULL;

	if (!e)
		return false;
	show(s, e, out);
	return true;
}

bool
gossip_each(const struct gossip *g, struct gossip_walk *w, struct gossip_entry *out)
{
	while (w->space_ < g->count) {
		const struct space *s = w->node ? space_find(g, w->node) : space_of(g, w->space_);

		if (s && w->entry_ < s->count) {
			show(s, s->entries[w->entry_++], out);
			return true;
		}
		w->entry_ = 0;
		w->space_ = w->node ? UINT32_MAX : w->space_ + 1;
	}
	return false;
}

/* ---- the rest ---- */

void
gossip_leave(struct gossip *g)
{
	life_leave(g);
}

const struct gossip_counters *
gossip_counters(const struct gossip *g)
{
	return &g->counters;
}

unsigned
gossip_health(const struct gossip *g)
{
	return g->health;
}

uint64_t
gossip_digest(const struct gossip *g)
{
	return g->digest;
}

/* ---- the step ---- */

static void
start(struct gossip *g)
{
	if (g->started)
		return;
	life_start(g);
	prober_start(g);
	sync_start(g);
}

static void
look_for_stall(struct gossip *g)
{
	if (g->timer_ns == CORE_NEVER || g->now_ns < g->timer_ns + STALL_MS * CORE_MS)
		return;
	g->counters.stalls++;
	prober_stalled(g);
	g->grace_ns = g->now_ns + GRACE_MS * CORE_MS;
	/* Once for one stall: the timer itself comes last. */
	g->timer_ns = g->now_ns;
}

static void
timers(struct gossip *g)
{
	g->timer_ns = CORE_NEVER; /* it is used up */
	if (!g->started)
		return;
	life_timer(g);
	prober_timer(g);
	doubt_timer(g);
	graft_timer(g);
	rumour_timer(g);
	sync_timer(g);
	lane_timer(g);
}

static void
take(struct gossip *g, const struct step_input *in)
{
	switch (in->kind) {
	case STEP_START:
		start(g);
		break;
	case STEP_FILE:
		if (in->what == g->config.file && !g->started)
			life_file(g, in->data, in->bytes);
		break;
	case STEP_TIMER:
		timers(g);
		break;
	case STEP_DATAGRAM:
		if (!g->started)
			break;
		inbox_datagram(g, in);
		prober_awake(g);
		break;
	case STEP_STREAM_UP:
		lane_up(g, in->stream, in->node);
		break;
	case STEP_STREAM_DATA:
		lane_data(g, in->stream, in->data, in->bytes);
		break;
	case STEP_STREAM_DOWN:
		lane_down(g, in->stream);
		break;
	case STEP_STREAM_ROOM:
		lane_room(g, in->stream);
		break;
	case STEP_DISK_DONE:
		life_disk_done(g, in->token, in->status == 0);
		break;
	case STEP_MORE:
	case STEP_LOCAL:
		break;
	}
}

static uint64_t
due(const struct gossip *g)
{
	const uint64_t all[] = {life_due(g),  prober_due(g), doubt_due(g), cast_due(g),
				graft_due(g), rumour_due(g), sync_due(g),  lane_due(g)};
	uint64_t at = CORE_NEVER;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && g->started; i++)
		if (all[i] < at)
			at = all[i];
	/* Not in the past: the shell would be right to come at once, again and again. */
	return at < g->now_ns ? g->now_ns : at;
}

static void
set_timer(struct gossip *g)
{
	uint64_t at = due(g);

	if (at == g->timer_ns)
		return;
	if (!step_actions_room(g->out, 1, 0)) {
		g->out->more = true;
		return;
	}
	step_add(g->out, STEP_SET_TIMER, NULL, 0)->at_ns = at;
	g->timer_ns = at;
}

void
gossip_step(struct gossip *g, const struct step_input *in, struct step_actions *out)
{
	g->out = out;
	if (in->now_ns > g->now_ns)
		g->now_ns = in->now_ns;
	trail_date(g);
	look_for_stall(g);
	take(g, in);
	if (g->started) {
		mesh_update(g);
		cast_flush(g);
		lane_work(g);
		tell_flush(g);
		set_timer(g);
	}
	g->out = NULL;
}
