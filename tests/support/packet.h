/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_PACKET_H
#define TESTS_SUPPORT_PACKET_H

/* Frames for programs of the data path: made from addresses as text, with right checksums; and the
 * check that a frame's checksums are right. */

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { PACKET_SYN = 0x02, PACKET_RST = 0x04, PACKET_ACK = 0x10 };

struct packet {
	_Alignas(8) uint8_t lead_[2]; /* the header behind the Ethernet one is aligned */
	uint8_t bytes[2048];
	uint32_t length;
	uint32_t l4; /* offset */
};

struct packet_spec {
	const char *from, *to;
	uint16_t from_port, to_port;
	uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	uint8_t flags;    /* of TCP */
	uint8_t options;  /* 32-bit words of IPv4 options, or 8-byte extension headers of IPv6 */
	uint16_t payload;
	uint32_t sequence, acknowledged;
};

static inline uint32_t
packet_sum(const void *data, size_t bytes, uint32_t sum)
{
	const uint8_t *b = data;

	for (size_t i = 0; i < bytes; i++)
		sum += i % 2 ? b[i] : (uint32_t)b[i] << 8;
	return sum;
}

static inline uint16_t
packet_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static inline bool
packet_is_v6(const struct packet *p)
{
	return p->bytes[12] == 0x86;
}

/* Sum over the pseudo header and everything behind the network header: 0xffff when right. */
static inline uint16_t
packet_l4_sum(const struct packet *p, uint8_t protocol)
{
	uint32_t bytes = p->length - p->l4, sum = bytes + protocol;

	sum = packet_is_v6(p) ? packet_sum(p->bytes + 14 + 8, 32, sum)
			      : packet_sum(p->bytes + 14 + 12, 8, sum);
	return packet_fold(packet_sum(p->bytes + p->l4, bytes, sum));
}

static inline void
packet_put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void
packet_put32(uint8_t *at, uint32_t value)
{
	packet_put16(at, (uint16_t)(value >> 16));
	packet_put16(at + 2, (uint16_t)value);
}

static inline uint16_t
packet_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void
packet_network(struct packet *p, const struct packet_spec *s, uint16_t l4_bytes)
{
	uint8_t *ip = p->bytes + 14;

	if (strchr(s->from, ':')) {
		packet_put16(p->bytes + 12, ETH_P_IPV6);
		p->l4 = 14 + 40 + s->options * 8u;
		ip[0] = 0x60;
		packet_put16(ip + 4, (uint16_t)(l4_bytes + s->options * 8u));
		ip[6] = s->options ? IPPROTO_DSTOPTS : s->protocol;
		ip[7] = 64;
		inet_pton(AF_INET6, s->from, ip + 8);
		inet_pton(AF_INET6, s->to, ip + 24);
		for (unsigned i = 0; i < s->options; i++)
			ip[40 + i * 8] = i + 1 < s->options ? IPPROTO_DSTOPTS : s->protocol;
		return;
	}
	packet_put16(p->bytes + 12, ETH_P_IP);
	p->l4 = 14 + 20 + s->options * 4u;
	ip[0] = (uint8_t)(0x40 | (5 + s->options));
	packet_put16(ip + 2, (uint16_t)(p->l4 - 14 + l4_bytes));
	ip[8] = 64;
	ip[9] = s->protocol;
	memset(ip + 20, 1, s->options * 4u);
	inet_pton(AF_INET, s->from, ip + 12);
	inet_pton(AF_INET, s->to, ip + 16);
	packet_put16(ip + 10, (uint16_t)~packet_fold(packet_sum(ip, p->l4 - 14, 0)));
}

static inline struct packet
packet_make(const struct packet_spec *s)
{
	struct packet p = {.bytes = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7}};
	uint16_t head = s->protocol == IPPROTO_TCP ? 20 : 8;
	uint16_t bytes = (uint16_t)(head + s->payload);
	uint8_t *l4, *check;

	packet_network(&p, s, bytes);
	p.length = p.l4 + bytes;
	l4 = p.bytes + p.l4;
	packet_put16(l4, s->from_port);
	packet_put16(l4 + 2, s->to_port);
	if (s->protocol == IPPROTO_TCP) {
		packet_put32(l4 + 4, s->sequence);
		packet_put32(l4 + 8, s->acknowledged);
		l4[12] = 0x50;
		l4[13] = s->flags;
		check = l4 + 16;
	} else {
		packet_put16(l4 + 4, bytes);
		check = l4 + 6;
	}
	for (unsigned i = 0; i < s->payload; i++)
		l4[head + i] = (uint8_t)(i * 7 + 1);
	packet_put16(check, (uint16_t)~packet_l4_sum(&p, s->protocol));
	return p;
}

/* An ICMP error about `quoted` (a packet that was sent), from a router, to its sender. */
static inline struct packet
packet_icmp_error(const char *router, const char *to, const struct packet *quoted, uint8_t type,
		  uint8_t code)
{
	bool v6 = packet_is_v6(quoted);
	struct packet_spec s = {
		.from = router, .to = to, .protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP};
	struct packet p = {.bytes = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7}};
	uint16_t keep = (uint16_t)(quoted->l4 - 14 + 8);
	uint8_t *icmp;

	packet_network(&p, &s, (uint16_t)(8 + keep));
	p.length = p.l4 + 8u + keep;
	icmp = p.bytes + p.l4;
	icmp[0] = type;
	icmp[1] = code;
	memcpy(icmp + 8, quoted->bytes + 14, keep);
	packet_put16(icmp + 2, v6 ? (uint16_t)~packet_l4_sum(&p, IPPROTO_ICMPV6)
				  : (uint16_t)~packet_fold(packet_sum(icmp, 8u + keep, 0)));
	return p;
}

/* Network header and transport (or ICMP) checksum are right. */
static inline bool
packet_sums_right(const struct packet *p)
{
	const uint8_t *ip = p->bytes + 14;
	uint8_t protocol = packet_is_v6(p) ? ip[6] : ip[9];

	if (packet_is_v6(p) && protocol == IPPROTO_DSTOPTS)
		protocol = p->bytes[p->l4 - 8];
	if (!packet_is_v6(p) && packet_fold(packet_sum(ip, p->l4 - 14, 0)) != 0xffff)
		return false;
	if (protocol == IPPROTO_ICMP)
		return packet_fold(packet_sum(p->bytes + p->l4, p->length - p->l4, 0)) == 0xffff;
	if (protocol == IPPROTO_UDP && packet_get16(p->bytes + p->l4 + 6) == 0)
		return true;
	return packet_l4_sum(p, protocol) == 0xffff;
}

static inline bool
packet_is_to(const struct packet *p, const char *address, uint16_t port)
{
	uint8_t a[16];
	bool v6 = packet_is_v6(p);

	inet_pton(v6 ? AF_INET6 : AF_INET, address, a);
	return memcmp(p->bytes + 14 + (v6 ? 24 : 16), a, v6 ? 16 : 4) == 0 &&
	       packet_get16(p->bytes + p->l4 + 2) == port;
}

static inline bool
packet_is_from(const struct packet *p, const char *address, uint16_t port)
{
	uint8_t a[16];
	bool v6 = packet_is_v6(p);

	inet_pton(v6 ? AF_INET6 : AF_INET, address, a);
	return memcmp(p->bytes + 14 + (v6 ? 8 : 12), a, v6 ? 16 : 4) == 0 &&
	       packet_get16(p->bytes + p->l4) == port;
}

#endif
