/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One function for each family; the packet is quoted as it is, with whatever of its checksum was
 * made already: who gets it looks at addresses, ports and numbers only.
 */
#include "overlay/engine/too_big.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <string.h>
#include "overlay/engine/checksum.h"

enum {
	QUOTED4_MAX = 576 - INNER_IP4_BYTES - 8,
	QUOTED6_MAX = TOO_BIG_BYTES - INNER_IP6_BYTES - 8,
	ICMP_BYTES = 8, /* before what is quoted */
	ICMP_SUM = 2,
	HOPS = 64,
	OFFSET_BITS = 0x1fff,
};

static void
put_sum(uint8_t *at, uint64_t sum)
{
	uint16_t check = (uint16_t)~checksum_fold(sum);

	memcpy(at, &check, sizeof(check));
}

static bool
may4(const uint8_t *packet, const struct inner *in)
{
	const uint8_t *from = packet + INNER_IP4_SOURCE, *to = from + 4;

	if (from[0] == 0 || from[0] >= 224 || to[0] == 0 || to[0] >= 224 ||
	    inner_get16(packet + INNER_IP4_FRAGMENT) & OFFSET_BITS)
		return false;
	if (in->protocol != IPPROTO_ICMP)
		return true;
	uint8_t type = in->length > in->l4 ? packet[in->l4] : ICMP_DEST_UNREACH;
	return type == ICMP_ECHO || type == ICMP_ECHOREPLY;
}

static size_t
answer4(const uint8_t *packet, const struct inner *in, uint32_t mtu, uint8_t *out)
{
	uint32_t quoted = in->length < QUOTED4_MAX ? in->length : QUOTED4_MAX;
	uint32_t bytes = INNER_IP4_BYTES + ICMP_BYTES + quoted;
	const struct inner head = {.version = 4, .l4 = INNER_IP4_BYTES};
	uint8_t *icmp = out + INNER_IP4_BYTES;

	memset(out, 0, INNER_IP4_BYTES + ICMP_BYTES);
	out[0] = 0x45;
	out[INNER_IP4_TOS] = 0xc0; /* RFC 1812 4.3.2.5 */
	out[INNER_IP4_TTL] = HOPS;
	out[INNER_IP4_PROTOCOL] = IPPROTO_ICMP;
	memcpy(out + INNER_IP4_SOURCE, packet + INNER_IP4_SOURCE + 4, 4);
	memcpy(out + INNER_IP4_SOURCE + 4, packet + INNER_IP4_SOURCE, 4);
	inner_set_length(out, &head, bytes);
	icmp[0] = ICMP_DEST_UNREACH;
	icmp[1] = ICMP_FRAG_NEEDED;
	inner_put16(icmp + 6, (uint16_t)mtu);
	memcpy(icmp + ICMP_BYTES, packet, quoted);
	put_sum(icmp + ICMP_SUM, checksum_add(0, icmp, ICMP_BYTES + quoted));
	return bytes;
}

static bool
may6(const uint8_t *packet, const struct inner *in)
{
	static const uint8_t nobody[16];
	const uint8_t *from = packet + INNER_IP6_SOURCE;

	if (from[0] == 0xff || memcmp(from, nobody, sizeof(nobody)) == 0)
		return false;
	return in->protocol != IPPROTO_ICMPV6 ||
	       (in->length > in->l4 && packet[in->l4] & ICMP6_INFOMSG_MASK);
}

static size_t
answer6(const uint8_t *packet, const struct inner *in, uint32_t mtu, uint8_t *out)
{
	uint32_t quoted = in->length < QUOTED6_MAX ? in->length : QUOTED6_MAX;
	const struct inner head = {.version = 6, .protocol = IPPROTO_ICMPV6, .l4 = INNER_IP6_BYTES};
	uint8_t *icmp = out + INNER_IP6_BYTES;

	memset(out, 0, INNER_IP6_BYTES + ICMP_BYTES);
	out[0] = 0x60;
	out[INNER_IP6_NEXT] = IPPROTO_ICMPV6;
	out[INNER_IP6_HOPS] = HOPS;
	memcpy(out + INNER_IP6_SOURCE, packet + INNER_IP6_SOURCE + 16, 16);
	memcpy(out + INNER_IP6_SOURCE + 16, packet + INNER_IP6_SOURCE, 16);
	inner_set_length(out, &head, INNER_IP6_BYTES + ICMP_BYTES + quoted);
	icmp[0] = ICMP6_PACKET_TOO_BIG;
	inner_put32(icmp + 4, mtu);
	memcpy(icmp + ICMP_BYTES, packet, quoted);
	put_sum(icmp + ICMP_SUM, checksum_add(inner_pseudo(out, &head, ICMP_BYTES + quoted), icmp,
					      ICMP_BYTES + quoted));
	return INNER_IP6_BYTES + ICMP_BYTES + quoted;
}

size_t
too_big_answer(const uint8_t *packet, const struct inner *in, uint32_t mtu,
	       uint8_t out[TOO_BIG_BYTES])
{
	if (in->version == 4)
		return may4(packet, in) ? answer4(packet, in, mtu, out) : 0;
	return may6(packet, in) ? answer6(packet, in, mtu, out) : 0;
}

bool
too_big_may(struct too_big_rate *r, uint64_t now_ns)
{
	static const uint64_t each_ns = 1000000000 / TOO_BIG_RATE;

	if (r->full_ns < now_ns)
		r->full_ns = now_ns;
	if (r->full_ns - now_ns > (TOO_BIG_BURST - 1) * each_ns)
		return false;
	r->full_ns += each_ns;
	return true;
}
