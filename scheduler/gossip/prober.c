/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failure detection after SWIM (Das, Gupta, Motivala 2002) with Lifeguard's changes. Every second
 * probe interval the next member on a ring of the mesh is pinged, so that each member is asked at
 * that pace by the same one; between that the next one in a random order, in which each comes once
 * before any comes again. The random order alone leaves a dead member unasked for an exponential
 * time (one in twenty for 1.5 s with these intervals), the ring alone one whose neighbour died with
 * it. While all is well the random ones are few (every RANDOM_OF-th of their turns), and leave with
 * the ring's, so that a node wakes up once for both; as soon as anybody is suspected or lost, and
 * for a while after, each has its turn again. Who is woken by a datagram shortly before his turn
 * takes it then: most wake-ups for the timer are saved so. No ack after probe_direct: three others
 * are asked to ping it, and a stream is tried, for a network that loses datagrams only. No ack from
 * anywhere at the verdict: it is suspect. A helper that gets no ack says so (nack); missing nacks
 * mean that the fault may be here, and raise this node's health score, which stretches its own
 * intervals; so does every failed probe, and each answered one lowers it. A suspect's ping carries
 * the suspicion, so that it can refute at once (buddy).
 *
 * When somebody else suspects a member, about ten of all nodes look for themselves at once: so
 * the confirmations that shorten a suspicion come early in small cells too.
 *
 * Members that are dead, gone or never seen are contacted one at a time, less and less often down
 * to once per contact interval: that is how a node joins, and how partitions of any length merge.
 * A contact says what is believed of its target; a live target answers with a greater incarnation.
 */
#include "scheduler/gossip/prober.h"

#include "base/mutant.h"
#include "scheduler/gossip/doubt.h"
#include "scheduler/gossip/hear.h"
#include "scheduler/gossip/lane.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/rumour.h"

enum {
	CONFIRMERS = 10,
	CONTACTS_ALONE = 3, /* at a time, while nobody is known alive */
	RTT_SHARE = 8,      /* of a new sample in the smoothed one: 1/8 */
	RTTS_DIRECT = 2,
	RTTS_VERDICT = 5,
	RANDOM_OF = 8, /* turns of random probes, while all is well */
};

static const uint64_t contact_first_ns = 250 * CORE_MS;
static const uint64_t contact_lost_ns = 1000 * CORE_MS;
static const uint64_t contact_each_ns = 10 * CORE_MS;
static const uint64_t alert_ns = 10000 * CORE_MS; /* after a suspicion or a loss */

static uint64_t
scaled(const struct gossip *g, uint64_t ns)
{
	return ns * (1 + g->health);
}

static uint64_t
interval_ns(const struct gossip *g)
{
	return g->config.probe_ms * CORE_MS;
}

static uint64_t
direct_ns(const struct gossip *g)
{
	uint64_t least = g->config.probe_direct_ms * CORE_MS, slow = g->rtt_ns * RTTS_DIRECT;

	return scaled(g, slow > least ? slow : least);
}

static uint64_t
verdict_ns(const struct gossip *g)
{
	uint64_t least = interval_ns(g), slow = g->rtt_ns * RTTS_VERDICT;

	return scaled(g, slow > least ? slow : least);
}

static void
health_change(struct gossip *g, long by)
{
	long score = (long)g->health + by;

	g->health = score < 0 ? 0 : score > CORE_HEALTH_MAX ? CORE_HEALTH_MAX : (unsigned)score;
}

void
prober_start(struct gossip *g)
{
	g->probe_ns = g->now_ns + member_random(g, interval_ns(g) + 1);
	prober_start_contacts(g);
}

void
prober_start_contacts(struct gossip *g)
{
	g->contact_ns = g->now_ns;
	g->contact_wait_ns = contact_first_ns;
}

/* The ping itself, with what the target should know: what is believed of it, and rumours. */
static void
ping(struct gossip *g, size_t at, uint32_t number)
{
	uint32_t node = g->ids[at], accuser = doubt_accuser(g, node);
	struct packet p;

	packet_begin(&p);
	packet_ping(g, &p, GOSSIP_PING, number, node);
	if (core_state(g->status[at]) != GOSSIP_ALIVE) {
		packet_open(g, &p, GOSSIP_MEMBERS, 0);
		packet_member(&p, node, accuser, g->status[at]);
		packet_member(&p, g->config.self, g->config.self, g->status[g->self_at]);
	}
	rumour_fill(g, &p, node);
	packet_send(g, &p, node);
}

static struct probe *
probe_of(struct gossip *g, uint32_t node)
{
	for (size_t i = 0; i < CORE_PROBES_MAX; i++)
		if (g->probes[i].node == node)
			return &g->probes[i];
	return NULL;
}

static void
probe(struct gossip *g, size_t at)
{
	struct probe *p = probe_of(g, 0);

	if (!p || probe_of(g, g->ids[at]))
		return;
	*p = (struct probe){
		.node = g->ids[at],
		.number = ++g->number,
		.sent_ns = g->now_ns,
		.widen_ns = g->now_ns + direct_ns(g),
		.verdict_ns = g->now_ns + verdict_ns(g),
	};
	g->counters.probes++;
	ping(g, at, p->number);
}

