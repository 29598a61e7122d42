/* SPDX-License-Identifier: Apache-2.0 */

/*
 * WebSocket framing, RFC 6455 5 to 7, without extensions: reserved bits must be zero. Heads and
 * control frames are collected in the decoder, data is passed through, text is checked as UTF-8
 * across frames as it comes (8.1). Lengths must be encoded shortest (5.2), control frames are
 * whole and short (5.5), clients mask and servers do not (5.1).
 */

#include "wire/ws.h"

#include <openssl/evp.h>
#include <string.h>
#include "base/text.h"

enum state { STATE_HEAD, STATE_DATA, STATE_CONTROL, STATE_CLOSED, STATE_BAD };

enum { FIN = 0x80, RESERVED = 0x70, MASKED = 0x80 };

void
ws_init(struct ws *ws, enum ws_role role, uint64_t message_max)
{
	memset(ws, 0, sizeof(*ws));
	ws->role = role;
	ws->message_max = message_max;
}

static enum ws_event
fail(struct ws *ws, uint16_t code)
{
	ws->error = code;
	ws->state = STATE_BAD;
	return WS_BAD;
}

static size_t
head_needs(const struct ws *ws)
{
	size_t needs = 2;

	if (ws->head_length < 2)
		return 2;
	if ((ws->head[1] & 0x7f) == 126)
		needs += 2;
	else if ((ws->head[1] & 0x7f) == 127)
		needs += 8;
	return needs + (ws->head[1] & MASKED ? 4 : 0);
}

static uint64_t
head_payload(const struct ws *ws, size_t *at)
{
	uint64_t length = ws->head[1] & 0x7f;
	size_t bytes = length == 126 ? 2 : length == 127 ? 8 : 0;

	*at = 2 + bytes;
	if (bytes == 0)
		return length;
	length = 0;
	for (size_t i = 0; i < bytes; i++)
		length = length << 8 | ws->head[2 + i];
	/* Not the shortest form, or the top bit: no honest peer sends that. */
	if ((bytes == 2 && length < 126) || (bytes == 8 && length < 65536))
		return UINT64_MAX;
	return length;
}

static enum ws_event
begin_data(struct ws *ws)
{
	unsigned op = ws->opcode & 15;

	if ((op == WS_OP_CONTINUATION) != (ws->message != 0) || op > WS_OP_BINARY)
		return fail(ws, WS_PROTOCOL_ERROR);
	if (op != WS_OP_CONTINUATION) {
		ws->message = (uint8_t)op;
		ws->message_bytes = 0;
		ws->utf8_left = 0;
	}
	if (ws->left > ws->message_max - ws->message_bytes)
		return fail(ws, WS_TOO_BIG);
	ws->message_bytes += ws->left;
	ws->state = STATE_DATA;
	return WS_MORE;
}

static enum ws_event
begin_frame(struct ws *ws)
{
	size_t at;

	ws->opcode = ws->head[0];
	ws->left = head_payload(ws, &at);
	if (ws->head[0] & RESERVED || ws->left > INT64_MAX ||
	    !!(ws->head[1] & MASKED) != (ws->role == WS_SERVER))
		return fail(ws, WS_PROTOCOL_ERROR);
	ws->mask_at = 0;
	memset(ws->mask, 0, sizeof(ws->mask));
	if (ws->head[1] & MASKED)
		memcpy(ws->mask, ws->head + at, sizeof(ws->mask));
	ws->head_length = 0;
	if (!(ws->opcode & 8))
		return begin_data(ws);
	if (!(ws->opcode & FIN) || ws->left > WS_CONTROL_MAX || (ws->opcode & 15) > WS_OP_PONG)
		return fail(ws, WS_PROTOCOL_ERROR);
	ws->control_length = 0;
	ws->state = STATE_CONTROL;
	return WS_MORE;
}

/* RFC 3629, over any split: how many continuation bytes are due, and the range of the next. */
static bool
utf8_step(struct ws *ws, uint8_t c)
{
	if (ws->utf8_left > 0) {
		if (c < ws->utf8_low || c > ws->utf8_high)
			return false;
		ws->utf8_left--;
		ws->utf8_low = 0x80;
		ws->utf8_high = 0xbf;
		return true;
	}
	ws->utf8_low = 0x80;
	ws->utf8_high = 0xbf;
	if (c < 0x80)
		return true;
	if (c < 0xc2 || c > 0xf4)
		return false;
	ws->utf8_left = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
	if (c == 0xe0)
		ws->utf8_low = 0xa0;
	else if (c == 0xed)
		ws->utf8_high = 0x9f;
	else if (c == 0xf0)
		ws->utf8_low = 0x90;
	else if (c == 0xf4)
		ws->utf8_high = 0x8f;
	return true;
}

static bool
utf8_feed(struct ws *ws, const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (ws->utf8_left == 0 && data[i] < 0x80)
			continue;
		if (!utf8_step(ws, data[i]))
			return false;
	}
	return true;
}

static void
unmask(struct ws *ws, uint8_t *data, size_t length)
{
	if (ws->role == WS_SERVER)
		ws_mask(data, length, ws->mask, ws->mask_at);
	ws->mask_at = (uint32_t)((ws->mask_at + length) & 3);
}

static enum ws_event
take_data(struct ws *ws, uint8_t *data, size_t length, size_t *used, struct ws_piece *piece)
{
	size_t n = length < ws->left ? length : (size_t)ws->left;
	bool last;

	unmask(ws, data, n);
	ws->left -= n;
	*used += n;
	last = ws->left == 0 && ws->opcode & FIN;
	if (ws->message == WS_OP_TEXT && (!utf8_feed(ws, data, n) || (last && ws->utf8_left > 0)))
		return fail(ws, WS_BAD_PAYLOAD);
	*piece = (struct ws_piece){
		.data = data, .length = n, .opcode = (enum ws_opcode)ws->message, .last = last};
	if (ws->left == 0)
		ws->state = STATE_HEAD;
	if (last)
		ws->message = 0;
	return WS_DATA;
}

