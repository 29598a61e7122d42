/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Summaries and the other small records of cells, as they are written. All little endian, fixed:
 *
 *   summary   u8 version, u8 oldest (version that can read it), u16 0; record; u32 nodes, cells,
 *             services, replicas; u64 cpu, cpu free, memory, memory free; u32 steps of cpu, of
 *             memory; two filters. A later version may have more behind that, up to
 *             SUMMARY_BYTES_MAX.
 *   record    u32 unit, u64 round, 3 x u32 gate
 *   facts     u32 cpu, cpu free, memory, memory free, replicas; u8 open, u8 labels, u8 services,
 *             u8 0; u32 0; 8 bytes each
 *
 * A reader believes nothing that cannot be: more free than there is, more nodes in the steps than
 * there are, a gate twice.
 */
#include "scheduler/cells/summary.h"

#include <string.h>
#include "base/buf.h"
#include "base/le.h"
#include "base/mutant.h"
#include "scheduler/place/rendezvous.h"

enum { BITS = SUMMARY_BLOOM_BYTES * 8 };

static uint32_t
add_u32(uint32_t a, uint32_t b)
{
	return a + b < a ? UINT32_MAX : a + b;
}

static uint64_t
add_u64(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* ---- filters ---- */

static unsigned
bit(uint64_t hash, unsigned i)
{
	return (unsigned)(rendezvous_mix(hash, i) % BITS);
}

static void
filter_add(uint8_t *filter, uint64_t hash)
{
	for (unsigned i = 0; i < SUMMARY_BLOOM_HASHES; i++)
		filter[bit(hash, i) / 8] |= (uint8_t)(1u << bit(hash, i) % 8);
}

static bool
filter_has(const uint8_t *filter, uint64_t hash)
{
	for (unsigned i = 0; i < SUMMARY_BLOOM_HASHES; i++)
		if (!(filter[bit(hash, i) / 8] >> bit(hash, i) % 8 & 1))
			return false;
	return true;
}

bool
summary_has_label(const struct summary *s, uint64_t label)
{
	return filter_has(s->labels, label);
}

bool
summary_runs(const struct summary *s, uint64_t service)
{
	return filter_has(s->running, service);
}

/* ---- sums ---- */

void
summary_begin(struct summary *s, const struct record *record)
{
	*s = (struct summary){.record = *record, .cells = 1};
}

/* Which step an amount is in; -1: below the first. */
static int
step_of(uint64_t amount, uint64_t first)
{
	int step = -1;

	while (step + 1 < SUMMARY_STEPS && amount >= first << (step + 1))
		step++;
	return step;
}

void
summary_add_node(struct summary *s, const struct facts *f)
{
	int cpu = step_of(f->cpu_free_milli, SUMMARY_CPU_STEP(0));
	int memory = step_of(f->memory_free_mib, SUMMARY_MEMORY_STEP(0));

	s->nodes = add_u32(s->nodes, 1);
	s->services = add_u32(s->services, (uint32_t)f->services_count);
	s->replicas = add_u32(s->replicas, f->replicas);
	s->cpu_milli = add_u64(s->cpu_milli, f->cpu_milli);
	s->memory_mib = add_u64(s->memory_mib, f->memory_mib);
	for (size_t i = 0; i < f->labels_count; i++)
		filter_add(s->labels, f->labels[i]);
	for (size_t i = 0; i < f->services_count; i++)
		filter_add(s->running, f->services[i]);
	if (!MUTANT(121, true, f->open))
		return;
	s->cpu_free_milli = add_u64(s->cpu_free_milli, f->cpu_free_milli);
	s->memory_free_mib = add_u64(s->memory_free_mib, f->memory_free_mib);
	if (cpu >= 0)
		s->cpu_steps[cpu] = add_u32(s->cpu_steps[cpu], 1);
	if (memory >= 0)
		s->memory_steps[memory] = add_u32(s->memory_steps[memory], 1);
}

void
summary_add(struct summary *s, const struct summary *other)
{
	s->nodes = add_u32(s->nodes, other->nodes);
	s->cells = add_u32(s->cells, other->cells);
	s->services = add_u32(s->services, other->services);
	s->replicas = add_u32(s->replicas, other->replicas);
	s->cpu_milli = add_u64(s->cpu_milli, other->cpu_milli);
	s->cpu_free_milli = add_u64(s->cpu_free_milli, other->cpu_free_milli);
	s->memory_mib = add_u64(s->memory_mib, other->memory_mib);
	s->memory_free_mib = add_u64(s->memory_free_mib, other->memory_free_mib);
	for (size_t i = 0; i < SUMMARY_STEPS; i++) {
		s->cpu_steps[i] = add_u32(s->cpu_steps[i], other->cpu_steps[i]);
		s->memory_steps[i] = add_u32(s->memory_steps[i], other->memory_steps[i]);
	}
	for (size_t i = 0; i < SUMMARY_BLOOM_BYTES; i++) {
		s->labels[i] |= other->labels[i];
		s->running[i] |= other->running[i];
	}
}

static uint64_t
room(const uint32_t *steps, uint64_t first, uint64_t need)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < SUMMARY_STEPS; i++)
		sum += steps[i] * ((first << i) / need);
	return sum;
}

