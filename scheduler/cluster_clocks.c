/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wall clocks of the cluster's nodes (clocks.h): two nodes are asked at a time, those
 * first that have waited longest. What is said of it: each node tells, as an event, that its own
 * clock is wrong, or right again; where only two are known, how far they are apart. Waiting is done
 * by clocks that only go forward, so nothing else happens; but what has to do with times that
 * others wrote goes by cluster_now_s.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/text.h"
#include "base/world.h"
#include "ring/metrics.h"
#include "scheduler/event.h"

enum {
	ASKS_AT_ONCE = 2,
	EVERY_S = 10, /* once it is known: two nodes each time, in however large a cluster */
	ENOUGH = 16,  /* clocks, to know what the middle is */
	MILLI_NS = 1000000,
	HALF_NS = 500 * MILLI_NS,
};

/* ---- what it is ---- */

int64_t
cluster_base_ns(const struct cluster *c)
{
	return clocks_base(&c->clocks);
}

int64_t
cluster_now_s(const struct cluster *c)
{
	return (world_wall_ns() + clocks_base(&c->clocks)) / CLUSTER_SECOND_NS;
}

enum identity_verdict
cluster_judge(const struct cluster *c, const void *der, size_t bytes, struct identity *out)
{
	int64_t now_ns = world_wall_ns();
	int64_t apart_ns = clocks_base(&c->clocks) + clocks_other(&c->clocks);
	enum identity_verdict verdict =
		identity_judge(&c->keep.authority, der, bytes, now_ns / CLUSTER_SECOND_NS, out);

	if (verdict != IDENTITY_OUT_OF_TIME || !apart_ns)
		return verdict;
	return identity_judge(&c->keep.authority, der, bytes,
			      (now_ns + apart_ns) / CLUSTER_SECOND_NS, out);
}

/* ---- asking ---- */

static bool
is_there(const struct cluster *c, const struct cluster_node *n)
{
	return n->peer && n->row.node != c->keep.node && !n->row.removed &&
	       (n->state == GOSSIP_ALIVE || n->state == GOSSIP_SUSPECT);
}

static uint64_t
asked_ns(const struct cluster *c, const struct cluster_node *n)
{
	const struct clocks_node *asked = map_get_u64(&c->clocks.nodes, n->row.node);

	return asked ? asked->asked_ns : 0;
}

/* True: there are more to ask soon, or there is nobody yet. */
static bool
ask(struct cluster *c, uint64_t now_ns)
{
	const struct cluster_node *first[ASKS_AT_ONCE] = {NULL};
	struct map_iter it = {0};
	size_t awaited = 0, there = 0;

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (!is_there(c, n)) {
			clocks_forget(&c->clocks, n->row.node);
			continue;
		}
		there++;
		awaited += clocks_awaits(&c->clocks, n->row.node);
		for (size_t i = 0; i < ASKS_AT_ONCE && n; i++) {
			const struct cluster_node *other = first[i];

			if (other && asked_ns(c, other) <= asked_ns(c, n))
				continue;
			first[i] = n;
			n = other;
		}
	}
	for (size_t i = 0; i < ASKS_AT_ONCE && first[i]; i++)
		clocks_ask(&c->clocks, first[i]->row.node, now_ns);
	if (c->clocks.put)
		shell_local(c->shell, CLOCKS_SERVICE, 0, 0, NULL, 0);
	return awaited > 0 || there == 0;
}

/* ---- what is said ---- */

static void
far_text(int64_t ahead_ns, char *out, size_t cap)
{
	int64_t s = ((ahead_ns < 0 ? -ahead_ns : ahead_ns) + HALF_NS) / CLUSTER_SECOND_NS;

	if (s >= 2 * 86400)
		text_format(out, cap, "%lld days", (long long)(s / 86400));
	else if (s >= 2 * 3600)
		text_format(out, cap, "%lld hours", (long long)(s / 3600));
	else if (s >= 2 * 60)
		text_format(out, cap, "%lld minutes", (long long)(s / 60));
	else
		text_format(out, cap, "%lld seconds", (long long)s);
}

/* The one that is furthest away; NULL: none is. sum: another one when anything is shown otherwise,
 * by more than half a second or so. */
