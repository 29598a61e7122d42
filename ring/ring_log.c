/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: a byte ring that one producer fills and any number of readers copy from.
 *
 * The producer first moves `reserved` over what it is going to overwrite (in chunks, so that the
 * word is rarely touched), then stores the record, then at some later time publishes `head`. A
 * reader copies a batch of bytes below `head`, then looks at `reserved`: if the producer has not
 * come around to the first byte of the batch, none of it can have changed while it was copied.
 * Otherwise the batch is thrown away and reading goes on at `head`; the sequence number of the next
 * record tells exactly how many were missed.
 *
 * At each chunk the producer notes where a record begins, for readers that want all there is. Every
 * note is a record's start for as long as that place has not been overwritten, so a reader needs no
 * lock to use them.
 *
 * Records are delivered from the reader's private batch; lengths are checked there, where they
 * cannot change any more.
 */

#include "ring/ring_segment.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"
#include "ring/word.h"

enum {
	LOG_PUBLISH_BYTES = 4096, /* are published even if the producer does not ask */
	LOG_BATCH_BYTES = 32768,
	LOG_START_TRIES = 1000,
};

_Static_assert(LOG_BATCH_BYTES >= RING_RECORD_MAX + sizeof(struct layout_record),
	       "a batch holds the longest record");
_Static_assert(LAYOUT_LOG_MIN / LAYOUT_CHECKPOINTS % 8 == 0, "chunks are whole words");
_Static_assert(LAYOUT_LOG_MIN > 2 * LOG_BATCH_BYTES - 1, "a batch is at most half of a log");

/* ---- the producer ---- */

void
ring_log_writer_init(struct ring_writer *w)
{
	struct ring_log_writer *l = &w->log;

	if (w->places.log == 0)
		return;
	l->control = (struct layout_log *)(void *)(w->memory + w->places.log);
	l->words = (uint64_t *)(void *)(w->memory + w->places.log_data);
	l->log_bytes = w->layout.log_bytes;
	l->chunk_bytes = l->log_bytes / LAYOUT_CHECKPOINTS;
}

static void
publish(struct ring_log_writer *l)
{
	word_store(&l->control->sequence_low, l->sequence);
	word_store(&l->control->head, l->tail);
	word_store(&l->control->sequence_high, l->sequence);
	l->published = l->tail;
}

/* What has been published must be whole, so `reserved` moves before the first byte is stored. */
static void
reserve(struct ring_log_writer *l, uint64_t until)
{
	uint64_t chunk = l->reserved / l->chunk_bytes;

	word_store(&l->control->checkpoints[chunk % LAYOUT_CHECKPOINTS], l->tail);
	while (l->reserved < until)
		l->reserved += l->chunk_bytes;
	word_store(&l->control->reserved, l->reserved);
}

static void
write_at(struct ring_log_writer *l, uint64_t position, const void *data, size_t bytes)
{
	uint64_t at = position & (l->log_bytes - 1);
	size_t before_end = (size_t)(l->log_bytes - at);

	if (bytes <= before_end) {
		word_write(l->words + at / 8, data, bytes);
		return;
	}
	word_write(l->words + at / 8, data, before_end);
	word_write(l->words, (const char *)data + before_end, bytes - before_end);
}

void
ring_log_put(struct ring_writer *w, uint16_t type, uint16_t version, const void *data, size_t bytes)
{
	struct ring_log_writer *l = &w->log;
	struct layout_record head = {
		.bytes = (uint32_t)bytes,
		.type = type,
		.version = version,
		.sequence = l->sequence,
	};
	uint64_t end = l->tail + sizeof(head) + word_round(bytes);

	assert(l->control != NULL && bytes <= RING_RECORD_MAX);
	if (end > l->reserved)
		reserve(l, end);
	write_at(l, l->tail, &head, sizeof(head));
	write_at(l, l->tail + sizeof(head), data, bytes);
	l->tail = end;
	l->sequence++;
	if (l->tail - l->published >= LOG_PUBLISH_BYTES)
		publish(l);
}

void
ring_log_publish(struct ring_writer *w)
{
	if (w->log.published != w->log.tail)
		publish(&w->log);
}

/* ---- readers ---- */

void
ring_log_reader_init(struct ring_reader *r)
{
	struct ring_log_reader *l = &r->log;

	if (r->places.log == 0)
		return;
	l->control = (const struct layout_log *)(const void *)(r->memory + r->places.log);
	l->words = (const uint64_t *)(const void *)(r->memory + r->places.log_data);
	l->log_bytes = r->layout.log_bytes;
	ring_log_start(r, true);
}

