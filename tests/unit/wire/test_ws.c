/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket frames: round trips at every split, refused frames, close codes, accept keys. */
#include "wire/ws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static size_t
put_frame(uint8_t *out, enum ws_opcode op, bool fin, const void *data, size_t length, bool masked)
{
	static const uint8_t mask[4] = {1, 2, 3, 0xfe};
	size_t head = ws_put_head(out, op, fin, length, masked ? mask : NULL);

	if (length > 0)
		memcpy(out + head, data, length);
	if (masked)
		ws_mask(out + head, length, mask, 0);
	return head + length;
}

struct trace {
	char data[80000];
	size_t length;
	char events[64];
	uint16_t code;
};

static enum ws_event
drive(struct ws *ws, uint8_t *data, size_t length, size_t step, struct trace *t)
{
	enum ws_event event = WS_MORE;

	for (size_t at = 0; at < length;) {
		size_t n = length - at < step ? length - at : step;

		for (size_t done = 0; done < n;) {
			struct ws_piece p;
			size_t used;

			event = ws_feed(ws, data + at + done, n - done, &used, &p);
			done += used;
			if (event == WS_BAD)
				return event;
			if (event == WS_DATA) {
				memcpy(t->data + t->length, p.data, p.length);
				t->length += p.length;
				if (p.last)
					strcat(t->events, p.opcode == WS_OP_TEXT ? "t" : "b");
			} else if (event != WS_MORE) {
				strcat(t->events, event == WS_PING   ? "p"
						  : event == WS_PONG ? "q"
								     : "c");
				if (event == WS_CLOSED)
					t->code = p.code;
			}
		}
		at += n;
	}
	return event;
}

static void
test_round_trip(void **state)
{
	static uint8_t wire[200000], copy[200000];
	static char big[70000];
	static struct trace t;

	(void)state;
	memset(big, 'x', sizeof(big));
	for (int server = 0; server < 2; server++) {
		bool masked = server == 1;
		size_t n = 0;

		n += put_frame(wire + n, WS_OP_TEXT, false, "h\xc3", 2, masked);
		n += put_frame(wire + n, WS_OP_PING, true, "hi", 2, masked);
		n += put_frame(wire + n, WS_OP_CONTINUATION, true, "\xa4!", 2, masked);
		n += put_frame(wire + n, WS_OP_BINARY, true, "", 0, masked);
		n += put_frame(wire + n, WS_OP_BINARY, true, big, 200, masked);
		n += put_frame(wire + n, WS_OP_BINARY, true, big, sizeof(big), masked);
		n += put_frame(wire + n, WS_OP_PONG, true, "", 0, masked);
		n += put_frame(wire + n, WS_OP_CLOSE, true,
			       "\x03\xe8"
			       "bye",
			       5, masked);
		for (size_t step = 1; step < 4000; step = step * 3 + 1) {
			struct ws ws;

			memcpy(copy, wire, n);
			memset(&t, 0, sizeof(t));
			ws_init(&ws, server ? WS_SERVER : WS_CLIENT, 100000);
			drive(&ws, copy, n, step, &t);
			assert_string_equal(t.events, "ptbbbqc");
			assert_int_equal(t.length, 4 + 200 + sizeof(big));
			assert_memory_equal(t.data, "h\xc3\xa4!xxx", 7);
			assert_int_equal(t.code, 1000);
		}
	}
}

struct bad_case {
	const char *bytes;
	size_t length;
	uint16_t code;
};

