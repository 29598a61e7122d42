/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node's incarnation orders all that is said about it, so it must never go back, not over a
 * crash at any point: an incarnation is used only when the file holds it or a greater one. So that
 * a refutation does not wait for the disk, the file runs ahead by LIFE_AHEAD; what is left over at
 * a restart is skipped. Whatever leaves before the file is durable waits for it (`after`).
 *
 * The file: u32 magic, u32 1, u32 incarnation, u32 check. A file that does not read as that counts
 * as absent; then others may know a greater incarnation than this node, or a later namespace. It
 * hears so in the first exchange, goes above it, and its namespace gets a new birth. Until then it
 * must not give out a version that a former life gave out, so the first incarnation is a random
 * one: the same twice is one chance in a million.
 *
 * When the disk fails nothing is said above what is known to be durable, and the write is tried
 * again each second.
 */
#include "scheduler/gossip/life.h"

#include "base/mutant.h"
#include "scheduler/gossip/hear.h"
#include "scheduler/gossip/member.h"
#include "scheduler/gossip/packet.h"
#include "scheduler/gossip/rumour.h"
#include "scheduler/gossip/space.h"
#include "scheduler/gossip/tell.h"

static const uint64_t retry_ns = 1000 * CORE_MS;
static const uint64_t leave_ns = 1000 * CORE_MS;

enum { MAGIC = 0x494c475a, FORMAT = 1, REFILL = LIFE_AHEAD / 4, FIRST_BELOW = 1 << 20 };

static uint32_t
check(uint32_t incarnation)
{
	return (uint32_t)core_mix((uint64_t)MAGIC << 32 | incarnation);
}

void
life_file(struct gossip *g, const void *data, size_t bytes)
{
	struct cursor c;

	cursor_init(&c, data, bytes);
	uint32_t magic = cursor_u32(&c), format = cursor_u32(&c);
	uint32_t incarnation = cursor_u32(&c), sum = cursor_u32(&c);

	if (!cursor_ok(&c) || magic != MAGIC || format != FORMAT || sum != check(incarnation) ||
	    incarnation >= GOSSIP_INCARNATION_MAX) {
		g->counters.disk_failures++;
		return;
	}
	g->life.durable = MUTANT(16, 0, incarnation);
	g->life.found = true;
}

static void
write_file(struct gossip *g)
{
	uint8_t data[LIFE_FILE_BYTES];
	uint32_t ahead = MUTANT(3, g->life.durable, g->life.incarnation + LIFE_AHEAD);

	if (ahead > GOSSIP_INCARNATION_MAX)
		ahead = GOSSIP_INCARNATION_MAX;
	packet_u32(data, MAGIC);
	packet_u32(data + 4, FORMAT);
	packet_u32(data + 8, ahead);
	packet_u32(data + 12, check(ahead));
	struct step_action *a = step_add(g->out, STEP_REPLACE, data, sizeof(data));
	a->what = g->config.file;
	a->token = ++g->life.token;
	g->life.writing = ahead;
	g->life.pending = true;
	g->life.failed = false;
	if (g->life.incarnation > g->life.durable)
		g->life.after = g->life.token;
}

/* Takes an incarnation that nobody has seen, and sees to it that it is durable. */
static void
take(struct gossip *g, uint32_t incarnation)
{
	g->life.incarnation = incarnation;
	if (incarnation > g->life.durable) {
		if (!g->life.pending || g->life.writing < incarnation)
			write_file(g);
		g->life.after = g->life.token;
	} else if (g->life.durable - incarnation < REFILL && !g->life.pending) {
		write_file(g);
	}
	hear_self(g, core_status(incarnation, GOSSIP_ALIVE));
}

void
life_start(struct gossip *g)
{
	uint32_t skip = g->life.found ? 0 : (uint32_t)member_random(g, FIRST_BELOW);

	g->started = true;
	take(g, g->life.durable + 1 + skip);
	space_birth(g, g->life.incarnation, !g->life.found);
	if (g->life.leave)
		hear_self(g, core_status(g->life.incarnation, GOSSIP_LEFT));
}

void
life_disk_done(struct gossip *g, uint64_t token, bool good)
{
	if (token != g->life.token || !g->life.pending)
		return;
	g->life.pending = false;
	if (good) {
		g->life.durable = g->life.writing;
		g->life.after = 0;
		return;
	}
	g->counters.disk_failures++;
	g->life.retry_ns = g->now_ns + retry_ns;
	g->life.failed = g->life.after != 0;
}

bool
life_speaks(const struct gossip *g)
{
	return g->started && g->life.after == 0;
}

/* An incarnation above `known`, when there is one left. */
static bool
raise_above(struct gossip *g, uint32_t known)
{
	uint32_t base = known > g->life.incarnation ? known : g->life.incarnation;

	if (base >= GOSSIP_INCARNATION_MAX - 1)
		return false;
	take(g, base + 1);
	return true;
}

void
life_heard(struct gossip *g, uint32_t status)
{
	uint32_t incarnation = core_incarnation(status);

	if (!g->started || g->life.leave || incarnation < g->life.incarnation ||
	    status == g->status[g->self_at])
		return;
	if (raise_above(g, incarnation))
		g->counters.refutations++;
}

void
life_outgrow(struct gossip *g, uint64_t version)
{
	if (!g->started || g->life.leave || !raise_above(g, gossip_version_birth(version)))
		return;
	space_birth(g, g->life.incarnation, false);
}

void
life_leave(struct gossip *g)
{
	if (g->life.leave)
		return;
	g->life.leave = true;
	g->life.leave_ns = g->now_ns + leave_ns;
	if (g->started)
		hear_self(g, core_status(g->life.incarnation, GOSSIP_LEFT));
}

uint64_t
life_due(const struct gossip *g)
{
	uint64_t due = CORE_NEVER;

	if (!g->life.pending && g->life.retry_ns)
		due = g->life.retry_ns;
	if (g->life.leave && !g->life.left && g->life.leave_ns < due)
		due = g->life.leave_ns;
	return due;
}

void
life_timer(struct gossip *g)
{
	if (!g->life.pending && g->life.retry_ns && g->now_ns >= g->life.retry_ns) {
		g->life.retry_ns = 0;
		write_file(g);
	}
	if (g->life.leave && !g->life.left && g->started &&
	    (g->now_ns >= g->life.leave_ns || rumour_due(g) == CORE_NEVER)) {
		g->life.left = true;
		tell_plain(g, GOSSIP_LEAVING, g->config.self);
	}
}
