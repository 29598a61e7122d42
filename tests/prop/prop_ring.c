/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on a segment, against a naive model: a plain array of records, of rows, of
 * requests. Readers come and go, look often or seldom; whatever they are told must be what the
 * model says, and every record is either delivered or counted as lost.
 */
#include <string.h>
#include "base/mem.h"
#include "ring/ring_index.h"
#include "tests/support/prop.h"
#include "tests/support/segment.h"

enum {
	OPERATIONS = 60000,
	READERS = 3,
	KEYS = 40, /* keys 1 .. KEYS in a table of 100 rows, and in one of 4 */
	REQUESTS = 8,
};

struct model_reader {
	struct ring_reader *r;
	uint64_t expected;            /* sequence of the next record */
	uint64_t values[2][KEYS + 1]; /* told so far; 0: not there */
	bool given[REQUESTS];         /* request i of the model was given */
};

struct model_request {
	uint64_t id; /* 0: none */
	uint64_t value;
	uint16_t to_index;
	bool answered;
};

struct model {
	struct prop p;
	struct ring_writer *w;
	struct ring_writer *answerer;
	struct ring_reader *answerer_seen;
	struct model_reader readers[READERS];
	struct model_reader *told; /* whose callback is running */
	size_t told_table;
	uint64_t records;
	uint64_t published; /* at least so many */
	uint64_t values[2][KEYS + 1];
	struct model_request requests[REQUESTS];
	uint64_t now;
};

static const uint16_t table_ids[] = {SEGMENT_TABLE, SEGMENT_SMALL};

/* ---- log: the content of a record follows from its sequence number ---- */

static size_t
record_bytes(uint64_t sequence)
{
	uint64_t n = sequence * 0x9e3779b97f4a7c15 >> 40;

	return n % 64 == 0 ? n % (RING_RECORD_MAX + 1) : n % 200;
}

static void
record_fill(uint64_t sequence, unsigned char *out, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		out[i] = (unsigned char)(sequence * 31 + i * 7);
}

static void
op_put(struct model *m)
{
	static unsigned char data[RING_RECORD_MAX];
	size_t bytes = record_bytes(m->records);

	record_fill(m->records, data, bytes);
	ring_log_put(m->w, (uint16_t)m->records, (uint16_t)(m->records >> 16), data, bytes);
	m->records++;
	if (prop_below(&m->p, 3) == 0) {
		ring_log_publish(m->w);
		m->published = m->records;
	}
}

static void
check_record(struct model *m, struct model_reader *r, const struct ring_record *record)
{
	static unsigned char data[RING_RECORD_MAX];

	prop_check(record->sequence < m->records);
	prop_check(record->sequence == r->expected + record->lost);
	prop_check(record->type == (uint16_t)record->sequence);
	prop_check(record->version == (uint16_t)(record->sequence >> 16));
	prop_check(record->bytes == record_bytes(record->sequence));
	record_fill(record->sequence, data, record->bytes);
	prop_check(memcmp(data, record->data, record->bytes) == 0);
	r->expected = record->sequence + 1;
}

static void
op_read_log(struct model *m, struct model_reader *r)
{
	uint64_t most = prop_below(&m->p, 3) == 0 ? UINT64_MAX : prop_below(&m->p, 50);
	struct ring_record record;
	enum ring_status status = RING_OK;

	for (uint64_t i = 0; i < most && status == RING_OK; i++) {
		status = ring_log_next(r->r, &record);
		prop_check(status == RING_OK || status == RING_EMPTY);
		if (status == RING_OK)
			check_record(m, r, &record);
	}
}

/* ---- tables ---- */

static void
set_row(struct model *m, size_t table)
{
	uint64_t key = 1 + prop_below(&m->p, KEYS);
	uint64_t value = 1 + prop_below(&m->p, 5);
	struct segment_row row = segment_row(value);
	bool changed;
	size_t rows = 0;
	enum ring_status status = ring_table_set(m->w, table_ids[table], key, &row, &changed);

	for (size_t i = 1; i <= KEYS; i++)
		rows += m->values[table][i] != 0;
	if (status == RING_FULL) {
		prop_check(m->values[table][key] == 0 && table == 1 && rows == 4);
		return;
	}
	prop_check(status == RING_OK && changed == (m->values[table][key] != value));
	m->values[table][key] = value;
}

