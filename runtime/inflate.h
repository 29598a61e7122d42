/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_INFLATE_H
#define RUNTIME_INFLATE_H

/*
 * Decompresses a stream in pieces: none, gzip (libisal, or zlib where it is missing) or zstd. The
 * libraries are opened by inflate_load, before confinement. Several members or frames in a row are
 * one stream. Bombs end at a limit of bytes and of their ratio. Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum inflate_kind { INFLATE_NONE, INFLATE_GZIP, INFLATE_ZSTD };

enum {
	INFLATE_MAGIC_BYTES = 4,
	/* More output than this many times the input is a bomb, once it is above the slack. */
	INFLATE_RATIO_MAX = 400,
	INFLATE_RATIO_SLACK_BYTES = 256 << 20,
};

/* What can be done: gzip and zstd each need a library. Missing ones are told when they are needed;
 * -1 only when there is no way to read gzip at all. */
int inflate_load(struct err *err) MUST_CHECK;
/* For tests and measurements: go without libisal from now on. */
void inflate_avoid_isal(void);

enum inflate_kind inflate_detect(const void *data, size_t bytes);
const char *inflate_name(enum inflate_kind kind);

/* Gets a piece of output (borrowed during the call). -1 with err ends the stream. */
typedef int (*inflate_sink_fn)(void *arg, const void *data, size_t bytes, struct err *err);

struct inflate;
int inflate_new(enum inflate_kind kind, uint64_t out_bytes_max, inflate_sink_fn sink, void *arg,
		struct inflate **out, struct err *err) MUST_CHECK;
void inflate_free(struct inflate *z);
int inflate_feed(struct inflate *z, const void *data, size_t bytes, struct err *err) MUST_CHECK;
/* The input is at its end: is the stream? */
int inflate_end(struct inflate *z, struct err *err) MUST_CHECK;

#endif