static enum ws_event
take_close(struct ws *ws, struct ws_piece *piece)
{
	ws->state = STATE_CLOSED;
	piece->code = WS_NO_CODE;
	piece->length = 0;
	if (ws->control_length == 0)
		return WS_CLOSED;
	if (ws->control_length == 1)
		return fail(ws, WS_PROTOCOL_ERROR);
	piece->code = (uint16_t)(ws->control[0] << 8 | ws->control[1]);
	piece->data = ws->control + 2;
	piece->length = ws->control_length - 2u;
	if (!ws_code_valid(piece->code))
		return fail(ws, WS_PROTOCOL_ERROR);
	if (!text_is_utf8((const char *)piece->data, piece->length))
		return fail(ws, WS_BAD_PAYLOAD);
	return WS_CLOSED;
}

static enum ws_event
take_control(struct ws *ws, const uint8_t *data, size_t length, size_t *used,
	     struct ws_piece *piece)
{
	size_t n = length < ws->left ? length : (size_t)ws->left;
	uint8_t *to = ws->control + ws->control_length;

	if (n > 0)
		memcpy(to, data, n);
	unmask(ws, to, n);
	ws->control_length = (uint8_t)(ws->control_length + n);
	ws->left -= n;
	*used += n;
	if (ws->left > 0)
		return WS_MORE;
	ws->state = STATE_HEAD;
	*piece = (struct ws_piece){.data = ws->control,
				   .length = ws->control_length,
				   .opcode = (enum ws_opcode)(ws->opcode & 15),
				   .last = true};
	if (piece->opcode == WS_OP_CLOSE)
		return take_close(ws, piece);
	return piece->opcode == WS_OP_PING ? WS_PING : WS_PONG;
}

enum ws_event
ws_feed(struct ws *ws, uint8_t *data, size_t length, size_t *used_out, struct ws_piece *piece_out)
{
	*used_out = 0;
	while (ws->state == STATE_HEAD && *used_out < length) {
		ws->head[ws->head_length++] = data[(*used_out)++];
		if (ws->head_length == head_needs(ws) && begin_frame(ws) == WS_BAD)
			return WS_BAD;
	}
	switch ((enum state)ws->state) {
	case STATE_DATA:
		if (*used_out == length && ws->left > 0)
			return WS_MORE;
		return take_data(ws, data + *used_out, length - *used_out, used_out, piece_out);
	case STATE_CONTROL:
		return take_control(ws, data + *used_out, length - *used_out, used_out, piece_out);
	case STATE_CLOSED:
		*used_out = length; /* nothing counts after a close */
		return WS_MORE;
	case STATE_BAD:
		return WS_BAD;
	case STATE_HEAD:
		break;
	}
	return WS_MORE;
}

size_t
ws_put_head(uint8_t out[WS_HEAD_MAX], enum ws_opcode opcode, bool fin, uint64_t length,
	    const uint8_t mask[4])
{
	size_t put = 2, bytes = 0;

	out[0] = (uint8_t)((fin ? FIN : 0) | opcode);
	if (length < 126) {
		out[1] = (uint8_t)length;
	} else {
		bytes = length < 65536 ? 2 : 8;
		out[1] = bytes == 2 ? 126 : 127;
	}
	for (size_t i = 0; i < bytes; i++)
		out[put++] = (uint8_t)(length >> (8 * (bytes - 1 - i)));
	if (mask) {
		out[1] |= MASKED;
		memcpy(out + put, mask, 4);
		put += 4;
	}
	return put;
}

void
ws_mask(uint8_t *data, size_t length, const uint8_t mask[4], uint64_t offset)
{
	uint8_t turned[8];
	uint64_t wide, word;
	size_t i = 0;

	for (size_t k = 0; k < 8; k++)
		turned[k] = mask[(offset + k) & 3];
	memcpy(&wide, turned, 8);
	for (; i + 8 <= length; i += 8) {
		memcpy(&word, data + i, 8);
		word ^= wide;
		memcpy(data + i, &word, 8);
	}
	for (; i < length; i++)
		data[i] ^= turned[i & 7];
}

bool
ws_code_valid(uint16_t code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

size_t
ws_put_close(uint8_t out[WS_CONTROL_MAX], uint16_t code, const char *reason)
{
	if (code == WS_NO_CODE)
		return 0;
	out[0] = (uint8_t)(code >> 8);
	out[1] = (uint8_t)code;
	text_copy((char *)out + 2, WS_CONTROL_MAX - 2, reason ? reason : "");
	return 2 + strlen((char *)out + 2);
}

bool
ws_accept(const char *key, size_t length, char out[WS_ACCEPT_BYTES])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char raw[18], digest[EVP_MAX_MD_SIZE];
	char text[24 + sizeof(guid)];
	unsigned digest_bytes = 0;

	if (length != 24 || text_unbase64(key, length, raw, sizeof(raw)) != 16)
		return false;
	memcpy(text, key, 24);
	memcpy(text + 24, guid, sizeof(guid));
	if (EVP_Digest(text, 24 + sizeof(guid) - 1, digest, &digest_bytes, EVP_sha1(), NULL) != 1)
		return false;
	text_base64(digest, digest_bytes, out, WS_ACCEPT_BYTES);
	return true;
}

void
ws_key(const uint8_t random[16], char out[WS_KEY_BYTES])
{
	text_base64(random, 16, out, WS_KEY_BYTES);
}
