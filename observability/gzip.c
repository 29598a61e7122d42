/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One shot of deflate at a low level: the text has long repetitions, and a scrape must not hold up
 * the loop. Its memory (a quarter of a megabyte) comes and goes with an answer.
 */
#include "observability/gzip.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include "base/dl.h"
#include "base/mem.h"
#include "base/text.h"

#define ZLIB_CALLS(X) X(deflateInit2_) X(deflateBound) X(deflate) X(deflateEnd)

DL_DECLARE(gzip_zlib, ZLIB_CALLS);
DL_DEFINE(gzip_zlib, "libz.so.1", ZLIB_CALLS)

enum { LEVEL = 2, WINDOW_GZIP = 15 + 16, MEMORY_LEVEL = 8 };

static bool is_there;

int
gzip_load(struct err *err)
{
	is_there = dl_load_gzip_zlib(err) == 0;
	return is_there ? 0 : -1;
}

/* ---- Accept-Encoding ---- */

static const char *
skip_blanks(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	return at;
}

/* The weight of `name` in one element; -1: the element is about another coding. */
static double
weight_of(const char *at, const char *end, const char *name)
{
	size_t length = strlen(name);
	char q[16] = "";

	at = skip_blanks(at, end);
	if ((size_t)(end - at) < length || strncasecmp(at, name, length) != 0)
		return -1;
	at = skip_blanks(at + length, end);
	if (at == end)
		return 1;
	if (*at != ';')
		return -1;
	at = skip_blanks(at + 1, end);
	if (end - at < 2 || strncasecmp(at, "q=", 2) != 0)
		return 1;
	(void)text_ncopy(q, sizeof(q), at + 2, (size_t)(end - at) - 2);
	return strtod(q, NULL);
}

bool
gzip_accepted(const char *accept, size_t length)
{
	const char *end = accept + length;
	double named = -1, any = -1;

	for (const char *at = accept; is_there && at < end;) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *stop = comma ? comma : end;
		double weight = weight_of(at, stop, "gzip");

		if (weight >= 0)
			named = weight;
		else if ((weight = weight_of(at, stop, "*")) >= 0)
			any = weight;
		at = stop + (comma != NULL);
	}
	return named >= 0 ? named > 0 : any > 0;
}

/* ---- writing ---- */

static void *
allocate(void *arg, unsigned count, unsigned bytes)
{
	(void)arg;
	return mem_array(MEM_OBSERVABILITY, count, bytes);
}

static void
give_back(void *arg, void *p)
{
	(void)arg;
	mem_free(p);
}

bool
gzip_write(const void *data, size_t bytes, struct buf *out)
{
	z_stream z = {.zalloc = allocate, .zfree = give_back};

	if (!is_there || bytes > INT_MAX ||
	    gzip_zlib.deflateInit2_(&z, LEVEL, Z_DEFLATED, WINDOW_GZIP, MEMORY_LEVEL,
				    Z_DEFAULT_STRATEGY, ZLIB_VERSION, sizeof(z)) != Z_OK)
		return false;
	size_t bound = gzip_zlib.deflateBound(&z, bytes);
	uint8_t *to = buf_reserve(out, bound);
	z.next_in = (uint8_t *)(uintptr_t)data;
	z.avail_in = (unsigned)bytes;
	z.next_out = to;
	z.avail_out = to ? (unsigned)bound : 0;
	bool ok = to && gzip_zlib.deflate(&z, Z_FINISH) == Z_STREAM_END;
	if (ok)
		buf_commit(out, z.total_out);
	(void)gzip_zlib.deflateEnd(&z);
	return ok;
}
