/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_OFFLOAD_H
#define TESTS_SUPPORT_OFFLOAD_H

/*
 * Packets of TCP and UDP in two shapes, each written from the same plain description and not from
 * the other: the large one that the kernel hands over, and each of the small ones that it stands
 * for. Sums are tests/support/packet.h's, byte by byte.
 */

#include <linux/virtio_net.h>
#include "tests/support/packet.h"

enum { OFFLOAD_BYTES = 65600, OFFLOAD_GSO_UDP = 5 };

struct offload {
	bool v6, udp;
	bool fragmentable; /* no DF */
	bool finished;     /* the large one's checksum is there */
	uint8_t from, to;  /* last bytes of the addresses */
	uint16_t from_port, to_port;
	uint8_t tos, ttl, flags, salt;
	uint8_t extras;  /* words of IPv4 options, or destination options of IPv6 */
	uint8_t options; /* words of TCP's */
	uint16_t id, window, size;
	uint32_t payload, sequence, ack;
};

static inline struct offload
offload_plain(bool v6, bool udp)
{
	return (struct offload){.v6 = v6,
				.udp = udp,
				.from = 1,
				.to = 2,
				.from_port = 4000,
				.to_port = 80,
				.ttl = 64,
				.flags = PACKET_ACK,
				.options = udp ? 0 : 3,
				.id = 7,
				.window = 501,
				.size = 1368,
				.payload = 5000,
				.sequence = 1000,
				.ack = 77};
}

static inline uint32_t
offload_l4(const struct offload *o)
{
	return o->v6 ? 40 + o->extras * 8u : 20 + o->extras * 4u;
}

static inline uint32_t
offload_head(const struct offload *o)
{
	return offload_l4(o) + (o->udp ? 8 : 20 + o->options * 4u);
}

static inline void
offload_put32(uint8_t *at, uint32_t value)
{
	packet_put16(at, (uint16_t)(value >> 16));
	packet_put16(at + 2, (uint16_t)value);
}

static inline void
offload_network(const struct offload *o, uint16_t id, uint32_t length, uint8_t *ip)
{
	uint8_t protocol = o->udp ? IPPROTO_UDP : IPPROTO_TCP;

	if (o->v6) {
		offload_put32(ip, 6u << 28 | (uint32_t)o->tos << 20 | 0x4321);
		packet_put16(ip + 4, (uint16_t)(length - 40));
		ip[6] = o->extras ? IPPROTO_DSTOPTS : protocol;
		ip[7] = o->ttl;
		ip[8] = ip[24] = 0xfd;
		ip[23] = o->from;
		ip[39] = o->to;
		for (unsigned i = 0; i < o->extras; i++)
			ip[40 + i * 8] = i + 1 < o->extras ? IPPROTO_DSTOPTS : protocol;
		return;
	}
	ip[0] = (uint8_t)(0x45 + o->extras);
	ip[1] = o->tos;
	packet_put16(ip + 2, (uint16_t)length);
	packet_put16(ip + 4, id);
	ip[6] = o->fragmentable ? 0 : 0x40;
	ip[8] = o->ttl;
	ip[9] = protocol;
	ip[12] = ip[16] = 10;
	ip[15] = o->from;
	ip[19] = o->to;
	memset(ip + 20, 1, o->extras * 4u);
	packet_put16(ip + 10, (uint16_t)~packet_fold(packet_sum(ip, offload_l4(o), 0)));
}

static inline uint32_t
offload_pseudo(const struct offload *o, const uint8_t *ip, uint32_t l4_bytes)
{
	uint32_t sum = l4_bytes + (o->udp ? IPPROTO_UDP : IPPROTO_TCP);

	return o->v6 ? packet_sum(ip + 8, 32, sum) : packet_sum(ip + 12, 8, sum);
}

/* A packet with `bytes` of the payload from `at` on. Gives its length. */
static inline uint32_t
offload_write(const struct offload *o, uint32_t at, uint32_t bytes, uint16_t id, uint8_t flags,
	      bool finished, uint8_t *out)
{
	uint32_t head = offload_head(o), l4_at = offload_l4(o), l4_bytes = head - l4_at + bytes;
	uint8_t *l4 = out + l4_at, *check = l4 + (o->udp ? 6 : 16);
	uint16_t sum;

	memset(out, 0, head);
	offload_network(o, id, head + bytes, out);
	packet_put16(l4, o->from_port);
	packet_put16(l4 + 2, o->to_port);
	if (o->udp) {
		packet_put16(l4 + 4, (uint16_t)l4_bytes);
	} else {
		offload_put32(l4 + 4, o->sequence + at);
		offload_put32(l4 + 8, o->ack);
		l4[12] = (uint8_t)((5 + o->options) << 4);
		l4[13] = flags;
		packet_put16(l4 + 14, o->window);
		for (unsigned i = 0; i < o->options * 4u; i++)
			l4[20 + i] = (uint8_t)(o->salt + i);
	}
	for (uint32_t i = 0; i < bytes; i++)
		out[head + i] = (uint8_t)((at + i) * 31 + ((at + i) >> 8) * 7 + o->salt);
	sum = packet_fold(offload_pseudo(o, out, l4_bytes));
	packet_put16(check, sum);
	if (finished) {
		packet_put16(check, 0);
		sum = (uint16_t)~packet_fold(packet_sum(l4, l4_bytes, sum));
		packet_put16(check, sum ? sum : 0xffff);
	}
	return head + bytes;
}

/* The large one, and the word before it. */
static inline uint32_t
offload_large(const struct offload *o, struct virtio_net_hdr *header, uint8_t *out)
{
	*header = (struct virtio_net_hdr){
		.gso_type = o->udp  ? OFFLOAD_GSO_UDP
			    : o->v6 ? VIRTIO_NET_HDR_GSO_TCPV6
				    : VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = o->size,
		.hdr_len = (uint16_t)offload_head(o),
	};
	if (!o->udp && o->flags & 0x80)
		header->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	if (!o->finished) {
		header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		header->csum_start = (uint16_t)offload_l4(o);
		header->csum_offset = o->udp ? 6 : 16;
	}
	return offload_write(o, 0, o->payload, o->id, o->flags, o->finished, out);
}

static inline uint32_t
offload_pieces(const struct offload *o)
{
	return o->payload ? (o->payload + o->size - 1) / o->size : 1;
}

/* Small one i. Gives its length. */
static inline uint32_t
offload_piece(const struct offload *o, uint32_t i, uint8_t *out)
{
	uint32_t at = i * o->size, left = o->payload - at;
	bool last = i + 1 == offload_pieces(o);
	uint8_t flags = o->flags;

	if (!last)
		flags &= 0xf6; /* neither FIN nor PSH */
	if (i > 0)
		flags &= 0x7f; /* no CWR */
	return offload_write(o, at, last ? left : o->size, (uint16_t)(o->id + i), flags, true, out);
}

#endif
