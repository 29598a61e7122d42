/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FRAME_H
#define RUNTIME_FRAME_H

/* The frames of an exec or logs stream (ring/msg.h): writing them whole, and taking them out of a
 * byte stream that comes in pieces. Threading: one owner. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ring/msg.h"

enum { FRAME_BYTES_MAX = MSG_FRAME_HEAD + MSG_FRAME_MAX };

struct frame {
	uint8_t type;
	uint32_t bytes;
	const uint8_t *data; /* in the parser's buffer until the next frame_take */
};

struct frame_parser {
	size_t used, from;
	uint8_t buffer[FRAME_BYTES_MAX];
};

void frame_head(uint8_t type, uint32_t bytes, uint8_t out[MSG_FRAME_HEAD]);
/* Where to read to: at least one byte is free after frame_take gave 0. */
uint8_t *frame_space(struct frame_parser *p, size_t *cap_out);
/* 1: a frame; 0: more bytes are needed; -1: the stream is damaged. */
int frame_take(struct frame_parser *p, struct frame *out);

/* Writes one frame to a socket, waiting for room. -1: the other side is gone. */
int frame_send(int sock, uint8_t type, const void *head, size_t head_bytes, const void *data,
	       size_t bytes);
int frame_send_u32(int sock, uint8_t type, uint32_t value);
int frame_send_text(int sock, uint8_t type, const char *text);

#endif
