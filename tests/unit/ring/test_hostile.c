/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A producer that was taken over: its segment's geometry holds (else it is refused at once), but
 * every other word says what it likes, and changes while it is read. Readers must come back with a
 * status, and may deliver nonsense, but never more of it than the limits allow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include "ring/layout.h"
#include "tests/support/prop.h"
#include "tests/support/segment_use.h"

struct fixture {
	struct ring_layout layout;
	struct layout_places places;
	struct segment_twin twin;
	struct ring_reader *r;
	struct ring_request request;
	struct ring_answer answer;
};

static struct fixture fixture;

/* A segment with two rows, some records, a request and an answer; then the producer turns. */
static int
setup(void **state)
{
	struct ring_writer *w = segment_writer(1);
	struct segment_row row = segment_row(5);
	uint64_t id;

	fixture = (struct fixture){.layout = segment_layout(1)};
	SEGMENT_MUST(layout_place(&fixture.layout, &fixture.places) == NULL);
	for (uint64_t key = 1; key <= 2; key++)
		SEGMENT_MUST(ring_table_set(w, SEGMENT_TABLE, key, &row, NULL) == RING_OK);
	for (uint64_t n = 0; n < 10; n++)
		ring_log_put(w, 1, 1, &n, sizeof(n));
	ring_log_publish(w);
	SEGMENT_MUST(ring_ask(w, 2, 0, 1, 1000, "body", 4, &id) == RING_OK);
	SEGMENT_MUST(ring_answer(w, SEGMENT_ASKER, 0, 5, 0, "answer", 6) == RING_OK);
	fixture.twin = segment_twin(w);
	fixture.r = segment_reader_of(fixture.twin.fd);
	ring_writer_free(w);
	*state = &fixture;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	ring_reader_free(f->r);
	segment_twin_close(&f->twin);
	return 0;
}

static void *
at(struct fixture *f, size_t offset)
{
	return f->twin.memory + offset;
}

static enum ring_status
next_record(struct fixture *f)
{
	struct ring_record record;

	return ring_log_next(f->r, &record);
}

static enum ring_status
look(struct fixture *f)
{
	return ring_table_sync(f->r, SEGMENT_TABLE, sizeof(struct segment_row), NULL, NULL);
}

static void
test_record_longer_than_allowed(void **state)
{
	struct fixture *f = *state;
	struct layout_record *record = at(f, f->places.log_data);

	record->bytes = UINT32_MAX;
	assert_int_equal(next_record(f), RING_BAD);
	assert_int_equal(next_record(f), RING_BAD);
}

static void
test_record_beyond_head(void **state)
{
	struct fixture *f = *state;
	struct layout_record *record = at(f, f->places.log_data);

	record->bytes = RING_RECORD_MAX;
	assert_int_equal(next_record(f), RING_BAD);
}

static void
test_head_goes_back(void **state)
{
	struct fixture *f = *state;
	struct layout_log *log = at(f, f->places.log);

	while (next_record(f) == RING_OK)
		;
	log->head = 8;
	assert_int_equal(next_record(f), RING_BAD);
}

static void
test_head_is_not_aligned(void **state)
{
	struct fixture *f = *state;
	struct layout_log *log = at(f, f->places.log);

	log->head += 4;
	assert_int_equal(next_record(f), RING_BAD);
}

static void
test_head_far_ahead(void **state)
{
	struct fixture *f = *state;
	struct layout_log *log = at(f, f->places.log);
	enum ring_status status = RING_OK;

	log->head = UINT64_MAX & ~(uint64_t)7;
	for (unsigned i = 0; i < 100000 && status == RING_OK; i++)
		status = next_record(f);
	assert_int_not_equal(status, RING_OK);
}

static void
test_sequence_goes_back(void **state)
{
	struct fixture *f = *state;
	struct layout_record *record = at(f, f->places.log_data + 24);

	record->sequence = 0;
	assert_int_equal(next_record(f), RING_OK);
	assert_int_equal(next_record(f), RING_BAD);
}

static void
test_checkpoints_lie(void **state)
{
	struct fixture *f = *state;
	struct layout_log *log = at(f, f->places.log);

	log->reserved = UINT64_MAX;
	for (size_t i = 0; i < LAYOUT_CHECKPOINTS; i++)
		log->checkpoints[i] = UINT64_MAX - i * 1000;
	ring_log_start(f->r, true);
	next_record(f);
	log->sequence_high = 7;
	log->sequence_low = 8;
	ring_log_start(f->r, false);
	next_record(f);
}

static void
test_rows_beyond_the_table(void **state)
{
	struct fixture *f = *state;
	struct layout_table *table = at(f, f->places.tables[0]);

	table->high_water = 101;
	assert_int_equal(look(f), RING_BAD);
	table->high_water = UINT64_MAX;
	assert_int_equal(look(f), RING_BAD);
	assert_null(ring_table_get(f->r, SEGMENT_TABLE, 1));
}

