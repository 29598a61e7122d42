/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of placement as bytes: there and back, cut short, and as later versions write them. */
#include "scheduler/place/placemsg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

enum { LATER_MORE = 5 };

static struct placemsg
some(enum placemsg_kind kind)
{
	switch (kind) {
	case PLACEMSG_OFFER:
		return (struct placemsg){.kind = kind,
					 .offer = 1,
					 .service = 2,
					 .slot = 3,
					 .revision = 4,
					 .epoch = 5,
					 .cpu_milli = 600,
					 .memory_bytes = 7 << 20};
	case PLACEMSG_PROMISE:
		return (struct placemsg){.kind = kind,
					 .offer = 1,
					 .price = 8,
					 .ttl_ms = 9,
					 .cpu_milli = 600,
					 .memory_bytes = 7 << 20};
	case PLACEMSG_REJECT:
		return (struct placemsg){.kind = kind,
					 .offer = 1,
					 .reasons = 10,
					 .ttl_ms = 9,
					 .cpu_milli = 600,
					 .memory_bytes = 7 << 20};
	case PLACEMSG_AWARD:
		return (struct placemsg){
			.kind = kind, .offer = 1, .service = 2, .slot = 3, .epoch = 5};
	case PLACEMSG_RELEASE:
		return (struct placemsg){.kind = kind, .offer = 1};
	case PLACEMSG_CLAIMED:
		return (struct placemsg){
			.kind = kind,
			.offer = 1,
			.claim = {2, 3, 4, 5, 11, CLAIM_READY, 0, 0, 12},
		};
	case PLACEMSG_RETIRE:
		return (struct placemsg){.kind = kind,
					 .service = 2,
					 .number = 12,
					 .winner = 13,
					 .retire = CLAIM_RETIRE_MOVED};
	case PLACEMSG_GONE:
	case PLACEMSG_ASK:
		break;
	}
	return (struct placemsg){.kind = kind, .service = 2, .number = 12};
}

static bool
same(const struct placemsg *a, const struct placemsg *b)
{
	uint8_t x[PLACEMSG_BYTES_MAX], y[PLACEMSG_BYTES_MAX];
	size_t length = placemsg_encode(a, x);

	return length == placemsg_encode(b, y) && memcmp(x, y, length) == 0;
}

static void
test_there_and_back(void **state)
{
	(void)state;
	for (int kind = PLACEMSG_OFFER; kind <= PLACEMSG_ASK; kind++) {
		struct placemsg m = some((enum placemsg_kind)kind), got;
		uint8_t bytes[PLACEMSG_BYTES_MAX];
		size_t length = placemsg_encode(&m, bytes);
		struct cursor c;

		cursor_init(&c, bytes, length);
		assert_int_equal(placemsg_decode(&c, &got), PLACEMSG_OK);
		assert_true(same(&m, &got));
		assert_int_equal(placemsg_decode(&c, &got), PLACEMSG_END);
		for (size_t n = 1; n < length; n++) {
			cursor_init(&c, bytes, n);
			assert_int_equal(placemsg_decode(&c, &got), PLACEMSG_BAD);
		}
		bytes[1] = 0; /* no version */
		cursor_init(&c, bytes, length);
		assert_int_equal(placemsg_decode(&c, &got), PLACEMSG_BAD);
	}
}

/* One after the other in a datagram, each with what this version does not know. */
static void
test_a_later_version(void **state)
{
	uint8_t data[PLACEMSG_ASK * (PLACEMSG_BYTES_MAX + 2 + LATER_MORE)];
	size_t bytes = 0, ends[PLACEMSG_ASK + 1] = {0};
	struct placemsg got;
	struct cursor c;

	(void)state;
	for (int kind = PLACEMSG_OFFER; kind <= PLACEMSG_ASK; kind++) {
		struct placemsg m = some((enum placemsg_kind)kind);
		size_t length = placemsg_encode(&m, data + bytes);

		data[bytes + 1] = PLACEMSG_VERSION + 1;
		bytes += length;
		data[bytes++] = LATER_MORE;
		data[bytes++] = 0;
		memset(data + bytes, 0xff, LATER_MORE);
		bytes += LATER_MORE;
		ends[kind] = bytes;
	}
	cursor_init(&c, data, bytes);
	for (int kind = PLACEMSG_OFFER; kind <= PLACEMSG_ASK; kind++) {
		struct placemsg m = some((enum placemsg_kind)kind);

		assert_int_equal(placemsg_decode(&c, &got), PLACEMSG_OK);
		assert_true(same(&m, &got));
		assert_ptr_equal(c.at, data + ends[kind]);
	}
	assert_int_equal(placemsg_decode(&c, &got), PLACEMSG_END);
	/* What it says of its length must be there. */
	for (size_t n = ends[PLACEMSG_ASK - 1] + 1; n < bytes; n++) {
		cursor_init(&c, data + ends[PLACEMSG_ASK - 1], n - ends[PLACEMSG_ASK - 1]);
		assert_int_equal(placemsg_decode(&c, &got), PLACEMSG_BAD);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_a_later_version),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
