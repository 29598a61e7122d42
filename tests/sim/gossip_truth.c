/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The others may be late, never wrong: whatever STEP_TELL says of an owner is compared with what
 * that owner really wrote, and with what was told before. A version that was given to a change may
 * be given to another one only when nobody has heard of the first (its birth was not durable before
 * the crash, and nothing was said).
 */
#include "tests/sim/gossip_truth.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/map.h"
#include "base/mem.h"
#include "tests/sim/profile_gossip.h"

/* Without faults a change is everywhere within this, and nobody is held to be dead. */
#define LATE_NS (2 * SIM_S)
#define STARTED_NS (20 * SIM_S)

struct written {
	uint64_t version;
	uint64_t id;
	uint64_t hash;
	uint64_t at_ns;
	uint16_t type;
	bool heard; /* another node has been told of it */
};

struct owner {
	struct map written; /* by version */
	uint64_t version;   /* the greatest */
	uint32_t heard;     /* the greatest incarnation that another node holds of it */
	uint32_t before;    /* the greatest that was held when this boot began */
	bool leaving;       /* in this boot it was asked to leave */
	uint32_t left;      /* the greatest incarnation in which it was */
};

/* An entry as a holder was told. */
struct key {
	uint64_t id;
	uint32_t owner;
	uint32_t type;
};

struct gossip_truth {
	uint32_t nodes;
	struct owner *owners; /* by node */
	uint32_t *status;     /* by holder and member: incarnation << 8 | state */
	struct map *told;     /* by holder: struct key -> version */
};

struct gossip_truth *
gossip_truth_new(struct sim *s)
{
	struct gossip_truth *t = mem_zalloc(MEM_BASE, sizeof(*t));

	assert(t);
	t->nodes = s->plan->nodes;
	t->owners = mem_array(MEM_BASE, t->nodes + 1, sizeof(t->owners[0]));
	t->status = mem_array(MEM_BASE, (t->nodes + 1) * (t->nodes + 1), sizeof(t->status[0]));
	t->told = mem_array(MEM_BASE, t->nodes + 1, sizeof(t->told[0]));
	assert(t->owners && t->status && t->told);
	for (uint32_t node = 0; node <= t->nodes; node++) {
		map_init_seeded(&t->owners[node].written, MEM_BASE, node);
		map_init_seeded(&t->told[node], MEM_BASE, node);
	}
	return t;
}

static void
forget_all(struct map *m)
{
	struct map_iter it = {0};

	while (map_next(m, &it))
		mem_free(it.value);
	map_fini(m);
}

void
gossip_truth_free(struct gossip_truth *t)
{
	for (uint32_t node = 0; node <= t->nodes; node++) {
		forget_all(&t->owners[node].written);
		forget_all(&t->told[node]);
	}
	mem_free(t->owners);
	mem_free(t->status);
	mem_free(t->told);
	mem_free(t);
}

void
gossip_truth_turned(struct gossip_truth *t, uint32_t node, bool up)
{
	if (!up)
		return;
	t->owners[node].leaving = false;
	t->owners[node].before = t->owners[node].heard;
	memset(&t->status[node * (t->nodes + 1)], 0, (t->nodes + 1) * sizeof(t->status[0]));
	forget_all(&t->told[node]);
	map_init_seeded(&t->told[node], MEM_BASE, node);
}

static uint64_t
hash_value(const void *value, size_t bytes)
{
	static const uint64_t key[2] = {1, 2};

	return map_siphash(key, value, bytes);
}

static struct gossip *
core_of(struct sim *s, uint32_t node)
{
	return profile_gossip_core(sim_core(s, node));
}

/* ---- what owners write ---- */

