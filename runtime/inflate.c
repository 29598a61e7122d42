/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One interface over three decoders. Each decoder is a function that turns some input into at most
 * one block of output and says whether a member (RFC 1952) or frame (RFC 8878) has ended; the loop,
 * the limits and the checks of completeness are shared. The window of zstd, and so the memory, is
 * limited by the library's default (128 MiB): image builders use long windows.
 *
 * Zeros after the last gzip member are read over: padding of tapes and of some builders.
 */
#include "runtime/inflate.h"

#include <isa-l/igzip_lib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include "base/dl.h"
#include "base/mem.h"

#define ISAL_CALLS(X) X(isal_inflate_init) X(isal_inflate_reset) X(isal_inflate)
#define ZLIB_CALLS(X) X(inflateInit2_) X(inflateReset) X(inflateEnd) X(inflate)
#define ZSTD_CALLS(X)            \
	X(ZSTD_createDStream)    \
	X(ZSTD_freeDStream)      \
	X(ZSTD_initDStream)      \
	X(ZSTD_decompressStream) \
	X(ZSTD_isError)          \
	X(ZSTD_getErrorName)

DL_DECLARE(inflate_isal, ISAL_CALLS);
DL_DEFINE(inflate_isal, "libisal.so.2", ISAL_CALLS)
DL_DECLARE(inflate_zlib, ZLIB_CALLS);
DL_DEFINE(inflate_zlib, "libz.so.1", ZLIB_CALLS)
DL_DECLARE(inflate_zstd, ZSTD_CALLS);
DL_DEFINE(inflate_zstd, "libzstd.so.1", ZSTD_CALLS)

enum { OUT_BYTES = 256 << 10, ISAL_INPUT_MAX = 1 << 20 };

enum verdict { RUNNING, MEMBER_END, DAMAGED };

struct inflate {
	enum inflate_kind kind;
	inflate_sink_fn sink;
	void *arg;
	uint64_t in_bytes;
	uint64_t out_bytes;
	uint64_t out_bytes_max;
	enum verdict (*run)(struct inflate *z);
	const uint8_t *in;
	size_t in_left;
	size_t out_length;
	bool in_member;
	bool padding; /* only zeros may follow */
	bool member_seen;
	struct inflate_state *isal;
	z_stream zlib;
	ZSTD_DStream *zstd;
	char why[96];
	uint8_t out[OUT_BYTES];
};

static bool isal_there;
static bool zlib_there;
static bool zstd_there;

int
inflate_load(struct err *err)
{
	struct err missing = {0};

	isal_there = dl_load_inflate_isal(&missing) == 0;
	zstd_there = dl_load_inflate_zstd(&missing) == 0;
	zlib_there = dl_load_inflate_zlib(err) == 0;
	return isal_there || zlib_there ? 0 : -1;
}

void
inflate_avoid_isal(void)
{
	isal_there = false;
}

enum inflate_kind
inflate_detect(const void *data, size_t bytes)
{
	if (bytes >= 3 && !memcmp(data, "\x1f\x8b\x08", 3))
		return INFLATE_GZIP;
	if (bytes >= 4 && !memcmp(data, "\x28\xb5\x2f\xfd", 4))
		return INFLATE_ZSTD;
	return INFLATE_NONE;
}

const char *
inflate_name(enum inflate_kind kind)
{
	return kind == INFLATE_GZIP ? "gzip" : kind == INFLATE_ZSTD ? "zstd" : "plain";
}

/* ---- the decoders: some input to at most one block of output ---- */

static enum verdict
run_isal(struct inflate *z)
{
	struct inflate_state *s = z->isal;
	uint32_t give = z->in_left < ISAL_INPUT_MAX ? (uint32_t)z->in_left : ISAL_INPUT_MAX;

	s->next_in = (uint8_t *)(uintptr_t)z->in;
	s->avail_in = give;
	s->next_out = z->out;
	s->avail_out = OUT_BYTES;
	int rc = inflate_isal.isal_inflate(s);
	z->in += give - s->avail_in;
	z->in_left -= give - s->avail_in;
	z->out_length = OUT_BYTES - s->avail_out;
	if (rc < 0) {
		strcpy(z->why, rc == ISAL_INCORRECT_CHECKSUM ? "its checksum is wrong"
							     : "it is no valid gzip");
		return DAMAGED;
	}
	if (s->block_state != ISAL_BLOCK_FINISH)
		return RUNNING;
	inflate_isal.isal_inflate_reset(s);
	s->crc_flag = ISAL_GZIP;
	return MEMBER_END;
}

