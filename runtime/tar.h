/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_TAR_H
#define RUNTIME_TAR_H

/*
 * Reads a tar stream (POSIX ustar and pax, GNU long names, v7) without I/O. Input is given in
 * pieces of any size and events are drawn out:
 *
 *   tar_give(&t, data, bytes);
 *   while ((e = tar_next(&t)) != TAR_MORE) ...
 *
 * Paths come as they stand in the archive: they are hostile. Sparse files, and anything whose
 * length would be a guess, are TAR_BAD. Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum {
	TAR_BLOCK_BYTES = 512,
	TAR_PATH_BYTES = 4096,         /* with NUL */
	TAR_EXTRA_BYTES_MAX = 1 << 20, /* one pax header or long name */
	TAR_XATTRS_MAX = 32,
	TAR_WHY_BYTES = 96,
};

enum tar_event {
	TAR_MORE,  /* all that was given is used up */
	TAR_ENTRY, /* tar.entry is filled in */
	TAR_DATA,  /* tar.chunk, tar.chunk_bytes: a part of the file (borrowed input) */
	TAR_DONE,  /* the entry is complete */
	TAR_END,   /* the end mark was seen: what follows it is ignored */
	TAR_BAD,   /* tar.why says what is wrong; sticky */
};

enum tar_type {
	TAR_FILE,
	TAR_FOLDER,
	TAR_SYMLINK,
	TAR_HARDLINK,
	TAR_FIFO,
	TAR_CHAR_DEVICE,
	TAR_BLOCK_DEVICE,
};

struct tar_xattr {
	const char *name; /* "user.mime" */
	const void *value;
	size_t bytes;
};

struct tar_entry {
	enum tar_type type;
	char path[TAR_PATH_BYTES];
	char link[TAR_PATH_BYTES]; /* of links */
	uint32_t mode;             /* 07777 bits */
	uint32_t uid, gid;
	uint64_t size; /* 0 for all but files */
	int64_t mtime_s;
	uint32_t mtime_ns;
	struct tar_xattr xattrs[TAR_XATTRS_MAX]; /* borrowed until the next tar_next */
	size_t xattrs_count;
};

struct tar {
	struct tar_entry entry;
	const uint8_t *chunk;
	size_t chunk_bytes;
	char why[TAR_WHY_BYTES];

	/* private */
	int state;
	const uint8_t *in;
	size_t in_bytes;
	uint64_t left; /* of the body */
	uint32_t pad;  /* bytes to the next block */
	size_t block_bytes;
	uint8_t block[TAR_BLOCK_BYTES];
	uint8_t extra_type;
	struct buf extra;     /* body of the extra header under way */
	struct buf pax;       /* of the entry to come */
	struct buf long_path; /* GNU */
	struct buf long_link;
	bool zero_seen;
};

void tar_init(struct tar *t);
void tar_fini(struct tar *t);
/* The bytes are borrowed until tar_next has given TAR_MORE. */
void tar_give(struct tar *t, const void *data, size_t bytes);
enum tar_event tar_next(struct tar *t);
/* After TAR_ENTRY: leaves the rest of the body out, for a reader that can seek. Gives how many
 * bytes that were not yet given are to be skipped; the next event is TAR_DONE. */
uint64_t tar_skip(struct tar *t);
/* Whether the stream may end here. */
bool tar_complete(const struct tar *t);

#endif
