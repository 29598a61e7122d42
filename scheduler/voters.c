/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A decision is a walk over the nodes with a short list of questions in the order of their urgency:
 * what is broken, what is under way, what is missing. Each question either ends in the one change
 * or leaves the next one to be asked.
 */
#include "scheduler/voters.h"

#include <assert.h>

#define MS UINT64_C(1000000)

struct look {
	const struct voters_node *nodes;
	size_t count;
	uint64_t replace_ms, now_ns;
	const struct voters_node *learner; /* the first one */
	const struct voters_node *victim;  /* a voter that should go */
	enum voters_why victim_why;
	struct voters_decision *out;
};

static unsigned
majority(unsigned voters)
{
	return voters / 2 + 1;
}

/* True when the state has lasted so long; else the answer is due again when it will have. */
static bool
lasted(struct look *l, uint64_t since_ns, uint64_t ms)
{
	uint64_t at_ns = since_ns + ms * MS;

	if (l->now_ns >= at_ns)
		return true;
	if (at_ns < l->out->due_ns)
		l->out->due_ns = at_ns;
	return false;
}

static bool
can_serve(struct look *l, const struct voters_node *n)
{
	return n->able && n->live && !n->draining && !n->removed &&
	       lasted(l, n->since_ns, VOTERS_SETTLE_MS);
}

static unsigned
voters_of_zone(const struct look *l, uint64_t zone)
{
	unsigned found = 0;

	for (size_t i = 0; i < l->count; i++)
		found += l->nodes[i].standing == VOTERS_VOTER && l->nodes[i].zone == zone &&
			 &l->nodes[i] != l->victim;
	return found;
}

static unsigned
wanted(const struct look *l)
{
	unsigned able = 0;

	for (size_t i = 0; i < l->count; i++)
		able += l->nodes[i].able && l->nodes[i].live && !l->nodes[i].removed;
	/* What once was five is not made three again: that would be a removal without a cause. */
	return able >= VOTERS_MANY || l->out->voters > VOTERS_FEW ? VOTERS_MANY : VOTERS_FEW;
}

/* Counts for a majority. */
static bool
is_up(const struct voters_node *n)
{
	return n->live && !n->ruined;
}

/* What is damaged stands in the way of all others: it bears no majority, and etcd adds nobody
 * beside it. */
static unsigned
urgency(enum voters_why why)
{
	switch (why) {
	case VOTERS_WHY_RUINED:
		return 3;
	case VOTERS_WHY_REMOVED:
		return 2;
	case VOTERS_WHY_DEAD:
		return 1;
	default:
		return 0;
	}
}

/* A voter that should go: the most urgent one, then by id. */
static void
find_victim(struct look *l)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct voters_node *n = &l->nodes[i];
		enum voters_why why;

		if (n->standing != VOTERS_VOTER)
			continue;
		if (n->ruined)
			why = VOTERS_WHY_RUINED;
		else if (n->removed)
			why = VOTERS_WHY_REMOVED;
		else if (!n->live && lasted(l, n->since_ns, l->replace_ms))
			why = VOTERS_WHY_DEAD;
		else if (n->live && n->draining)
			why = VOTERS_WHY_DRAINS;
		else
			continue;
		if (!l->victim || urgency(why) > urgency(l->victim_why)) {
			l->victim = n;
			l->victim_why = why;
		}
	}
}

static void
count(struct look *l)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct voters_node *n = &l->nodes[i];

		if (n->standing == VOTERS_VOTER) {
			l->out->voters++;
			l->out->live += is_up(n);
		} else if (n->standing == VOTERS_LEARNER && !l->learner) {
			l->learner = n;
		}
	}
}

static bool
is_better(const struct voters_node *n, unsigned peers, const struct voters_node *than,
	  unsigned than_peers)
{
	if (n->fails != than->fails)
		return than->fails;
	return peers < than_peers || (peers == than_peers && n->since_ns < than->since_ns);
}

static const struct voters_node *
best(struct look *l, uint32_t first)
{
	const struct voters_node *found = NULL;
	unsigned found_peers = 0;

	for (size_t i = 0; i < l->count; i++) {
		const struct voters_node *n = &l->nodes[i];

		if (n->standing != VOTERS_NOT || !can_serve(l, n))
			continue;
		if (n->node == first && !n->fails)
			return n;
		unsigned peers = voters_of_zone(l, n->zone);
		if (!found || is_better(n, peers, found, found_peers)) {
			found = n;
			found_peers = peers;
		}
	}
	return found;
}

static void
decide(struct look *l, enum voters_verb verb, const struct voters_node *n, enum voters_why why)
{
	l->out->verb = verb;
	l->out->node = n ? n->node : 0;
	l->out->why = why;
}

static void
remove_victim(struct look *l, const struct voters_node *successor)
{
	unsigned left = l->out->voters - 1;
	unsigned live = l->out->live - is_up(l->victim);

	if (left == 0 || live < majority(left)) {
		decide(l, VOTERS_REST, l->victim, VOTERS_WHY_UNSAFE);
		return;
	}
	decide(l, VOTERS_REMOVE, l->victim, l->victim_why);
	l->out->successor = successor ? successor->node : 0;
}

