/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting as a network card does it (TSO, USO), in one pass: payload is copied to where it will be
 * sealed, and summed on the way. Of the packet's fields, per piece: lengths; IPv4's id, counted up
 * (RFC 6864); TCP's sequence number; FIN and PSH on the last piece only, CWR on the first only
 * (RFC 3168, 6.1.2); checksums, always made anew.
 *
 * The header is the kernel's word, but a container can write such words too (AF_PACKET): each
 * number of it is compared with the packet. hdr_len is not used at all, forwarded packets have a
 * wrong one. Not cut: what has a routing header (its pseudo header is another one), SYN and RST.
 */
#include "overlay/engine/segment.h"

#include <netinet/in.h>
#include <string.h>
#include "overlay/engine/checksum.h"

enum { PAD = 16 };

static uint32_t
datagram_bytes(const struct segment *s, uint32_t packet_bytes)
{
	uint32_t padded = (packet_bytes + PAD - 1) / PAD * PAD;

	if (padded > s->mtu)
		padded = packet_bytes > s->mtu ? packet_bytes : s->mtu;
	return SEGMENT_HEAD + padded + SEGMENT_TAIL;
}

static enum segment_result
begin_whole(struct segment *s, const struct virtio_net_hdr *header)
{
	uint32_t at = (uint32_t)header->csum_start + header->csum_offset;

	s->size = s->inner.length;
	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		uint32_t head = s->inner.version == 4 ? INNER_IP4_BYTES : INNER_IP6_BYTES;

		if (header->csum_start < head || at + 2 > s->inner.length)
			return SEGMENT_MALFORMED;
		s->sum_start = header->csum_start;
		s->sum_at = at;
	}
	return SEGMENT_OK;
}

static bool
can_cut(const struct segment *s, const struct virtio_net_hdr *header, size_t bytes)
{
	const struct inner *in = &s->inner;
	uint32_t left = in->length - in->payload;

	if (in->payload == 0 || in->length != bytes)
		return false;
	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM &&
	    (header->csum_start != in->l4 || header->csum_offset != inner_check_offset(in)))
		return false;
	if (in->protocol == IPPROTO_UDP)
		return s->size > 0 && left <= s->size * SEGMENT_UDP_MAX;
	return s->size >= SEGMENT_TCP_MIN &&
	       !(s->packet[in->l4 + INNER_TCP_FLAGS] & (INNER_SYN | INNER_RST));
}

static enum segment_result
begin_cut(struct segment *s, const struct virtio_net_hdr *header, size_t bytes)
{
	bool right;

	switch (header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		right = s->inner.protocol == IPPROTO_TCP && s->inner.version == 4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		right = s->inner.protocol == IPPROTO_TCP && s->inner.version == 6;
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		right = s->inner.protocol == IPPROTO_UDP;
		break;
	default:
		return SEGMENT_UNSUPPORTED;
	}
	s->cut = true;
	s->size = header->gso_size;
	return right && can_cut(s, header, bytes) ? SEGMENT_OK : SEGMENT_MALFORMED;
}

static uint32_t
left_of(const struct segment *s)
{
	return s->inner.length - (s->cut ? s->inner.payload : 0) - s->at;
}

/* Bytes of the packet that comes next. */
static uint32_t
next_bytes(const struct segment *s)
{
	uint32_t left = left_of(s);

	return (s->cut ? s->inner.payload : 0) + (left < s->size ? left : s->size);
}

uint32_t
segment_left(const struct segment *s)
{
	uint32_t left = left_of(s);

	return s->done ? 0 : left ? (left + s->size - 1) / s->size : 1;
}

uint32_t
segment_longest(const struct segment *s)
{
	return next_bytes(s);
}