uint64_t
summary_room(const struct summary *s, uint32_t cpu_milli, uint32_t memory_mib)
{
	uint64_t cpu = room(s->cpu_steps, SUMMARY_CPU_STEP(0), cpu_milli ? cpu_milli : 1);
	uint64_t memory =
		room(s->memory_steps, SUMMARY_MEMORY_STEP(0), memory_mib ? memory_mib : 1);

	return cpu < memory ? cpu : memory;
}

/* ---- bytes ---- */

void
summary_record_encode(const struct record *r, uint8_t out[SUMMARY_RECORD_BYTES])
{
	uint8_t *at = le_put(le_put(out, r->unit, 4), r->round, 8);

	for (size_t i = 0; i < SUMMARY_GATES; i++)
		at = le_put(at, r->gates[i], 4);
}

static bool
get_record(struct cursor *c, struct record *out)
{
	out->unit = cursor_u32(c);
	out->round = cursor_u64(c);
	for (size_t i = 0; i < SUMMARY_GATES; i++) {
		out->gates[i] = cursor_u32(c);
		for (size_t j = 0; j < i; j++)
			if (out->gates[i] != 0 &&
			    (out->gates[i] == out->gates[j] || out->gates[j] == 0))
				return false;
	}
	return cursor_ok(c) && out->unit != 0 && out->round != 0 && out->gates[0] != 0;
}

bool
summary_record_decode(const void *data, size_t bytes, struct record *out)
{
	struct cursor c;

	cursor_init(&c, data, bytes);
	return get_record(&c, out) && cursor_done(&c);
}

bool
summary_record_newer(const struct record *a, const struct record *b)
{
	if (a->round != b->round)
		return a->round > b->round;
	for (size_t i = 0; i < SUMMARY_GATES; i++)
		if (a->gates[i] != b->gates[i])
			return a->gates[i] > b->gates[i];
	return false;
}

size_t
summary_encode(const struct summary *s, uint8_t out[SUMMARY_BYTES])
{
	const uint32_t counts[] = {s->nodes, s->cells, s->services, s->replicas};
	const uint64_t sums[] = {s->cpu_milli, s->cpu_free_milli, s->memory_mib,
				 s->memory_free_mib};
	uint8_t *at = out;

	*at++ = SUMMARY_VERSION;
	*at++ = SUMMARY_VERSION;
	*at++ = 0;
	*at++ = 0;
	summary_record_encode(&s->record, at);
	at += SUMMARY_RECORD_BYTES;
	for (size_t i = 0; i < 4; i++)
		at = le_put(at, counts[i], 4);
	for (size_t i = 0; i < 4; i++)
		at = le_put(at, sums[i], 8);
	for (size_t i = 0; i < SUMMARY_STEPS; i++)
		at = le_put(at, s->cpu_steps[i], 4);
	for (size_t i = 0; i < SUMMARY_STEPS; i++)
		at = le_put(at, s->memory_steps[i], 4);
	memcpy(at, s->labels, SUMMARY_BLOOM_BYTES);
	memcpy(at + SUMMARY_BLOOM_BYTES, s->running, SUMMARY_BLOOM_BYTES);
	return (size_t)(at - out) + 2 * SUMMARY_BLOOM_BYTES;
}

