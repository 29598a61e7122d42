/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_SEGMENT_USE_H
#define TESTS_SUPPORT_SEGMENT_USE_H

/*
 * Reads everything a segment offers, believing nothing: what a reader of a hostile producer does.
 * Every call must come back, with any status, and what it delivers must be within its limits.
 */

#include "tests/support/segment.h"

enum { SEGMENT_USE_RECORDS_MAX = 4000, SEGMENT_USE_REQUESTS_MAX = 64 };

/* So that the sanitizers see a read of each byte. */
static inline unsigned
segment_use_bytes(const void *data, size_t bytes)
{
	const unsigned char *at = data;
	unsigned sum = 0;

	while (bytes-- > 0)
		sum += *at++;
	return sum;
}

static inline bool
segment_use_visit(void *arg, uint64_t key, const void *row)
{
	unsigned *sum = arg;

	SEGMENT_MUST(key != 0);
	*sum += segment_use_bytes(row, sizeof(struct segment_row));
	return true;
}

static inline void
segment_use_change(void *arg, uint64_t key, const void *row)
{
	if (row != NULL)
		segment_use_visit(arg, key, row);
}

static inline enum ring_status
segment_use_log(struct ring_reader *r, unsigned *sum)
{
	enum ring_status status = RING_OK;
	struct ring_record record;

	for (unsigned i = 0; i < SEGMENT_USE_RECORDS_MAX && status == RING_OK; i++) {
		status = ring_log_next(r, &record);
		if (status != RING_OK)
			break;
		SEGMENT_MUST(record.bytes <= RING_RECORD_MAX);
		*sum += segment_use_bytes(record.data, record.bytes);
	}
	return status;
}

static inline enum ring_status
segment_use_requests(struct ring_reader *r, unsigned *sum)
{
	static struct ring_request request;
	static struct ring_answer answer;
	enum ring_status status = RING_OK;

	for (unsigned i = 0; i < SEGMENT_USE_REQUESTS_MAX && status == RING_OK; i++) {
		status = ring_request_next(r, 2, (uint16_t)(i % 2), i, &request);
		if (status == RING_OK) {
			SEGMENT_MUST(request.bytes <= RING_BODY_MAX);
			*sum += segment_use_bytes(request.body, request.bytes);
		}
	}
	for (uint64_t id = 1; id < 16; id++)
		if (ring_answer_get(r, SEGMENT_ASKER, (uint16_t)(id % 3), id, &answer) == RING_OK) {
			SEGMENT_MUST(answer.bytes <= RING_BODY_MAX);
			*sum += segment_use_bytes(answer.body, answer.bytes);
		}
	return status;
}

static inline void
segment_use_metrics(struct ring_reader *r, unsigned *sum)
{
	const struct metric_page *page = ring_reader_metrics(r);
	struct metric_series series;

	for (uint32_t i = 0; page != NULL && i < ring_reader_metric_series(r); i++)
		if (metric_read(page, i, &series))
			*sum += segment_use_bytes(&series, sizeof(series));
}

/* True when some part was found to lie. */
static inline bool
segment_use(struct ring_reader *r, unsigned *sum)
{
	const uint16_t tables[] = {SEGMENT_TABLE, SEGMENT_SMALL, 12345};
	bool bad = segment_use_log(r, sum) == RING_BAD;

	for (size_t i = 0; i < 3; i++) {
		bad |= ring_table_sync(r, tables[i], sizeof(struct segment_row), segment_use_change,
				       sum) == RING_BAD;
		ring_table_each(r, tables[i], segment_use_visit, sum);
	}
	bad |= segment_use_requests(r, sum) == RING_BAD;
	segment_use_metrics(r, sum);
	*sum += (unsigned)ring_reader_heartbeat(r);
	return bad;
}

#endif
