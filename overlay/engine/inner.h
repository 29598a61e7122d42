/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ENGINE_INNER_H
#define OVERLAY_ENGINE_INNER_H

/*
 * What stands in the headers of a packet inside the tunnel: IPv4 (RFC 791), IPv6 (RFC 8200), and as
 * far as cutting and joining need it TCP (RFC 9293) and UDP (RFC 768). The bytes are a container's
 * or a peer's: nothing about them is believed.
 * Threading: pure.
 */

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5 /* Linux 6.2 */
#endif

enum {
	INNER_EXTENSIONS_MAX =
		8, /* headers between IPv6's and the transport's; then no more is read */
};

/* Offsets within headers. */
enum {
	INNER_IP4_TOS = 1,
	INNER_IP4_LENGTH = 2,
	INNER_IP4_ID = 4,
	INNER_IP4_FRAGMENT = 6,
	INNER_IP4_TTL = 8,
	INNER_IP4_PROTOCOL = 9,
	INNER_IP4_CHECK = 10,
	INNER_IP4_SOURCE = 12,
	INNER_IP4_BYTES = 20,
	INNER_IP6_LENGTH = 4,
	INNER_IP6_NEXT = 6,
	INNER_IP6_HOPS = 7,
	INNER_IP6_SOURCE = 8,
	INNER_IP6_BYTES = 40,
	INNER_TCP_SEQUENCE = 4,
	INNER_TCP_ACK = 8,
	INNER_TCP_OFFSET = 12,
	INNER_TCP_FLAGS = 13,
	INNER_TCP_WINDOW = 14,
	INNER_TCP_CHECK = 16,
	INNER_TCP_URGENT = 18,
	INNER_TCP_BYTES = 20,
	INNER_UDP_LENGTH = 4,
	INNER_UDP_CHECK = 6,
	INNER_UDP_BYTES = 8,
};

enum {
	INNER_FIN = 0x01,
	INNER_SYN = 0x02,
	INNER_RST = 0x04,
	INNER_PSH = 0x08,
	INNER_ACK = 0x10,
	INNER_URG = 0x20,
	INNER_CWR = 0x80,
};

struct inner {
	uint32_t length; /* of all, as the header says: what lies behind is padding */
	uint32_t l4;     /* offset of what follows the network's headers */
	uint32_t
		payload; /* offset behind a TCP or UDP header that is whole and no fragment; or 0 */
	uint8_t version; /* 4 or 6 */
	uint8_t protocol; /* at l4: IPPROTO_; also of an extension header that was not looked into
			   */
	bool fragment;
	bool bare; /* neither options nor extension headers */
};

/* False: not a packet of IP, or longer than what is there. Nothing of *out is good then. */
bool inner_parse(const uint8_t *packet, size_t bytes, struct inner *out);
/* Where the checksum of TCP or UDP stands, from l4. */
uint32_t inner_check_offset(const struct inner *in);
/* The sum over the pseudo header (RFC 9293, RFC 768, RFC 8200 8.1) of l4_bytes of transport. */
uint64_t inner_pseudo(const uint8_t *packet, const struct inner *in, uint32_t l4_bytes);
/* Writes the length of the whole packet, and IPv4's checksum. length: one that fits the header. */
void inner_set_length(uint8_t *packet, const struct inner *in, uint32_t length);
/* IPv4's header and the transport's (of a packet with a payload offset) are unharmed. */
bool inner_sums_right(const uint8_t *packet, const struct inner *in);

/* Network order, any alignment. */
static inline uint16_t
inner_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t
inner_get32(const uint8_t *at)
{
	return (uint32_t)inner_get16(at) << 16 | inner_get16(at + 2);
}

static inline void
inner_put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void
inner_put32(uint8_t *at, uint32_t value)
{
	inner_put16(at, (uint16_t)(value >> 16));
	inner_put16(at + 2, (uint16_t)value);
}

#endif
