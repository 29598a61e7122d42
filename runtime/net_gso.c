/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux gives TCP the device's limit less what it reserves for headers (MAX_TCP_HEADER: 256 or 320
 * bytes, by what the kernel was configured with, and one), and sends a multiple of the segment's
 * size below that. A segment is at most the MTU less 40 bytes (IPv4, no options) and at least the
 * MTU less 72 (IPv6, timestamps). So with the limit between n of the former and n + 1 of the
 * latter, n is what comes, whichever it is. Where both cannot be had no packet is cut in two, which
 * costs a second send for each.
 */
#include "runtime/net_gso.h"

enum {
	SEALED_BYTES = 32,   /* of a datagram beside its packet: WireGuard's header and tag */
	SEND_BYTES = 65507,  /* of one UDP_SEGMENT, IPv4 */
	SEND_SEGMENTS = 64,  /* of one UDP_SEGMENT, older kernels */
	HEADERS_LEAST = 40,  /* IPv4, TCP */
	HEADERS_MOST = 72,   /* IPv6, TCP, timestamps */
	RESERVED_BYTES = 257 /* the least */
};

uint32_t
net_gso_max(uint32_t mtu)
{
	uint32_t count = SEND_BYTES / (mtu + SEALED_BYTES);

	if (count > SEND_SEGMENTS)
		count = SEND_SEGMENTS;
	if (count == 0)
		count = 1;
	uint32_t most = count * (mtu - HEADERS_LEAST);
	uint32_t next = (count + 1) * (mtu - HEADERS_MOST) - 1;
	uint32_t limit = (most < next ? most : next) + RESERVED_BYTES;
	return limit < UINT16_MAX + 1 ? limit : UINT16_MAX + 1;
}
