/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet goes to the end of the newest run that has its addresses and ports, if that one is still
 * open and everything fits (RFC 9293 for TCP; what may differ is what segment.c would make differ);
 * else it begins a run. Runs leave in the order of their first packets. A packet without ports (a
 * fragment, ICMP, an unknown header) may be part of any flow between its addresses: none of them
 * goes on before it. Only the MERGE_LOOK_MAX newest runs are looked at, so that a peer with many
 * flows costs no more than one with few.
 *
 * Checksums are looked at last, and never of packets that go alone: those the kernel checks.
 */
#include "overlay/engine/merge.h"

#include <assert.h>
#include <netinet/in.h>
#include <string.h>
#include "overlay/engine/checksum.h"

enum {
	DONT_FRAGMENT = 0x4000,
	/* With one of them a packet of TCP goes alone. */
	ALONE = INNER_SYN | INNER_RST | INNER_URG,
	/* These end a run. */
	ENDS = INNER_FIN | INNER_PSH,
};

void
merge_init(struct merge *m, bool tcp, bool udp)
{
	m->tcp = tcp;
	m->udp = udp;
	merge_reset(m);
}

void
merge_reset(struct merge *m)
{
	m->packet_count = m->run_count = 0;
}

static uint32_t
payload_bytes(const struct merge_packet *p)
{
	return p->inner.length - p->inner.payload;
}

static uint8_t
flags_of(const struct merge_packet *p)
{
	return p->data[p->inner.l4 + INNER_TCP_FLAGS];
}

static bool
same(const struct merge_packet *a, const struct merge_packet *b, uint32_t at, uint32_t bytes)
{
	return memcmp(a->data + at, b->data + at, bytes) == 0;
}

/* Whether they may be of one flow. */
static bool
related(const struct merge_packet *a, const struct merge_packet *b)
{
	if (a->inner.version != b->inner.version)
		return false;
	if (a->inner.version == 4 ? !same(a, b, INNER_IP4_SOURCE, 8)
				  : !same(a, b, INNER_IP6_SOURCE, 32))
		return false;
	if (!a->inner.payload || !b->inner.payload)
		return true;
	return a->inner.protocol == b->inner.protocol &&
	       memcmp(a->data + a->inner.l4, b->data + b->inner.l4, 4) == 0;
}

static bool
same_network(const struct merge_run *r, const struct merge_packet *a, const struct merge_packet *b)
{
	if (a->inner.version == 6)
		return same(a, b, 0, 4) && same(a, b, INNER_IP6_HOPS, 1);
	if (!same(a, b, INNER_IP4_TOS, 1) || !same(a, b, INNER_IP4_TTL, 1) ||
	    !same(a, b, INNER_IP4_FRAGMENT, 2))
		return false;
	return inner_get16(a->data + INNER_IP4_FRAGMENT) & DONT_FRAGMENT ||
	       inner_get16(b->data + INNER_IP4_ID) ==
		       (uint16_t)(inner_get16(a->data + INNER_IP4_ID) + r->packets);
}

static bool
same_tcp(const struct merge_run *r, const struct merge_packet *a, const struct merge_packet *b)
{
	uint32_t l4 = a->inner.l4, options = l4 + INNER_TCP_BYTES;
	uint8_t differ = (uint8_t)((flags_of(a) ^ flags_of(b)) & ~(INNER_CWR | ENDS));

	return inner_get32(b->data + l4 + INNER_TCP_SEQUENCE) == r->sequence && !differ &&
	       !(flags_of(b) & INNER_CWR) && same(a, b, l4 + INNER_TCP_ACK, 5) &&
	       same(a, b, l4 + INNER_TCP_WINDOW, 2) && same(a, b, l4 + INNER_TCP_URGENT, 2) &&
	       same(a, b, options, a->inner.payload - options);
}

static bool
goes_on(struct merge *m, struct merge_run *r, const struct merge_packet *p)
{
	const struct merge_packet *first = &m->packets[r->first];
	uint32_t bytes = payload_bytes(p);
	bool tcp = p->inner.protocol == IPPROTO_TCP;

	if (!p->inner.bare || p->inner.payload != first->inner.payload || bytes == 0 ||
	    bytes > r->size || r->bytes + bytes > MERGE_BYTES_MAX || !same_network(r, first, p))
		return false;
	if (tcp ? !same_tcp(r, first, p)
		: r->packets == MERGE_UDP_MAX ||
			    inner_get16(p->data + p->inner.l4 + INNER_UDP_CHECK) == 0)
		return false;
	if (r->first_sums == MERGE_UNKNOWN)
		r->first_sums =
			inner_sums_right(first->data, &first->inner) ? MERGE_RIGHT : MERGE_WRONG;
	return r->first_sums == MERGE_RIGHT && inner_sums_right(p->data, &p->inner);
}