static enum verdict
run_zlib(struct inflate *z)
{
	uint32_t give = z->in_left < ISAL_INPUT_MAX ? (uint32_t)z->in_left : ISAL_INPUT_MAX;

	z->zlib.next_in = (uint8_t *)(uintptr_t)z->in;
	z->zlib.avail_in = give;
	z->zlib.next_out = z->out;
	z->zlib.avail_out = OUT_BYTES;
	int rc = inflate_zlib.inflate(&z->zlib, Z_NO_FLUSH);
	z->in += give - z->zlib.avail_in;
	z->in_left -= give - z->zlib.avail_in;
	z->out_length = OUT_BYTES - z->zlib.avail_out;
	if (rc == Z_STREAM_END) {
		inflate_zlib.inflateReset(&z->zlib);
		return MEMBER_END;
	}
	if (rc == Z_OK || rc == Z_BUF_ERROR)
		return RUNNING;
	strcpy(z->why, rc == Z_MEM_ERROR ? "no memory" : "it is no valid gzip");
	return DAMAGED;
}

static enum verdict
run_zstd(struct inflate *z)
{
	ZSTD_inBuffer in = {z->in, z->in_left, 0};
	ZSTD_outBuffer out = {z->out, OUT_BYTES, 0};
	size_t rc = inflate_zstd.ZSTD_decompressStream(z->zstd, &out, &in);

	z->in += in.pos;
	z->in_left -= in.pos;
	z->out_length = out.pos;
	if (inflate_zstd.ZSTD_isError(rc)) {
		strncpy(z->why, inflate_zstd.ZSTD_getErrorName(rc), sizeof(z->why) - 1);
		return DAMAGED;
	}
	return rc == 0 ? MEMBER_END : RUNNING;
}

static enum verdict
run_none(struct inflate *z)
{
	z->out_length = z->in_left < OUT_BYTES ? z->in_left : OUT_BYTES;
	memcpy(z->out, z->in, z->out_length);
	z->in += z->out_length;
	z->in_left -= z->out_length;
	return RUNNING;
}

/* ---- making ---- */

static voidpf
zlib_alloc(voidpf opaque, uInt count, uInt bytes)
{
	(void)opaque;
	return mem_array(MEM_LIBRARY, count, bytes);
}

static void
zlib_free(voidpf opaque, voidpf p)
{
	(void)opaque;
	mem_free(p);
}

static int
open_gzip(struct inflate *z, struct err *err)
{
	if (isal_there) {
		z->isal = mem_zalloc(MEM_RUNTIME, sizeof(*z->isal));
		if (!z->isal)
			return err_set(err, ERR_NO_MEMORY, "no memory to decompress");
		inflate_isal.isal_inflate_init(z->isal);
		z->isal->crc_flag = ISAL_GZIP;
		z->run = run_isal;
		return 0;
	}
	if (!zlib_there)
		return err_set(err, ERR_UNSUPPORTED, "gzip cannot be read: there is no zlib");
	z->zlib.zalloc = zlib_alloc;
	z->zlib.zfree = zlib_free;
	if (inflate_zlib.inflateInit2_(&z->zlib, 15 + 16, ZLIB_VERSION, sizeof(z->zlib)) != Z_OK)
		return err_set(err, ERR_NO_MEMORY, "no memory to decompress");
	z->run = run_zlib;
	return 0;
}

static int
open_zstd(struct inflate *z, struct err *err)
{
	if (!zstd_there) {
		err_set(err, ERR_UNSUPPORTED, "zstd cannot be read: libzstd.so.1 is missing");
		return err_fix(err, "install libzstd, or give an image compressed with gzip");
	}
	z->zstd = inflate_zstd.ZSTD_createDStream();
	if (!z->zstd)
		return err_set(err, ERR_NO_MEMORY, "no memory to decompress");
	inflate_zstd.ZSTD_initDStream(z->zstd);
	z->run = run_zstd;
	return 0;
}

