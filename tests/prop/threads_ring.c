/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producer and readers as threads of one process, for ThreadSanitizer. It knows memory by address,
 * so the readers are made to look at the producer's own mapping instead of a second one of the same
 * pages. What is read is checked too: this runs in every build.
 */
#include <pthread.h>
#include <sched.h>
#include "ring/ring_segment.h"
#include "tests/support/prop.h"
#include "tests/support/segment.h"

enum {
	RECORDS = 200000,
	COMMITS_MIN = 2000,
	LOOKS_MIN = 150, /* of each reader, that found something */
	ROWS = 90,
	REQUESTS = 3000,
	READERS = 2,
};

static struct ring_writer *asker, *answerer;
static int done;
static unsigned looks[READERS];
static uint64_t commits;

static struct ring_reader *
same_mapping(const struct ring_writer *w)
{
	struct ring_reader *r = segment_reader(w);

	munmap((void *)(uintptr_t)r->memory, r->places.total);
	r->memory = w->memory;
	ring_log_reader_init(r);
	ring_table_reader_init(r);
	ring_request_reader_init(r);
	return r;
}

static void
free_reader(struct ring_reader *r)
{
	r->memory = NULL;
	ring_reader_free(r);
}

/* ---- the producer's thread ---- */

static void
put_record(uint64_t n)
{
	uint64_t data[9];
	size_t words = 1 + n % 9;

	for (size_t i = 0; i < words; i++)
		data[i] = n * (i + 1);
	ring_log_put(asker, (uint16_t)words, 1, data, words * 8);
	if (n % 16 == 0)
		ring_log_publish(asker);
}

static void
commit_rows(uint64_t n)
{
	struct segment_row row = segment_row(n);

	ring_table_begin(asker, SEGMENT_TABLE);
	for (uint64_t key = 1; key <= ROWS; key++)
		prop_check(ring_table_set(asker, SEGMENT_TABLE, key, &row, NULL) == RING_OK);
	ring_table_remove(asker, SEGMENT_TABLE, 1 + n % ROWS);
	ring_table_commit(asker, SEGMENT_TABLE);
}

static bool
seen_enough(void)
{
	for (size_t i = 0; i < READERS; i++)
		if (__atomic_load_n(&looks[i], __ATOMIC_RELAXED) < LOOKS_MIN)
			return false;
	return true;
}

/* Records alone first: as fast as they go, so that readers are lapped in the middle of a copy. */
static void *
produce(void *arg)
{
	uint64_t n = 0;

	(void)arg;
	for (; n < RECORDS; n++)
		put_record(n);
	/* A table that is always locked would never be seen: some records in between. */
	for (commits = 0; commits < COMMITS_MIN || !seen_enough(); commit_rows(++commits)) {
		for (uint64_t gap = commits % 64; gap > 0; gap--)
			put_record(n++);
		ring_writer_heartbeat(asker, n);
	}
	ring_log_publish(asker);
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* ---- readers ---- */

static uint64_t
drain(struct ring_reader *r, uint64_t expected)
{
	struct ring_record record;
	enum ring_status status;
	uint64_t word;

	while ((status = ring_log_next(r, &record)) == RING_OK) {
		prop_check(record.sequence == expected + record.lost);
		prop_check(record.bytes == record.type * 8U);
		for (size_t i = 0; i < record.type; i++) {
			memcpy(&word, (const char *)record.data + i * 8, 8);
			prop_check(word == record.sequence * (i + 1));
		}
		expected = record.sequence + 1;
	}
	prop_check(status == RING_EMPTY);
	return expected;
}

struct look {
	uint64_t value;
	size_t rows;
};

static bool
check_row(void *arg, uint64_t key, const void *row)
{
	const struct segment_row *given = row;
	struct look *look = arg;

	prop_check(key >= 1 && key <= ROWS && segment_row_holds(given));
	prop_check(look->rows == 0 || given->value == look->value);
	look->value = given->value;
	look->rows++;
	return true;
}

static uint64_t
look_at_rows(struct ring_reader *r, uint64_t before)
{
	enum ring_status status =
		ring_table_sync(r, SEGMENT_TABLE, sizeof(struct segment_row), NULL, NULL);
	struct look look = {0};

	prop_check(status == RING_OK || status == RING_EMPTY || status == RING_AGAIN);
	ring_table_each(r, SEGMENT_TABLE, check_row, &look);
	prop_check(look.value >= before);
	prop_check(look.rows == 0 || look.rows == ROWS - 1);
	return look.value;
}

static void *
consume(void *arg)
{
	struct ring_reader *r = same_mapping(asker);
	uint64_t expected = 0, value = 0, before;
	unsigned *found = arg;
	int last;

	do {
		last = __atomic_load_n(&done, __ATOMIC_ACQUIRE);
		expected = drain(r, expected);
		before = value;
		value = look_at_rows(r, value);
		if (value != before)
			__atomic_add_fetch(found, 1, __ATOMIC_RELAXED);
		ring_reader_heartbeat(r);
	} while (!last);
	prop_check(value == commits);
	free_reader(r);
	return NULL;
}

/* A reader that keeps starting anew, at both ends. */
static void *
come_and_go(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
		struct ring_reader *r = same_mapping(asker);
		struct ring_record record;

		for (unsigned i = 0; i < 4; i++) {
			ring_log_start(r, i % 2 == 0);
			while (ring_log_next(r, &record) == RING_OK)
				prop_check(record.bytes == record.type * 8U);
		}
		look_at_rows(r, 0);
		free_reader(r);
	}
	return NULL;
}

