/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two bytes of MTU, and a packet that is too big. An answer is a whole packet with right sums, to
 * whom the packet was from, with the packet's beginning in it; none is made to an error.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "overlay/engine/too_big.h"
#include "tests/support/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
need(bool right)
{
	if (!right)
		abort();
}

static void
check(const uint8_t *packet, const struct inner *in, const uint8_t *answer, size_t bytes)
{
	bool v4 = in->version == 4;
	uint32_t source = v4 ? 12 : 8, length = v4 ? 4 : 16, quoted;
	struct inner out;

	need(inner_parse(answer, bytes, &out) && out.length == bytes);
	need(out.version == in->version && !out.fragment && out.bare);
	need(bytes <= (v4 ? 576 : 1280) && bytes > out.l4 + 8);
	need(memcmp(answer + source + length, packet + source, length) == 0);
	need(memcmp(answer + source, packet + source + length, length) == 0);
	quoted = (uint32_t)bytes - out.l4 - 8;
	need(quoted <= in->length && memcmp(answer + out.l4 + 8, packet, quoted) == 0);
	uint32_t sum = v4 ? 0 : packet_sum(answer + 8, 32, (uint32_t)(bytes - out.l4) + 58);
	need(packet_fold(packet_sum(answer + out.l4, bytes - out.l4, sum)) == 0xffff);
	need(!v4 || packet_fold(packet_sum(answer, out.l4, 0)) == 0xffff);
	/* Whoever gets it does not answer it again. */
	uint8_t again[TOO_BIG_BYTES];
	need(too_big_answer(answer, &out, 1280, again) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t answer[TOO_BIG_BYTES];
	struct inner in;

	if (size < 2 || !inner_parse(data + 2, size - 2, &in))
		return 0;
	size_t bytes = too_big_answer(data + 2, &in, inner_get16(data), answer);
	if (bytes > 0)
		check(data + 2, &in, answer, bytes);
	return 0;
}
