/* SPDX-License-Identifier: Apache-2.0 */
/* Latency, loss and cuts. What a datagram costs on the way out of its node is a queue by bytes per
 * second; it is dropped where it would wait too long. Loss draws once for both ends. */
#include "tests/sim/link.h"

#include <assert.h>
#include "base/mem.h"

/* What a datagram has around it: IP, UDP, the seal. */
enum { AROUND_BYTES = 28 + 48 };
#define WAIT_NS_MAX 200000000ull
#define ONE_S 1000000000ull

void
sim_link_init(struct link *l, const struct link_model *model, uint64_t seed, uint32_t nodes)
{
	struct draw zones = draw_of(seed, 2);

	*l = (struct link){.model = *model, .seed = seed, .draw = draw_of(seed, 1)};
	assert(model->zones > 0);
	l->nodes = mem_array(MEM_BASE, nodes, sizeof(l->nodes[0]));
	assert(l->nodes);
	l->node_count = nodes;
	for (uint32_t i = 0; i < nodes; i++)
		l->nodes[i].zone = (uint32_t)draw_below(&zones, model->zones);
}

void
sim_link_fini(struct link *l)
{
	mem_free(l->nodes);
	l->nodes = NULL;
}

void
sim_link_heal(struct link *l)
{
	l->loss_ppm = l->twice_ppm = l->late_ppm = 0;
	l->late_ns = l->delay_ns = 0;
	l->cut_count = 0;
	for (uint32_t i = 0; i < l->node_count; i++) {
		l->nodes[i].out_loss_ppm = l->nodes[i].in_loss_ppm = 0;
		l->nodes[i].bytes_per_s = 0;
	}
}

static bool
has(const uint8_t *bits, uint32_t n)
{
	return bits[n / 8] >> n % 8 & 1;
}

bool
sim_link_is_cut(const struct link *l, uint64_t now_ns, uint32_t from, uint32_t to)
{
	for (size_t i = 0; i < l->cut_count; i++) {
		const struct link_cut *c = &l->cuts[i];

		if (has(c->side, from) == has(c->side, to))
			continue;
		if (c->one_way && !has(c->side, from))
			continue;
		if (c->half_ns == 0 || (now_ns - c->from_ns) / c->half_ns % 2 == 0)
			return true;
	}
	return false;
}

static uint64_t
base_ns(const struct link *l, uint32_t a, uint32_t b)
{
	uint64_t pair = a < b ? (uint64_t)a << 32 | b : (uint64_t)b << 32 | a;
	uint32_t x = l->nodes[a].zone, y = l->nodes[b].zone;
	uint64_t ns = l->model.near_ns + (x > y ? x - y : y - x) * l->model.zone_ns;

	if (l->model.spread_ns > 0)
		ns += draw_mix(l->seed, pair) % l->model.spread_ns;
	return ns + l->delay_ns;
}

/* When its last byte has left the node. */
static uint64_t
leave_ns(struct link *l, uint64_t now_ns, uint32_t from, size_t bytes)
{
	struct link_node *n = &l->nodes[from];
	uint64_t rate = n->bytes_per_s ? n->bytes_per_s : l->model.bytes_per_s;

	if (rate == 0)
		return now_ns;
	if (n->free_ns < now_ns)
		n->free_ns = now_ns;
	n->free_ns += (bytes + AROUND_BYTES) * ONE_S / rate;
	return n->free_ns;
}

static uint64_t
arrive_ns(struct link *l, uint64_t left_ns, uint32_t from, uint32_t to)
{
	uint64_t at = left_ns + base_ns(l, from, to);

	if (l->model.jitter_ns > 0)
		at += draw_wait(&l->draw, l->model.jitter_ns);
	if (draw_chance(&l->draw, l->model.slow_ppm))
		at += draw_wait(&l->draw, l->model.slow_ns);
	if (draw_chance(&l->draw, l->late_ppm))
		at += draw_wait(&l->draw, l->late_ns);
	return at;
}

unsigned
sim_link_send(struct link *l, uint64_t now_ns, uint32_t from, uint32_t to, size_t bytes,
	      uint64_t at_ns[2])
{
	const struct link_node *f = &l->nodes[from], *t = &l->nodes[to];
	uint64_t left;

	if (f->free_ns > now_ns + WAIT_NS_MAX)
		return 0;
	left = leave_ns(l, now_ns, from, bytes);
	if (sim_link_is_cut(l, now_ns, from, to) ||
	    draw_chance(&l->draw, l->loss_ppm + f->out_loss_ppm + t->in_loss_ppm))
		return 0;
	at_ns[0] = arrive_ns(l, left, from, to);
	if (!draw_chance(&l->draw, l->twice_ppm))
		return 1;
	at_ns[1] = arrive_ns(l, left, from, to);
	return 2;
}

uint64_t
sim_link_carry(struct link *l, uint64_t now_ns, uint32_t from, uint32_t to, size_t bytes)
{
	return arrive_ns(l, leave_ns(l, now_ns, from, bytes), from, to);
}
