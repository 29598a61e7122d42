/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Geometry of a segment. The same function places the areas for the producer that makes a segment
 * and for the reader that was handed one, so they cannot disagree; what a hostile header can still
 * do is name other sizes, and those have limits here and must add up to the size of the file.
 *
 * All sizes are far below 2^63 once each has passed its own limit, so sums need no overflow checks.
 */

#include "ring/layout.h"

#include <stdbool.h>
#include "base/metric.h"
#include "ring/word.h"

_Static_assert(sizeof(struct layout_header) <= LAYOUT_PAGE, "the header fits its page");
_Static_assert(offsetof(struct layout_header, heartbeat) % LAYOUT_LINE == 0, "its own line");
_Static_assert(sizeof(struct layout_log) <= LAYOUT_PAGE, "the log's control words fit a page");
_Static_assert(sizeof(struct layout_record) == 16, "a record's head is two words");
_Static_assert(sizeof(struct ring_table_layout) == 12, "part of the ABI");
_Static_assert(sizeof(struct ring_answers_layout) == 12, "part of the ABI");

static size_t
round_up(size_t bytes, size_t to)
{
	return (bytes + to - 1) / to * to;
}

static size_t
take(size_t *at, size_t bytes)
{
	size_t place = *at;

	*at = round_up(place + bytes, LAYOUT_PAGE);
	return place;
}

size_t
layout_table_rows(const struct ring_table_layout *table)
{
	return round_up(LAYOUT_LINE + table->rows_max * sizeof(struct layout_row), LAYOUT_PAGE);
}

size_t
layout_slots_bodies(uint32_t slots)
{
	return round_up(LAYOUT_LINE + slots * sizeof(struct layout_slot), LAYOUT_LINE);
}

static size_t
slots_bytes(uint32_t slots, uint32_t body_bytes)
{
	return round_up(layout_slots_bodies(slots) + slots * word_round(body_bytes), LAYOUT_LINE);
}

static const char *
place_log(const struct ring_layout *l, struct layout_places *out, size_t *at)
{
	if (l->log_bytes == 0)
		return NULL;
	if (l->log_bytes < LAYOUT_LOG_MIN || l->log_bytes > LAYOUT_LOG_MAX)
		return "the log is too small or too large";
	if ((l->log_bytes & (l->log_bytes - 1)) != 0)
		return "the size of the log is not a power of two";
	out->log = take(at, sizeof(struct layout_log));
	out->log_data = take(at, l->log_bytes);
	return NULL;
}

static bool
table_is_repeated(const struct ring_layout *l, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (l->tables[i].table == l->tables[n].table)
			return true;
	return false;
}

static const char *
place_tables(const struct ring_layout *l, struct layout_places *out, size_t *at)
{
	if (l->tables_count > RING_TABLES_MAX)
		return "too many tables";
	for (size_t i = 0; i < l->tables_count; i++) {
		const struct ring_table_layout *t = &l->tables[i];

		if (table_is_repeated(l, i))
			return "a table is there twice";
		if (t->row_bytes == 0 || t->row_bytes % 8 != 0 || t->row_bytes > RING_ROW_MAX)
			return "a table's row has a bad size";
		if (t->rows_max == 0 || t->rows_max > LAYOUT_ROWS_MAX ||
		    (uint64_t)t->rows_max * t->row_bytes > LAYOUT_AREA_MAX)
			return "a table is empty or too large";
		out->tables[i] =
			take(at, layout_table_rows(t) + (size_t)t->rows_max * t->row_bytes);
	}
	return NULL;
}

static const char *
place_requests(const struct ring_layout *l, struct layout_places *out, size_t *at)
{
	if (l->request_slots == 0)
		return NULL;
	if (l->request_slots > RING_SLOTS_MAX)
		return "too many request slots";
	if (l->request_body_bytes > RING_BODY_MAX)
		return "a request's body is too large";
	out->requests = take(at, slots_bytes(l->request_slots, l->request_body_bytes));
	return NULL;
}

