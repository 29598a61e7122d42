/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large packets of random flows are cut, and each piece compared with one that was written on its
 * own; the pieces of all flows are mixed, joined, and cut again: each flow's pieces come back in
 * order. Of one flow alone, the large packet itself comes back.
 */
#include <string.h>
#include "base/mem.h"
#include "overlay/engine/merge.h"
#include "overlay/engine/segment.h"
#include "tests/support/offload.h"
#include "tests/support/prop.h"

enum { FLOWS = 4, ROUNDS = 2000, FIN = 1, PSH = 8, ECE = 0x40, CWR = 0x80 };

struct flow {
	struct offload spec;
	uint32_t given, seen; /* pieces */
};

static struct flow flows[FLOWS];
static struct merge merge;
static uint8_t large[OFFLOAD_BYTES], joined[OFFLOAD_BYTES], piece[OFFLOAD_BYTES];
static uint8_t out[SEGMENT_RUN_BYTES];
static uint8_t *packets[MERGE_PACKETS_MAX];

static uint16_t
draw_size(struct prop *p)
{
	switch (prop_below(p, 4)) {
	case 0:
		return (uint16_t)(8 + prop_below(p, 30));
	case 1:
		return (uint16_t)(8 + prop_below(p, 9000));
	default:
		return (uint16_t)(1300 + prop_below(p, 100));
	}
}

static struct offload
draw(struct prop *p, unsigned flow)
{
	static const uint8_t flags[] = {FIN, PSH, ECE, CWR};
	struct offload o = offload_plain(prop_below(p, 2), prop_below(p, 2));

	o.from_port = (uint16_t)(100 + flow);
	o.fragmentable = prop_below(p, 2);
	o.finished = prop_below(p, 4) == 0;
	o.extras = prop_below(p, 8) ? 0 : (uint8_t)(1 + prop_below(p, 3));
	o.options = o.udp ? 0 : (uint8_t)prop_below(p, 11);
	o.tos = (uint8_t)prop_u64(p);
	o.ttl = (uint8_t)prop_u64(p);
	o.salt = (uint8_t)prop_u64(p);
	o.id = (uint16_t)prop_u64(p);
	o.window = (uint16_t)prop_u64(p);
	o.sequence = (uint32_t)prop_u64(p);
	o.ack = (uint32_t)prop_u64(p);
	for (unsigned i = 0; i < sizeof(flags); i++)
		o.flags |= prop_below(p, 4) ? 0 : flags[i];
	o.size = draw_size(p);
	uint32_t most = 65535 - offload_head(&o);
	if (o.udp && most > o.size * (uint32_t)SEGMENT_UDP_MAX)
		most = o.size * (uint32_t)SEGMENT_UDP_MAX;
	o.payload = (uint32_t)prop_below(p, prop_below(p, 3) ? most + 1 : 4000 % (most + 1));
	return o;
}

/* Cuts what lies in `bytes`; each piece is the next one of its flow. */
static void
cut(const struct virtio_net_hdr *header, const uint8_t *packet, uint32_t length, uint32_t mtu)
{
	struct segment_run run;
	struct segment s;

	prop_check(segment_begin(&s, header, packet, length, mtu) == SEGMENT_OK);
	while (segment_next(&s, out, &run)) {
		prop_check(run.count > 0 && run.count <= SEGMENT_RUN_MAX);
		prop_check(segment_run_bytes(&run) <= SEGMENT_RUN_BYTES && run.last <= run.stride);
		for (uint32_t i = 0; i < run.count; i++) {
			const uint8_t *at = out + i * run.stride + SEGMENT_HEAD;
			struct inner in;

			prop_check(inner_parse(
				at, segment_bytes(&run, i) - SEGMENT_HEAD - SEGMENT_TAIL, &in));
			struct flow *f = &flows[packet_get16(at + in.l4) - 100u];
			prop_check(f < flows + FLOWS && f->seen < offload_pieces(&f->spec));
			uint32_t want = offload_piece(&f->spec, f->seen++, piece);
			prop_check(in.length == want && memcmp(at, piece, want) == 0);
		}
	}
}

static uint32_t
flatten(const struct merge_run *r, struct virtio_net_hdr *header)
{
	uint32_t bytes = 0;

	memcpy(header, r->iov[0].iov_base, sizeof(*header));
	for (int i = 1; i < r->iov_count; i++) {
		memcpy(joined + bytes, r->iov[i].iov_base, r->iov[i].iov_len);
		bytes += (uint32_t)r->iov[i].iov_len;
	}
	prop_check(bytes == r->bytes && bytes <= MERGE_BYTES_MAX);
	return bytes;
}

static bool
gives_itself_back(const struct offload *o)
{
	uint32_t pieces = offload_pieces(o);

	return !o->finished && !o->extras && pieces > 1 &&
	       pieces <= (o->udp ? MERGE_UDP_MAX : MERGE_PACKETS_MAX);
}

/* Ends a batch: what comes out is cut again. */
static void
flush(uint32_t mtu, bool alone)
{
	unsigned runs = merge_finish(&merge), used = merge.packet_count;

	for (unsigned i = 0; i < runs; i++) {
		struct virtio_net_hdr header, want;
		uint32_t length = flatten(&merge.runs[i], &header);

		if (alone && gives_itself_back(&flows[0].spec)) {
			prop_check(runs == 1);
			prop_check(offload_large(&flows[0].spec, &want, large) == length);
			prop_check(memcmp(large, joined, length) == 0);
			prop_check(memcmp(&header, &want, sizeof(want)) == 0);
		}
		cut(&header, joined, length, mtu);
	}
	for (unsigned i = 0; i < used; i++)
		mem_free(packets[i]);
	merge_reset(&merge);
}

static void
give(struct flow *f, uint32_t mtu, bool alone)
{
	struct inner in;

	if (merge.packet_count == MERGE_PACKETS_MAX)
		flush(mtu, alone);
	uint32_t length = offload_piece(&f->spec, f->given++, piece);
	uint8_t *data = packets[merge.packet_count] = mem_dup(MEM_OVERLAY, piece, length);
	prop_check(data && inner_parse(data, length, &in));
	prop_check(merge_add(&merge, data, &in));
}

static void
play_round(struct prop *p)
{
	unsigned count = prop_below(p, 2) ? 1 : FLOWS, left = count;
	uint32_t mtu = prop_below(p, 2) ? 1420 : 1280 + (uint32_t)prop_below(p, 8000);

	for (unsigned i = 0; i < count; i++) {
		struct virtio_net_hdr header;

		flows[i] = (struct flow){.spec = draw(p, i)};
		uint32_t length = offload_large(&flows[i].spec, &header, large);
		cut(&header, large, length, mtu);
		prop_check(flows[i].seen == offload_pieces(&flows[i].spec));
		flows[i].seen = 0;
	}
	merge_init(&merge, true, true);
	while (left > 0) {
		struct flow *f = &flows[prop_below(p, count)];

		for (uint64_t burst = 1 + prop_below(p, 40); burst > 0; burst--)
			if (f->given < offload_pieces(&f->spec)) {
				give(f, mtu, count == 1);
				left -= f->given == offload_pieces(&f->spec);
			}
	}
	flush(mtu, count == 1);
	for (unsigned i = 0; i < count; i++)
		prop_check(flows[i].seen == offload_pieces(&flows[i].spec));
}

int
main(int argc, char **argv)
{
	struct prop p;

	prop_init(&p, argc, argv);
	for (int i = 0; i < ROUNDS; i++)
		play_round(&p);
	prop_check(mem_used_all() == 0);
	return 0;
}