static void
widen(struct gossip *g, struct probe *p)
{
	uint32_t but[1 + CORE_INDIRECT] = {p->node};
	struct packet packet;

	p->widen_ns = CORE_NEVER;
	for (size_t i = 0; i < CORE_INDIRECT; i++) {
		long at = member_pick(g, true, but, 1 + i);

		if (at < 0)
			break;
		but[1 + i] = g->ids[at];
		packet_begin(&packet);
		packet_ask(g, &packet, GOSSIP_PING_REQ, p->number, p->node);
		rumour_fill(g, &packet, g->ids[at]);
		packet_send(g, &packet, g->ids[at]);
		p->asked++;
	}
	lane_probe(g, p->node, p->number);
}

static void
fail(struct gossip *g, struct probe *p)
{
	long at = member_find(g, p->node);
	long missing = (long)p->asked - (long)p->nacks;

	g->counters.probes_failed++;
	health_change(g, p->asked == 0 ? 1 : missing > 0 ? missing : 0);
	p->node = 0;
	if (at >= 0 && core_live(g->status[at]))
		hear_record(g, g->config.self, g->ids[at], g->config.self,
			    core_status(core_incarnation(g->status[at]),
					MUTANT(5, GOSSIP_ALIVE, GOSSIP_SUSPECT)));
}

static void
measure(struct gossip *g, const struct probe *p)
{
	uint64_t sample = g->now_ns - p->sent_ns;

	if (p->widen_ns == CORE_NEVER)
		return; /* it came around by another way */
	g->rtt_ns = g->rtt_ns ? g->rtt_ns - g->rtt_ns / RTT_SHARE + sample / RTT_SHARE : sample;
}

static void
relay_acked(struct gossip *g, uint32_t number, uint32_t node)
{
	struct packet p;

	for (size_t i = 0; i < GOSSIP_RELAYS_MAX && g->relays_count; i++) {
		struct relay *r = &g->relays[i];

		if (r->asker == 0 || r->number != number || r->target != node)
			continue;
		packet_begin(&p);
		packet_ping(g, &p, GOSSIP_ACK, r->asker_number, node);
		packet_send(g, &p, r->asker);
		r->asker = 0;
		g->relays_count--;
	}
}

void
prober_acked(struct gossip *g, uint32_t from, uint32_t number, uint32_t node)
{
	for (size_t i = 0; i < CORE_PROBES_MAX; i++) {
		struct probe *p = &g->probes[i];

		if (p->node == 0 || p->node != node || p->number != number)
			continue;
		if (from == node)
			measure(g, p);
		else
			doubt_heard(g, node); /* by way of another */
		health_change(g, -1);
		p->node = 0;
	}
	if (from == node)
		relay_acked(g, number, node);
}

void
prober_nacked(struct gossip *g, uint32_t number)
{
	for (size_t i = 0; i < CORE_PROBES_MAX; i++) {
		struct probe *p = &g->probes[i];

		if (p->node && p->number == number && p->nacks < p->asked)
			p->nacks++;
	}
}

void
prober_asked(struct gossip *g, uint32_t from, uint32_t number, uint32_t target)
{
	long at = member_find(g, target);
	struct packet p;

	if (target == g->config.self) {
		packet_begin(&p);
		packet_ping(g, &p, GOSSIP_ACK, number, target);
		packet_send(g, &p, from);
		return;
	}
	if (at < 0 || g->relays_count == GOSSIP_RELAYS_MAX)
		return;
	for (size_t i = 0; i < GOSSIP_RELAYS_MAX; i++) {
		struct relay *r = &g->relays[i];

		if (r->asker)
			continue;
		*r = (struct relay){
			.asker = from,
			.asker_number = number,
			.target = target,
			.number = ++g->number,
			.nack_ns = g->now_ns + g->config.probe_direct_ms * CORE_MS * 4 / 5,
			.end_ns = g->now_ns + verdict_ns(g),
		};
		g->relays_count++;
		ping(g, (size_t)at, r->number);
		return;
	}
}

void
prober_confirm(struct gossip *g, size_t at)
{
	uint64_t next = g->now_ns + scaled(g, interval_ns(g));

	/* Not the long way to the next turn. */
	if (g->now_ns >= g->alert_ns && g->probe_ns > next)
		g->probe_ns = next;
	g->alert_ns = g->now_ns + alert_ns;
	if (g->life.leave || member_random(g, g->live) >= CONFIRMERS)
		return;
	probe(g, at);
}

void
prober_contact(struct gossip *g, size_t at)
{
	ping(g, at, ++g->number);
}

void
prober_lost(struct gossip *g)
{
	uint64_t soon = g->now_ns + contact_lost_ns;

	g->alert_ns = g->now_ns + alert_ns;
	if (g->contact_ns > soon)
		g->contact_ns = soon;
	g->contact_wait_ns = contact_lost_ns;
}

