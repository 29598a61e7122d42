/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_CELL_WORLD_H
#define TESTS_SUPPORT_CELL_WORLD_H

/*
 * A few nodes of a cluster in one process: each a node_world with its placement, joined by a shell
 * and a gossip of the test's own. Every node has a store of its own; what is deployed is deployed
 * on all of them in the same order, so that their rows have the same ids, and what the conductor
 * writes is copied to the others (cell_follow). Nodes die, come back with their disk, and are cut
 * off from each other.
 */

#include "scheduler/place/placement.h"
#include "scheduler/placing.h"
#include "scheduler/shell.h"
#include "scheduler/step.h"
#include "tests/support/node_world.h"

enum { CELL_NODES = 4, CELL_ENTRIES = 512, CELL_QUEUE = 4096, CELL_HELD = 256 };

struct cell_entry {
	bool used;
	uint16_t type;
	uint64_t id;
	struct tidings_value value;
};

enum cell_what { CELL_DATAGRAM, CELL_DISK, CELL_ENTRY, CELL_DROP };

struct cell_event {
	enum cell_what what;
	uint32_t to, from; /* nodes */
	uint32_t life;
	uint16_t type;
	uint64_t id;
	size_t bytes;
	uint8_t *data;
};

struct cell_node {
	struct node_world w;
	struct placing *p;
	struct shell_core core;
	bool up;
	uint32_t life, side;
	uint64_t timer_ns;
	struct cell_entry entries[CELL_ENTRIES];
	uint8_t journal[1 << 16];
	size_t journal_bytes;
	struct {
		struct step_action action;
		uint8_t *data;
	} held[CELL_HELD];
	size_t held_count;
	char name[16], labels[64], taints[64];
	bool draining, stuck;
	int64_t drain_until_wall_ns;
	uint32_t cpu_milli;
};

struct cell {
	struct cell_node *nodes; /* node n is nodes[n - 1] */
	uint32_t count;
	struct cell_event queue[CELL_QUEUE];
	size_t queue_count;
};

static struct cell cell;

/* ---- between nodes ---- */

static inline struct cell_node *
cell_node(uint32_t id)
{
	return &cell.nodes[id - 1];
}

static inline bool
cell_reach(uint32_t a, uint32_t b)
{
	return cell_node(a)->up && cell_node(b)->up && cell_node(a)->side == cell_node(b)->side;
}

static inline void
cell_post(enum cell_what what, uint32_t to, uint32_t from, uint16_t type, uint64_t id,
	  const void *data, size_t bytes)
{
	struct cell_event *e = &cell.queue[cell.queue_count++];

	NODE_MUST(cell.queue_count < CELL_QUEUE);
	*e = (struct cell_event){what, to, from, cell_node(to)->life, type, id, bytes, NULL};
	e->data = malloc(bytes + 1);
	NODE_MUST(e->data);
	if (bytes)
		memcpy(e->data, data, bytes);
}

static inline void
cell_do(uint32_t node, const struct step_action *a, const uint8_t *data)
{
	struct cell_node *n = cell_node(node);

	switch (a->kind) {
	case STEP_SEND:
		cell_post(CELL_DATAGRAM, a->node, node, 0, 0, data, a->bytes);
		break;
	case STEP_SET_TIMER:
		n->timer_ns = a->at_ns;
		break;
	case STEP_REPLACE:
		n->journal_bytes = 0;
		/* fall through */
	case STEP_APPEND:
		NODE_MUST(n->journal_bytes + a->bytes <= sizeof(n->journal));
		memcpy(n->journal + n->journal_bytes, data, a->bytes);
		n->journal_bytes += a->bytes;
		cell_post(CELL_DISK, node, node, 0, a->token, NULL, 0);
		break;
	case STEP_TELL:
		n->core.tell(n->core.arg, a->what, a->node, a->token, data, a->bytes);
		break;
	default:
		break;
	}
}

static inline void
cell_step(uint32_t node, struct step_input *in)
{
	struct cell_node *n = cell_node(node);
	struct step_actions *out = malloc(sizeof(*out));

	NODE_MUST(out);
	in->now_ns = n->w.now_ns;
	in->wall_ns = node_wall(&n->w);
	do {
		step_actions_clear(out);
		n->core.step(n->core.core, in, out);
		for (size_t i = 0; i < out->count; i++) {
			const struct step_action *a = &out->items[i];

			if (!a->after) {
				cell_do(node, a, step_data(out, a));
				continue;
			}
			NODE_MUST(n->held_count < CELL_HELD);
			n->held[n->held_count].action = *a;
			n->held[n->held_count].data = malloc(a->bytes + 1);
			memcpy(n->held[n->held_count++].data, step_data(out, a), a->bytes);
		}
		in->kind = STEP_MORE;
	} while (out->more);
	free(out);
}

