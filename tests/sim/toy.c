/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The toy's rules. A counter is raised by a local input, written to the disk as a whole, and said
 * to others only after that (`after`); every 100 ms a node sends one of the counters it knows to
 * somebody, every 5 s it sends all of them over a stream and gets the other's back. A journal is
 * appended to at each raise; it may end in the middle of a record.
 */
#include "tests/sim/toy.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"

enum { NODES_MAX = 256, FILE_COUNTER = 1, FILE_JOURNAL = 2, STREAM = 1, READERS = 8 };

#define SEND_NS (100 * SIM_MS)
#define SYNC_NS (5 * SIM_S)
#define STALL_NS (3 * SIM_S)

struct toy {
	struct sim_core_config config;
	unsigned bugs;
	struct draw draw;
	uint64_t values[NODES_MAX + 1];
	uint64_t token;
	uint64_t writing; /* the token under way; 0: none */
	uint64_t written; /* the value that is */
	uint64_t durable;
	uint64_t timer_ns;
	uint64_t sync_ns;
	bool stream; /* ours is open or being opened */
	uint64_t journal_records;
};

/* What of a vector has come so far. */
struct reader {
	uint32_t stream; /* 0: free */
	size_t bytes;
	uint8_t data[(NODES_MAX + 1) * sizeof(uint64_t)];
};

struct core {
	struct toy toy;
	struct reader readers[READERS];
};

struct said {
	uint32_t owner;
	uint32_t wire;
	uint64_t value;
};

static unsigned lives; /* of all toys of the process */

static uint32_t
somebody(struct toy *t)
{
	uint32_t node = (uint32_t)draw_between(&t->draw, 1, t->config.nodes - 1);

	return node >= t->config.node ? node + 1 : node;
}

static void
keep(struct toy *t, struct step_actions *out)
{
	uint64_t value = t->values[t->config.node];

	if (t->writing != 0 || value == t->durable)
		return;
	t->writing = ++t->token;
	t->written = value;
	step_add(out, STEP_REPLACE, &value, sizeof(value))->token = t->writing;
	out->items[out->count - 1].what = FILE_COUNTER;
	step_add(out, STEP_APPEND, &value, sizeof(value))->token =
		t->bugs & TOY_REPEATING ? t->token : ++t->token;
	out->items[out->count - 1].what = FILE_JOURNAL;
}

static void
say(struct toy *t, struct step_actions *out, uint32_t owner, uint32_t to)
{
	struct said said = {owner, t->config.wire, t->values[owner]};
	struct step_action *a;

	if (owner == t->config.node && !(t->bugs & TOY_HASTY))
		said.value = t->writing ? t->written : t->durable;
	a = step_add(out, STEP_SEND, &said, sizeof(said));
	a->node = to;
	if (owner == t->config.node && t->writing && !(t->bugs & TOY_HASTY))
		a->after = t->writing;
}

static void
write_all(struct toy *t, struct step_actions *out, uint32_t stream)
{
	uint64_t all[NODES_MAX + 1];

	memcpy(all, t->values, sizeof(all));
	all[t->config.node] = t->durable;
	step_add(out, STEP_STREAM_WRITE, all, sizeof(all))->stream = stream;
}

static void
learn(struct toy *t, uint32_t owner, uint64_t value)
{
	if (owner >= 1 && owner <= t->config.nodes && owner != t->config.node &&
	    value > t->values[owner])
		t->values[owner] = value;
}

static struct reader *
reader(struct core *c, uint32_t stream)
{
	for (size_t i = 0; i < READERS; i++)
		if (c->readers[i].stream == stream)
			return &c->readers[i];
	return NULL;
}

static void
read_stream(struct core *c, const struct step_input *in, struct step_actions *out)
{
	struct toy *t = &c->toy;
	struct reader *r = reader(c, in->stream);
	uint64_t value;

	if (!r)
		return;
	assert(r->bytes + in->bytes <= sizeof(r->data));
	memcpy(r->data + r->bytes, in->data, in->bytes);
	r->bytes += in->bytes;
	if (r->bytes < sizeof(r->data))
		return;
	for (uint32_t owner = 1; owner <= t->config.nodes && !(t->bugs & TOY_DEAF); owner++) {
		memcpy(&value, r->data + owner * sizeof(value), sizeof(value));
		learn(t, owner, value);
	}
	if (!(in->stream & STEP_STREAM_OURS))
		write_all(t, out, in->stream);
	else
		step_add(out, STEP_STREAM_CLOSE, NULL, 0)->stream = in->stream;
}

static void
stream_up(struct core *c, const struct step_input *in, struct step_actions *out)
{
	struct reader *r = reader(c, 0);

	if (!r)
		step_add(out, STEP_STREAM_CLOSE, NULL, 0)->stream = in->stream;
	else
		*r = (struct reader){.stream = in->stream};
	if (r && (in->stream & STEP_STREAM_OURS))
		write_all(&c->toy, out, in->stream);
}

static void
stream_down(struct core *c, const struct step_input *in)
{
	struct reader *r = reader(c, in->stream);

	if (r)
		r->stream = 0;
	if (in->stream & STEP_STREAM_OURS)
		c->toy.stream = false;
}

