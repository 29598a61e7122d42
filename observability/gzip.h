/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OBSERVABILITY_GZIP_H
#define OBSERVABILITY_GZIP_H

/*
 * Answers in gzip (RFC 1952) for scrapers that ask for it. zlib is opened by the one role that
 * answers scrapes; without it answers are plain.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/err.h"

/* Before confinement. */
int gzip_load(struct err *err) MUST_CHECK;
/* Whether an Accept-Encoding (RFC 9110 12.5.3) takes gzip, and zlib is there. */
bool gzip_accepted(const char *accept, size_t length);
/* Appends; false: no memory or no room, and `out` is of no use. */
bool gzip_write(const void *data, size_t bytes, struct buf *out);

#endif