static inline void
cell_disk_done(uint32_t node, uint64_t token)
{
	struct cell_node *n = cell_node(node);
	size_t kept = 0;

	cell_step(node, &(struct step_input){.kind = STEP_DISK_DONE, .token = token});
	for (size_t i = 0; i < n->held_count; i++) {
		if (n->held[i].action.after != token) {
			n->held[kept++] = n->held[i];
			continue;
		}
		cell_do(node, &n->held[i].action, n->held[i].data);
		free(n->held[i].data);
	}
	n->held_count = kept;
}

/* ---- the link ---- */

static inline uint32_t
cell_id(const struct cell_node *n)
{
	return (uint32_t)(n - cell.nodes) + 1;
}

static inline void
cell_local(void *arg, uint16_t what, uint64_t token, const void *data, size_t bytes)
{
	cell_step(cell_id(arg), &(struct step_input){.kind = STEP_LOCAL,
						     .what = what,
						     .token = token,
						     .data = data,
						     .bytes = bytes});
}

static inline struct cell_entry *
cell_entry(struct cell_node *n, uint16_t type, uint64_t id, bool make)
{
	struct cell_entry *free = NULL;

	for (size_t i = 0; i < CELL_ENTRIES; i++) {
		struct cell_entry *e = &n->entries[i];

		if (e->used && e->type == type && e->id == id)
			return e;
		if (!e->used && !free)
			free = e;
	}
	NODE_MUST(!make || free);
	return make ? free : NULL;
}

static inline void
cell_put(void *arg, uint16_t type, uint64_t id, const struct tidings_value *v)
{
	struct cell_node *n = arg;
	struct cell_entry *e = cell_entry(n, type, id, true);

	if (e->used && e->value.bytes == v->bytes && memcmp(e->value.data, v->data, v->bytes) == 0)
		return;
	*e = (struct cell_entry){true, type, id, *v};
	for (uint32_t to = 1; to <= cell.count; to++) {
		if (to != cell_id(n))
			cell_post(CELL_ENTRY, to, cell_id(n), type, id, v->data, v->bytes);
	}
}

static inline void
cell_drop(void *arg, uint16_t type, uint64_t id)
{
	struct cell_node *n = arg;
	struct cell_entry *e = cell_entry(n, type, id, false);

	if (!e)
		return;
	e->used = false;
	for (uint32_t to = 1; to <= cell.count; to++) {
		if (to != cell_id(n))
			cell_post(CELL_DROP, to, cell_id(n), type, id, NULL, 0);
	}
}

/* A node that can be reached, or could be when it was seen last: gossip keeps what it knew. */
static inline void
cell_again(void *arg, uint32_t node)
{
	struct cell_node *n = arg;

	for (uint32_t from = 1; from <= cell.count; from++) {
		struct cell_node *other = cell_node(from);

		if (other == n || (node && node != from) || other->side != n->side)
			continue;
		for (size_t i = 0; i < CELL_ENTRIES; i++) {
			const struct cell_entry *e = &other->entries[i];

			if (e->used)
				placing_entry(n->p, from, e->type, e->id, e->value.data,
					      e->value.bytes);
		}
	}
}

static inline void
cell_stir(void *arg)
{
	struct cell_node *n = arg;

	n->w.stirred = true;
}

/* ---- nodes ---- */

static inline void
cell_facts_to(uint32_t of, uint32_t to)
{
	struct cell_node *n = cell_node(of);
	struct placing_node facts = {
		.id = of,
		.name = n->name,
		.zone = "",
		.platform = "linux/amd64",
		.cpu_milli = n->cpu_milli,
		.memory_bytes = UINT64_C(8) << 30,
		.labels = n->labels,
		.taints = n->taints,
		.draining = n->draining,
		.drain_until_wall_ns = n->drain_until_wall_ns,
	};

	if (!cell_node(to)->up)
		return;
	NODE_MUST(placing_node_set(cell_node(to)->p, &facts) == 0);
	placing_node_stuck(cell_node(to)->p, of, n->stuck);
}