static void
test_key_twice(void **state)
{
	struct fixture *f = *state;
	struct layout_row *heads = at(f, f->places.tables[0] + LAYOUT_LINE);

	heads[1].key = 1;
	assert_int_equal(look(f), RING_BAD);
	assert_null(ring_table_get(f->r, SEGMENT_TABLE, 1));
}

/* Row 2 claims row 1's key in a later version, while row 1 stays. */
static void
test_key_of_another_row(void **state)
{
	struct fixture *f = *state;
	struct layout_table *table = at(f, f->places.tables[0]);
	struct layout_row *heads = at(f, f->places.tables[0] + LAYOUT_LINE);

	assert_int_equal(look(f), RING_OK);
	heads[1].key = 1;
	heads[1].version = table->sequence / 2 + 1;
	table->sequence += 2;
	assert_int_equal(look(f), RING_BAD);
	assert_non_null(ring_table_get(f->r, SEGMENT_TABLE, 2));
}

static void
test_table_goes_back(void **state)
{
	struct fixture *f = *state;
	struct layout_table *table = at(f, f->places.tables[0]);

	assert_int_equal(look(f), RING_OK);
	table->sequence -= 2;
	assert_int_equal(look(f), RING_BAD);
	table->sequence += 4;
	table->high_water = 1;
	assert_int_equal(look(f), RING_BAD);
}

static void
test_request_lies(void **state)
{
	struct fixture *f = *state;
	struct layout_slots *slots = at(f, f->places.requests);
	struct layout_slot *slot = at(f, f->places.requests + LAYOUT_LINE);
	uint64_t meta = slot->meta;

	slot->meta |= (uint64_t)0xffff << 48;
	assert_int_equal(ring_request_next(f->r, 2, 0, 1, &f->request), RING_BAD);
	slot->meta = meta;
	slot->id += 3;
	slots->changes++;
	assert_int_equal(ring_request_next(f->r, 2, 0, 1, &f->request), RING_BAD);
	slot->id ^= (uint64_t)1 << 60;
	slots->changes++;
	assert_int_equal(ring_request_next(f->r, 2, 0, 1, &f->request), RING_BAD);
	slots->high_water = UINT64_MAX;
	slots->changes++;
	assert_int_equal(ring_request_next(f->r, 2, 0, 1, &f->request), RING_BAD);
}

static void
test_answer_lies(void **state)
{
	struct fixture *f = *state;
	struct layout_slot *slots = at(f, f->places.answers[0] + LAYOUT_LINE);

	assert_int_equal(ring_answer_get(f->r, SEGMENT_ASKER, 0, 5, &f->answer), RING_OK);
	slots[5].meta = UINT64_MAX;
	assert_int_equal(ring_answer_get(f->r, SEGMENT_ASKER, 0, 5, &f->answer), RING_BAD);
	slots[5].sequence = 1;
	assert_int_equal(ring_answer_get(f->r, SEGMENT_ASKER, 0, 5, &f->answer), RING_AGAIN);
}

static void
test_metric_page_lies(void **state)
{
	struct fixture *f = *state;
	struct metric_page *page = at(f, f->places.metrics);

	page->capacity = UINT32_MAX;
	assert_null(ring_reader_metrics(f->r));
	page->magic = 0;
	assert_null(ring_reader_metrics(f->r));
}

/* ---- random bytes, while readers read ---- */

struct scribbler {
	struct fixture *f;
	uint64_t seed;
	int stop;
};

/* Mostly the control words; whole-segment noise would be found out at the first word. */
static uint64_t *
pick_word(struct fixture *f, struct prop *p)
{
	const size_t places[] = {
		f->places.log,      f->places.log_data,   f->places.tables[0], f->places.tables[1],
		f->places.requests, f->places.answers[0], f->places.metrics,   0};
	size_t offset = places[prop_below(p, 8)];

	if (offset == 0)
		offset = prop_below(p, f->twin.bytes);
	else
		offset += prop_below(p, prop_below(p, 4) == 0 ? 4096 : 128);
	return (uint64_t *)(void *)(f->twin.memory + (offset % f->twin.bytes & ~(size_t)7));
}

static uint64_t
pick_value(struct prop *p, uint64_t now)
{
	switch (prop_below(p, 6)) {
	case 0:
		return prop_u64(p);
	case 1:
		return prop_below(p, 300);
	case 2:
		return now ^ (uint64_t)1 << prop_below(p, 64);
	case 3:
		return now + 2;
	case 4:
		return now + 24 * prop_below(p, 100);
	default:
		return UINT64_MAX << prop_below(p, 64);
	}
}

static void *
scribble(void *arg)
{
	struct scribbler *s = arg;
	struct prop p = {.state = s->seed};

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		uint64_t *word = pick_word(s->f, &p);
		uint64_t now = __atomic_load_n(word, __ATOMIC_RELAXED);

		__atomic_store_n(word, pick_value(&p, now), __ATOMIC_RELAXED);
	}
	return NULL;
}

