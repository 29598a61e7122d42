/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_H2_GUARD_H
#define WIRE_H2_GUARD_H

/*
 * Watches the frame heads of an HTTP/2 connection before they reach the library, and says when a
 * peer costs more than it brings: floods of control frames, endless header blocks, streams that are
 * opened to be reset, and stream ids that do not rise (RFC 9113 5.1.1, 10.5).
 * Threading: a plain value.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct h2_guard_limits {
	uint32_t continuations;     /* per header block */
	uint32_t block_bytes;       /* compressed header block */
	uint32_t resets;            /* this many premature resets, and half of all streams */
	uint64_t spare_bytes;       /* control bytes (divided by 8) beyond useful ones */
	uint32_t credit_per_second; /* useful bytes granted for time passing */
};
extern const struct h2_guard_limits h2_guard_limits_default; /* 8, 64 KiB, 100, 64 KiB, 128 */

enum h2_guard_verdict {
	H2_GUARD_OK,
	H2_GUARD_PROTOCOL, /* PROTOCOL_ERROR */
	H2_GUARD_CALM,     /* ENHANCE_YOUR_CALM */
};

struct h2_guard {
	struct h2_guard_limits limits;
	uint64_t total_bytes;  /* received */
	uint64_t useful_bytes; /* DATA and header payload, both ways, and time */
	uint64_t last_ms;
	uint32_t preface_left;
	uint32_t payload_left;
	uint32_t last_stream;
	uint32_t block_stream; /* header block being continued, 0: none */
	uint32_t continuations;
	uint32_t block_bytes;
	uint32_t streams;
	uint32_t resets;
	uint8_t head[9];
	uint8_t head_length;
};

void h2_guard_init(struct h2_guard *g, const struct h2_guard_limits *limits, uint64_t now_ms);
/* Bytes as received, whatever their split. */
enum h2_guard_verdict h2_guard_feed(struct h2_guard *g, const uint8_t *data, size_t length,
				    uint64_t now_ms);
/* A stream ended too early: by the peer's RST_STREAM before its answer was complete, or by one of
 * ours that the peer provoked. */
enum h2_guard_verdict h2_guard_reset(struct h2_guard *g);
/* DATA bytes that were sent. */
void h2_guard_sent(struct h2_guard *g, size_t bytes);

#endif
