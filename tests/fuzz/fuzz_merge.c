/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of a peer: a byte of what may be joined, then each packet after two bytes of its length.
 * Each comes out once, those of one flow in order; what was joined gives the same packets when it
 * is cut again, but for IPv4's id under DF; what was not is as it came.
 */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "overlay/engine/merge.h"
#include "overlay/engine/segment.h"
#include "tests/support/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct merge merge;
static uint8_t *original[MERGE_PACKETS_MAX], *changed[MERGE_PACKETS_MAX];
static uint8_t joined[MERGE_BYTES_MAX], out[SEGMENT_RUN_BYTES], both[2][MERGE_BYTES_MAX];

static void
need(bool right)
{
	if (!right)
		abort();
}

static void
add_all(const uint8_t *data, size_t size)
{
	while (size >= 2) {
		size_t bytes = (size_t)(data[0] << 8 | data[1]);
		unsigned i = merge.packet_count;
		struct inner in;

		data += 2;
		size -= 2;
		if (bytes > size)
			bytes = size;
		if (inner_parse(data, bytes, &in)) {
			uint8_t *copy = mem_dup(MEM_OVERLAY, data, in.length);

			need(in.length <= bytes && copy);
			if (!merge_add(&merge, copy, &in)) {
				need(i == MERGE_PACKETS_MAX);
				mem_free(copy);
				return;
			}
			changed[i] = copy;
			original[i] = mem_dup(MEM_OVERLAY, data, in.length);
			need(original[i]);
		}
		data += bytes;
		size -= bytes;
	}
}

/* Without what may differ: sums that mean the same, and the id under DF. */
static void
normal(uint8_t *to, const uint8_t *from, const struct inner *in)
{
	memcpy(to, from, in->length);
	memset(to + in->l4 + inner_check_offset(in), 0, 2);
	if (in->version == 6)
		return;
	memset(to + 10, 0, 2);
	if (to[6] & 0x40)
		memset(to + 4, 0, 2);
}

static void
check_joined(const struct merge_run *r)
{
	struct virtio_net_hdr header;
	struct segment_run run;
	struct segment s;
	uint32_t bytes = 0;
	int at = r->first;

	memcpy(&header, r->iov[0].iov_base, sizeof(header));
	for (int i = 1; i < r->iov_count; i++) {
		need(bytes + r->iov[i].iov_len <= MERGE_BYTES_MAX);
		memcpy(joined + bytes, r->iov[i].iov_base, r->iov[i].iov_len);
		bytes += (uint32_t)r->iov[i].iov_len;
	}
	/* The kernel's own least size of a piece does not bind a peer: such are cut by it. */
	if (header.gso_type != VIRTIO_NET_HDR_GSO_UDP_L4 && header.gso_size < SEGMENT_TCP_MIN)
		return;
	need(segment_begin(&s, &header, joined, bytes, 1420) == SEGMENT_OK);
	while (segment_next(&s, out, &run))
		for (uint32_t i = 0; i < run.count; i++, at = merge.packets[at].next) {
			const uint8_t *piece = out + i * run.stride + SEGMENT_HEAD;
			struct inner in;

			need(at >= 0 && inner_parse(piece, run.stride, &in));
			need(in.length == merge.packets[at].inner.length);
			normal(both[0], piece, &in);
			normal(both[1], original[at], &in);
			need(memcmp(both[0], both[1], in.length) == 0);
		}
	need(at == -1);
}

/* By addresses and ports, written without merge.c's help. */
static bool
one_flow(int a, int b)
{
	const struct inner *x = &merge.packets[a].inner, *y = &merge.packets[b].inner;
	uint32_t from = x->version == 4 ? 12 : 8, bytes = x->version == 4 ? 8 : 32;

	return x->version == y->version && x->protocol == y->protocol && x->payload && y->payload &&
	       memcmp(original[a] + from, original[b] + from, bytes) == 0 &&
	       memcmp(original[a] + x->l4, original[b] + y->l4, 4) == 0;
}

static void
check_order(unsigned runs)
{
	int order[MERGE_PACKETS_MAX], count = 0;
	bool came[MERGE_PACKETS_MAX] = {false};

	for (unsigned i = 0; i < runs; i++)
		for (int at = merge.runs[i].first; at >= 0; at = merge.packets[at].next) {
			need(!came[at]);
			came[at] = true;
			order[count++] = at;
		}
	need(count == (int)merge.packet_count);
	for (int i = 0; i < count; i++)
		for (int j = i + 1; j < count; j++)
			need(order[i] < order[j] || !one_flow(order[i], order[j]));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct virtio_net_hdr none;

	if (size == 0)
		return 0;
	merge_init(&merge, data[0] & 1, data[0] & 2);
	add_all(data + 1, size - 1);
	unsigned runs = merge_finish(&merge);
	check_order(runs);
	for (unsigned i = 0; i < runs; i++) {
		const struct merge_run *r = &merge.runs[i];

		if (r->packets > 1) {
			check_joined(r);
			continue;
		}
		need(r->iov_count == 2 && memcmp(r->iov[0].iov_base, &none, sizeof(none)) == 0);
		need(memcmp(r->iov[1].iov_base, original[r->first], r->iov[1].iov_len) == 0);
	}
	for (unsigned i = 0; i < merge.packet_count; i++) {
		mem_free(changed[i]);
		mem_free(original[i]);
	}
	return 0;
}
