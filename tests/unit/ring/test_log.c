/* SPDX-License-Identifier: Apache-2.0 */
/* The log: records come out as they went in, and what was overwritten is counted exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/mem.h"
#include "tests/support/segment.h"

struct fixture {
	struct ring_writer *w;
	struct ring_reader *r;
};

static int
setup(void **state)
{
	struct fixture *f = mem_zalloc(MEM_BASE, sizeof(*f));

	f->w = segment_writer(1);
	f->r = segment_reader(f->w);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	ring_reader_free(f->r);
	ring_writer_free(f->w);
	mem_free(f);
	return 0;
}

static void
put(struct ring_writer *w, uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n < to; n++)
		ring_log_put(w, 7, 2, &n, sizeof(n));
}

/* Reads to the end; gives how many, adds the losses. Numbers and sequence agree in these tests. */
static uint64_t
drain(struct ring_reader *r, uint64_t *lost)
{
	struct ring_record record;
	uint64_t count = 0;
	uint64_t n;

	while (ring_log_next(r, &record) == RING_OK) {
		assert_int_equal(record.bytes, sizeof(n));
		memcpy(&n, record.data, sizeof(n));
		assert_int_equal(n, record.sequence);
		*lost += record.lost;
		count++;
	}
	assert_int_equal(ring_log_next(r, &record), RING_EMPTY);
	return count;
}

static void
test_empty(void **state)
{
	struct fixture *f = *state;
	struct ring_record record;

	assert_int_equal(ring_log_next(f->r, &record), RING_EMPTY);
	ring_log_publish(f->w);
	assert_int_equal(ring_log_next(f->r, &record), RING_EMPTY);
}

static void
test_unpublished_is_not_seen(void **state)
{
	struct fixture *f = *state;
	struct ring_record record;

	ring_log_put(f->w, 3, 9, "hello", 5);
	assert_int_equal(ring_log_next(f->r, &record), RING_EMPTY);
	ring_log_publish(f->w);
	assert_int_equal(ring_log_next(f->r, &record), RING_OK);
	assert_int_equal(record.type, 3);
	assert_int_equal(record.version, 9);
	assert_int_equal(record.bytes, 5);
	assert_int_equal(record.sequence, 0);
	assert_int_equal(record.lost, 0);
	assert_memory_equal(record.data, "hello", 5);
	assert_int_equal(ring_log_next(f->r, &record), RING_EMPTY);
}

static void
test_publishes_by_itself(void **state)
{
	struct fixture *f = *state;
	struct ring_record record;

	put(f->w, 0, 1000);
	assert_int_equal(ring_log_next(f->r, &record), RING_OK);
}

static void
test_lengths(void **state)
{
	struct fixture *f = *state;
	static unsigned char data[RING_RECORD_MAX];
	static const size_t lengths[] = {0, 1, 7, 8, 9, 63, 64, 4095, RING_RECORD_MAX};
	struct ring_record record;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 7);
	for (unsigned round = 0; round < 20; round++) {
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			ring_log_put(f->w, (uint16_t)i, 1, data + i,
				     lengths[i] - (i && lengths[i] > 64 ? i : 0));
			ring_log_publish(f->w);
			assert_int_equal(ring_log_next(f->r, &record), RING_OK);
			assert_int_equal(record.type, i);
			assert_int_equal(record.lost, 0);
			assert_int_equal(record.bytes, lengths[i] - (i && lengths[i] > 64 ? i : 0));
			assert_memory_equal(record.data, data + i, record.bytes);
		}
	}
}

static void
test_wraps_without_loss(void **state)
{
	struct fixture *f = *state;
	uint64_t lost = 0, got = 0;

	for (uint64_t n = 0; n < 100000; n += 100) {
		put(f->w, n, n + 100);
		ring_log_publish(f->w);
		got += drain(f->r, &lost);
	}
	assert_int_equal(got, 100000);
	assert_int_equal(lost, 0);
}

static void
test_lapped_reader_counts_exactly(void **state)
{
	struct fixture *f = *state;
	uint64_t lost = 0;

	put(f->w, 0, 10);
	ring_log_publish(f->w);
	assert_int_equal(drain(f->r, &lost), 10);
	put(f->w, 10, 50000);
	ring_log_publish(f->w);
	assert_int_equal(drain(f->r, &lost), 0);
	put(f->w, 50000, 50007);
	ring_log_publish(f->w);
	assert_int_equal(drain(f->r, &lost), 7);
	assert_int_equal(lost, 50000 - 10);
}

