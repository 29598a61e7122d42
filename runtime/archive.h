/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_ARCHIVE_H
#define RUNTIME_ARCHIVE_H

/*
 * A tar file as a set of named byte ranges: indexed in one pass over its headers, read in any
 * order. One that is compressed as a whole is first written out to an unnamed file.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

enum { ARCHIVE_ENTRIES_MAX = 65536 };

struct archive;

struct archive_file {
	uint64_t offset;
	uint64_t bytes;
};

/* fd: a regular file or memfd, borrowed until archive_close. tmp: a folder for what has to be
 * written out, at most spool_bytes_max. */
int archive_open(int fd, int tmp, uint64_t spool_bytes_max, struct archive **out,
		 struct err *err) MUST_CHECK;
void archive_close(struct archive *a);
/* Names are as in the archive, without a leading "./". NULL when there is none. */
const struct archive_file *archive_find(const struct archive *a, const char *name);
/* Reads exactly those bytes of a file. */
int archive_read(const struct archive *a, const struct archive_file *file, uint64_t at, void *out,
		 size_t bytes, struct err *err) MUST_CHECK;
/* A small file whole. ERR_NOT_FOUND, ERR_LIMIT (above the buffer's cap). */
int archive_load(const struct archive *a, const char *name, struct buf *out,
		 struct err *err) MUST_CHECK;

#endif