static void
test_refused(void **state)
{
	/* As a client: frames are not masked. */
	static const struct bad_case cases[] = {
		{"\xc1\x00", 2, WS_PROTOCOL_ERROR},                  /* reserved bit */
		{"\x83\x00", 2, WS_PROTOCOL_ERROR},                  /* unknown data opcode */
		{"\x8b\x00", 2, WS_PROTOCOL_ERROR},                  /* unknown control opcode */
		{"\x80\x00", 2, WS_PROTOCOL_ERROR},                  /* nothing to continue */
		{"\x01\x00\x01\x00", 4, WS_PROTOCOL_ERROR},          /* message in a message */
		{"\x09\x00", 2, WS_PROTOCOL_ERROR},                  /* ping in fragments */
		{"\x89\x7e\x00\x7e", 4, WS_PROTOCOL_ERROR},          /* long ping */
		{"\x81\x81\x00\x00\x00\x00x", 7, WS_PROTOCOL_ERROR}, /* masked by a server */
		{"\x82\x7e\x00\x7d", 4, WS_PROTOCOL_ERROR},          /* not the shortest length */
		{"\x82\x7f\0\0\0\0\0\0\xff\xff", 10, WS_PROTOCOL_ERROR},
		{"\x82\x7f\x80\0\0\0\0\0\0\0", 10, WS_PROTOCOL_ERROR},
		{"\x82\x7e\x04\x01", 4, WS_TOO_BIG}, /* 1025 of 1024 */
		{"\x81\x01\xff", 3, WS_BAD_PAYLOAD},
		{"\x81\x02\xc0\xaf", 4, WS_BAD_PAYLOAD},     /* overlong */
		{"\x81\x03\xed\xa0\x80", 5, WS_BAD_PAYLOAD}, /* surrogate */
		{"\x81\x01\xc3", 3, WS_BAD_PAYLOAD},         /* cut */
		{"\x88\x01\x03", 3, WS_PROTOCOL_ERROR},
		{"\x88\x02\x03\xed", 4, WS_PROTOCOL_ERROR}, /* 1005 */
		{"\x88\x02\x00\x00", 4, WS_PROTOCOL_ERROR},
		{"\x88\x03\x03\xe8\xff", 5, WS_BAD_PAYLOAD},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t step = 1; step <= cases[i].length; step++) {
			struct ws ws;
			uint8_t copy[16];
			static struct trace t;

			memset(&t, 0, sizeof(t));
			memcpy(copy, cases[i].bytes, cases[i].length);
			ws_init(&ws, WS_CLIENT, 1024);
			if (drive(&ws, copy, cases[i].length, step, &t) != WS_BAD ||
			    ws.error != cases[i].code)
				fail_msg("case %zu step %zu: %u", i, step, ws.error);
		}
	}
	{
		struct ws ws;
		uint8_t unmasked[] = {0x81, 0x01, 'x'};
		struct ws_piece p;
		size_t used;

		ws_init(&ws, WS_SERVER, 1024);
		assert_int_equal(ws_feed(&ws, unmasked, 3, &used, &p), WS_BAD);
	}
}

static void
test_fragments_are_summed(void **state)
{
	static struct trace t;
	uint8_t wire[64];
	struct ws ws;
	size_t n = 0;

	(void)state;
	memset(&t, 0, sizeof(t));
	n += put_frame(wire + n, WS_OP_BINARY, false, "123456", 6, false);
	n += put_frame(wire + n, WS_OP_CONTINUATION, true, "78901", 5, false);
	ws_init(&ws, WS_CLIENT, 10);
	assert_int_equal(drive(&ws, wire, n, n, &t), WS_BAD);
	assert_int_equal(ws.error, WS_TOO_BIG);
}

static void
test_handshake(void **state)
{
	char out[WS_ACCEPT_BYTES], key[WS_KEY_BYTES];
	uint8_t close[WS_CONTROL_MAX];

	(void)state;
	assert_true(ws_accept("dGhlIHNhbXBsZSBub25jZQ==", 24, out));
	assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	assert_false(ws_accept("dGhlIHNhbXBsZSBub25jZQ=", 23, out));
	assert_false(ws_accept("!!!!IHNhbXBsZSBub25jZQ==", 24, out));
	ws_key((const uint8_t *)"the sample nonce", key);
	assert_string_equal(key, "dGhlIHNhbXBsZSBub25jZQ==");
	assert_int_equal(ws_put_close(close, WS_NO_CODE, "x"), 0);
	assert_int_equal(ws_put_close(close, 1000, NULL), 2);
	assert_int_equal(ws_put_close(close, 1011, "oops"), 6);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_fragments_are_summed),
		cmocka_unit_test(test_handshake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