void
prober_stalled(struct gossip *g)
{
	for (size_t i = 0; i < CORE_PROBES_MAX; i++)
		g->probes[i].node = 0;
	for (size_t i = 0; i < GOSSIP_RELAYS_MAX; i++)
		g->relays[i].asker = 0;
	g->relays_count = 0;
	health_change(g, 1);
}

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The longest pause between two contacts: a second in a small cell, so that a partition that is
 * over is seen at once; longer in larger ones, where many look for the lost. */
static uint64_t
contact_pause_max(const struct gossip *g)
{
	uint64_t pause = g->count * contact_each_ns;

	if (pause < contact_lost_ns)
		pause = contact_lost_ns;
	return least(pause, g->config.contact_ms * CORE_MS);
}

static void
contact(struct gossip *g)
{
	uint64_t most = contact_pause_max(g);
	uint32_t but[CONTACTS_ALONE];
	size_t want = g->live > 1 ? 1 : CONTACTS_ALONE;

	for (size_t i = 0; i < want; i++) {
		long at = member_pick(g, false, but, i);

		if (at < 0)
			break;
		but[i] = g->ids[at];
		prober_contact(g, (size_t)at);
	}
	/* A quarter of chance, so that those who were cut off together do not knock together. */
	g->contact_ns = g->now_ns + g->contact_wait_ns * 3 / 4 +
			member_random(g, g->contact_wait_ns / 2 + 1);
	g->contact_wait_ns *= 2;
	if (g->contact_wait_ns > most)
		g->contact_wait_ns = most;
}

static bool
lost_ones(const struct gossip *g)
{
	return MUTANT(14, false, g->live < g->count);
}

uint64_t
prober_due(const struct gossip *g)
{
	uint64_t due = CORE_NEVER;

	if (!g->life.leave && g->live > 1)
		due = least(due, g->probe_ns);
	if (!g->life.leave && lost_ones(g))
		due = least(due, g->contact_ns);
	for (size_t i = 0; i < CORE_PROBES_MAX; i++)
		if (g->probes[i].node)
			due = least(due, least(g->probes[i].widen_ns, g->probes[i].verdict_ns));
	for (size_t i = 0; i < GOSSIP_RELAYS_MAX && g->relays_count; i++)
		if (g->relays[i].asker)
			due = least(due, least(g->relays[i].nack_ns, g->relays[i].end_ns));
	return due;
}

static void
relay_timer(struct gossip *g, struct relay *r)
{
	struct packet p;

	if (g->now_ns >= r->nack_ns) {
		r->nack_ns = CORE_NEVER;
		packet_begin(&p);
		packet_ask(g, &p, GOSSIP_NACK, r->asker_number, r->target);
		packet_send(g, &p, r->asker);
	}
	if (g->now_ns >= r->end_ns) {
		r->asker = 0;
		g->relays_count--;
	}
}

/* Somebody is in doubt, or was until a while ago: others may be. */
static bool
alert(struct gossip *g)
{
	if (map_count(&g->doubts) > 0 || g->health > 0)
		g->alert_ns = g->now_ns + alert_ns;
	return g->now_ns < g->alert_ns;
}

static void
probe_random(struct gossip *g)
{
	long at = member_next(g);

	if (at >= 0)
		probe(g, (size_t)at);
}

static void
probe_neighbour(struct gossip *g)
{
	long at = g->rings[0].next ? member_find(g, g->rings[0].next) : member_next(g);

	if (at >= 0)
		probe(g, (size_t)at);
}

static void
next_probe(struct gossip *g)
{
	uint64_t interval = scaled(g, interval_ns(g));

	if (alert(g)) {
		if (g->neighbours_turn)
			probe_neighbour(g);
		else
			probe_random(g);
		g->neighbours_turn = !g->neighbours_turn;
		g->probe_ns = g->now_ns + interval;
		return;
	}
	probe_neighbour(g);
	if (g->probe_round++ % RANDOM_OF == 0)
		probe_random(g);
	g->neighbours_turn = false;
	/* Counted from when it was due: the pace is kept by who goes early. */
	g->probe_ns += 2 * interval;
	if (g->probe_ns <= g->now_ns)
		g->probe_ns = g->now_ns + 2 * interval;
}

void
prober_awake(struct gossip *g)
{
	uint64_t early = interval_ns(g) * 3 / 4;

	if (g->started && !g->life.leave && g->live > 1 && g->probe_ns > g->now_ns &&
	    g->probe_ns - g->now_ns < early && !alert(g))
		next_probe(g);
}

void
prober_timer(struct gossip *g)
{
	for (size_t i = 0; i < CORE_PROBES_MAX; i++) {
		struct probe *p = &g->probes[i];

		if (p->node && g->now_ns >= p->verdict_ns)
			fail(g, p);
		else if (p->node && g->now_ns >= p->widen_ns)
			widen(g, p);
	}
	for (size_t i = 0; i < GOSSIP_RELAYS_MAX && g->relays_count; i++)
		if (g->relays[i].asker)
			relay_timer(g, &g->relays[i]);
	if (g->life.leave)
		return;
	if (g->live > 1 && g->now_ns >= g->probe_ns)
		next_probe(g);
	if (lost_ones(g) && g->now_ns >= g->contact_ns)
		contact(g);
}
