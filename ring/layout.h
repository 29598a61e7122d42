/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_LAYOUT_H
#define RING_LAYOUT_H

/*
 * What a segment looks like in memory: the structures that producer and readers share, and the one
 * function that says where each area lies. Offsets are not stored: both sides compute them from the
 * counts and sizes in the header, so there is no offset that could lie. A reader does that on its
 * own copy of the header and then compares the sum with the size of the file.
 * Every multi-byte field is in host order: a segment never leaves its machine.
 */

#include <stddef.h>
#include <stdint.h>
#include "ring/ring.h"

enum {
	LAYOUT_PAGE = 4096,
	LAYOUT_LINE = 64,
	LAYOUT_LOG_MIN = 1 << 16,
	LAYOUT_LOG_MAX = 1 << 30,
	LAYOUT_CHECKPOINTS = 64,
	LAYOUT_ROWS_MAX = 1 << 20,
	LAYOUT_AREA_MAX = 1 << 28, /* bytes of rows of one table, of bodies of one area */
	LAYOUT_INSTANCES_MAX = 256,
	LAYOUT_SERIES_MAX = 1 << 16,
};

/* At offset 0; written once, before the segment is sealed, except `heartbeat`. */
struct layout_header {
	uint32_t magic;
	uint16_t abi;
	uint16_t header_bytes;
	uint64_t segment_bytes;
	uint16_t role;
	uint16_t index;
	uint32_t generation;
	uint64_t log_bytes;
	uint16_t tables_count;
	uint16_t answers_count;
	uint32_t metric_series;
	uint32_t request_slots;
	uint32_t request_body_bytes;
	struct ring_table_layout tables[RING_TABLES_MAX];
	struct ring_answers_layout answers[RING_ANSWERS_MAX];
	uint64_t pad_[2];
	uint64_t heartbeat; /* CLOCK_BOOTTIME, ns; on a cache line of its own */
};

/*
 * The log. Positions count bytes since the start of the segment and never go back; a position
 * modulo log_bytes is a place in the ring. A reader that finds sequence_low == sequence_high (read
 * in the order high, head, low) knows that `head` belongs to that sequence number.
 */
struct layout_log {
	uint64_t sequence_low;  /* of the record that will start at head; stored before head */
	uint64_t head;          /* all before it is published */
	uint64_t sequence_high; /* the same number; stored after head */
	uint64_t reserved __attribute__((aligned(64))); /* all before it may be being written */
	uint64_t checkpoints[LAYOUT_CHECKPOINTS] __attribute__((aligned(64))); /* record starts */
};

struct layout_record {
	uint32_t bytes; /* of payload; the record is padded to whole words */
	uint16_t type;
	uint16_t version;
	uint64_t sequence;
};

/* A table: this, then rows_max row heads, then rows_max rows. */
struct layout_table {
	uint64_t sequence;   /* odd: being changed; half of it is the version */
	uint64_t high_water; /* rows from here on were never used */
};

struct layout_row {
	uint64_t key;     /* 0: free, or removed in `version` */
	uint64_t version; /* of the table, when this row changed last */
};

/* Slots for requests or for answers: this, then the heads, then the bodies. */
struct layout_slots {
	uint64_t changes;    /* counts requests and releases */
	uint64_t high_water; /* slots from here on were never used */
};

struct layout_slot {
	uint64_t sequence; /* odd: being changed */
	uint64_t id;       /* 0: free */
	uint64_t meta;     /* request: role | index << 16 | op << 32; answer: status; bytes << 48 */
	uint64_t deadline; /* of a request, CLOCK_BOOTTIME ns */
};

/* Offsets of the areas; 0 for those that are not there. */
struct layout_places {
	size_t log;
	size_t log_data;
	size_t tables[RING_TABLES_MAX];
	size_t requests;
	size_t answers[RING_ANSWERS_MAX]; /* of instance 0 */
	size_t answers_stride[RING_ANSWERS_MAX];
	size_t metrics;
	size_t metrics_bytes;
	size_t total;
};

/* Checks all limits and computes the places. NULL, or what is wrong (a static text). */
const char *layout_place(const struct ring_layout *layout, struct layout_places *out);

/* Offsets inside an area. */
size_t layout_table_rows(const struct ring_table_layout *table);
size_t layout_slots_bodies(uint32_t slots);

void layout_to_header(const struct ring_layout *layout, size_t segment_bytes,
		      struct layout_header *out);
/* From a private copy of a header. NULL, or what is wrong. */
const char *layout_from_header(const struct layout_header *header, struct ring_layout *out);

#endif
