/* SPDX-License-Identifier: Apache-2.0 */
/* A segment's life, and the files that a reader must refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ring/layout.h"
#include "tests/support/segment.h"
#include "tests/support/sweep.h"

static void
test_what_a_reader_is_told(void **state)
{
	struct ring_writer *w = segment_writer(77);
	struct ring_reader *r = segment_reader(w);

	(void)state;
	assert_int_equal(ring_reader_role(r), SEGMENT_ROLE);
	assert_int_equal(ring_reader_index(r), SEGMENT_INDEX);
	assert_int_equal(ring_reader_generation(r), 77);
	assert_int_equal(ring_reader_heartbeat(r), 0);
	ring_writer_heartbeat(w, 123456789);
	assert_int_equal(ring_reader_heartbeat(r), 123456789);
	ring_reader_free(r);
	ring_writer_free(w);
	ring_reader_free(NULL);
	ring_writer_free(NULL);
}

static void
test_metrics(void **state)
{
	struct ring_writer *w = segment_writer(1);
	struct ring_reader *r = segment_reader(w);
	const struct metric_page *page;
	struct metric_series series;
	uint64_t sum = 0;

	(void)state;
	metric_add(metric_get(ring_writer_metrics(w), 5, METRIC_COUNTER, NULL), 41);
	page = ring_reader_metrics(r);
	assert_non_null(page);
	assert_int_equal(ring_reader_metric_series(r), 4);
	for (uint32_t i = 0; i < ring_reader_metric_series(r); i++)
		if (metric_read(page, i, &series) && series.metric == 5)
			sum += series.values[0];
	assert_int_equal(sum, 41);
	ring_reader_free(r);
	ring_writer_free(w);
}

static void
test_smallest_segment(void **state)
{
	struct ring_layout layout = {.role = 2, .generation = 1};
	struct ring_writer *w = segment_writer_of(&layout);
	struct ring_reader *r = segment_reader(w);
	struct ring_request request;

	(void)state;
	assert_null(ring_writer_metrics(w));
	assert_null(ring_reader_metrics(r));
	assert_int_equal(ring_request_next(r, 1, 0, 1, &request), RING_EMPTY);
	ring_reader_free(r);
	ring_writer_free(w);
}

/* ---- nobody but the producer writes ---- */

