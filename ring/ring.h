/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_RING_H
#define RING_RING_H

/*
 * The ring: how processes of a node meet. One shared-memory segment (a memfd) per producer and
 * generation. The producer maps it writable, then seals it (FUTURE_WRITE | SHRINK | GROW | SEAL),
 * so that the kernel itself allows exactly one writer and a stable size; readers map it read-only.
 *
 * A segment holds, in this order:
 *   header    magic, ABI, role, index, generation, geometry, heartbeat
 *   log       a byte ring of records {length, type, version, sequence}: what may be lost, counted
 *   tables    keyed snapshots, each under one sequence lock: state, level-triggered
 *   requests  fixed slots owned by this process, asking another role for something
 *   answers   what this process answered to others' requests: one area per requesting role
 *   metrics   one base/metric.h page
 *
 * Rules: the producer never waits for a reader. A reader that was lapped is told how many records
 * it lost, and reads the tables. A reader that restarts needs the tables only. Whatever must happen
 * is a table row or a request, never only a log record. All that is read is untrusted: geometry is
 * checked once at opening against the size of the file, on a copy; lengths and indexes are checked
 * at each read on a copy; a segment that lies gives RING_BAD, never a fault.
 *
 * Memory order: data words are copied with acquire and release atomics, so a torn row or record is
 * never delivered and ThreadSanitizer sees no race. A producer that is killed in the middle of a
 * table change leaves that table unreadable (RING_AGAIN) until its successor's segment replaces it;
 * readers go on with their last copy.
 *
 * Threading: a writer and each reader object belong to one thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/metric.h"

enum {
	RING_MAGIC = 0x474e525a, /* "ZRNG" */
	RING_ABI = 1,
	RING_TABLES_MAX = 24,
	RING_ANSWERS_MAX = 8,
	RING_RECORD_MAX = 16384, /* payload bytes of a log record */
	RING_ROW_MAX = 16384,    /* bytes of a table row */
	RING_BODY_MAX = 4096,    /* bytes of a request's or answer's body */
	RING_SLOTS_MAX = 4096,
};

enum ring_status {
	RING_OK = 0,
	RING_EMPTY, /* nothing new */
	RING_AGAIN, /* the producer is changing it (or died doing so): keep the old copy, come back
		     */
	RING_FULL,  /* no free row or slot */
	RING_BAD,   /* the segment lies: drop the reader, tell node */
	RING_NO_MEM,
};

/* What a segment is made of; given by its producer, found by readers in the header. */
struct ring_table_layout {
	uint16_t table;     /* enum msg_table */
	uint16_t version;   /* of the row's struct */
	uint32_t row_bytes; /* multiple of 8, <= RING_ROW_MAX */
	uint32_t rows_max;
};

struct ring_answers_layout {
	uint16_t role;      /* enum role that asks */
	uint16_t instances; /* indexes 0 .. instances-1 of that role */
	uint32_t slots;     /* as many as that role's request slots */
	uint32_t body_bytes;
};

struct ring_layout {
	uint16_t role;
	uint16_t index;
	uint32_t generation; /* given by node: grows with each start of this role and index */
	uint64_t log_bytes;  /* power of two, 0 for none */
	struct ring_table_layout tables[RING_TABLES_MAX];
	size_t tables_count;
	uint32_t request_slots;
	uint32_t request_body_bytes;
	struct ring_answers_layout answers[RING_ANSWERS_MAX];
	size_t answers_count;
	uint32_t metric_series; /* 0: none */
};

/* ---- the producer ---- */

struct ring_writer;

int ring_writer_new(const struct ring_layout *layout, struct ring_writer **out,
		    struct err *err) MUST_CHECK;
void ring_writer_free(struct ring_writer *w);
/* Borrowed descriptor to hand out; readers get it through node. */
int ring_writer_fd(const struct ring_writer *w);
struct metric_page *ring_writer_metrics(struct ring_writer *w);
void ring_writer_heartbeat(struct ring_writer *w, uint64_t mono_ns);

/* Appends a record; it is seen by readers after ring_log_publish (or after some KiB by itself).
 * Never fails and never waits: bytes <= RING_RECORD_MAX is asserted. */
void ring_log_put(struct ring_writer *w, uint16_t type, uint16_t version, const void *data,
		  size_t bytes);
void ring_log_publish(struct ring_writer *w);

/* Table changes: rows are addressed by a u64 key (not 0). From the first change between begin and
 * commit the table is locked for readers: keep it short, no calls that can block. A change outside
 * begin/commit is a transaction of its own. RING_FULL and RING_NO_MEM change nothing. Setting a row
 * to the same bytes changes nothing (no wake-up needed: false). */
void ring_table_begin(struct ring_writer *w, uint16_t table);
enum ring_status ring_table_set(struct ring_writer *w, uint16_t table, uint64_t key,
				const void *row, bool *changed_out);
bool ring_table_remove(struct ring_writer *w, uint16_t table, uint64_t key);
void ring_table_commit(struct ring_writer *w, uint16_t table);
/* The producer's own view (borrowed until the next change); NULL when absent. */
const void *ring_table_own(const struct ring_writer *w, uint16_t table, uint64_t key);
/* What readers see as ring_table_version after the last commit: 1 before the first change. */
uint64_t ring_table_own_version(const struct ring_writer *w, uint16_t table);