/* ---- requests: the main thread asks, another answers ---- */

static void *
answer(void *arg)
{
	struct ring_reader *r = same_mapping(arg);
	struct ring_request *request = malloc(sizeof(*request));
	uint64_t value;

	prop_check(request != NULL);
	for (unsigned n = 0; n < REQUESTS;) {
		enum ring_status status =
			ring_request_next(r, SEGMENT_ROLE, SEGMENT_INDEX, 1, request);

		prop_check(status == RING_OK || status == RING_EMPTY);
		if (status != RING_OK) {
			sched_yield();
			continue;
		}
		prop_check(request->bytes == 8);
		memcpy(&value, request->body, 8);
		value = ~value;
		prop_check(ring_answer(answerer, request->role, request->index, request->id, 0,
				       &value, 8) == RING_OK);
		n++;
	}
	free(request);
	free_reader(r);
	return NULL;
}

static void
ask(struct ring_writer *w, struct ring_reader *answers)
{
	struct ring_answer *got = malloc(sizeof(*got));
	uint64_t ids[4], values[4];
	enum ring_status status;

	prop_check(got != NULL);
	for (uint64_t n = 0; n < REQUESTS; n += 4) {
		for (size_t i = 0; i < 4; i++) {
			values[i] = n * 4 + i;
			prop_check(ring_ask(w, SEGMENT_ROLE, SEGMENT_INDEX, 1, UINT64_MAX,
					    &values[i], 8, &ids[i]) == RING_OK);
		}
		for (size_t i = 0; i < 4; i++) {
			while ((status = ring_answer_get(answers, SEGMENT_ASKER, SEGMENT_INDEX,
							 ids[i], got)) != RING_OK) {
				prop_check(status == RING_EMPTY || status == RING_AGAIN);
				sched_yield();
			}
			values[i] = ~values[i];
			prop_check(got->bytes == 8 && memcmp(got->body, &values[i], 8) == 0);
			ring_ask_release(w, ids[i]);
		}
	}
	free(got);
}

int
main(void)
{
	struct ring_layout layout = segment_layout(1);
	struct ring_writer *third;
	struct ring_reader *answers;
	pthread_t threads[READERS + 3];
	size_t count = 0;

	answerer = segment_writer_of(&layout);
	asker = segment_writer_of(&layout);
	layout.role = SEGMENT_ASKER;
	third = segment_writer_of(&layout);
	answers = same_mapping(answerer);
	for (size_t i = 0; i < READERS; i++)
		prop_check(pthread_create(&threads[count++], NULL, consume, &looks[i]) == 0);
	prop_check(pthread_create(&threads[count++], NULL, come_and_go, NULL) == 0);
	prop_check(pthread_create(&threads[count++], NULL, answer, third) == 0);
	prop_check(pthread_create(&threads[count++], NULL, produce, NULL) == 0);
	ask(third, answers);
	while (count > 0)
		prop_check(pthread_join(threads[--count], NULL) == 0);
	free_reader(answers);
	ring_writer_free(third);
	ring_writer_free(asker);
	ring_writer_free(answerer);
	return 0;
}