/* The batch was copied before the producer came around: it stays whole. */
static void
test_lapped_inside_a_batch(void **state)
{
	struct fixture *f = *state;
	struct ring_record record;
	uint64_t lost = 0, got = 1;

	put(f->w, 0, 2000);
	ring_log_publish(f->w);
	assert_int_equal(ring_log_next(f->r, &record), RING_OK);
	put(f->w, 2000, 30000);
	ring_log_publish(f->w);
	got += drain(f->r, &lost);
	put(f->w, 30000, 30001);
	ring_log_publish(f->w);
	got += drain(f->r, &lost);
	assert_true(got > 1000);
	assert_int_equal(got + lost, 30001);
}

static void
test_new_reader_from_the_start(void **state)
{
	struct fixture *f = *state;

	for (uint64_t total = 0; total < 12000; total += 531) {
		struct ring_reader *r = segment_reader(f->w);
		uint64_t lost = 0, got;

		got = drain(r, &lost);
		assert_int_equal(got + lost, total);
		/* 64 KiB hold 2730 records of 24 bytes; a chunk or two are given up. */
		assert_true(got == total || got > 2500);
		ring_reader_free(r);
		put(f->w, total, total + 531);
		ring_log_publish(f->w);
	}
}

static void
test_new_reader_at_the_newest(void **state)
{
	struct fixture *f = *state;
	struct ring_reader *r;
	uint64_t lost = 0;

	put(f->w, 0, 5000);
	ring_log_publish(f->w);
	r = segment_reader(f->w);
	ring_log_start(r, false);
	assert_int_equal(drain(r, &lost), 0);
	put(f->w, 5000, 5003);
	ring_log_publish(f->w);
	assert_int_equal(drain(r, &lost), 3);
	assert_int_equal(lost, 0);
	/* Lapped before its first record: still exact. */
	ring_log_start(r, false);
	put(f->w, 5003, 20000);
	ring_log_publish(f->w);
	assert_int_equal(drain(r, &lost), 0);
	put(f->w, 20000, 20001);
	ring_log_publish(f->w);
	assert_int_equal(drain(r, &lost), 1);
	assert_int_equal(lost, 20000 - 5003);
	ring_reader_free(r);
}

static void
test_two_readers_are_independent(void **state)
{
	struct fixture *f = *state;
	struct ring_reader *second = segment_reader(f->w);
	uint64_t lost = 0;

	put(f->w, 0, 10);
	ring_log_publish(f->w);
	assert_int_equal(drain(f->r, &lost), 10);
	put(f->w, 10, 20);
	ring_log_publish(f->w);
	assert_int_equal(drain(second, &lost), 20);
	assert_int_equal(drain(f->r, &lost), 10);
	assert_int_equal(lost, 0);
	ring_reader_free(second);
}

static void
test_no_memory_for_a_batch(void **state)
{
	struct fixture *f = *state;
	struct ring_record record;

	put(f->w, 0, 1);
	ring_log_publish(f->w);
	mem_fail_after(0);
	assert_int_equal(ring_log_next(f->r, &record), RING_NO_MEM);
	mem_fail_after(-1);
	assert_int_equal(ring_log_next(f->r, &record), RING_OK);
}

static void
test_segment_without_a_log(void **state)
{
	struct ring_layout layout = {.role = 1, .generation = 1};
	struct ring_writer *w = segment_writer_of(&layout);
	struct ring_reader *r = segment_reader(w);
	struct ring_record record;

	(void)state;
	ring_log_publish(w);
	ring_log_start(r, false);
	assert_int_equal(ring_log_next(r, &record), RING_EMPTY);
	ring_reader_free(r);
	ring_writer_free(w);
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(test_empty),
		LOG_TEST(test_unpublished_is_not_seen),
		LOG_TEST(test_publishes_by_itself),
		LOG_TEST(test_lengths),
		LOG_TEST(test_wraps_without_loss),
		LOG_TEST(test_lapped_reader_counts_exactly),
		LOG_TEST(test_lapped_inside_a_batch),
		LOG_TEST(test_new_reader_from_the_start),
		LOG_TEST(test_new_reader_at_the_newest),
		LOG_TEST(test_two_readers_are_independent),
		LOG_TEST(test_no_memory_for_a_batch),
		cmocka_unit_test(test_segment_without_a_log),
	};

	return cmocka_run_group_tests_name("ring log", tests, NULL, NULL);
}
