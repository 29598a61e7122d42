/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_WIRE_H
#define SCHEDULER_STORE_WIRE_H

/*
 * What the writing node of a small cluster and those that follow it say to each other, over a
 * stream of bytes that somebody else has made, with the other side known: frames of
 *
 *   u32 length of what follows, u8 type, body
 *
 * little-endian. docs/store.md says what each means. Both sides take the other's bytes as hostile:
 * a frame that is too long, cut or of no type ends the connection.
 * Threading: pure functions.
 */

#include "base/arena.h"
#include "base/buf.h"
#include "scheduler/store_change.h"
#include "scheduler/store_copy.h"

enum {
	STORE_WIRE_FORMAT = 1,
	STORE_WIRE_FRAME_MAX = STORE_CHUNK_BYTES + (64 << 10),
	STORE_WIRE_CHANGES_MAX = 80 << 20, /* of one transaction that a follower asks for */
	STORE_WIRE_SNAPSHOT_MAX = 512 << 20,
	STORE_WIRE_NAME_BYTES = 256, /* of a lease, and of its holder */
};

enum store_wire_type {
	/* both */
	STORE_WIRE_CHANGES = 1, /* of what comes next */
	/* of a follower */
	STORE_WIRE_HELLO = 16,  /* u8 format, text id, text entry: what its copy is */
	STORE_WIRE_SUBMIT = 17, /* u64 question, text entry that the changes before would make */
	STORE_WIRE_IDS = 18,
	STORE_WIRE_LEASE = 19, /* struct store_wire_lease */
	STORE_WIRE_LOOK = 20,  /* u64 question, u8 1: read everything */
	/* of the writer */
	STORE_WIRE_WELCOME = 32,  /* text id, text entry: what the store is */
	STORE_WIRE_ENTRY = 33,    /* text: the changes before made it */
	STORE_WIRE_SNAPSHOT = 34, /* text entry; all there is follows as changes */
	STORE_WIRE_END = 35,      /* of a snapshot */
	STORE_WIRE_RESULT = 36,   /* struct store_wire_result, of a SUBMIT */
	STORE_WIRE_BLOCK = 37,    /* u64 first, u64 behind the last: ids */
	STORE_WIRE_LEASED = 38,   /* u64 question, u64 epoch, err */
	STORE_WIRE_HEAD = 39,     /* u64 question, text entry, err: of a LOOK */
	STORE_WIRE_REFUSED = 40,  /* err; the last frame */
	STORE_WIRE_MOVED = 41,    /* text id, text entry, u64 revision; the last frame */
};

struct store_wire_frame {
	unsigned type;
	struct cursor body; /* borrowed */
};

/* Bytes of the other side that are no whole frame yet. */
struct store_wire_in {
	struct buf bytes;
	size_t at;
};

void store_wire_in_init(struct store_wire_in *in);
void store_wire_in_fini(struct store_wire_in *in);
/* False: no memory. */
bool store_wire_in_add(struct store_wire_in *in, const void *data, size_t bytes);
/* 1: a frame, valid until the next add; 0: more bytes are needed; -1: this is no frame. */
int store_wire_in_next(struct store_wire_in *in, struct store_wire_frame *out);

/* A frame is begun, filled into the same buffer, and ended. */
size_t store_wire_begin(struct buf *out, enum store_wire_type type);
void store_wire_end(struct buf *out, size_t begun);
/* As many CHANGES frames as it takes. */
void store_wire_put_changes(struct buf *out, const struct store_change *changes, size_t count);
/* Bytes of the frame that begins there. */
size_t store_wire_frame_bytes(const uint8_t *at);

void store_wire_put_entry(struct buf *out, const struct store_entry *entry);
bool store_wire_get_entry(struct cursor *in, struct store_entry *out, struct err *err);
bool store_wire_get_text(struct cursor *in, char *out, size_t cap);
/* NULL: none. */
void store_wire_put_err(struct buf *out, const struct err *err);
/* kind ERR_NONE: none. */
bool store_wire_get_err(struct cursor *in, struct err *out);

struct store_wire_lease {
	uint64_t question;
	enum store_lease_verb verb;
	char name[STORE_WIRE_NAME_BYTES];
	char holder[STORE_WIRE_NAME_BYTES]; /* take */
	uint32_t ttl_s;
	uint64_t epoch; /* keep, drop: that which it has */
};
void store_wire_put_lease(struct buf *out, const struct store_wire_lease *lease);
bool store_wire_get_lease(struct cursor *in, struct store_wire_lease *out);

enum store_wire_outcome {
	STORE_WIRE_KEPT = 1,
	STORE_WIRE_BEATEN,   /* others were faster */
	STORE_WIRE_REJECTED, /* err */
	STORE_WIRE_UNKNOWN,  /* the log does not go back that far */
};

struct store_wire_result {
	uint64_t question;
	enum store_wire_outcome outcome;
	uint64_t sequence; /* of the store */
	struct err err;
};
void store_wire_put_result(struct buf *out, const struct store_wire_result *result);
bool store_wire_get_result(struct cursor *in, struct store_wire_result *out);

/* The changes of CHANGES frames, one behind the other, as a list that borrows from `bytes` and
 * whose order is that of store_key_compare; false: they are none, or in no order. */
bool store_wire_read_changes(const struct buf *bytes, struct arena *arena,
			     struct store_change **out, size_t *count_out);

#endif