static void
op_change(struct model *m)
{
	size_t table = prop_below(&m->p, 2);
	bool together = prop_below(&m->p, 2) == 0;

	if (together)
		ring_table_begin(m->w, table_ids[table]);
	for (uint64_t n = prop_below(&m->p, 8); n > 0; n--) {
		uint64_t key = 1 + prop_below(&m->p, KEYS);

		if (prop_below(&m->p, 2) == 0) {
			set_row(m, table);
			continue;
		}
		prop_check(ring_table_remove(m->w, table_ids[table], key) ==
			   (m->values[table][key] != 0));
		m->values[table][key] = 0;
	}
	if (together)
		ring_table_commit(m->w, table_ids[table]);
}

static void
note(void *arg, uint64_t key, const void *row)
{
	struct model *m = arg;
	const struct segment_row *given = row;
	uint64_t *known = &m->told->values[m->told_table][key];
	uint64_t value = given != NULL ? given->value : 0;

	prop_check(key >= 1 && key <= KEYS && (given == NULL || segment_row_holds(given)));
	prop_check(given != NULL || *known != 0);
	prop_check(value == m->values[m->told_table][key]);
	*known = value;
}

static void
op_sync(struct model *m, struct model_reader *r)
{
	size_t table = prop_below(&m->p, 2);
	enum ring_status status;

	m->told = r;
	m->told_table = table;
	status = ring_table_sync(r->r, table_ids[table], sizeof(struct segment_row), note, m);
	prop_check(status == RING_OK || status == RING_EMPTY);
	for (uint64_t key = 1; key <= KEYS; key++) {
		const struct segment_row *row = ring_table_get(r->r, table_ids[table], key);

		prop_check(r->values[table][key] == m->values[table][key]);
		prop_check((row != NULL ? row->value : 0) == m->values[table][key]);
	}
}

/* ---- requests ---- */

static void
op_ask(struct model *m)
{
	uint64_t value = prop_u64(&m->p);
	uint16_t to_index = (uint16_t)prop_below(&m->p, 2);
	uint64_t id;
	size_t i = 0;
	enum ring_status status =
		ring_ask(m->w, 2, to_index, 7, UINT64_MAX, &value, sizeof(value), &id);

	while (i < REQUESTS && m->requests[i].id != 0)
		i++;
	prop_check(status == (i == REQUESTS ? RING_FULL : RING_OK));
	if (status != RING_OK)
		return;
	for (size_t j = 0; j < REQUESTS; j++)
		prop_check(m->requests[j].id != id);
	m->requests[i] = (struct model_request){.id = id, .value = value, .to_index = to_index};
	for (size_t j = 0; j < READERS; j++)
		m->readers[j].given[i] = false;
}

static void
op_release(struct model *m)
{
	struct model_request *q = &m->requests[prop_below(&m->p, REQUESTS)];

	ring_ask_release(m->w, q->id);
	*q = (struct model_request){0};
}

/* Each reader stands for one answerer: all that stand and were not given to it must come. */
static void
op_requests(struct model *m, size_t n)
{
	static struct ring_request request;
	struct model_reader *r = &m->readers[n];
	uint16_t index = (uint16_t)(n % 2);

	while (ring_request_next(r->r, 2, index, m->now, &request) == RING_OK) {
		size_t i = 0;

		while (i < REQUESTS && m->requests[i].id != request.id)
			i++;
		prop_check(i < REQUESTS && !r->given[i] && m->requests[i].to_index == index);
		prop_check(request.bytes == 8 && request.op == 7);
		prop_check(memcmp(request.body, &m->requests[i].value, 8) == 0);
		r->given[i] = true;
		prop_check(ring_answer(m->answerer, SEGMENT_ROLE, SEGMENT_INDEX, request.id, 9,
				       request.body, 8) == RING_OK);
		m->requests[i].answered = true;
	}
	for (size_t i = 0; i < REQUESTS; i++)
		prop_check(m->requests[i].id == 0 || m->requests[i].to_index != index ||
			   r->given[i]);
}