static bool
steps_fit(const uint32_t *steps, uint32_t nodes)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < SUMMARY_STEPS; i++)
		sum += steps[i];
	return sum <= nodes || nodes == UINT32_MAX;
}

static void
get_sums(struct cursor *c, struct summary *out)
{
	out->nodes = cursor_u32(c);
	out->cells = cursor_u32(c);
	out->services = cursor_u32(c);
	out->replicas = cursor_u32(c);
	out->cpu_milli = cursor_u64(c);
	out->cpu_free_milli = cursor_u64(c);
	out->memory_mib = cursor_u64(c);
	out->memory_free_mib = cursor_u64(c);
	for (size_t i = 0; i < SUMMARY_STEPS; i++)
		out->cpu_steps[i] = cursor_u32(c);
	for (size_t i = 0; i < SUMMARY_STEPS; i++)
		out->memory_steps[i] = cursor_u32(c);
}

bool
summary_decode(const void *data, size_t bytes, struct summary *out)
{
	struct cursor c;

	cursor_init(&c, data, bytes);
	uint8_t version = cursor_u8(&c), oldest = cursor_u8(&c);
	uint16_t zero = cursor_u16(&c);

	if (version < SUMMARY_VERSION || MUTANT(134, version, oldest) > SUMMARY_VERSION ||
	    oldest > version ||
	    (version == SUMMARY_VERSION && (zero != 0 || bytes != SUMMARY_BYTES)) ||
	    bytes > SUMMARY_BYTES_MAX || !get_record(&c, &out->record))
		return false;
	get_sums(&c, out);
	const uint8_t *filters = cursor_take(&c, (size_t)2 * SUMMARY_BLOOM_BYTES);

	if (!filters || !cursor_ok(&c))
		return false;
	memcpy(out->labels, filters, SUMMARY_BLOOM_BYTES);
	memcpy(out->running, filters + SUMMARY_BLOOM_BYTES, SUMMARY_BLOOM_BYTES);
	return out->cpu_free_milli <= out->cpu_milli && out->memory_free_mib <= out->memory_mib &&
	       out->cells > 0 && steps_fit(out->cpu_steps, out->nodes) &&
	       steps_fit(out->memory_steps, out->nodes);
}

/* ---- facts ---- */

size_t
summary_facts_encode(const struct facts *f, uint8_t out[FACTS_BYTES_MAX])
{
	uint8_t *at = le_put(le_put(out, f->cpu_milli, 4), f->cpu_free_milli, 4);

	at = le_put(le_put(at, f->memory_mib, 4), f->memory_free_mib, 4);
	at = le_put(at, f->replicas, 4);
	*at++ = f->open;
	*at++ = (uint8_t)f->labels_count;
	*at++ = (uint8_t)f->services_count;
	*at++ = 0;
	at = le_put(at, 0, 4);
	for (size_t i = 0; i < f->labels_count; i++)
		at = le_put(at, f->labels[i], 8);
	for (size_t i = 0; i < f->services_count; i++)
		at = le_put(at, f->services[i], 8);
	return (size_t)(at - out);
}

bool
summary_facts_decode(const void *data, size_t bytes, struct facts *out)
{
	struct cursor c;

	cursor_init(&c, data, bytes);
	*out = (struct facts){.cpu_milli = cursor_u32(&c)};
	out->cpu_free_milli = cursor_u32(&c);
	out->memory_mib = cursor_u32(&c);
	out->memory_free_mib = cursor_u32(&c);
	out->replicas = cursor_u32(&c);
	uint8_t open = cursor_u8(&c);
	out->open = open;
	out->labels_count = cursor_u8(&c);
	out->services_count = cursor_u8(&c);
	if (cursor_u8(&c) != 0 || cursor_u32(&c) != 0 || open > 1 ||
	    out->labels_count > FACTS_LABELS_MAX || out->services_count > FACTS_SERVICES_MAX)
		return false;
	for (size_t i = 0; i < out->labels_count; i++)
		out->labels[i] = cursor_u64(&c);
	for (size_t i = 0; i < out->services_count; i++)
		out->services[i] = cursor_u64(&c);
	return cursor_done(&c) && out->cpu_free_milli <= out->cpu_milli &&
	       out->memory_free_mib <= out->memory_mib;
}