static void
note_written(struct gossip_truth *t, struct sim *s, const struct gossip_entry *e)
{
	struct owner *owner = &t->owners[e->node];
	struct written *w = map_get_u64(&owner->written, e->version);
	struct written now = {.version = e->version,
			      .id = e->id,
			      .hash = hash_value(e->value, e->bytes),
			      .at_ns = s->now_ns,
			      .type = e->type};

	if (e->version > owner->version)
		owner->version = e->version;
	if (!w) {
		w = mem_dup(MEM_BASE, &now, sizeof(now));
		if (!w || map_put_u64(&owner->written, e->version, w) < 0)
			assert(!"memory");
	} else if (w->id != now.id || w->type != now.type || w->hash != now.hash) {
		if (w->heard)
			sim_fail(s, "version", e->node,
				 "gives version %" PRIx64 " to two different changes", e->version);
		*w = now;
	}
}

/* Whatever of the own namespace is there was written by its owner. */
static void
note_own(struct gossip_truth *t, struct sim *s, uint32_t node)
{
	struct gossip *g = core_of(s, node);
	struct gossip_walk walk = {.node = node};
	struct gossip_member self;
	struct gossip_entry e;

	while (gossip_each(g, &walk, &e))
		note_written(t, s, &e);
	if (gossip_member(g, node, &self) && self.version > t->owners[node].version)
		t->owners[node].version = self.version;
}

/* ---- what holders are told ---- */

static void
keep_told(struct gossip_truth *t, uint32_t node, const struct gossip_tell_entry *e)
{
	struct key key = {e->id, e->node, e->type};
	void *old = NULL, *version = mem_dup(MEM_BASE, &e->version, sizeof(e->version));

	assert(version);
	if (!e->dropped && map_put(&t->told[node], &key, sizeof(key), version, &old) < 0)
		assert(!"memory");
	if (e->dropped) {
		mem_free(version);
		old = map_remove(&t->told[node], &key, sizeof(key));
	}
	mem_free(old);
}

static void
forget_told(struct gossip_truth *t, uint32_t node, uint32_t owner)
{
	struct map_iter it = {0};

	while (map_next(&t->told[node], &it)) {
		struct key key;

		memcpy(&key, it.key, sizeof(key));
		if (key.owner == owner)
			mem_free(map_remove(&t->told[node], &key, sizeof(key)));
	}
}

static void
check_entry(struct gossip_truth *t, struct sim *s, uint32_t node, const uint8_t *data, size_t bytes)
{
	struct gossip_tell_entry e;
	struct written *w;

	assert(bytes >= sizeof(e));
	memcpy(&e, data, sizeof(e));
	if (e.node == node)
		sim_fail(s, "entry", node, "is told of an entry of its own");
	if (e.version > t->owners[e.node].version)
		sim_fail(s, "entry", node,
			 "holds version %" PRIx64 " of node %u, which wrote up to %" PRIx64,
			 e.version, e.node, t->owners[e.node].version);
	if (s->failure.failed)
		return;
	keep_told(t, node, &e);
	if (e.dropped)
		return;
	w = map_get_u64(&t->owners[e.node].written, e.version);
	if (!w || w->id != e.id || w->type != e.type ||
	    w->hash != hash_value(data + sizeof(e), bytes - sizeof(e))) {
		sim_fail(s, "entry", node,
			 "holds version %" PRIx64 " of node %u as it was never written", e.version,
			 e.node);
		return;
	}
	w->heard = true;
	if (s->plan->quiet && w->at_ns > STARTED_NS && s->now_ns - w->at_ns > LATE_NS)
		sim_fail(s, "late", node, "hears of node %u after %" PRIu64 " ms, without faults",
			 e.node, (s->now_ns - w->at_ns) / SIM_MS);
}

static void
check_member(struct gossip_truth *t, struct sim *s, uint32_t node,
	     const struct gossip_tell_member *m)
{
	uint32_t status = m->incarnation << 8 | m->state;
	uint32_t *before = &t->status[node * (t->nodes + 1) + m->node];
	struct owner *owner = &t->owners[m->node];

	if (status < *before)
		sim_fail(s, "order", node, "goes back from %u.%u to %u.%u with node %u",
			 *before >> 8, *before & 0xff, m->incarnation, m->state, m->node);
	*before = status;
	if (m->node == node)
		return;
	if (m->incarnation > owner->heard)
		owner->heard = m->incarnation;
	if (m->state == GOSSIP_LEFT && m->incarnation > owner->left)
		sim_fail(s, "left", node, "holds node %u as left, which never said so", m->node);
	if (m->state == GOSSIP_DEAD && s->plan->quiet)
		sim_fail(s, "false-death", node, "holds node %u as dead, and there are no faults",
			 m->node);
}

