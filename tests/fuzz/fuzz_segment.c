/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a TUN gives: the word before the packet, two bytes of MTU, the packet. Whatever is accepted
 * comes out as whole packets in place, with right sums where they were asked for, and not without
 * end.
 */
#include <stdlib.h>
#include <string.h>
#include "overlay/engine/segment.h"
#include "tests/support/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t out[SEGMENT_RUN_BYTES];

static void
need(bool right)
{
	if (!right)
		abort();
}

static void
check_sums(const uint8_t *p, const struct inner *in)
{
	uint32_t bytes = in->length - in->l4, sum = bytes + in->protocol;

	need(in->payload > 0);
	sum = in->version == 4 ? packet_sum(p + 12, 8, sum) : packet_sum(p + 8, 32, sum);
	need(packet_fold(packet_sum(p + in->l4, bytes, sum)) == 0xffff);
	need(in->version == 6 || packet_fold(packet_sum(p, in->l4, 0)) == 0xffff);
}

static uint32_t
check_datagram(const struct segment *s, const uint8_t *at, uint32_t bytes)
{
	uint32_t room = bytes - SEGMENT_HEAD - SEGMENT_TAIL;
	struct inner in;

	need(bytes >= SEGMENT_HEAD + SEGMENT_TAIL + 20);
	need(inner_parse(at + SEGMENT_HEAD, room, &in));
	need(room - in.length < 16 && (room == in.length || room <= s->mtu));
	for (uint32_t i = in.length; i < room; i++)
		need(at[SEGMENT_HEAD + i] == 0);
	if (!s->cut)
		return in.length;
	check_sums(at + SEGMENT_HEAD, &in);
	return in.length - in.payload;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_net_hdr header;
	struct segment_run run;
	struct segment s;
	uint32_t came = 0, packets = 0;

	if (size < sizeof(header) + 2)
		return 0;
	memcpy(&header, data, sizeof(header));
	data += sizeof(header);
	if (segment_begin(&s, &header, data + 2, size - sizeof(header) - 2, inner_get16(data)) !=
	    SEGMENT_OK) {
		need(!segment_next(&s, out, &run));
		return 0;
	}
	while (segment_next(&s, out, &run)) {
		need(run.count > 0 && run.count <= SEGMENT_RUN_MAX && run.last <= run.stride);
		need(segment_run_bytes(&run) <= SEGMENT_RUN_BYTES);
		for (uint32_t i = 0; i < run.count; i++)
			came += check_datagram(&s, out + i * run.stride, segment_bytes(&run, i));
		packets += run.count;
	}
	need(came == s.inner.length - (s.cut ? s.inner.payload : 0));
	need(packets <= 65536 / SEGMENT_TCP_MIN);
	return 0;
}
