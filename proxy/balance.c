/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Power of two choices over latency times load, or round robin.
 *
 * Of two candidates the one with fewer requests in flight wins; when one is more than twice as slow
 * as the other, latency times load decides. One that was never measured counts as fast as the
 * other, so that new replicas are tried, but not flooded. A slow one that is passed over is
 * forgiven a little each time, so that it is measured again now and then.
 *
 * Ejection: five failures in a row keep a replica out for 30 s, longer each time; a refused
 * connection for one second at once, the next ones for two, four and eight, because a replica that
 * just died gets all its requests refused quickly and would look fast. A tenth of a service's
 * replicas (one always, never the last) is ejected at a time. If all are to be avoided, all are
 * used: a wrong guess about one must not become an outage.
 */

#include "proxy/balance.h"

enum { FORGET = 8, UNREACHABLE_DOUBLED = 3 };

static bool
was_tried(const struct balance_replica *r, const struct balance_replica *const *tried, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (tried[i] == r)
			return true;
	}
	return false;
}

/* 0: not at all; else the higher the better. */
static int
rank(const struct balance_replica *r, const struct balance_replica *const *tried, size_t count,
     uint64_t now_ms)
{
	if (r->draining)
		return 0;
	if (was_tried(r, tried, count))
		return 1;
	return r->avoid_until_ms > now_ms || r->doubted ? 2 : 3;
}

/* Measured latencies differ by noise: only from a factor of two on they count. */
static bool
much_slower(const struct balance_replica *r, const struct balance_replica *other)
{
	return other->ewma_ns > 0 && r->ewma_ns / 2 > other->ewma_ns;
}

static double
cost(const struct balance_replica *r)
{
	return (double)(r->ewma_ns ? r->ewma_ns : 1) * (r->in_flight + 1);
}

static bool
is_better(const struct balance_replica *r, const struct balance_replica *other)
{
	if (much_slower(r, other) || much_slower(other, r))
		return cost(r) <= cost(other);
	return r->in_flight <= other->in_flight;
}

struct candidates {
	struct balance_replica *const *replicas;
	size_t count;
	const struct balance_replica *const *tried;
	size_t tried_count;
	uint64_t now_ms;
	int best;
	size_t fitting;
};

static void
look(struct candidates *c)
{
	c->best = 0;
	c->fitting = 0;
	for (size_t i = 0; i < c->count; i++) {
		int r = rank(c->replicas[i], c->tried, c->tried_count, c->now_ms);

		if (r > c->best) {
			c->best = r;
			c->fitting = 0;
		}
		c->fitting += r == c->best;
	}
}

/* The n-th of the fitting ones. */
static int
nth(const struct candidates *c, uint64_t n)
{
	for (size_t i = 0; i < c->count; i++) {
		if (rank(c->replicas[i], c->tried, c->tried_count, c->now_ms) == c->best &&
		    n-- == 0)
			return (int)i;
	}
	return -1;
}

static int
choose_p2c(const struct candidates *c, const struct world *world)
{
	uint64_t a = world_random_below(world, c->fitting);
	uint64_t b = world_random_below(world, c->fitting - 1);
	int x = nth(c, a), y = nth(c, b >= a ? b + 1 : b);

	if (!is_better(c->replicas[x], c->replicas[y])) {
		int t = x;

		x = y;
		y = t;
	}
	/* What was measured once must not stand for ever against one that is never asked again. */
	if (much_slower(c->replicas[y], c->replicas[x]))
		c->replicas[y]->ewma_ns -= c->replicas[y]->ewma_ns / FORGET;
	return x;
}

int
balance_choose(struct balance_replica *const *replicas, size_t count, enum msg_balance how,
	       const struct balance_replica *const *tried, size_t tried_count,
	       const struct world *world, uint64_t now_ms, uint64_t *turn)
{
	struct candidates c = {replicas, count, tried, tried_count, now_ms, 0, 0};

	look(&c);
	if (c.best == 0)
		return -1;
	if (c.fitting == 1)
		return nth(&c, 0);
	if (how == MSG_BALANCE_ROUND_ROBIN)
		return nth(&c, (*turn)++ % c.fitting);
	return choose_p2c(&c, world);
}

bool
balance_has_other(struct balance_replica *const *replicas, size_t count,
		  const struct balance_replica *const *tried, size_t tried_count,
		  const struct balance_replica *waits, uint64_t now_ms)
{
	for (size_t i = 0; i < count; i++) {
		if (replicas[i] != waits && rank(replicas[i], tried, tried_count, now_ms) > 1)
			return true;
	}
	return false;
}

void
balance_begin(struct balance_replica *r)
{
	r->in_flight++;
}

void
balance_end(struct balance_replica *r)
{
	if (r->in_flight > 0)
		r->in_flight--;
}

void
balance_answered(struct balance_replica *r, uint64_t latency_ns)
{
	r->failures = 0;
	if (r->ejections > 0)
		r->ejections--;
	if (r->ewma_ns == 0)
		/* The first answer is often slow for reasons that will not come again. */
		r->ewma_ns = latency_ns / 2 + 1;
	else
		r->ewma_ns = r->ewma_ns - r->ewma_ns / 8 + latency_ns / 8 + 1;
}

size_t
balance_spare(struct balance_replica *const *replicas, size_t count, uint64_t now_ms)
{
	size_t serving = 0, ejected = 0, max;

	for (size_t i = 0; i < count; i++) {
		serving += !replicas[i]->draining;
		ejected += !replicas[i]->draining && replicas[i]->ejected_until_ms > now_ms;
	}
	max = serving * BALANCE_EJECT_PERCENT_MAX / 100;
	if (max == 0)
		max = serving > 1;
	return max > ejected ? max - ejected : 0;
}

bool
balance_failed(struct balance_replica *r, bool unreachable, size_t spare, uint64_t now_ms)
{
	uint64_t ms = (uint64_t)BALANCE_UNREACHABLE_MS
		      << (r->failures < UNREACHABLE_DOUBLED ? r->failures : UNREACHABLE_DOUBLED);

	r->failures++;
	if (unreachable && r->avoid_until_ms < now_ms + ms)
		r->avoid_until_ms = now_ms + ms;
	if (r->failures < BALANCE_FAILURES || spare == 0)
		return false;
	r->failures = 0;
	r->ejections++;
	ms = (uint64_t)BALANCE_EJECT_MS * r->ejections;
	if (ms > BALANCE_EJECT_MAX_MS)
		ms = BALANCE_EJECT_MAX_MS;
	r->avoid_until_ms = r->ejected_until_ms = now_ms + ms;
	return true;
}
