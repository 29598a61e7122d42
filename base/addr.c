/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses as values of one form: 16 bytes, IPv4 mapped into IPv6 (RFC 4291 section 2.5.5.2).
 * Text is strict on input (no octal, no short forms, no zones) and canonical on output (RFC 5952).
 * An IPv4 address is in IPv4 prefixes only: ::/0 means all of IPv6.
 *
 * No names are resolved here, and parsing leaves the result alone when it fails.
 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"

enum { V4_OFFSET = 12, V4_BITS_OFFSET = 96, BITS_MAX = 128, IP_TEXT_MAX = 46 };

static const uint8_t v4_head[V4_OFFSET] = {[10] = 0xff, [11] = 0xff};

static void
set_v4(struct addr *a, const void *ip, uint16_t port)
{
	*a = (struct addr){.port = port};
	memcpy(a->ip, v4_head, sizeof(v4_head));
	memcpy(a->ip + V4_OFFSET, ip, 4);
}

static void
set_v6(struct addr *a, const void *ip, uint16_t port)
{
	*a = (struct addr){.port = port};
	memcpy(a->ip, ip, sizeof(a->ip));
}

bool
addr_parse_ip(const char *text, struct addr *out)
{
	uint8_t ip[16];

	if (inet_pton(AF_INET, text, ip) == 1)
		set_v4(out, ip, 0);
	else if (inet_pton(AF_INET6, text, ip) == 1)
		set_v6(out, ip, 0);
	else
		return false;
	return true;
}

/* The part of `text` before `end` as an address of the family that the brackets told. */
static bool
parse_part(const char *text, const char *end, int family, struct addr *out)
{
	char part[IP_TEXT_MAX];
	uint8_t ip[16];

	if ((size_t)(end - text) >= sizeof(part))
		return false;
	memcpy(part, text, (size_t)(end - text));
	part[end - text] = '\0';
	if (inet_pton(family, part, ip) != 1)
		return false;
	if (family == AF_INET)
		set_v4(out, ip, 0);
	else
		set_v6(out, ip, 0);
	return true;
}

bool
addr_parse(const char *text, struct addr *out)
{
	const char *colon = strrchr(text, ':');
	struct addr a;
	uint64_t port;
	bool ok;

	if (!colon || !text_u64(colon + 1, UINT16_MAX, &port))
		return false;
	if (text[0] != '[')
		ok = parse_part(text, colon, AF_INET, &a);
	else
		ok = colon[-1] == ']' && parse_part(text + 1, colon - 1, AF_INET6, &a);
	if (!ok)
		return false;
	a.port = (uint16_t)port;
	*out = a;
	return true;
}

static bool
host_bits_zero(const struct addr_prefix *p)
{
	for (unsigned bit = p->bits; bit < BITS_MAX; bit++)
		if (p->base.ip[bit / 8] & (0x80u >> bit % 8))
			return false;
	return true;
}

bool
addr_parse_prefix(const char *text, struct addr_prefix *out)
{
	const char *slash = strchr(text, '/');
	struct addr_prefix p = {0};
	uint64_t bits;
	unsigned offset = 0;

	if (!slash)
		return false;
	if (parse_part(text, slash, AF_INET, &p.base))
		offset = V4_BITS_OFFSET;
	else if (!parse_part(text, slash, AF_INET6, &p.base))
		return false;
	if (!text_u64(slash + 1, BITS_MAX - offset, &bits))
		return false;
	p.bits = (uint8_t)(bits + offset);
	if (!host_bits_zero(&p))
		return false;
	*out = p;
	return true;
}

bool
addr_is_v4(const struct addr *a)
{
	return memcmp(a->ip, v4_head, sizeof(v4_head)) == 0;
}

bool
addr_is_zero(const struct addr *a)
{
	static const uint8_t zero[16];

	if (addr_is_v4(a))
		return memcmp(a->ip + V4_OFFSET, zero, 4) == 0;
	return memcmp(a->ip, zero, sizeof(zero)) == 0;
}

bool
addr_is_loopback(const struct addr *a)
{
	static const uint8_t one[16] = {[15] = 1};

	if (addr_is_v4(a))
		return a->ip[V4_OFFSET] == 127;
	return memcmp(a->ip, one, sizeof(one)) == 0;
}

bool
addr_equal(const struct addr *a, const struct addr *b)
{
	return a->port == b->port && addr_equal_ip(a, b);
}

bool
addr_equal_ip(const struct addr *a, const struct addr *b)
{
	return memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static bool
bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8;
	unsigned rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

bool
addr_in_prefix(const struct addr *a, const struct addr_prefix *p)
{
	assert(p->bits <= BITS_MAX);
	return addr_is_v4(a) == addr_is_v4(&p->base) && bits_equal(a->ip, p->base.ip, p->bits);
}

bool
addr_prefix_overlap(const struct addr_prefix *a, const struct addr_prefix *b)
{
	return a->bits < b->bits ? addr_in_prefix(&b->base, a) : addr_in_prefix(&a->base, b);
}

bool
addr_prefix_is_private4(const struct addr_prefix *p)
{
	static const struct {
		uint8_t ip[4], bits;
	} ranges[] = {{{10}, 8}, {{172, 16}, 12}, {{192, 168}, 16}, {{100, 64}, 10}};

	if (!addr_is_v4(&p->base) || p->bits < V4_OFFSET * 8)
		return false;
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct addr_prefix range = {.base = p->base,
					    .bits = (uint8_t)(V4_OFFSET * 8 + ranges[i].bits)};

		memcpy(range.base.ip + V4_OFFSET, ranges[i].ip, sizeof(ranges[i].ip));
		if (range.bits <= p->bits && addr_in_prefix(&p->base, &range))
			return true;
	}
	return false;
}

