/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The guard in front of the HTTP/2 library. It reads frame heads only (9 bytes, RFC 9113 4.1) and
 * keeps four accounts:
 *
 *   bytes     what was received, divided by 8, must not exceed the useful bytes plus a spare: one
 *             rule for floods of PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, empty DATA
 *             and unknown frames. Payload of DATA and HEADERS is useful, in both directions; time
 *             gives a little credit, so that keep-alive pings for days are no flood.
 *   blocks    CONTINUATION frames of one header block, and their bytes.
 *   ids       a new stream's id is odd and higher than all before.
 *   resets    streams that ended prematurely: by the peer, or by us because of what the peer sent.
 *             Both count the same, or one becomes the way around the other.
 *
 * It validates nothing else: the library does.
 */

#include "wire/h2_guard.h"

#include <string.h>

const struct h2_guard_limits h2_guard_limits_default = {
	.continuations = 8,
	.block_bytes = 65536,
	.resets = 100,
	.spare_bytes = 65536,
	.credit_per_second = 128,
};

enum { FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_CONTINUATION = 9 };
enum { FLAG_END_STREAM = 1, FLAG_END_HEADERS = 4 };
enum { PREFACE_BYTES = 24 };

void
h2_guard_init(struct h2_guard *g, const struct h2_guard_limits *limits, uint64_t now_ms)
{
	memset(g, 0, sizeof(*g));
	g->limits = limits ? *limits : h2_guard_limits_default;
	g->preface_left = PREFACE_BYTES;
	g->last_ms = now_ms;
}

static enum h2_guard_verdict
headers_frame(struct h2_guard *g, uint32_t stream, uint32_t length, uint8_t flags)
{
	if (stream > g->last_stream) {
		if (stream % 2 == 0)
			return H2_GUARD_PROTOCOL;
		g->last_stream = stream;
		g->streams++;
	} else if (!(flags & FLAG_END_STREAM)) {
		return H2_GUARD_PROTOCOL; /* not trailers, so a request out of order */
	}
	g->continuations = 0;
	g->block_bytes = length;
	g->block_stream = flags & FLAG_END_HEADERS ? 0 : stream;
	g->useful_bytes += length;
	return length > g->limits.block_bytes ? H2_GUARD_CALM : H2_GUARD_OK;
}

static enum h2_guard_verdict
continuation_frame(struct h2_guard *g, uint32_t stream, uint32_t length, uint8_t flags)
{
	if (g->block_stream == 0 || g->block_stream != stream)
		return H2_GUARD_PROTOCOL;
	g->block_bytes += length;
	if (++g->continuations > g->limits.continuations || g->block_bytes > g->limits.block_bytes)
		return H2_GUARD_CALM;
	if (flags & FLAG_END_HEADERS)
		g->block_stream = 0;
	return H2_GUARD_OK;
}

static enum h2_guard_verdict
frame(struct h2_guard *g)
{
	const uint8_t *h = g->head;
	uint32_t length = (uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2];
	uint32_t stream =
		(uint32_t)(h[5] & 0x7f) << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8];

	g->payload_left = length;
	g->total_bytes += 9u + length;
	switch (h[3]) {
	case FRAME_HEADERS:
		return headers_frame(g, stream, length, h[4]);
	case FRAME_CONTINUATION:
		return continuation_frame(g, stream, length, h[4]);
	case FRAME_DATA:
		g->useful_bytes += length;
		break;
	default:
		break;
	}
	if (g->block_stream != 0)
		return H2_GUARD_PROTOCOL; /* RFC 9113 4.3: nothing may stand inside a header block
					   */
	return g->total_bytes / 8 > g->useful_bytes + g->limits.spare_bytes ? H2_GUARD_CALM
									    : H2_GUARD_OK;
}

static size_t
skip(uint32_t *left, size_t length)
{
	size_t n = length < *left ? length : *left;

	*left -= (uint32_t)n;
	return n;
}

enum h2_guard_verdict
h2_guard_feed(struct h2_guard *g, const uint8_t *data, size_t length, uint64_t now_ms)
{
	size_t at;

	if (now_ms > g->last_ms) {
		g->useful_bytes += (now_ms - g->last_ms) * g->limits.credit_per_second / 1000;
		g->last_ms = now_ms;
	}
	at = skip(&g->preface_left, length);
	while (at < length) {
		size_t need = sizeof(g->head) - g->head_length;
		size_t n;

		if (g->payload_left > 0) {
			at += skip(&g->payload_left, length - at);
			continue;
		}
		n = length - at < need ? length - at : need;
		memcpy(g->head + g->head_length, data + at, n);
		g->head_length = (uint8_t)(g->head_length + n);
		at += n;
		if (g->head_length == sizeof(g->head)) {
			enum h2_guard_verdict v = frame(g);

			g->head_length = 0;
			if (v != H2_GUARD_OK)
				return v;
		}
	}
	return H2_GUARD_OK;
}

enum h2_guard_verdict
h2_guard_reset(struct h2_guard *g)
{
	g->resets++;
	return g->resets > g->limits.resets && g->resets * 2 > g->streams ? H2_GUARD_CALM
									  : H2_GUARD_OK;
}

void
h2_guard_sent(struct h2_guard *g, size_t bytes)
{
	g->useful_bytes += bytes;
}
