/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Summaries, records, facts and hellos from anywhere. What is decoded can be added up and encodes
 * to the same bytes (of this version); a node that is given it all as a hello stays what it is.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "scheduler/cells/cells.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void
codecs(const uint8_t *data, size_t bytes)
{
	static const struct record none = {.unit = 1, .round = 1, .gates = {1}};
	uint8_t again[SUMMARY_BYTES], facts[FACTS_BYTES_MAX];
	struct summary s, sum;
	struct record r;
	struct facts f;

	summary_begin(&sum, &none);
	if (summary_decode(data, bytes, &s)) {
		assert(summary_encode(&s, again) == SUMMARY_BYTES);
		assert(data[0] != SUMMARY_VERSION || memcmp(again + 2, data + 2, bytes - 2) == 0);
		summary_add(&sum, &s);
		summary_add(&sum, &s);
	}
	if (summary_facts_decode(data, bytes, &f)) {
		assert(summary_facts_encode(&f, facts) == bytes && memcmp(facts, data, bytes) == 0);
		summary_add_node(&sum, &f);
	}
	if (summary_record_decode(data, bytes, &r)) {
		summary_record_encode(&r, again);
		assert(memcmp(again, data, bytes) == 0);
	}
	/* A sum of what was believed is believed. */
	summary_encode(&sum, again);
	assert(summary_decode(again, sizeof(again), &s));
}

static bool
where(void *arg, uint32_t node, struct cells_place *out)
{
	(void)arg;
	*out = (struct cells_place){.cell = 1 + node / 16 % 4, .region = 1 + node / 64 % 4};
	return node < 256;
}

static void
give(struct cells *c, const struct step_input *in)
{
	static struct step_actions out;

	step_actions_clear(&out);
	cells_step(c, in, &out);
	for (unsigned i = 0; i < 100 && out.more; i++) {
		const struct step_input more = {.kind = STEP_MORE, .now_ns = in->now_ns};

		step_actions_clear(&out);
		cells_step(c, &more, &out);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	const struct cells_config config = {
		.self = 1, .place = {1, 1}, .seed = 1, .file = 1, .where = where};
	struct cells *c;

	codecs(data, bytes);
	if (cells_new(&config, &c) < 0)
		abort();
	give(c, &(struct step_input){.kind = STEP_START, .now_ns = 1000000000});
	for (unsigned i = 0; i < 4; i++)
		give(c, &(struct step_input){.kind = STEP_DATAGRAM,
					     .now_ns = 1000000000 + i * UINT64_C(700000000),
					     .node = i % 2 ? 17 : 65,
					     .what = (uint16_t)(CELLS_HELLO | (2 - i % 2)),
					     .data = data,
					     .bytes = bytes});
	give(c, &(struct step_input){
			.kind = STEP_STREAM_UP, .now_ns = 4000000000, .node = 17, .stream = 3});
	give(c, &(struct step_input){.kind = STEP_STREAM_DATA,
				     .now_ns = 4000000000,
				     .stream = 3,
				     .data = data,
				     .bytes = bytes});
	give(c, &(struct step_input){.kind = STEP_TIMER, .now_ns = 5000000000});
	cells_free(c);
	return 0;
}