void
ring_log_reader_fini(struct ring_reader *r)
{
	mem_free(r->log.batch);
	r->log.batch = NULL;
}

/* The place from where all is still there, as far as the producer's notes tell. */
static void
start_at_oldest(struct ring_log_reader *l)
{
	uint64_t reserved = word_load(&l->control->reserved);
	uint64_t head = word_load(&l->control->head);
	uint64_t oldest = head;

	l->expected = 0;
	l->counting = true;
	l->position = 0;
	if (reserved <= l->log_bytes)
		return;
	for (size_t i = 0; i < LAYOUT_CHECKPOINTS; i++) {
		uint64_t at = word_load(&l->control->checkpoints[i]);

		if (at % 8 == 0 && at < oldest && at >= reserved - l->log_bytes)
			oldest = at;
	}
	l->position = oldest;
}

static void
start_at_newest(struct ring_log_reader *l)
{
	l->counting = false;
	for (unsigned i = 0; i < LOG_START_TRIES && !l->counting; i++) {
		uint64_t high = word_load(&l->control->sequence_high);

		l->position = word_load(&l->control->head);
		l->expected = word_load(&l->control->sequence_low);
		l->counting = high == l->expected;
	}
}

void
ring_log_start(struct ring_reader *r, bool from_start)
{
	struct ring_log_reader *l = &r->log;

	if (l->control == NULL)
		return;
	l->batch_at = 0;
	l->batch_bytes = 0;
	if (from_start)
		start_at_oldest(l);
	else
		start_at_newest(l);
}

static void
read_batch(struct ring_log_reader *l, size_t bytes)
{
	uint64_t at = l->position & (l->log_bytes - 1);
	size_t before_end = (size_t)(l->log_bytes - at);
	size_t first = bytes < before_end ? bytes : before_end;

	word_read(l->batch, l->words + at / 8, first / 8);
	word_read(l->batch + first, l->words, (bytes - first) / 8);
}

static enum ring_status
fill(struct ring_log_reader *l)
{
	uint64_t head = word_load(&l->control->head);
	uint64_t bytes = head - l->position;

	if (bytes == 0)
		return RING_EMPTY;
	if (head < l->position || head % 8 != 0)
		return RING_BAD;
	if (l->batch == NULL)
		l->batch = mem_alloc(MEM_RING, LOG_BATCH_BYTES);
	if (l->batch == NULL)
		return RING_NO_MEM;
	if (bytes > LOG_BATCH_BYTES)
		bytes = LOG_BATCH_BYTES;
	if (word_load(&l->control->reserved) - l->position <= l->log_bytes) {
		read_batch(l, (size_t)bytes);
		if (word_load(&l->control->reserved) - l->position <= l->log_bytes) {
			l->batch_bytes = (size_t)bytes;
			return RING_OK;
		}
	}
	/* Lapped: go on with what comes next. */
	head = word_load(&l->control->head);
	if (head < l->position || head % 8 != 0)
		return RING_BAD;
	l->position = head;
	return RING_EMPTY;
}

/* RING_EMPTY: the batch ends within the record. */
static enum ring_status
take(struct ring_log_reader *l, struct ring_record *out)
{
	size_t left = l->batch_bytes - l->batch_at;
	struct layout_record head;
	size_t bytes;

	if (left < sizeof(head))
		return RING_EMPTY;
	memcpy(&head, l->batch + l->batch_at, sizeof(head));
	if (head.bytes > RING_RECORD_MAX || (l->counting && head.sequence < l->expected))
		return RING_BAD;
	bytes = sizeof(head) + word_round(head.bytes);
	if (left < bytes)
		return RING_EMPTY;
	*out = (struct ring_record){
		.type = head.type,
		.version = head.version,
		.bytes = head.bytes,
		.sequence = head.sequence,
		.lost = l->counting ? head.sequence - l->expected : 0,
		.data = l->batch + l->batch_at + sizeof(head),
	};
	l->batch_at += bytes;
	l->expected = head.sequence + 1;
	l->counting = true;
	return RING_OK;
}

enum ring_status
ring_log_next(struct ring_reader *r, struct ring_record *out)
{
	struct ring_log_reader *l = &r->log;
	enum ring_status status;

	if (l->control == NULL)
		return RING_EMPTY;
	status = take(l, out);
	if (status != RING_EMPTY)
		return status;
	l->position += l->batch_at;
	l->batch_at = 0;
	l->batch_bytes = 0;
	status = fill(l);
	if (status != RING_OK)
		return status;
	/* The producer publishes whole records, and the longest fits a batch. */
	status = take(l, out);
	return status == RING_EMPTY ? RING_BAD : status;
}