/* The geometry was checked on a copy: nothing written to the header afterwards matters. */
static void
test_scribbling_while_it_is_read(void **state)
{
	struct fixture *f = *state;
	struct scribbler s = {.f = f};
	unsigned sum = 0, bad = 0;
	pthread_t thread;

	s.seed = (uint64_t)getpid();
	print_message("# seed %llu\n", (unsigned long long)s.seed);
	assert_int_equal(pthread_create(&thread, NULL, scribble, &s), 0);
	/* On a busy machine the other thread may start late: go on until it was met. */
	for (unsigned i = 0; i < 3000 || (bad == 0 && i < 30000000); i++) {
		bad += segment_use(f->r, &sum);
		if (i % 3 == 0)
			ring_log_start(f->r, i % 2 == 0);
	}
	__atomic_store_n(&s.stop, 1, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(bad > 0);
}

/* Many tiny rows that each become one of the reader's size would be more than any producer may
 * have. */
static void
test_tiny_rows_that_would_grow(void **state)
{
	struct ring_layout layout = {
		.role = SEGMENT_ROLE,
		.tables = {{.table = SEGMENT_TABLE, .row_bytes = 8, .rows_max = 100000}},
		.tables_count = 1,
	};
	struct ring_writer *w = segment_writer_of(&layout);
	struct ring_reader *r = segment_reader(w);
	uint64_t value = 1;

	(void)state;
	ring_table_begin(w, SEGMENT_TABLE);
	for (uint64_t key = 1; key <= layout.tables[0].rows_max; key++)
		assert_int_equal(ring_table_set(w, SEGMENT_TABLE, key, &value, NULL), RING_OK);
	ring_table_commit(w, SEGMENT_TABLE);
	assert_int_equal(ring_table_sync(r, SEGMENT_TABLE, RING_ROW_MAX, NULL, NULL), RING_BAD);
	ring_reader_free(r);
	ring_writer_free(w);
}

/* Claims many rows, then, while a reader has looked at them and not yet checked, fewer. */
static void *
breathe(void *arg)
{
	struct scribbler *s = arg;
	struct layout_table *table = at(s->f, s->f->places.tables[0]);
	uint64_t sequence = 2;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		sequence += 2;
		__atomic_store_n(&table->high_water, sequence % 4 == 0 ? 100 : 2, __ATOMIC_RELEASE);
		__atomic_store_n(&table->sequence, sequence, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void
test_high_water_falls_while_it_is_read(void **state)
{
	struct fixture *f = *state;
	struct layout_row *heads = at(f, f->places.tables[0] + LAYOUT_LINE);
	struct scribbler s = {.f = f};
	unsigned bad = 0;
	pthread_t thread;

	for (size_t i = 2; i < 100; i++)
		heads[i] = (struct layout_row){.key = i + 1, .version = UINT64_MAX / 2};
	assert_int_equal(pthread_create(&thread, NULL, breathe, &s), 0);
	for (unsigned i = 0; i < 2000 || (bad == 0 && i < 1000000); i++) {
		struct ring_reader *r = segment_reader_of(f->twin.fd);

		bad += ring_table_sync(r, SEGMENT_TABLE, sizeof(struct segment_row), NULL, NULL) ==
		       RING_BAD;
		ring_reader_free(r);
	}
	__atomic_store_n(&s.stop, 1, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(bad > 0);
}

/* Step by step, so that a failure can be repeated from its seed. */
static void
test_scribbling_between_reads(void **state)
{
	struct fixture *f = *state;
	struct prop p = {.state = (uint64_t)getpid() * 7919};
	unsigned sum = 0;

	print_message("# seed %llu\n", (unsigned long long)p.state);
	for (unsigned i = 0; i < 5000; i++) {
		uint64_t *word = pick_word(f, &p);

		*word = pick_value(&p, *word);
		segment_use(f->r, &sum);
		if (i % 7 == 0)
			ring_log_start(f->r, i % 2 == 0);
	}
}

#define HOSTILE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		HOSTILE_TEST(test_record_longer_than_allowed),
		HOSTILE_TEST(test_record_beyond_head),
		HOSTILE_TEST(test_head_goes_back),
		HOSTILE_TEST(test_head_is_not_aligned),
		HOSTILE_TEST(test_head_far_ahead),
		HOSTILE_TEST(test_sequence_goes_back),
		HOSTILE_TEST(test_checkpoints_lie),
		HOSTILE_TEST(test_rows_beyond_the_table),
		HOSTILE_TEST(test_key_twice),
		HOSTILE_TEST(test_key_of_another_row),
		HOSTILE_TEST(test_table_goes_back),
		HOSTILE_TEST(test_request_lies),
		HOSTILE_TEST(test_answer_lies),
		HOSTILE_TEST(test_metric_page_lies),
		HOSTILE_TEST(test_tiny_rows_that_would_grow),
		HOSTILE_TEST(test_high_water_falls_while_it_is_read),
		HOSTILE_TEST(test_scribbling_while_it_is_read),
		HOSTILE_TEST(test_scribbling_between_reads),
	};

	return cmocka_run_group_tests_name("ring hostile", tests, NULL, NULL);
}