static void
check_tell(struct gossip_truth *t, struct sim *s, uint32_t node, const struct step_action *a,
	   const uint8_t *data)
{
	struct gossip_tell_member m;

	switch ((enum gossip_tell_kind)a->what) {
	case GOSSIP_MEMBER:
		assert(a->bytes == sizeof(m));
		memcpy(&m, data, sizeof(m));
		check_member(t, s, node, &m);
		break;
	case GOSSIP_ENTRY:
		check_entry(t, s, node, data, a->bytes);
		break;
	case GOSSIP_RESET:
		forget_told(t, node, a->node);
		break;
	case GOSSIP_LOST:
		sim_fail(s, "lost", node, "has lost tells, with memory enough");
		break;
	case GOSSIP_LEAVING:
		break;
	}
}

static void
note_leaving(struct gossip_truth *t, struct sim *s, uint32_t node)
{
	struct gossip_member self;

	if (gossip_member(core_of(s, node), node, &self) && self.incarnation > t->owners[node].left)
		t->owners[node].left = self.incarnation;
}

/* An owner that speaks is never behind what is said of it, in any of its lives. */
static void
check_own(struct gossip_truth *t, struct sim *s, uint32_t node)
{
	struct owner *owner = &t->owners[node];
	struct gossip_member self;

	if (!gossip_member(core_of(s, node), node, &self)) {
		sim_fail(s, "own", node, "does not know itself");
		return;
	}
	if (self.incarnation < owner->heard)
		sim_fail(s, "own", node, "speaks as incarnation %u; others have heard of %u",
			 self.incarnation, owner->heard);
	if (self.incarnation <= owner->before)
		sim_fail(s, "own", node, "speaks as incarnation %u, as an earlier life of it did",
			 self.incarnation);
}

void
gossip_truth_step(struct gossip_truth *t, struct sim *s, uint32_t node, const struct step_input *in,
		  const struct step_actions *out)
{
	bool speaks = false;

	if (in->kind == STEP_LOCAL && in->what == PROFILE_GOSSIP_LEAVE)
		t->owners[node].leaving = true;
	if (in->kind == STEP_START || in->kind == STEP_LOCAL)
		note_own(t, s, node);
	if (t->owners[node].leaving)
		note_leaving(t, s, node);
	for (size_t i = 0; i < out->count && !s->failure.failed; i++) {
		const struct step_action *a = &out->items[i];

		/* Of what waits for the disk nothing may ever leave. */
		speaks |= (a->kind == STEP_SEND || a->kind == STEP_STREAM_WRITE) && a->after == 0;
		if (a->kind == STEP_TELL)
			check_tell(t, s, node, a, out->data + a->offset);
	}
	if (speaks && !s->failure.failed)
		check_own(t, s, node);
}

void
gossip_truth_end(struct gossip_truth *t, struct sim *s)
{
	for (uint32_t node = 1; node <= t->nodes && !s->failure.failed; node++) {
		struct gossip_walk walk = {0};
		struct gossip_entry e;
		size_t count = 0;

		if (!sim_core(s, node) || profile_gossip_has_left(sim_core(s, node)))
			continue;
		while (gossip_each(core_of(s, node), &walk, &e)) {
			struct key key = {e.id, e.node, e.type};
			const uint64_t *told = map_get(&t->told[node], &key, sizeof(key));

			if (e.node == node)
				continue;
			count++;
			if (!told || *told != e.version)
				sim_fail(s, "untold", node,
					 "was not told of version %" PRIx64
					 " of node %u, which it holds",
					 e.version, e.node);
		}
		if (count != map_count(&t->told[node]))
			sim_fail(s, "untold", node, "was told of %zu entries and holds %zu",
				 map_count(&t->told[node]), count);
	}
}
