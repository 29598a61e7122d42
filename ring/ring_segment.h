/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_RING_SEGMENT_H
#define RING_RING_SEGMENT_H

/*
 * The inside of a writer and of a reader, shared by the files of this folder only. A pointer into a
 * reader's mapping is const: that memory belongs to somebody else and may change at any time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ring/layout.h"
#include "ring/ring.h"
#include "ring/ring_index.h"
#include "ring/ring_slots.h"

struct ring_log_writer {
	struct layout_log *control; /* NULL: this segment has no log */
	uint64_t *words;
	uint64_t log_bytes;
	uint64_t chunk_bytes; /* by which `reserved` moves */
	uint64_t tail;        /* all before it is written */
	uint64_t published;
	uint64_t reserved;
	uint64_t sequence; /* of the next record */
};

struct ring_table_writer {
	const struct ring_table_layout *layout;
	struct layout_table *control;
	struct layout_row *heads;
	uint64_t *rows;
	struct ring_index index;
	uint32_t *free; /* slots whose rows were removed */
	size_t free_count;
	size_t free_capacity;
	uint32_t high_water;
	uint64_t sequence; /* as published: odd once a transaction has changed something */
	bool open;         /* between begin and commit */
};

struct ring_ask_writer {
	struct ring_slots slots;
	uint64_t *ids;  /* of the requests that stand, by slot */
	uint32_t *free; /* a stack; low slots on top, so that readers scan little */
	uint32_t free_count;
	uint32_t high_water;
	uint64_t changes;
	uint64_t sequence;
};

struct ring_writer {
	struct ring_layout layout;
	struct layout_places places;
	int fd;
	char *memory;
	struct ring_log_writer log;
	struct ring_table_writer tables[RING_TABLES_MAX];
	struct ring_ask_writer asks;
	struct metric_page *metrics;
};

struct ring_log_reader {
	const struct layout_log *control; /* NULL: no log */
	const uint64_t *words;
	uint64_t log_bytes;
	uint64_t position; /* of the first byte of the batch */
	uint64_t expected; /* the next record's sequence number */
	bool counting;     /* `expected` is known */
	char *batch;       /* copied and found whole */
	size_t batch_bytes;
	size_t batch_at;
};

struct ring_copy_slot {
	uint64_t key;
	uint64_t staged; /* a mark while rows are being checked */
};

/* A reader's private copy of a table. */
struct ring_copy {
	const struct ring_table_layout *layout;
	const struct layout_table *control;
	const struct layout_row *heads;
	const uint64_t *rows_shared;
	uint64_t sequence; /* of the snapshot in this copy; 0: none yet */
	uint32_t row_bytes;
	uint32_t stride; /* row_bytes in whole words */
	size_t capacity;
	uint32_t high_water;
	struct ring_copy_slot *slots;
	char *rows;
	struct ring_index index;
};

struct ring_staged {
	uint64_t key; /* 0: the slot is empty now */
	uint64_t key_before;
	uint32_t slot;
	bool changed;
};

/* Rows that differ, before it is known that they are of one snapshot. Used by all tables. */
struct ring_stage {
	struct ring_staged *items;
	char *rows;
	size_t count;
	size_t items_capacity;
	size_t rows_capacity; /* bytes */
	struct ring_index seen;
};

struct ring_request_reader {
	struct ring_slots_view slots;
	uint64_t *given; /* ids, by slot */
	uint64_t changes_seen;
	uint64_t changes_scanned; /* of the scan that is under way */
	uint32_t at;
	bool scanning;
	uint16_t role, index;
};

struct ring_reader {
	struct ring_layout layout;
	struct layout_places places;
	const char *memory;
	struct ring_log_reader log;
	struct ring_copy copies[RING_TABLES_MAX];
	struct ring_stage stage;
	struct ring_request_reader requests;
};

/* Called when a writer or reader is made (memory is mapped, geometry checked) and ended. */
void ring_log_writer_init(struct ring_writer *w);
void ring_table_writer_init(struct ring_writer *w);
void ring_table_writer_fini(struct ring_writer *w);
bool ring_ask_writer_init(struct ring_writer *w) MUST_CHECK; /* false: out of memory */
void ring_ask_writer_fini(struct ring_writer *w);
void ring_log_reader_init(struct ring_reader *r);
void ring_log_reader_fini(struct ring_reader *r);
void ring_table_reader_init(struct ring_reader *r);
void ring_table_reader_fini(struct ring_reader *r);
void ring_request_reader_init(struct ring_reader *r);
void ring_request_reader_fini(struct ring_reader *r);

#endif
