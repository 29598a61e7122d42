/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_ROLLOUT_WORLD_H
#define TESTS_SUPPORT_ROLLOUT_WORLD_H

/*
 * A world for scheduler/rollout.h: replicas as plain values that a test moves along, actions that
 * are carried out at once and written down as a line of text:
 *   "+web.1"  made of the target    "-web.1"  ordered to leave   "~web.1"  called back
 *   "<web.1"  made of the previous  "commit"  "back"  "pause"  "late"  "done"
 */

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "scheduler/rollout.h"

#define WORLD_S 1000000000ull

enum { WORLD_REPLICAS = 64, WORLD_SERVICES = 4 };

struct world_replica {
	bool used;
	uint64_t id;
	uint32_t service, index;
	unsigned make; /* what it is made of */
	bool fresh, leaving, draining, started, passed, ready, trouble, misfit;
	uint64_t created_ns, ready_ns;
};

struct rollout_world {
	struct rollout r;
	uint64_t now_ns;
	const char *names[WORLD_SERVICES];
	struct rollout_service services[WORLD_SERVICES];
	unsigned target[WORLD_SERVICES]; /* the make of each; 0: it has no such service */
	unsigned previous[WORLD_SERVICES];
	size_t services_count;
	struct world_replica replicas[WORLD_REPLICAS];
	uint64_t next_id;
	char trace[2048];
	enum rollout_cause cause;
	uint64_t culprit;
	bool back;
};

static inline struct world_replica *
world_find(struct rollout_world *w, uint64_t id)
{
	for (size_t i = 0; i < WORLD_REPLICAS; i++) {
		if (w->replicas[i].used && w->replicas[i].id == id)
			return &w->replicas[i];
	}
	return NULL;
}

/* The newest staying one, else the newest leaving one, with that name. */
static inline struct world_replica *
world_named(struct rollout_world *w, uint32_t service, uint32_t index, unsigned make)
{
	struct world_replica *best = NULL;

	for (size_t i = 0; i < WORLD_REPLICAS; i++) {
		struct world_replica *p = &w->replicas[i];

		if (p->used && p->service == service && p->index == index && p->make == make &&
		    (!best || p->id > best->id))
			best = p;
	}
	return best;
}

static inline struct world_replica *
world_add(struct rollout_world *w, uint32_t service, uint32_t index, unsigned make)
{
	for (size_t i = 0; i < WORLD_REPLICAS; i++) {
		struct world_replica *p = &w->replicas[i];

		if (p->used)
			continue;
		memset(p, 0, sizeof(*p));
		p->used = true;
		p->id = ++w->next_id;
		p->service = service;
		p->index = index;
		p->make = make;
		p->created_ns = w->now_ns;
		return p;
	}
	assert(!"too many replicas");
	return NULL;
}

static inline void
world_make_ready(struct rollout_world *w, struct world_replica *p)
{
	p->started = p->passed = p->ready = true;
	p->trouble = false;
	p->ready_ns = w->now_ns;
}

static inline void
world_write(struct rollout_world *w, const char *sign, uint32_t service, uint32_t index)
{
	size_t n = strlen(w->trace);

	if (index)
		snprintf(w->trace + n, sizeof(w->trace) - n, "%s%s%s.%u", n ? " " : "", sign,
			 w->names[service], index);
	else
		snprintf(w->trace + n, sizeof(w->trace) - n, "%s%s", n ? " " : "", sign);
}

static inline size_t
world_view(struct rollout_world *w, struct rollout_replica *out, struct rollout_view *v)
{
	size_t n = 0;

	for (size_t i = 0; i < WORLD_REPLICAS; i++) {
		const struct world_replica *p = &w->replicas[i];

		if (!p->used)
			continue;
		out[n++] = (struct rollout_replica){
			.id = p->id,
			.service = p->service,
			.index = p->index,
			.target = w->target[p->service] == p->make,
			.previous = w->previous[p->service] == p->make,
			.fresh = p->fresh,
			.leaving = p->leaving,
			.draining = p->leaving && p->draining,
			.started = p->started,
			.passed = p->passed,
			.ready = p->ready && !p->leaving,
			.trouble = p->trouble,
			.misfit = p->misfit,
			.created_ns = p->created_ns,
			.ready_ns = p->ready_ns,
		};
	}
	*v = (struct rollout_view){w->now_ns, w->services, w->services_count, out, n};
	return n;
}

/* The operation is over: what serves is all there is. */
static inline void
world_settle(struct rollout_world *w)
{
	for (size_t i = 0; i < w->services_count; i++) {
		if (w->back) {
			w->target[i] = w->previous[i];
			w->services[i].want = w->services[i].had;
		} else {
			w->previous[i] = w->target[i];
			w->services[i].had = w->services[i].want;
		}
	}
	for (size_t i = 0; i < WORLD_REPLICAS; i++)
		w->replicas[i].fresh = false;
	w->back = false;
}

static inline void
world_do(struct rollout_world *w, const struct rollout_action *a)
{
	struct world_replica *p = world_find(w, a->replica);

	switch (a->verb) {
	case ROLLOUT_CREATE:
		p = world_add(w, a->service, a->index,
			      a->of_target ? w->target[a->service] : w->previous[a->service]);
		p->fresh = w->r.phase == ROLLOUT_FORWARD;
		world_write(w, a->of_target ? "+" : "<", a->service, a->index);
		break;
	case ROLLOUT_REMOVE:
		assert(p && !p->leaving);
		p->leaving = true;
		p->draining = p->ready;
		world_write(w, "-", p->service, p->index);
		break;
	case ROLLOUT_KEEP:
		assert(p && p->leaving && p->draining);
		p->leaving = p->draining = false;
		world_write(w, "~", p->service, p->index);
		break;
	case ROLLOUT_COMMIT:
		world_write(w, "commit", 0, 0);
		break;
	case ROLLOUT_TURN_BACK:
	case ROLLOUT_PAUSE:
		w->back = true;
		w->cause = a->cause;
		w->culprit = a->replica;
		world_write(w, a->verb == ROLLOUT_PAUSE ? "pause" : "back", 0, 0);
		break;
	case ROLLOUT_SAY_LATE:
		world_write(w, "late", 0, 0);
		break;
	case ROLLOUT_DONE:
		world_write(w, "done", 0, 0);
		world_settle(w);
		break;
	}
}

/* Steps until nothing comes any more. */
static inline void
world_run(struct rollout_world *w)
{
	static struct rollout_replica replicas[WORLD_REPLICAS];
	struct rollout_actions actions;
	struct rollout_view v;

	for (int turn = 0; turn < 1000; turn++) {
		world_view(w, replicas, &v);
		rollout_step(&w->r, &v, &actions);
		for (size_t i = 0; i < actions.count; i++)
			world_do(w, &actions.items[i]);
		if (!actions.count)
			return;
	}
	assert(!"the roll-out does not come to rest");
}

/* What leaves is gone. */
static inline void
world_reap(struct rollout_world *w)
{
	for (size_t i = 0; i < WORLD_REPLICAS; i++) {
		if (w->replicas[i].leaving)
			w->replicas[i].used = false;
	}
}

#endif
