/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A segment's bytes, read by a reader. The input is a list of edits {offset, value}, each of eight
 * bytes, applied to a segment that a producer made: first to its header, with the reader opened
 * afterwards, then to everything else while the reader looks again after each edit. So the fuzzer
 * spends its time behind the checks of the geometry as well as on them.
 *
 *   byte 0       how many of the edits come before the reader is opened
 *   then         u16 page selector, u16 offset in words, u64 value
 */
#include <assert.h>
#include <stdint.h>
#include "base/mem.h"
#include "ring/layout.h"
#include "tests/support/segment_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EDITS_MAX = 64, EDIT_BYTES = 12 };

struct edit {
	uint16_t area;
	uint16_t word;
	uint64_t value;
};

static struct ring_writer *producer;
static struct layout_places places;

/* Made once; each run takes a fresh twin of it. */
static void
make_producer(void)
{
	struct ring_layout layout = segment_layout(1);
	struct segment_row row;
	uint64_t id;

	assert(layout_place(&layout, &places) == NULL);
	producer = segment_writer_of(&layout);
	for (uint64_t n = 0; n < 4000; n++)
		ring_log_put(producer, (uint16_t)n, 1, &n, n % 8);
	ring_log_publish(producer);
	for (uint64_t key = 1; key <= 20; key++) {
		row = segment_row(key);
		assert(ring_table_set(producer, SEGMENT_TABLE, key, &row, NULL) == RING_OK);
	}
	ring_table_remove(producer, SEGMENT_TABLE, 7);
	for (uint16_t i = 0; i < 4; i++)
		assert(ring_ask(producer, 2, i % 2, 1, 1000, "body", 4, &id) == RING_OK);
	assert(ring_answer(producer, SEGMENT_ASKER, 0, 5, 0, "answer", 6) == RING_OK);
	metric_add(metric_get(ring_writer_metrics(producer), 1, METRIC_COUNTER, NULL), 1);
}

static void
apply(struct segment_twin *twin, const uint8_t *data)
{
	const size_t areas[] = {0,
				places.log,
				places.log_data,
				places.tables[0],
				places.tables[1],
				places.requests,
				places.answers[0],
				places.metrics};
	struct edit e;
	size_t offset;

	memcpy(&e.area, data, 2);
	memcpy(&e.word, data + 2, 2);
	memcpy(&e.value, data + 4, 8);
	offset = (areas[e.area % 8] + e.word * (size_t)8) % twin->bytes;
	memcpy(twin->memory + offset, &e.value, 8);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct segment_twin twin;
	struct ring_reader *r = NULL;
	struct err err = {0};
	size_t edits, before, n = 0;
	unsigned sum = 0;

	if (size < 1)
		return 0;
	if (producer == NULL)
		make_producer();
	edits = (size - 1) / EDIT_BYTES;
	edits = edits < EDITS_MAX ? edits : EDITS_MAX;
	before = data[0] < edits ? data[0] : edits;
	twin = segment_twin(producer);
	for (; n < before; n++)
		apply(&twin, data + 1 + n * EDIT_BYTES);
	if (ring_reader_new(fcntl(twin.fd, F_DUPFD_CLOEXEC, 3), &r, &err) < 0) {
		assert(r == NULL && err.kind == ERR_CORRUPT);
		segment_twin_close(&twin);
		return 0;
	}
	segment_use(r, &sum);
	for (; n < edits; n++) {
		apply(&twin, data + 1 + n * EDIT_BYTES);
		if (n % 4 == 3)
			ring_log_start(r, n % 8 == 7);
		segment_use(r, &sum);
	}
	ring_reader_free(r);
	segment_twin_close(&twin);
	return 0;
}