static void
begin(struct look *l, uint32_t first)
{
	unsigned able = 0;

	for (size_t i = 0; i < l->count; i++)
		able += can_serve(l, &l->nodes[i]);
	if (able < VOTERS_FEW)
		decide(l, VOTERS_REST, NULL, VOTERS_WHY_FEW);
	else
		decide(l, VOTERS_BEGIN, best(l, first), VOTERS_WHY_GROW);
}

/* Another one is there for the learner that does not come up. */
static bool
is_outdone(struct look *l)
{
	const struct voters_node *other = l->learner->fails ? best(l, 0) : NULL;

	return other && !other->fails;
}

/* What becomes of the learner that there is. */
static void
teach(struct look *l)
{
	const struct voters_node *n = l->learner;

	if (n->removed || n->draining || !n->able)
		decide(l, VOTERS_REMOVE, n, n->removed ? VOTERS_WHY_REMOVED : VOTERS_WHY_DRAINS);
	else if (n->ruined)
		decide(l, VOTERS_REMOVE, n, VOTERS_WHY_RUINED);
	else if (!n->live && lasted(l, n->since_ns, VOTERS_LEARNER_DEAD_MS))
		decide(l, VOTERS_REMOVE, n, VOTERS_WHY_DEAD);
	else if (is_outdone(l))
		decide(l, VOTERS_REMOVE, n, VOTERS_WHY_FAILS);
	else if (!n->live || !n->caught_up)
		decide(l, lasted(l, n->standing_ns, VOTERS_LEARN_MS) ? VOTERS_REMOVE : VOTERS_REST,
		       n,
		       l->now_ns >= n->standing_ns + VOTERS_LEARN_MS * MS ? VOTERS_WHY_SLOW
									  : VOTERS_WHY_LEARNS);
	else if (l->out->voters < l->out->wanted)
		decide(l, VOTERS_PROMOTE, n, VOTERS_WHY_GROW);
	else if (l->victim)
		remove_victim(l, n);
	else
		decide(l, VOTERS_REMOVE, n, VOTERS_WHY_ENOUGH);
}

static void
tend(struct look *l)
{
	bool grows = l->out->voters < l->out->wanted;

	if (!grows && !l->victim) {
		decide(l, VOTERS_REST, NULL, VOTERS_WHY_ENOUGH);
		return;
	}
	const struct voters_node *n = best(l, 0);
	/* Nothing goes for the sake of one that will not come. */
	if (l->victim && n && n->fails)
		n = NULL;
	bool alone = l->victim && (l->victim->removed || l->victim->ruined); /* with no other */
	/* etcd adds nobody while a voter does not answer; and who is dead bears no majority. */
	if (l->victim && !is_up(l->victim) && (n || alone))
		remove_victim(l, NULL);
	else if (n)
		decide(l, VOTERS_ADD, n, grows ? VOTERS_WHY_GROW : l->victim_why);
	else if (alone)
		remove_victim(l, NULL);
	else
		decide(l, VOTERS_REST, l->victim, VOTERS_WHY_NO_NODE);
}

void
voters_decide(const struct voters_node *nodes, size_t nodes_count, uint32_t first,
	      uint64_t replace_ms, uint64_t now_ns, struct voters_decision *out)
{
	struct look l = {.nodes = nodes,
			 .count = nodes_count,
			 .replace_ms = replace_ms,
			 .now_ns = now_ns,
			 .out = out};

	*out = (struct voters_decision){.due_ns = UINT64_MAX};
	count(&l);
	out->wanted = wanted(&l);
	if (out->voters == 0) {
		begin(&l, first);
		return;
	}
	if (out->live < majority(out->voters)) {
		decide(&l, VOTERS_REST, NULL, VOTERS_WHY_NO_QUORUM);
		return;
	}
	find_victim(&l);
	if (l.learner)
		teach(&l);
	else
		tend(&l);
}

bool
voters_fit(const struct voters_node *n, uint64_t now_ns)
{
	struct voters_decision out = {.due_ns = UINT64_MAX};
	struct look l = {.now_ns = now_ns, .out = &out};

	return !n->fails && can_serve(&l, n);
}

const char *
voters_why_text(enum voters_why why)
{
	static const char *const texts[] = {
		[VOTERS_WHY_ENOUGH] = "there are as many voters as there should be",
		[VOTERS_WHY_FEW] = "fewer than three nodes can run etcd",
		[VOTERS_WHY_GROW] = "there are fewer voters than there should be",
		[VOTERS_WHY_LEARNS] = "a new member has not caught up yet",
		[VOTERS_WHY_NO_QUORUM] = "less than a majority of the voters answers",
		[VOTERS_WHY_NO_NODE] = "no other node can run etcd",
		[VOTERS_WHY_DEAD] = "it has been dead for too long",
		[VOTERS_WHY_RUINED] = "the data of a member is damaged",
		[VOTERS_WHY_DRAINS] = "its node gives up its duties",
		[VOTERS_WHY_REMOVED] = "its node is no part of the cluster any more",
		[VOTERS_WHY_SLOW] = "it does not catch up",
		[VOTERS_WHY_FAILS] = "etcd does not start on its node",
		[VOTERS_WHY_UNSAFE] = "without it less than a majority of the voters would live",
	};

	assert(why < sizeof(texts) / sizeof(*texts));
	return texts[why];
}