static bool
answers_are_repeated(const struct ring_layout *l, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (l->answers[i].role == l->answers[n].role)
			return true;
	return false;
}

static const char *
place_answers(const struct ring_layout *l, struct layout_places *out, size_t *at)
{
	if (l->answers_count > RING_ANSWERS_MAX)
		return "too many areas of answers";
	for (size_t i = 0; i < l->answers_count; i++) {
		const struct ring_answers_layout *a = &l->answers[i];

		if (answers_are_repeated(l, i))
			return "two areas of answers for one role";
		if (a->instances == 0 || a->instances > LAYOUT_INSTANCES_MAX)
			return "an area of answers is for no or too many instances";
		if (a->slots == 0 || a->slots > RING_SLOTS_MAX || a->body_bytes > RING_BODY_MAX)
			return "an area of answers has bad sizes";
		out->answers_stride[i] = slots_bytes(a->slots, a->body_bytes);
		if (out->answers_stride[i] * a->instances > LAYOUT_AREA_MAX)
			return "an area of answers is too large";
		out->answers[i] = take(at, out->answers_stride[i] * a->instances);
	}
	return NULL;
}

static const char *
place_metrics(const struct ring_layout *l, struct layout_places *out, size_t *at)
{
	if (l->metric_series == 0)
		return NULL;
	if (l->metric_series > LAYOUT_SERIES_MAX)
		return "too many metric series";
	out->metrics_bytes = metric_page_bytes(l->metric_series);
	out->metrics = take(at, out->metrics_bytes);
	return NULL;
}

const char *
layout_place(const struct ring_layout *layout, struct layout_places *out)
{
	size_t at = LAYOUT_PAGE;
	const char *wrong;

	*out = (struct layout_places){0};
	wrong = place_log(layout, out, &at);
	if (wrong == NULL)
		wrong = place_tables(layout, out, &at);
	if (wrong == NULL)
		wrong = place_requests(layout, out, &at);
	if (wrong == NULL)
		wrong = place_answers(layout, out, &at);
	if (wrong == NULL)
		wrong = place_metrics(layout, out, &at);
	out->total = at;
	return wrong;
}

void
layout_to_header(const struct ring_layout *layout, size_t segment_bytes, struct layout_header *out)
{
	*out = (struct layout_header){
		.magic = RING_MAGIC,
		.abi = RING_ABI,
		.header_bytes = sizeof(*out),
		.segment_bytes = segment_bytes,
		.role = layout->role,
		.index = layout->index,
		.generation = layout->generation,
		.log_bytes = layout->log_bytes,
		.tables_count = (uint16_t)layout->tables_count,
		.answers_count = (uint16_t)layout->answers_count,
		.metric_series = layout->metric_series,
		.request_slots = layout->request_slots,
		.request_body_bytes = layout->request_body_bytes,
	};
	for (size_t i = 0; i < layout->tables_count; i++)
		out->tables[i] = layout->tables[i];
	for (size_t i = 0; i < layout->answers_count; i++)
		out->answers[i] = layout->answers[i];
}

const char *
layout_from_header(const struct layout_header *header, struct ring_layout *out)
{
	if (header->magic != RING_MAGIC)
		return "it does not begin with the mark of a ring segment";
	if (header->abi != RING_ABI || header->header_bytes != sizeof(*header))
		return "its version is not one that this program reads";
	if (header->tables_count > RING_TABLES_MAX || header->answers_count > RING_ANSWERS_MAX)
		return "it claims more areas than there may be";
	*out = (struct ring_layout){
		.role = header->role,
		.index = header->index,
		.generation = header->generation,
		.log_bytes = header->log_bytes,
		.tables_count = header->tables_count,
		.answers_count = header->answers_count,
		.metric_series = header->metric_series,
		.request_slots = header->request_slots,
		.request_body_bytes = header->request_body_bytes,
	};
	for (size_t i = 0; i < out->tables_count; i++)
		out->tables[i] = header->tables[i];
	for (size_t i = 0; i < out->answers_count; i++)
		out->answers[i] = header->answers[i];
	return NULL;
}