static inline void
cell_facts(uint32_t of)
{
	for (uint32_t to = 1; to <= cell.count; to++)
		cell_facts_to(of, to);
}

static inline void
cell_states(void)
{
	for (uint32_t a = 1; a <= cell.count; a++) {
		for (uint32_t b = 1; cell_node(a)->up && b <= cell.count; b++) {
			if (a != b)
				placing_node_state(cell_node(a)->p, b,
						   cell_reach(a, b) ? PLACING_ALIVE : PLACING_DEAD);
		}
	}
}

static inline void
cell_placing(uint32_t id)
{
	struct cell_node *n = cell_node(id);
	struct placing_link link = {n, cell_local, cell_put, cell_drop, cell_again, cell_stir};
	struct err err = {0};
	uint64_t running[64];
	size_t count = 0;
	struct map_iter it = {0};

	n->w.m.now_ns = n->w.now_ns;
	n->w.m.hooks = (struct model_hooks){.arg = n, .stir = cell_stir};
	n->w.m.node = n->name;
	n->w.m.node_id = id;
	NODE_MUST(placing_new(&n->w.m, id, 77 + id + n->life, &link, &err) == 0);
	n->p = n->w.m.placing;
	n->up = true;
	n->timer_ns = UINT64_MAX;
	placing_core(n->p, &n->core);
	for (uint32_t i = 1; i <= cell.count; i++)
		cell_facts(i);
	memset(n->entries, 0, sizeof(n->entries));
	placing_tell_all(n->p);
	if (n->journal_bytes)
		cell_step(id, &(struct step_input){.kind = STEP_FILE,
						   .data = n->journal,
						   .bytes = n->journal_bytes});
	cell_step(id, &(struct step_input){.kind = STEP_START});
	while (map_next(&n->w.m.replicas, &it)) {
		const struct replica *r = it.value;

		if (r->claim)
			running[count++] = r->claim;
	}
	cell_local(n, PLACEMENT_RUNNING, 0, running, count * sizeof(running[0]));
}

static inline void
cell_begin(uint32_t count)
{
	memset(&cell, 0, sizeof(cell));
	cell.count = count;
	cell.nodes = calloc(count, sizeof(cell.nodes[0]));
	NODE_MUST(cell.nodes);
	for (uint32_t id = 1; id <= count; id++) {
		struct cell_node *n = cell_node(id);

		node_begin(&n->w);
		n->cpu_milli = 4000;
		snprintf(n->name, sizeof(n->name), "edge-%u", id);
	}
	for (uint32_t id = 1; id <= count; id++)
		cell_placing(id);
	cell_states();
}

/* Its processes end; what is on its disk stays. Containers stay when told so. */
static inline void
cell_kill(uint32_t id)
{
	struct cell_node *n = cell_node(id);

	n->up = false;
	n->life++;
	placing_free(n->p);
	n->p = NULL;
	node_stop(&n->w);
	while (n->held_count)
		free(n->held[--n->held_count].data);
	cell_states();
}

static inline void
cell_start(uint32_t id)
{
	struct cell_node *n = cell_node(id);

	node_start(&n->w);
	cell_placing(id);
	for (uint32_t i = 1; i <= cell.count; i++) {
		if (i != id && cell_node(i)->up)
			placing_reset(cell_node(i)->p, id);
	}
	cell_states();
}

static inline void
cell_end(void)
{
	for (uint32_t id = 1; id <= cell.count; id++) {
		struct cell_node *n = cell_node(id);

		if (n->up)
			cell_kill(id);
		node_start(&n->w);
		node_end(&n->w);
	}
	while (cell.queue_count)
		free(cell.queue[--cell.queue_count].data);
	free(cell.nodes);
}

/* ---- time ---- */

static inline void
cell_deliver(struct cell_event *e)
{
	struct cell_node *n = cell_node(e->to);

	if (!n->up || n->life != e->life || (e->to != e->from && !cell_reach(e->to, e->from)))
		return;
	if (e->what == CELL_DATAGRAM)
		cell_step(e->to, &(struct step_input){.kind = STEP_DATAGRAM,
						      .node = e->from,
						      .data = e->data,
						      .bytes = e->bytes});
	else if (e->what == CELL_DISK)
		cell_disk_done(e->to, e->id);
	else
		placing_entry(n->p, e->from, e->type, e->id, e->what == CELL_ENTRY ? e->data : NULL,
			      e->bytes);
}

