/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

/* IP addresses, endpoints and prefixes as plain values. IPv4 is kept as v4-mapped IPv6 so that one
 * 16-byte form serves everywhere. Text forms: RFC 5952 for IPv6, "[::1]:80" for endpoints. Parsing
 * is strict and leaves *out alone when it fails. IPv4 is in IPv4 prefixes only: ::/0 is all of IPv6
 * and nothing else. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { ADDR_TEXT_BYTES = 56 };

struct addr {
	uint8_t ip[16]; /* network order; ::ffff:a.b.c.d for IPv4 */
	uint16_t port;  /* host order; 0 when there is none */
	uint16_t pad_[3];
};

struct addr_prefix {
	struct addr base;
	uint8_t bits; /* of the 128 (IPv4 /24 is 120) */
	uint8_t pad_[7];
};

bool addr_parse_ip(const char *text, struct addr *out); /* no port, no brackets */
/* "1.2.3.4:80", "[::1]:80"; the port is needed and may be 0. */
bool addr_parse(const char *text, struct addr *out);
bool addr_parse_prefix(const char *text, struct addr_prefix *out); /* host bits must be zero */
bool addr_is_v4(const struct addr *a);
bool addr_is_zero(const struct addr *a); /* unspecified: 0.0.0.0 or :: */
bool addr_is_loopback(const struct addr *a);
bool addr_equal(const struct addr *a, const struct addr *b); /* with the port */
bool addr_equal_ip(const struct addr *a, const struct addr *b);
bool addr_in_prefix(const struct addr *a, const struct addr_prefix *p);
bool addr_prefix_overlap(const struct addr_prefix *a, const struct addr_prefix *b);
/* IPv4, and all of it for private use: RFC 1918, 6598. */
bool addr_prefix_is_private4(const struct addr_prefix *p);
/* Of those of `bits` in whole, in their order, the nth. Of whole at most 32 bits are left. */
void addr_prefix_part(const struct addr_prefix *whole, uint8_t bits, uint32_t nth,
		      struct addr_prefix *out);
uint32_t addr_v4_be(const struct addr *a); /* network order; only when addr_is_v4 */
void addr_from_v4_be(uint32_t ip_be, uint16_t port, struct addr *out);
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out);
bool addr_from_sockaddr(const struct sockaddr *sa, socklen_t length, struct addr *out);
/* Both NUL-terminate; cap >= ADDR_TEXT_BYTES always suffices. */
void addr_put_ip(const struct addr *a, char *out, size_t cap);
void addr_put(const struct addr *a, char *out, size_t cap);
void addr_put_prefix(const struct addr_prefix *p, char *out, size_t cap);

#endif