void
addr_prefix_part(const struct addr_prefix *whole, uint8_t bits, uint32_t nth,
		 struct addr_prefix *out)
{
	assert(bits >= whole->bits && bits <= 128 && bits - whole->bits <= 32);
	assert((uint64_t)nth >> (bits - whole->bits) == 0);
	*out = *whole;
	out->bits = bits;
	for (unsigned bit = bits; nth > 0; nth >>= 1) {
		bit--;
		out->base.ip[bit / 8] |= (uint8_t)((nth & 1) << (7 - bit % 8));
	}
}

uint32_t
addr_v4_be(const struct addr *a)
{
	uint32_t ip_be;

	assert(addr_is_v4(a));
	memcpy(&ip_be, a->ip + V4_OFFSET, sizeof(ip_be));
	return ip_be;
}

void
addr_from_v4_be(uint32_t ip_be, uint16_t port, struct addr *out)
{
	set_v4(out, &ip_be, port);
}

socklen_t
addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};

	memset(out, 0, sizeof(*out));
	if (addr_is_v4(a)) {
		in.sin_addr.s_addr = addr_v4_be(a);
		memcpy(out, &in, sizeof(in));
		return sizeof(in);
	}
	memcpy(&in6.sin6_addr, a->ip, sizeof(a->ip));
	memcpy(out, &in6, sizeof(in6));
	return sizeof(in6);
}

bool
addr_from_sockaddr(const struct sockaddr *sa, socklen_t length, struct addr *out)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (length < sizeof(sa->sa_family))
		return false;
	if (sa->sa_family == AF_INET && length >= sizeof(in)) {
		memcpy(&in, sa, sizeof(in));
		set_v4(out, &in.sin_addr, ntohs(in.sin_port));
		return true;
	}
	if (sa->sa_family == AF_INET6 && length >= sizeof(in6)) {
		memcpy(&in6, sa, sizeof(in6));
		set_v6(out, &in6.sin6_addr, ntohs(in6.sin6_port));
		return true;
	}
	return false;
}

struct run {
	unsigned start;
	unsigned length;
};

/* The longest run of two or more zero words, the first of equals (RFC 5952 section 4.2). */
static struct run
longest_zero_run(const uint16_t words[8])
{
	struct run best = {.start = 8, .length = 1};
	unsigned length = 0;

	for (unsigned i = 0; i < 8; i++) {
		length = words[i] == 0 ? length + 1 : 0;
		if (length > best.length)
			best = (struct run){.start = i + 1 - length, .length = length};
	}
	return best;
}

static void
put_v6(const uint8_t ip[16], char out[IP_TEXT_MAX])
{
	uint16_t words[8];
	struct run zeros;
	size_t n = 0;

	for (unsigned i = 0; i < 8; i++)
		words[i] = (uint16_t)(ip[2 * i] << 8 | ip[2 * i + 1]);
	zeros = longest_zero_run(words);
	for (unsigned i = 0; i < 8; i++) {
		if (i == zeros.start) {
			n += (size_t)snprintf(out + n, IP_TEXT_MAX - n, "::");
			i += zeros.length - 1;
			continue;
		}
		if (n > 0 && out[n - 1] != ':')
			out[n++] = ':';
		n += (size_t)snprintf(out + n, IP_TEXT_MAX - n, "%x", words[i]);
	}
}

void
addr_put_ip(const struct addr *a, char *out, size_t cap)
{
	const uint8_t *ip = a->ip + V4_OFFSET;
	char text[IP_TEXT_MAX];

	if (addr_is_v4(a))
		snprintf(text, sizeof(text), "%u.%u.%u.%u", ip[0], ip[1], ip[2], ip[3]);
	else
		put_v6(a->ip, text);
	text_copy(out, cap, text);
}

void
addr_put(const struct addr *a, char *out, size_t cap)
{
	char ip[IP_TEXT_MAX];

	addr_put_ip(a, ip, sizeof(ip));
	if (addr_is_v4(a))
		text_format(out, cap, "%s:%u", ip, a->port);
	else
		text_format(out, cap, "[%s]:%u", ip, a->port);
}

void
addr_put_prefix(const struct addr_prefix *p, char *out, size_t cap)
{
	unsigned offset = addr_is_v4(&p->base) ? V4_BITS_OFFSET : 0;
	char ip[IP_TEXT_MAX];

	addr_put_ip(&p->base, ip, sizeof(ip));
	text_format(out, cap, "%s/%u", ip, p->bits - offset);
}