static void
test_readers_cannot_write(void **state)
{
	struct ring_writer *w = segment_writer(1);
	int fd = ring_writer_fd(w);
	char path[64];
	void *memory;
	int again;

	(void)state;
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 1 << 30), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(errno, EPERM);
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_equal(memory, MAP_FAILED);
	assert_int_equal(errno, EPERM);
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	assert_int_equal(mprotect(memory, 4096, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(munmap(memory, 4096), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(again, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(close(again), 0);
	ring_writer_free(w);
}

/* ---- files that are refused ---- */

static void
assert_refused(const struct segment_twin *twin)
{
	struct ring_reader *r = NULL;
	struct err err = {0};
	int fd = fcntl(twin->fd, F_DUPFD_CLOEXEC, 3);

	assert_int_equal(ring_reader_new(fd, &r, &err), -1);
	assert_null(r);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_true(err.whys > 0);
	/* The descriptor was taken over all the same. */
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void
refuse_header(const struct ring_writer *w, void (*edit)(struct layout_header *h))
{
	struct segment_twin twin = segment_twin(w);

	edit((struct layout_header *)(void *)twin.memory);
	assert_refused(&twin);
	segment_twin_close(&twin);
}

static void
edit_magic(struct layout_header *h)
{
	h->magic++;
}
static void
edit_abi(struct layout_header *h)
{
	h->abi = 99;
}
static void
edit_header_bytes(struct layout_header *h)
{
	h->header_bytes = 8;
}
static void
edit_segment_bytes(struct layout_header *h)
{
	h->segment_bytes *= 2;
}
static void
edit_log_larger(struct layout_header *h)
{
	h->log_bytes *= 2;
}
static void
edit_log_odd(struct layout_header *h)
{
	h->log_bytes += 4096;
}
static void
edit_log_huge(struct layout_header *h)
{
	h->log_bytes = (uint64_t)1 << 63;
}
static void
edit_tables_count(struct layout_header *h)
{
	h->tables_count = RING_TABLES_MAX + 1;
}
static void
edit_tables_fewer(struct layout_header *h)
{
	h->tables_count = 0;
}
static void
edit_table_twice(struct layout_header *h)
{
	h->tables[1].table = h->tables[0].table;
}
static void
edit_row_bytes(struct layout_header *h)
{
	h->tables[0].row_bytes = 12;
}
static void
edit_row_bytes_zero(struct layout_header *h)
{
	h->tables[0].row_bytes = 0;
}
static void
edit_row_bytes_huge(struct layout_header *h)
{
	h->tables[0].row_bytes = UINT32_MAX & ~7U;
}
static void
edit_rows_max(struct layout_header *h)
{
	h->tables[0].rows_max = UINT32_MAX;
}
static void
edit_rows_none(struct layout_header *h)
{
	h->tables[1].rows_max = 0;
}
static void
edit_slots(struct layout_header *h)
{
	h->request_slots = RING_SLOTS_MAX + 1;
}
static void
edit_slots_more(struct layout_header *h)
{
	h->request_slots = RING_SLOTS_MAX;
}
static void
edit_body(struct layout_header *h)
{
	h->request_body_bytes = RING_BODY_MAX + 1;
}
static void
edit_answers_count(struct layout_header *h)
{
	h->answers_count = UINT16_MAX;
}
static void
edit_answers_twice(struct layout_header *h)
{
	h->answers_count = 2;
	h->answers[1] = h->answers[0];
}
static void
edit_answers_instances(struct layout_header *h)
{
	h->answers[0].instances = UINT16_MAX;
}
static void
edit_answers_none(struct layout_header *h)
{
	h->answers[0].instances = 0;
}
static void
edit_answers_slots(struct layout_header *h)
{
	h->answers[0].slots = 0;
}
static void
edit_answers_body(struct layout_header *h)
{
	h->answers[0].body_bytes = UINT32_MAX;
}
static void
edit_answers_huge(struct layout_header *h)
{
	h->answers[0] = (struct ring_answers_layout){.role = SEGMENT_ASKER,
						     .instances = 256,
						     .slots = RING_SLOTS_MAX,
						     .body_bytes = RING_BODY_MAX};
}
static void
edit_series(struct layout_header *h)
{
	h->metric_series = UINT32_MAX;
}

static void
test_lying_headers(void **state)
{
	static void (*const edits[])(struct layout_header *) = {
		edit_magic,          edit_abi,           edit_header_bytes,
		edit_segment_bytes,  edit_log_larger,    edit_log_odd,
		edit_log_huge,       edit_tables_count,  edit_tables_fewer,
		edit_table_twice,    edit_row_bytes,     edit_row_bytes_zero,
		edit_row_bytes_huge, edit_rows_max,      edit_rows_none,
		edit_slots,          edit_slots_more,    edit_body,
		edit_answers_count,  edit_answers_twice, edit_answers_instances,
		edit_answers_none,   edit_answers_slots, edit_answers_body,
		edit_answers_huge,   edit_series,
	};
	struct ring_writer *w = segment_writer(1);

	(void)state;
	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++)
		refuse_header(w, edits[i]);
	ring_writer_free(w);
}

static void
test_wrong_sizes(void **state)
{
	struct ring_writer *w = segment_writer(1);
	struct segment_twin whole = segment_twin(w);
	const size_t sizes[] = {0,
				1,
				4095,
				4096,
				whole.bytes - 4096,
				whole.bytes - 1,
				whole.bytes + 1,
				whole.bytes * 2};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct segment_twin twin =
			segment_twin_of(whole.memory, whole.bytes, sizes[i], SEGMENT_SEALS);

		assert_refused(&twin);
		segment_twin_close(&twin);
	}
	segment_twin_close(&whole);
	ring_writer_free(w);
}

/* Each seal that is missing is one thing that could still be done to the file. */
static void
test_missing_seals(void **state)
{
	const int seals[] = {F_SEAL_FUTURE_WRITE, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL};
	struct ring_writer *w = segment_writer(1);
	struct segment_twin whole = segment_twin(w);

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct segment_twin twin = segment_twin_of(whole.memory, whole.bytes, whole.bytes,
							   SEGMENT_SEALS & ~seals[i]);

		assert_refused(&twin);
		segment_twin_close(&twin);
	}
	segment_twin_close(&whole);
	ring_writer_free(w);
}

static void
test_not_a_memory_file(void **state)
{
	struct segment_twin pipe_end = {0};
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pipe_end.fd = ends[0];
	assert_refused(&pipe_end);
	close(ends[0]);
	close(ends[1]);
}

/* ---- the producer's own limits and failures ---- */

static void
test_bad_layouts(void **state)
{
	struct ring_writer *w = NULL;
	struct ring_layout layout = segment_layout(1);
	struct err err = {0};

	(void)state;
	layout.log_bytes = 100000;
	assert_int_equal(ring_writer_new(&layout, &w, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	layout = segment_layout(1);
	layout.tables_count = RING_TABLES_MAX + 1;
	assert_int_equal(ring_writer_new(&layout, &w, &err), -1);
	layout = segment_layout(1);
	layout.tables[1].table = layout.tables[0].table;
	assert_int_equal(ring_writer_new(&layout, &w, &err), -1);
	assert_null(w);
}

static void
test_failing_allocations(void **state)
{
	struct ring_layout layout = segment_layout(1);

	(void)state;
	sweep_each(s)
	{
		struct ring_writer *w = NULL;
		struct ring_reader *r = NULL;
		struct err err = {0};

		if (ring_writer_new(&layout, &w, &err) < 0)
			assert_int_equal(err.kind, ERR_NO_MEMORY);
		else if (ring_reader_new(fcntl(ring_writer_fd(w), F_DUPFD_CLOEXEC, 3), &r, &err) <
			 0)
			assert_int_equal(err.kind, ERR_NO_MEMORY);
		assert_int_equal(r == NULL, sweep_failed());
		ring_reader_free(r);
		ring_writer_free(w);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_a_reader_is_told),
		cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_smallest_segment),
		cmocka_unit_test(test_readers_cannot_write),
		cmocka_unit_test(test_lying_headers),
		cmocka_unit_test(test_wrong_sizes),
		cmocka_unit_test(test_missing_seals),
		cmocka_unit_test(test_not_a_memory_file),
		cmocka_unit_test(test_bad_layouts),
		cmocka_unit_test(test_failing_allocations),
	};

	return cmocka_run_group_tests_name("ring segment", tests, NULL, NULL);
}
