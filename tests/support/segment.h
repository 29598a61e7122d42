/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_SEGMENT_H
#define TESTS_SUPPORT_SEGMENT_H

/*
 * Segments for tests: a producer with a bit of everything, readers of it, and hostile twins: a
 * sealed file with the same content whose "producer" may write any byte at any time.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ring/ring.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

enum {
	SEGMENT_ROLE = 3,
	SEGMENT_INDEX = 1,
	SEGMENT_ASKER = 5, /* the role whose requests the segment answers */
	SEGMENT_TABLE = 7,
	SEGMENT_SMALL = 9, /* a table of four rows */
	SEGMENT_SEALS = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
};

struct segment_row {
	uint64_t value;
	uint64_t check; /* ~value: a torn row shows */
	uint64_t fill[6];
};

#define SEGMENT_MUST(condition)                                                         \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

static inline struct ring_layout
segment_layout(uint32_t generation)
{
	return (struct ring_layout){
		.role = SEGMENT_ROLE,
		.index = SEGMENT_INDEX,
		.generation = generation,
		.log_bytes = 1 << 16,
		.tables = {{.table = SEGMENT_TABLE,
			    .version = 1,
			    .row_bytes = sizeof(struct segment_row),
			    .rows_max = 100},
			   {.table = SEGMENT_SMALL,
			    .version = 1,
			    .row_bytes = sizeof(struct segment_row),
			    .rows_max = 4}},
		.tables_count = 2,
		.request_slots = 8,
		.request_body_bytes = 100,
		.answers = {{.role = SEGMENT_ASKER, .instances = 2, .slots = 8, .body_bytes = 60}},
		.answers_count = 1,
		.metric_series = 4,
	};
}

static inline struct ring_writer *
segment_writer_of(const struct ring_layout *layout)
{
	struct ring_writer *w = NULL;
	struct err err = {0};

	if (ring_writer_new(layout, &w, &err) < 0)
		err_print(&err, "test", stderr);
	SEGMENT_MUST(w != NULL);
	return w;
}

static inline struct ring_writer *
segment_writer(uint32_t generation)
{
	struct ring_layout layout = segment_layout(generation);

	return segment_writer_of(&layout);
}

static inline struct ring_reader *
segment_reader_of(int fd)
{
	struct ring_reader *r = NULL;
	struct err err = {0};
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	SEGMENT_MUST(copy >= 0);
	if (ring_reader_new(copy, &r, &err) < 0)
		err_print(&err, "test", stderr);
	SEGMENT_MUST(r != NULL);
	return r;
}

static inline struct ring_reader *
segment_reader(const struct ring_writer *w)
{
	return segment_reader_of(ring_writer_fd(w));
}

static inline struct segment_row
segment_row(uint64_t value)
{
	struct segment_row row = {.value = value, .check = ~value};

	for (size_t i = 0; i < 6; i++)
		row.fill[i] = value + i;
	return row;
}

static inline bool
segment_row_holds(const struct segment_row *row)
{
	bool holds = row->check == ~row->value;

	for (size_t i = 0; i < 6; i++)
		holds = holds && row->fill[i] == row->value + i;
	return holds;
}

struct segment_twin {
	int fd;
	unsigned char *memory; /* writable */
	size_t bytes;
};

/* A file of `bytes` bytes with the beginning of `content`; sealed unless seals is 0. */
static inline struct segment_twin
segment_twin_of(const void *content, size_t content_bytes, size_t bytes, int seals)
{
	struct segment_twin twin = {.bytes = bytes};

	twin.fd = memfd_create("twin", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	SEGMENT_MUST(twin.fd >= 0 && ftruncate(twin.fd, (off_t)bytes) == 0);
	if (bytes > 0) {
		twin.memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, twin.fd, 0);
		SEGMENT_MUST(twin.memory != MAP_FAILED);
		memcpy(twin.memory, content, content_bytes < bytes ? content_bytes : bytes);
	}
	SEGMENT_MUST(seals == 0 || fcntl(twin.fd, F_ADD_SEALS, seals) == 0);
	return twin;
}

static inline struct segment_twin
segment_twin(const struct ring_writer *w)
{
	struct segment_twin twin;
	struct stat st;
	void *memory;

	SEGMENT_MUST(fstat(ring_writer_fd(w), &st) == 0);
	memory = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, ring_writer_fd(w), 0);
	SEGMENT_MUST(memory != MAP_FAILED);
	twin = segment_twin_of(memory, (size_t)st.st_size, (size_t)st.st_size, SEGMENT_SEALS);
	munmap(memory, (size_t)st.st_size);
	return twin;
}

static inline void
segment_twin_close(struct segment_twin *twin)
{
	if (twin->memory != NULL)
		munmap(twin->memory, twin->bytes);
	close(twin->fd);
}

#endif
