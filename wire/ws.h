/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_WS_H
#define WIRE_WS_H

/*
 * WebSocket frames (RFC 6455), both roles. The decoder hands out pieces of messages as they come:
 * data is unmasked in place, nothing is copied but control frames (at most 125 bytes).
 *
 *	while (length > 0) {
 *		event = ws_feed(&ws, data, length, &used, &piece);
 *		data += used, length -= used;
 *		WS_DATA: piece.data (piece.last: the message is complete); WS_PING: answer with
 *		ws_put_frame(WS_PONG ...); WS_CLOSED: answer with a close of piece.code and end;
 *		WS_BAD: send a close of ws.error and end; WS_MORE: everything was eaten
 *	}
 * Threading: a plain value.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ws_role { WS_SERVER, WS_CLIENT };

enum ws_opcode {
	WS_OP_CONTINUATION = 0,
	WS_OP_TEXT = 1,
	WS_OP_BINARY = 2,
	WS_OP_CLOSE = 8,
	WS_OP_PING = 9,
	WS_OP_PONG = 10,
};

/* RFC 6455 7.4.1 */
enum ws_code {
	WS_NORMAL = 1000,
	WS_GOING_AWAY = 1001,
	WS_PROTOCOL_ERROR = 1002,
	WS_UNSUPPORTED_DATA = 1003,
	WS_NO_CODE = 1005, /* never sent: a close frame without one */
	WS_BAD_PAYLOAD = 1007,
	WS_POLICY_VIOLATION = 1008,
	WS_TOO_BIG = 1009,
	WS_INTERNAL_ERROR = 1011,
};

enum ws_event { WS_MORE, WS_DATA, WS_PING, WS_PONG, WS_CLOSED, WS_BAD };

enum { WS_CONTROL_MAX = 125, WS_HEAD_MAX = 14, WS_ACCEPT_BYTES = 29, WS_KEY_BYTES = 25 };

struct ws_piece {
	const uint8_t *data;
	size_t length;
	enum ws_opcode opcode; /* of the message: text or binary; of a control frame: its own */
	bool last;             /* ends the message */
	uint16_t code;         /* WS_CLOSED: WS_NO_CODE when there was none; data is the reason */
};

struct ws {
	enum ws_role role;
	uint16_t error; /* after WS_BAD: the code to close with */
	uint64_t message_max;
	/* the decoder's own */
	uint64_t left;
	uint64_t message_bytes;
	uint32_t mask_at;
	uint8_t state;
	uint8_t head_length;
	uint8_t opcode; /* of the frame, with fin in bit 7 */
	uint8_t message;
	uint8_t utf8_left, utf8_low, utf8_high;
	uint8_t control_length;
	uint8_t mask[4];
	uint8_t head[WS_HEAD_MAX];
	uint8_t control[WS_CONTROL_MAX];
};

/* message_max: bytes of a message, all fragments together; more gives WS_TOO_BIG. */
void ws_init(struct ws *ws, enum ws_role role, uint64_t message_max);
enum ws_event ws_feed(struct ws *ws, uint8_t *data, size_t length, size_t *used_out,
		      struct ws_piece *piece_out);

/* The head of a frame; the payload follows, masked with `mask` when that is not NULL (clients must,
 * servers must not). Gives the head's bytes. */
size_t ws_put_head(uint8_t out[WS_HEAD_MAX], enum ws_opcode opcode, bool fin, uint64_t length,
		   const uint8_t mask[4]);
/* Masks or unmasks in place; offset is that of data in the frame. */
void ws_mask(uint8_t *data, size_t length, const uint8_t mask[4], uint64_t offset);
/* Payload of a close frame: gives its bytes (a reason that is too long is cut). code WS_NO_CODE
 * gives an empty payload. */
size_t ws_put_close(uint8_t out[WS_CONTROL_MAX], uint16_t code, const char *reason);
/* Whether a code may stand in a close frame. */
bool ws_code_valid(uint16_t code);

/* Sec-WebSocket-Accept of a Sec-WebSocket-Key; false when the key is not 16 bytes in base64. */
bool ws_accept(const char *key, size_t length, char out[WS_ACCEPT_BYTES]);
/* A client's key from 16 random bytes. */
void ws_key(const uint8_t random[16], char out[WS_KEY_BYTES]);

#endif