static const struct cluster_node *
find_wrong(const struct cluster *c, int64_t *ahead_ns, uint64_t *sum)
{
	const struct cluster_node *found = NULL;
	struct map_iter it = {0};
	int64_t most = 0;

	*sum = 0;
	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;
		int64_t wrong =
			n->row.node == c->keep.node ? 0 : clocks_wrong(&c->clocks, n->row.node);
		int64_t far = wrong < 0 ? -wrong : wrong;

		*sum += (uint64_t)((far + HALF_NS) / CLUSTER_SECOND_NS) * (2 * n->row.node + 1);
		if (far <= most)
			continue;
		most = far;
		found = n;
		*ahead_ns = wrong;
	}
	return found;
}

static void
say(struct cluster *c, int64_t own_ns, const struct cluster_node *other, int64_t other_ns,
    struct err *err)
{
	char far[32];

	err_clear(err);
	if (own_ns) {
		far_text(own_ns, far, sizeof(far));
		err_set(err, ERR_CONFLICT, "the clock of this machine is %s %s the others'", far,
			own_ns > 0 ? "ahead of" : "behind");
	} else if (other) {
		far_text(other_ns, far, sizeof(far));
		err_set(err, ERR_CONFLICT, "the clock of %s is %s %s %s", other->row.name, far,
			other_ns > 0 ? "ahead of" : "behind",
			clocks_other(&c->clocks) ? "this one's" : "the others'");
	} else {
		return;
	}
	err_why(err, "times of events and logs, schedules of crons and certificates of etcd go by "
		     "it");
	err_fix(err, "set it right%s%s (timedatectl; chrony or systemd-timesyncd keep it so)",
		own_ns ? "" : " on ", own_ns ? "" : other->row.name);
}

static void
tell(struct cluster *c, bool wrong)
{
	struct msg_reason reason;

	if (wrong == c->clock_told)
		return;
	c->clock_told = wrong;
	if (!wrong) {
		event_node(c->m, "node.clock_right", LOG_INFO, NULL,
			   "the clocks of %s and the other nodes agree again", c->keep.name);
		return;
	}
	msg_reason_from(&c->clock_err, &reason);
	event_node(c->m, "node.clock", LOG_WARN, &reason, "%s: %s", c->keep.name,
		   c->clock_err.what);
}

/* What a certificate was not good for by another time is tried again by this one. */
static void
take_base(struct cluster *c, int64_t base_ns)
{
	int64_t moved_ns = base_ns - c->clock_base_ns;

	if (moved_ns < CLUSTER_SECOND_NS && moved_ns > -CLUSTER_SECOND_NS)
		return;
	c->clock_base_ns = base_ns;
	if (c->rules)
		channel_rules_clock(c->rules, base_ns / CLUSTER_SECOND_NS);
	c->renew_at_ns = c->renew_wait_ns = 0;
	if (c->renewal_err.kind != ERR_DENIED)
		err_clear(&c->renewal_err);
}

static void
look(struct cluster *c)
{
	int64_t other_ns = 0;
	uint64_t sum;

	clocks_look(&c->clocks);
	int64_t base_ns = clocks_base(&c->clocks) + clocks_other(&c->clocks);
	take_base(c, base_ns);
	int64_t own_ns = clocks_wrong(&c->clocks, 0);
	const struct cluster_node *other = find_wrong(c, &other_ns, &sum);

	sum += own_ns != 0;
	c->dirty |= sum != c->clock_sum;
	c->clock_sum = sum;
	say(c, own_ns, other, other_ns, &c->clock_err);
	tell(c, own_ns || (other && clocks_other(&c->clocks)));
	c->m->base_wall_ns = own_ns ? clocks_base(&c->clocks) : 0;
	if (c->m->metrics)
		metric_set(metrics_get(c->m->metrics, METRICS_CLUSTER_CLOCK, NULL), -base_ns);
}

/* ---- the whole ---- */

int
cluster_clocks_begin(struct cluster *c, struct err *err)
{
	struct shell_core core;

	clocks_core(&c->clocks, &core);
	return shell_add(c->shell, &core, err);
}

void
cluster_clocks_tick(struct cluster *c, uint64_t now_ns)
{
	if (!c->shell || !c->m ||
	    (now_ns < c->clock_next_ns && !clocks_was_set(&c->clocks, now_ns, world_wall_ns())))
		return;
	bool more = ask(c, now_ns);
	look(c);
	bool soon = more && c->clocks.count < ENOUGH;
	c->clock_next_ns = soon ? 0 : now_ns + EVERY_S * (uint64_t)CLUSTER_SECOND_NS;
}

int64_t
cluster_clocks_ahead_ms(const struct cluster *c, uint32_t node)
{
	return clocks_wrong(&c->clocks, node == c->keep.node ? 0 : node) / MILLI_NS;
}