int
inflate_new(enum inflate_kind kind, uint64_t out_bytes_max, inflate_sink_fn sink, void *arg,
	    struct inflate **out, struct err *err)
{
	struct inflate *z = mem_zalloc(MEM_RUNTIME, sizeof(*z));
	int rc = 0;

	if (!z)
		return err_set(err, ERR_NO_MEMORY, "no memory to decompress");
	z->kind = kind;
	z->sink = sink;
	z->arg = arg;
	z->out_bytes_max = out_bytes_max;
	z->run = run_none;
	if (kind == INFLATE_GZIP)
		rc = open_gzip(z, err);
	else if (kind == INFLATE_ZSTD)
		rc = open_zstd(z, err);
	if (rc < 0) {
		inflate_free(z);
		return -1;
	}
	*out = z;
	return 0;
}

void
inflate_free(struct inflate *z)
{
	if (!z)
		return;
	if (z->run == run_zlib)
		inflate_zlib.inflateEnd(&z->zlib);
	if (z->zstd)
		inflate_zstd.ZSTD_freeDStream(z->zstd);
	mem_free(z->isal);
	mem_free(z);
}

/* ---- the stream ---- */

static int
check_bomb(const struct inflate *z, struct err *err)
{
	if (z->out_bytes > z->out_bytes_max) {
		err_set(err, ERR_LIMIT, "the data is too large");
		return err_why(err, "it unpacks to more than %llu MiB",
			       (unsigned long long)(z->out_bytes_max >> 20));
	}
	if (z->out_bytes > INFLATE_RATIO_SLACK_BYTES &&
	    z->out_bytes / INFLATE_RATIO_MAX > z->in_bytes) {
		err_set(err, ERR_LIMIT, "the data looks like a decompression bomb");
		return err_why(err, "%llu compressed bytes gave more than %llu MiB",
			       (unsigned long long)z->in_bytes,
			       (unsigned long long)(z->out_bytes >> 20));
	}
	return 0;
}

static int
damaged(const struct inflate *z, const char *why, struct err *err)
{
	err_set(err, ERR_CORRUPT, "the %s data is damaged", inflate_name(z->kind));
	return err_why(err, "%s", why);
}

static int
take_padding(struct inflate *z, struct err *err)
{
	for (; z->in_left; z->in++, z->in_left--) {
		if (*z->in)
			return damaged(z, "something else follows its end", err);
	}
	return 0;
}

static int
turn(struct inflate *z, struct err *err)
{
	const uint8_t *before = z->in;
	enum verdict v;

	z->in_member = true;
	v = z->run(z);
	z->in_bytes += (uint64_t)(z->in - before);
	z->out_bytes += z->out_length;
	if (v == DAMAGED)
		return damaged(z, z->why, err);
	if (check_bomb(z, err) < 0)
		return -1;
	if (z->out_length && z->sink(z->arg, z->out, z->out_length, err) < 0)
		return -1;
	if (v == MEMBER_END) {
		z->in_member = false;
		z->member_seen = true;
	} else if (z->in == before && !z->out_length && z->in_left) {
		return damaged(z, "it does not go on", err);
	}
	return 0;
}

int
inflate_feed(struct inflate *z, const void *data, size_t bytes, struct err *err)
{
	z->in = data;
	z->in_left = bytes;
	/* A full block of output may leave more inside the decoder. */
	do {
		if (!z->in_member && z->member_seen && z->in_left && *z->in == 0)
			z->padding = true;
		if (z->padding)
			return take_padding(z, err);
		if (!z->in_member && !z->in_left)
			return 0;
		if (turn(z, err) < 0)
			return -1;
	} while (z->in_left || z->out_length == OUT_BYTES);
	return 0;
}

int
inflate_end(struct inflate *z, struct err *err)
{
	if (z->kind == INFLATE_NONE)
		return 0;
	if (z->in_member || !z->member_seen)
		return damaged(z, "it ends too early", err);
	return 0;
}