static inline void
cell_pump(void)
{
	while (cell.queue_count) {
		struct cell_event e = cell.queue[0];

		cell.queue_count--;
		memmove(cell.queue, cell.queue + 1, cell.queue_count * sizeof(cell.queue[0]));
		cell_deliver(&e);
		free(e.data);
	}
	for (uint32_t id = 1; id <= cell.count; id++) {
		struct cell_node *n = cell_node(id);

		if (n->up && n->timer_ns <= n->w.now_ns) {
			n->timer_ns = UINT64_MAX;
			cell_step(id, &(struct step_input){.kind = STEP_TIMER});
		}
	}
}

/* Writes a row as another node has it, with a version of this one's. True: it was not the same. */
#define CELL_COPY_ROW(mine, theirs)                                   \
	({                                                            \
		__typeof__(theirs) row_ = (theirs);                   \
		row_.version = (mine)->version;                       \
		bool other_ = memcmp(mine, &row_, sizeof(row_)) != 0; \
		*(mine) = row_;                                       \
		other_;                                               \
	})

/* What one node has written of a deployment is read by another. */
static inline void
cell_copy(struct deployment *from, struct node_world *w)
{
	struct deployment *d = model_deployment_by_id(&w->m, from->row.id);
	struct list *it, *next;
	struct operation *o;
	bool other;

	if (!d)
		return;
	o = from->operation ? model_operation(&w->m, from->operation->row.id) : NULL;
	other = CELL_COPY_ROW(&d->row, from->row) || d->operation != o ||
		memcmp(&d->rollout, &from->rollout, sizeof(d->rollout)) != 0;
	d->rollout = from->rollout;
	d->operation = o;
	d->dirty |= other;
	list_each (it, next, &from->services) {
		struct service *s = container_of(it, struct service, link);
		struct service *mine = model_service_by_id(&w->m, s->row.id);

		if (CELL_COPY_ROW(&mine->row, s->row))
			mine->dirty = other = true;
	}
	w->stirred |= other;
}

static inline void
cell_follow(void)
{
	for (uint32_t a = 1; a <= cell.count; a++) {
		struct cell_node *n = cell_node(a);
		struct list *it, *next;

		if (!n->up)
			continue;
		list_each (it, next, &n->w.m.deployments) {
			struct deployment *d = container_of(it, struct deployment, link);

			if (!placing_conducts(n->p, d))
				continue;
			for (uint32_t b = 1; b <= cell.count; b++) {
				if (b != a && cell_reach(a, b))
					cell_copy(d, &cell_node(b)->w);
			}
		}
	}
}

static inline void
cell_turn(void)
{
	for (uint32_t id = 1; id <= cell.count; id++) {
		if (cell_node(id)->up)
			node_turn_woken(&cell_node(id)->w);
	}
	cell_pump();
	cell_follow();
}

/* Nodes look when they are woken; all of them once at first, for what the test has done. */
static inline void
cell_pass(unsigned seconds)
{
	for (uint32_t id = 1; id <= cell.count; id++)
		cell_node(id)->w.stirred = true;
	for (unsigned s = 0; s < seconds * 4; s++) {
		for (uint32_t id = 1; id <= cell.count; id++)
			cell_node(id)->w.now_ns += NODE_S / 4;
		for (int i = 0; i < 6; i++)
			cell_turn();
	}
}

static inline void
cell_apply(const char *name, const char *text)
{
	for (uint32_t id = 1; id <= cell.count; id++) {
		struct node_world *w = &cell_node(id)->w;
		struct msg_apply_answer answer;
		struct err err = {0};

		if (!cell_node(id)->up)
			continue;
		w->m.now_ns = w->now_ns;
		w->m.wall_ns = node_wall(w);
		if (node_apply(w, name, text, &answer, &err) < 0) {
			err_print(&err, "test", stderr);
			abort();
		}
	}
}

/* ---- looking ---- */

/* Replicas that this node itself runs; of a service that are ready, or all. */
static inline unsigned
cell_own(uint32_t id, bool ready)
{
	struct map_iter it = {0};
	unsigned n = 0;

	while (cell_node(id)->up && map_next(&cell_node(id)->w.m.replicas, &it)) {
		const struct replica *r = it.value;

		n += !r->remote && !r->life.gone && (!ready || r->life.state == MSG_REPLICA_READY);
	}
	return n;
}

static inline unsigned
cell_all(bool ready)
{
	unsigned n = 0;

	for (uint32_t id = 1; id <= cell.count; id++)
		n += cell_own(id, ready);
	return n;
}

#endif