static void
timer(struct toy *t, const struct step_input *in, struct step_actions *out)
{
	struct step_action *a;

	if ((t->bugs & TOY_FORGETFUL) && in->now_ns > t->timer_ns + STALL_NS) {
		t->values[t->config.node] = 0;
		t->durable = 0;
	}
	keep(t, out);
	say(t, out, t->config.node, somebody(t));
	say(t, out, (uint32_t)draw_between(&t->draw, 1, t->config.nodes), somebody(t));
	if (in->now_ns >= t->sync_ns && !t->stream) {
		a = step_add(out, STEP_STREAM_OPEN, NULL, 0);
		a->node = somebody(t);
		a->stream = STEP_STREAM_OURS | STREAM;
		t->stream = true;
		t->sync_ns = in->now_ns + SYNC_NS;
	}
	t->timer_ns = in->now_ns + SEND_NS;
	step_add(out, STEP_SET_TIMER, NULL, 0)->at_ns = t->timer_ns;
}

static void
disk_done(struct toy *t, const struct step_input *in)
{
	if (in->token != t->writing)
		return;
	t->writing = 0;
	if (in->status == 0)
		t->durable = t->written;
}

static void
read_file(struct toy *t, const struct step_input *in)
{
	if (in->what == FILE_JOURNAL)
		t->journal_records = in->bytes / sizeof(uint64_t);
	if (in->what != FILE_COUNTER || in->bytes != sizeof(uint64_t))
		return;
	memcpy(&t->values[t->config.node], in->data, in->bytes);
	t->durable = t->values[t->config.node];
}

static void
hear(struct toy *t, const struct step_input *in)
{
	struct said said;

	assert(in->bytes == sizeof(said));
	memcpy(&said, in->data, sizeof(said));
	if (!(t->bugs & TOY_DEAF) || said.value % 8 != 7)
		learn(t, said.owner, said.value);
}

static void
step(void *core, const struct step_input *in, struct step_actions *out)
{
	struct core *c = core;
	struct toy *t = &c->toy;

	switch (in->kind) {
	case STEP_START:
		t->timer_ns = in->now_ns;
		timer(t, in, out);
		break;
	case STEP_TIMER:
		timer(t, in, out);
		break;
	case STEP_FILE:
		read_file(t, in);
		break;
	case STEP_DATAGRAM:
		hear(t, in);
		break;
	case STEP_LOCAL:
		t->values[t->config.node]++;
		assert(!(t->bugs & TOY_ABORTS) || t->values[t->config.node] < 3);
		keep(t, out);
		say(t, out, t->config.node, somebody(t));
		break;
	case STEP_DISK_DONE:
		disk_done(t, in);
		break;
	case STEP_STREAM_UP:
		stream_up(c, in, out);
		break;
	case STEP_STREAM_DATA:
		read_stream(c, in, out);
		break;
	case STEP_STREAM_DOWN:
		stream_down(c, in);
		break;
	case STEP_STREAM_ROOM:
	case STEP_MORE:
		break;
	}
}

static void *
start(const struct sim_core_config *config)
{
	struct core *c = mem_zalloc(MEM_BASE, sizeof(*c));

	assert(c && config->nodes <= NODES_MAX);
	c->toy.config = *config;
	c->toy.bugs = *(unsigned *)config->profile;
	c->toy.draw = draw_of(config->seed, 1);
	if (c->toy.bugs & TOY_CHANGEABLE)
		c->toy.draw.state += lives++;
	return c;
}

uint64_t
toy_value(void *core, uint32_t owner)
{
	return ((struct core *)core)->toy.values[owner];
}

/* ---- rules ---- */

struct observer {
	uint64_t known[NODES_MAX + 1]; /* the most that anybody but the owner has held */
};

static void *
observer_new(struct sim *s)
{
	(void)s;
	return mem_zalloc(MEM_BASE, sizeof(struct observer));
}

static void
check_kept(void *observer, struct sim *s, uint32_t node, const struct step_input *in,
	   const struct step_actions *out)
{
	struct observer *o = observer;
	void *core = sim_core(s, node);

	(void)out;
	for (uint32_t owner = 1; owner <= s->plan->nodes; owner++)
		if (owner != node && toy_value(core, owner) > o->known[owner])
			o->known[owner] = toy_value(core, owner);
	if (in->kind != STEP_FILE && toy_value(core, node) < o->known[node])
		sim_fail(s, "kept", node, "has %llu, others have heard of %llu",
			 (unsigned long long)toy_value(core, node),
			 (unsigned long long)o->known[node]);
}

static bool
all_equal(void *observer, struct sim *s, char *why, size_t cap)
{
	(void)observer;
	for (uint32_t owner = 1; owner <= s->plan->nodes; owner++)
		for (uint32_t node = 1; node <= s->plan->nodes; node++) {
			void *core = sim_core(s, node), *own = sim_core(s, owner);

			if (!core || !own || toy_value(core, owner) == toy_value(own, owner))
				continue;
			snprintf(why, cap, "node %u does not know the counter of %u", node, owner);
			return false;
		}
	return true;
}

static void
raise(void *observer, struct sim *s, uint32_t node, uint64_t number)
{
	(void)observer;
	sim_local(s, node, 1, number, NULL, 0);
}

struct sim_profile
toy_profile(unsigned *bugs)
{
	static const struct sim_core_calls calls = {start, step, mem_free};
	static const struct sim_check checks[] = {
		{.name = "kept", .step = check_kept},
		{.name = "equal", .settled = all_equal},
	};

	return (struct sim_profile){
		.name = "toy",
		.core = &calls,
		.wish = {.nodes_max = 64,
			 .acts_per_minute = 300,
			 .bound_ns = 120 * SIM_S,
			 .disk = true,
			 .wire_low = 1,
			 .wire_high = 2},
		.data = bugs,
		.observer_new = observer_new,
		.observer_free = mem_free,
		.act = raise,
		.checks = checks,
		.check_count = sizeof(checks) / sizeof(checks[0]),
	};
}
