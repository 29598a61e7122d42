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
#include "scheduler/gossip/hear.h"
#include "scheduler/gossip/lane.h"
#include "scheduler/gossip/life.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/mesh.h"
#include "scheduler/gossip/packet.h"
#include "scheduler/gossip/pending.h"
#include "scheduler/gossip/prober.h"
#include "scheduler/gossip/rumour.h"
#include "scheduler/gossip/space.h"
#include "scheduler/gossip/sync.h"
#include "scheduler/gossip/tell.h"

enum {
	STALL_MS = 300,
	GRACE_MS = 1000,
	CORRECTIONS_MAX = 16, /* in the answer to one datagram */
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
	cast_fini(g);
	pending_fini(g);
	space_fini(g);
	doubt_fini(g);
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

/* ---- datagrams ---- */

/* What one datagram's sender is to be told, in one answer. */
struct answer {
	struct packet packet;
	bool acked;
	size_t corrections;
	uint32_t nodes[CORRECTIONS_MAX];
};

static void
correct(struct answer *a, uint32_t node)
{
	for (size_t i = 0; i < a->corrections; i++)
		if (a->nodes[i] == node)
			return;
	if (a->corrections < CORRECTIONS_MAX)
		a->nodes[a->corrections++] = node;
}

static void
read_ping(struct gossip *g, uint32_t from, size_t at, struct cursor *c, struct answer *a)
{
	uint32_t number = cursor_u32(c), target = cursor_u32(c);
	uint64_t digest = cursor_u64(c);

	if (!cursor_ok(c) || target != g->config.self || a->acked)
		return;
	a->acked = true;
	packet_ping(g, &a->packet, GOSSIP_ACK, number, target);
	/* Who is not held to be alive must hear so, to refute it. */
	if (core_state(g->status[at]) != GOSSIP_ALIVE)
		correct(a, from);
	sync_digest(g, from, digest);
}

static void
read_ack(struct gossip *g, uint32_t from, struct cursor *c)
{
	uint32_t number = cursor_u32(c), node = cursor_u32(c);
	uint64_t digest = cursor_u64(c);

	if (!cursor_ok(c))
		return;
	prober_acked(g, from, number, node);
	sync_digest(g, from, digest);
}

static void
read_asked(struct gossip *g, uint32_t from, struct cursor *c)
{
	uint32_t number = cursor_u32(c), target = cursor_u32(c);

	if (cursor_ok(c))
		prober_asked(g, from, number, target);
}

static void
read_nack(struct gossip *g, struct cursor *c)
{
	uint32_t number = cursor_u32(c);

	cursor_u32(c);
	if (cursor_ok(c))
		prober_nacked(g, number);
}

static void
read_members(struct gossip *g, uint32_t from, struct cursor *c, struct answer *a)
{
	uint32_t node, accuser, status;

	while (cursor_left(c) > 0) {
		packet_get_member(c, &node, &accuser, &status);
		if (!cursor_ok(c))
			return;
		if (hear_record(g, from, node, accuser, status))
			correct(a, node);
	}
}

static void
read_section(struct gossip *g, uint32_t from, size_t at, enum gossip_message kind, uint8_t flags,
	     struct cursor *body, struct answer *a)
{
	switch (kind) {
	case GOSSIP_PING:
		read_ping(g, from, at, body, a);
		break;
	case GOSSIP_ACK:
		read_ack(g, from, body);
		break;
	case GOSSIP_PING_REQ:
		read_asked(g, from, body);
		break;
	case GOSSIP_NACK:
		read_nack(g, body);
		break;
	case GOSSIP_MEMBERS:
		read_members(g, from, body, a);
		break;
	case GOSSIP_CHANGES:
		cast_changes(g, from, body, flags & PACKET_REPLY);
		break;
	case GOSSIP_IHAVE:
		cast_ihave(g, from, body);
		break;
	case GOSSIP_GRAFT:
		cast_graft(g, from, body);
		break;
	case GOSSIP_PRUNE:
		cast_prune(g, from);
		break;
	case GOSSIP_GONE:
		cast_gone(g, from, body);
		break;
	case GOSSIP_SYNC:
	case GOSSIP_MESSAGES_:
		break;
	}
}

static void
answer_send(struct gossip *g, uint32_t to, struct answer *a)
{
	if (a->corrections > 0)
		packet_open(g, &a->packet, GOSSIP_MEMBERS, 0);
	for (size_t i = 0; i < a->corrections; i++) {
		long at = member_find(g, a->nodes[i]);

		if (at >= 0)
			packet_member(&a->packet, a->nodes[i], doubt_accuser(g, a->nodes[i]),
				      g->status[at]);
	}
	if (a->acked)
		rumour_fill(g, &a->packet, to);
	packet_send(g, &a->packet, to);
}

static void
read_datagram(struct gossip *g, const struct step_input *in)
{
	long at = in->node == g->config.self ? MEMBER_NONE : member_find(g, in->node);
	struct answer answer = {.acked = false};
	struct cursor c, body;
	unsigned kind, seen = 0;
	uint8_t flags;

	g->counters.datagrams_received++;
	g->counters.datagram_bytes_received += in->bytes;
	if (at < 0) {
		g->counters.strangers++;
		return;
	}
	cursor_init(&c, in->data, in->bytes);
	if (!packet_head(&c)) {
		g->counters.malformed++;
		return;
	}
	hear_from(g, (size_t)at);
	packet_begin(&answer.packet);
	while (packet_section(&c, &kind, &flags, &body)) {
		if (kind == 0 || kind > GOSSIP_SYNC) {
			g->counters.unknown++;
			continue;
		}
		/* One of each: so one datagram has a bounded effect. */
		if (seen & 1u << kind)
			body.failed = true;
		else
			read_section(g, in->node, (size_t)at, (enum gossip_message)(kind - 1),
				     flags, &body, &answer);
		seen |= 1u << kind;
		g->counters.received[kind - 1]++;
		c.failed |= body.failed;
	}
	if (!cursor_ok(&c))
		g->counters.malformed++;
	answer_send(g, in->node, &answer);
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
	cast_timer(g);
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
		if (g->started)
			read_datagram(g, in);
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
	const uint64_t all[] = {life_due(g),   prober_due(g), doubt_due(g), cast_due(g),
				rumour_due(g), sync_due(g),   lane_due(g)};
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
	cast_date(g);
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