/* Requests. The id is unique over generations. The body is copied. RING_FULL: no free slot, answer
 * 503 or try later. The slot stays until ring_ask_release. */
enum ring_status ring_ask(struct ring_writer *w, uint16_t to_role, uint16_t to_index, uint16_t op,
			  uint64_t deadline_mono_ns, const void *body, size_t bytes,
			  uint64_t *id_out);
void ring_ask_release(struct ring_writer *w, uint64_t id);

/* Publishes the answer to a request that was read from (role, index). Answering twice replaces; an
 * answer that comes after that of a newer request in the same slot is dropped (RING_OK: nobody
 * waits for it). RING_BAD: this segment has no place for answers to that role, index or id. The
 * body's length is asserted against the area's body_bytes. */
enum ring_status ring_answer(struct ring_writer *w, uint16_t role, uint16_t index, uint64_t id,
			     uint16_t status, const void *body, size_t bytes);

/* ---- readers ---- */

struct ring_reader;

/* Takes over fd (closes it on failure too). Checks seals, size and all geometry. */
int ring_reader_new(int fd, struct ring_reader **out, struct err *err) MUST_CHECK;
void ring_reader_free(struct ring_reader *r);
uint16_t ring_reader_role(const struct ring_reader *r);
uint16_t ring_reader_index(const struct ring_reader *r);
uint32_t ring_reader_generation(const struct ring_reader *r);
uint64_t ring_reader_heartbeat(const struct ring_reader *r); /* mono ns */
/* NULL when the segment has none or it does not hold. */
const struct metric_page *ring_reader_metrics(const struct ring_reader *r);
/* How many series that page has: metric_read() may be called with indexes below this. The page's
 * own `capacity` can be changed by its producer at any time. */
uint32_t ring_reader_metric_series(const struct ring_reader *r);

struct ring_record {
	uint16_t type;
	uint16_t version;
	uint32_t bytes;
	uint64_t sequence;
	uint64_t lost;    /* records lost just before this one */
	const void *data; /* in the reader's own buffer, until the next call */
};
/* The next record, or RING_EMPTY. A new reader starts at the oldest whole record still there
 * (from_start: the default; all older ones of this segment count as lost) or after the newest one
 * that is published. A reader that was lapped goes on after the newest: RING_EMPTY, and `lost` of
 * the next record. */
void ring_log_start(struct ring_reader *r, bool from_start);
enum ring_status ring_log_next(struct ring_reader *r, struct ring_record *out);

/* Copies the rows of a table that changed since the reader's last look, and tells of removed ones:
 * a private copy of the table is kept up to date, and each difference is given to `change`
 * (row == NULL: removed). RING_EMPTY: nothing changed; RING_AGAIN as above (nothing was applied).
 * row_bytes is what the reader's build expects (always the same for a table): shorter rows of an
 * older producer are zero-padded, longer ones cut. The first look at an empty table is RING_OK. A
 * table that the segment does not have is RING_EMPTY for ever. `change` may be NULL; when it is
 * called the whole copy is up to date. Pointers into the copy hold until the next sync. */
typedef void (*ring_change_fn)(void *arg, uint64_t key, const void *row);
enum ring_status ring_table_sync(struct ring_reader *r, uint16_t table, uint32_t row_bytes,
				 ring_change_fn change, void *arg);
/* The private copy. NULL when absent. */
const void *ring_table_get(const struct ring_reader *r, uint16_t table, uint64_t key);
/* Visits the private copy; return false from the callback to stop. */
void ring_table_each(const struct ring_reader *r, uint16_t table,
		     bool (*visit)(void *arg, uint64_t key, const void *row), void *arg);
/* Version of the last applied snapshot (0: never): grows with each commit of the producer. */
uint64_t ring_table_version(const struct ring_reader *r, uint16_t table);

struct ring_request {
	uint64_t id;
	uint16_t role, index; /* who asks */
	uint16_t op;
	uint16_t pad_;
	uint32_t bytes;
	uint64_t deadline_mono_ns;
	uint8_t body[RING_BODY_MAX];
};
/* The next request in r's segment that is for (role, index) and was not given yet. Requests past
 * their deadline are skipped. After the answerer restarts, all unanswered ones are given (again).
 */
enum ring_status ring_request_next(struct ring_reader *r, uint16_t role, uint16_t index,
				   uint64_t mono_ns, struct ring_request *out);

struct ring_answer {
	uint64_t id;
	uint16_t status; /* 0 or an enum err_kind; defined per op in ring/msg.h */
	uint16_t pad_;
	uint32_t bytes;
	uint8_t body[RING_BODY_MAX];
};
/* The answer of r's process to request `id` of (role, index), or RING_EMPTY (also when it has no
 * area for that role: the deadline will tell). */
enum ring_status ring_answer_get(struct ring_reader *r, uint16_t role, uint16_t index, uint64_t id,
				 struct ring_answer *out);

#endif