/* Whether something may follow its first packet. */
static bool
opens(const struct merge *m, const struct merge_packet *p)
{
	if (!p->inner.payload || !p->inner.bare || payload_bytes(p) == 0)
		return false;
	if (p->inner.protocol == IPPROTO_UDP)
		return m->udp && inner_get16(p->data + p->inner.l4 + INNER_UDP_CHECK) != 0;
	return m->tcp && (flags_of(p) & (ALONE | ENDS | INNER_ACK)) == INNER_ACK;
}

static struct merge_run *
newest_related(struct merge *m, const struct merge_packet *p)
{
	unsigned looked = 0;

	for (unsigned i = m->run_count; i-- > 0 && looked < MERGE_LOOK_MAX; looked++)
		if (related(&m->packets[m->runs[i].first], p))
			return &m->runs[i];
	return NULL;
}

static void
begin(struct merge *m, const struct merge_packet *p, int index)
{
	struct merge_run *r = &m->runs[m->run_count++];

	*r = (struct merge_run){
		.packets = 1,
		.bytes = p->inner.length,
		.first = index,
		.last = index,
		.open = opens(m, p),
	};
	if (!r->open)
		return;
	r->size = payload_bytes(p);
	if (p->inner.protocol == IPPROTO_TCP)
		r->sequence = inner_get32(p->data + p->inner.l4 + INNER_TCP_SEQUENCE) + r->size;
}

static void
append(struct merge *m, struct merge_run *r, const struct merge_packet *p, int index)
{
	uint32_t bytes = payload_bytes(p);

	m->packets[r->last].next = index;
	r->last = index;
	r->packets++;
	r->bytes += bytes;
	r->sequence += bytes;
	r->open = bytes == r->size && !(p->inner.protocol == IPPROTO_TCP && flags_of(p) & ENDS);
}

bool
merge_add(struct merge *m, uint8_t *data, const struct inner *inner)
{
	if (m->packet_count == MERGE_PACKETS_MAX)
		return false;
	int index = (int)m->packet_count++;
	struct merge_packet *p = &m->packets[index];
	*p = (struct merge_packet){.data = data, .inner = *inner, .next = -1};
	struct merge_run *r = newest_related(m, p);
	if (r && r->open && goes_on(m, r, p))
		append(m, r, p, index);
	else
		begin(m, p, index);
	return true;
}

/* The first packet's headers become those of all. */
static void
join(struct merge *m, struct merge_run *r)
{
	struct merge_packet *p = &m->packets[r->first];
	const struct inner *in = &p->inner;
	uint8_t *l4 = p->data + in->l4;
	uint32_t l4_bytes = r->bytes - in->l4, offset = inner_check_offset(in);
	uint16_t sum = checksum_fold(inner_pseudo(p->data, in, l4_bytes));

	inner_set_length(p->data, in, r->bytes);
	r->header = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.hdr_len = (uint16_t)in->payload,
		.gso_size = (uint16_t)r->size,
		.csum_start = (uint16_t)in->l4,
		.csum_offset = (uint16_t)offset,
	};
	if (in->protocol == IPPROTO_TCP) {
		l4[INNER_TCP_FLAGS] |= flags_of(&m->packets[r->last]) & ENDS;
		r->header.gso_type =
			in->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
		if (l4[INNER_TCP_FLAGS] & INNER_CWR)
			r->header.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	} else {
		inner_put16(l4 + INNER_UDP_LENGTH, (uint16_t)l4_bytes);
		r->header.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
	}
	memcpy(l4 + offset, &sum, sizeof(sum));
}

unsigned
merge_finish(struct merge *m)
{
	struct iovec *iov = m->iov;

	for (unsigned i = 0; i < m->run_count; i++) {
		struct merge_run *r = &m->runs[i];
		struct merge_packet *p = &m->packets[r->first];

		if (r->packets > 1)
			join(m, r);
		r->iov = iov;
		*iov++ = (struct iovec){&r->header, sizeof(r->header)};
		*iov++ = (struct iovec){p->data, p->inner.length};
		while (p->next >= 0) {
			p = &m->packets[p->next];
			*iov++ = (struct iovec){p->data + p->inner.payload, payload_bytes(p)};
		}
		r->iov_count = (int)(iov - r->iov);
	}
	assert(iov <= m->iov + sizeof(m->iov) / sizeof(m->iov[0]));
	return m->run_count;
}
