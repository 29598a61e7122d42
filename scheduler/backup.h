/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_BACKUP_H
#define SCHEDULER_BACKUP_H

/*
 * A backup: everything that is shared of a store, as it was between two transactions, in one file.
 *
 *   16 bytes     "zlayer backup 1\n"; the digit is the format
 *   records      u32 bytes of the body, u8 type, body, u64 check
 *
 *   1 HEAD       once, first: struct backup_head
 *   2 CHANGES    rows and parts of blobs as store_change_put writes them, in the order of
 *                store_copy_each: kinds, ids, each row followed by its blobs
 *   3 KEYS       at most once: the authority's key and certificate (PEM)
 *   4 END        once, last: u64 keys, 32 bytes SHA-256 of all before this record
 *
 * little-endian. A check is the first 8 bytes of the SHA-256 of all before it: what is damaged is
 * found at its record. The digest of the head is that of the store (store_change.h): who reads to
 * the end has what the store held, or is told otherwise. Local kinds are not in it.
 *
 * No I/O, no clock. Threading: one owner of a reader; the rest are pure functions.
 */

#include "scheduler/store_change.h"
#include "scheduler/store_copy.h"

enum {
	BACKUP_MAGIC_BYTES = 16,
	BACKUP_RECORD_MAX = STORE_CHUNK_BYTES + (64 << 10), /* of a body */
	BACKUP_BYTES_MAX = 512 << 20,                       /* of a whole one */
	BACKUP_WORD_BYTES = 72,                             /* names, with NUL */
	BACKUP_KEYS_MAX = 16 << 10,
};

struct backup_head {
	char version[BACKUP_WORD_BYTES]; /* of the zlayer that wrote it */
	char node[BACKUP_WORD_BYTES];    /* its name */
	char cluster[BACKUP_WORD_BYTES]; /* id, hexadecimal; "" of a node in none */
	char store[BACKUP_WORD_BYTES];   /* id of the store; "" of one that nobody follows */
	uint32_t node_id;                /* 0: in no cluster */
	int64_t created_wall_ns;
	struct store_entry entry; /* that the store was at: sequence 0 of one that has no log; its
				     digest and count are set always */
	bool keys;                /* the authority's key is in it */
};

void backup_put_head(struct buf *out, const struct backup_head *head);
/* ERR_CORRUPT, ERR_UNSUPPORTED. */
int backup_take_head(const void *data, size_t bytes, struct backup_head *out,
		     struct err *err) MUST_CHECK;

/* ---- writing: backup_write.c ---- */

typedef int (*backup_write_fn)(void *arg, const void *data, size_t bytes, struct err *err);
/* All of a store, whichever its engine; head->entry's digest and count are filled in when its
 * sequence is 0, else they must be those of the store. keys: NULL, or a PEM. */
int backup_write(struct backup_head *head, struct store *s, const void *keys, size_t keys_bytes,
		 backup_write_fn out, void *arg, struct err *err) MUST_CHECK;

/* ---- reading: backup_read.c ---- */

struct backup_read;

struct backup_read_calls {
	/* A row (decoded, with id and version) or a part of a blob (row NULL). NULL is fine. -1
	 * ends the reading with its error. */
	int (*change)(void *arg, const struct store_change *change, const void *row,
		      struct err *err);
	void *arg;
};

/* calls are copied. */
int backup_read_new(const struct backup_read_calls *calls, struct backup_read **out,
		    struct err *err) MUST_CHECK;
void backup_read_free(struct backup_read *r); /* NULL is fine */
/* What comes next of the file. After an error only free is allowed. ERR_CORRUPT says at which byte
 * and record; ERR_UNSUPPORTED: a newer zlayer wrote it; ERR_NO_MEMORY. */
int backup_read_add(struct backup_read *r, const void *data, size_t bytes,
		    struct err *err) MUST_CHECK;
/* That was all of it: it is whole, and what its head says. */
int backup_read_end(struct backup_read *r, struct err *err) MUST_CHECK;

/* NULL: it has not come yet. */
const struct backup_head *backup_read_head(const struct backup_read *r);
uint64_t backup_read_rows(const struct backup_read *r, enum store_kind kind); /* so far */
uint64_t backup_read_bytes(const struct backup_read *r);                      /* so far */
/* NULL: there are none. */
const char *backup_read_keys(const struct backup_read *r, size_t *bytes_out);
/* After the end: SHA-256 of the file without its last record, which is all that tells it from
 * others. */
const uint8_t *backup_read_sha256(const struct backup_read *r);

/* ---- for both ---- */

enum backup_type { BACKUP_HEAD = 1, BACKUP_CHANGES, BACKUP_KEYS, BACKUP_END };
extern const char backup_magic[BACKUP_MAGIC_BYTES + 1];

#endif