enum segment_result
segment_begin(struct segment *s, const struct virtio_net_hdr *header, const uint8_t *packet,
	      size_t bytes, uint32_t mtu)
{
	enum segment_result result = SEGMENT_MALFORMED;

	*s = (struct segment){.packet = packet, .mtu = mtu};
	if (inner_parse(packet, bytes, &s->inner))
		result = header->gso_type == VIRTIO_NET_HDR_GSO_NONE ? begin_whole(s, header)
								     : begin_cut(s, header, bytes);
	if (result == SEGMENT_OK && datagram_bytes(s, next_bytes(s)) > SEGMENT_RUN_BYTES)
		result = SEGMENT_TOO_LONG;
	s->done = result != SEGMENT_OK;
	return result;
}

static void
write_check(uint8_t *at, uint64_t sum)
{
	uint16_t check = (uint16_t)~checksum_fold(sum);

	/* 0 would say that UDP has none (RFC 768); to TCP both are the same. */
	if (check == 0)
		check = UINT16_MAX;
	memcpy(at, &check, sizeof(check));
}

static void
write_tcp(const struct segment *s, uint8_t *tcp, bool last)
{
	uint8_t off = 0;

	inner_put32(tcp + INNER_TCP_SEQUENCE, inner_get32(tcp + INNER_TCP_SEQUENCE) + s->at);
	if (!last)
		off |= INNER_FIN | INNER_PSH;
	if (s->index > 0)
		off |= INNER_CWR;
	tcp[INNER_TCP_FLAGS] &= (uint8_t)~off;
}

static void
write_piece(const struct segment *s, uint8_t *to, uint32_t bytes)
{
	const struct inner *in = &s->inner;
	uint32_t head = in->payload, l4_bytes = bytes - in->l4;
	uint8_t *l4 = to + in->l4, *check = l4 + inner_check_offset(in);

	memcpy(to, s->packet, head);
	uint64_t sum = checksum_copy(inner_pseudo(s->packet, in, l4_bytes), to + head,
				     s->packet + head + s->at, bytes - head);
	if (in->version == 4)
		inner_put16(to + INNER_IP4_ID,
			    (uint16_t)(inner_get16(to + INNER_IP4_ID) + s->index));
	inner_set_length(to, in, bytes);
	if (in->protocol == IPPROTO_TCP)
		write_tcp(s, l4, s->at + (bytes - head) == in->length - head);
	else
		inner_put16(l4 + INNER_UDP_LENGTH, (uint16_t)l4_bytes);
	memset(check, 0, 2);
	write_check(check, checksum_add(sum, l4, head - in->l4));
}

static void
write_whole(const struct segment *s, uint8_t *to, uint32_t bytes)
{
	uint32_t start = s->sum_start;

	if (start == 0) {
		memcpy(to, s->packet, bytes);
		return;
	}
	/* The field holds the sum over the pseudo header. */
	memcpy(to, s->packet, start);
	write_check(to + s->sum_at, checksum_copy(0, to + start, s->packet + start, bytes - start));
}

bool
segment_next(struct segment *s, uint8_t *out, struct segment_run *run)
{
	*run = (struct segment_run){0};
	if (s->done)
		return false;
	run->stride = datagram_bytes(s, next_bytes(s));
	do {
		uint32_t bytes = next_bytes(s), datagram = datagram_bytes(s, bytes);
		uint8_t *to = out + (size_t)run->count * run->stride + SEGMENT_HEAD;

		if ((size_t)run->count * run->stride + datagram > SEGMENT_RUN_BYTES)
			break;
		if (s->cut)
			write_piece(s, to, bytes);
		else
			write_whole(s, to, bytes);
		memset(to + bytes, 0, datagram - SEGMENT_HEAD - SEGMENT_TAIL - bytes);
		s->at += bytes - (s->cut ? s->inner.payload : 0);
		s->index++;
		run->count++;
		run->last = datagram;
		s->done = left_of(s) == 0;
	} while (!s->done && run->count < SEGMENT_RUN_MAX);
	return true;
}

uint32_t
segment_bytes(const struct segment_run *run, uint32_t i)
{
	return i + 1 == run->count ? run->last : run->stride;
}

uint32_t
segment_run_bytes(const struct segment_run *run)
{
	return run->count ? (run->count - 1) * run->stride + run->last : 0;
}