static void
op_answers(struct model *m)
{
	static struct ring_answer answer;

	for (size_t i = 0; i < REQUESTS; i++) {
		struct model_request *q = &m->requests[i];

		if (q->id == 0)
			continue;
		prop_check(ring_answer_get(m->answerer_seen, SEGMENT_ROLE, SEGMENT_INDEX, q->id,
					   &answer) == (q->answered ? RING_OK : RING_EMPTY));
		prop_check(!q->answered || (answer.status == 9 && answer.bytes == 8 &&
					    memcmp(answer.body, &q->value, 8) == 0));
	}
}

/* ---- readers come and go ---- */

static void
op_reader(struct model *m, struct model_reader *r)
{
	ring_reader_free(r->r);
	*r = (struct model_reader){.r = segment_reader(m->w)};
	if (prop_below(&m->p, 2) == 0) {
		ring_log_publish(m->w);
		m->published = m->records;
		ring_log_start(r->r, false);
		r->expected = m->published;
	}
}

static void
step(struct model *m)
{
	size_t n = prop_below(&m->p, READERS);

	m->now++;
	switch (prop_below(&m->p, 10)) {
	case 0:
	case 1:
		op_put(m);
		break;
	case 2:
		op_read_log(m, &m->readers[n]);
		break;
	case 3:
		op_change(m);
		break;
	case 4:
		op_sync(m, &m->readers[n]);
		break;
	case 5:
		op_ask(m);
		break;
	case 6:
		op_release(m);
		break;
	case 7:
		op_requests(m, n);
		break;
	case 8:
		op_answers(m);
		break;
	default:
		if (prop_below(&m->p, 20) == 0)
			op_reader(m, &m->readers[n]);
	}
}

/* ---- the index alone: small keys, so that runs of neighbours form and break ---- */

static void
check_index(struct prop *p)
{
	struct ring_index index = {0};
	uint32_t slots[64] = {0};
	uint32_t slot;
	size_t count = 0;

	for (unsigned i = 0; i < 20000; i++) {
		uint64_t key = 1 + prop_below(p, 63);

		if (prop_below(p, 2) == 0) {
			prop_check(ring_index_reserve(&index, count + 1));
			prop_check(ring_index_put(&index, key, i + 1) == (slots[key] == 0));
			count += slots[key] == 0;
			slots[key] = i + 1;
		} else {
			ring_index_remove(&index, key);
			count -= slots[key] != 0;
			slots[key] = 0;
		}
		key = 1 + prop_below(p, 63);
		prop_check(ring_index_get(&index, key, &slot) == (slots[key] != 0));
		prop_check(slots[key] == 0 || slot == slots[key]);
		prop_check(index.count == count);
	}
	ring_index_clear(&index);
	prop_check(!ring_index_get(&index, 1, &slot));
	ring_index_fini(&index);
}

int
main(int argc, char **argv)
{
	static struct model m;
	struct ring_layout layout = segment_layout(1);

	prop_init(&m.p, argc, argv);
	check_index(&m.p);
	m.w = segment_writer_of(&layout);
	layout.role = 2;
	layout.answers[0].role = SEGMENT_ROLE;
	m.answerer = segment_writer_of(&layout);
	m.answerer_seen = segment_reader(m.answerer);
	for (size_t i = 0; i < READERS; i++)
		m.readers[i].r = segment_reader(m.w);
	for (unsigned i = 0; i < OPERATIONS; i++)
		step(&m);
	for (size_t i = 0; i < READERS; i++)
		ring_reader_free(m.readers[i].r);
	ring_reader_free(m.answerer_seen);
	ring_writer_free(m.answerer);
	ring_writer_free(m.w);
	prop_check(mem_used_all() == 0);
	return 0;
}
