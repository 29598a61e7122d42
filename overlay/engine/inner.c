/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads headers, judges nothing but their lengths: what is odd but whole (options, fragments, an
 * unknown protocol) is a packet all the same, for the receiver's kernel to judge.
 */
#include "overlay/engine/inner.h"

#include <netinet/in.h>
#include <string.h>
#include "overlay/engine/checksum.h"

enum { FRAGMENT_BITS = 0x3fff }; /* more fragments, and the offset */

static bool
parse4(const uint8_t *packet, size_t bytes, struct inner *out)
{
	uint32_t head = (packet[0] & 15u) * 4;

	if (bytes < INNER_IP4_BYTES || head < INNER_IP4_BYTES)
		return false;
	out->length = inner_get16(packet + INNER_IP4_LENGTH);
	if (out->length < head || out->length > bytes)
		return false;
	out->version = 4;
	out->l4 = head;
	out->protocol = packet[INNER_IP4_PROTOCOL];
	out->fragment = inner_get16(packet + INNER_IP4_FRAGMENT) & FRAGMENT_BITS;
	out->bare = head == INNER_IP4_BYTES;
	return true;
}

/* Over those headers whose only effect is their length: a routing header changes the pseudo header,
 * what follows one is not looked at. */
static void
skip_extensions(const uint8_t *packet, struct inner *out)
{
	for (unsigned i = 0; i < INNER_EXTENSIONS_MAX; i++) {
		if (out->protocol != IPPROTO_HOPOPTS && out->protocol != IPPROTO_DSTOPTS)
			break;
		if (out->length - out->l4 < 8)
			return;
		uint32_t bytes = (packet[out->l4 + 1] + 1u) * 8;
		if (out->length - out->l4 < bytes)
			return;
		out->protocol = packet[out->l4];
		out->l4 += bytes;
		out->bare = false;
	}
	out->fragment = out->protocol == IPPROTO_FRAGMENT;
}

static bool
parse6(const uint8_t *packet, size_t bytes, struct inner *out)
{
	if (bytes < INNER_IP6_BYTES)
		return false;
	out->length = INNER_IP6_BYTES + inner_get16(packet + INNER_IP6_LENGTH);
	/* A length of 0 before hop-by-hop options is a jumbogram's (RFC 2675). */
	if (out->length > bytes ||
	    (out->length == INNER_IP6_BYTES && packet[INNER_IP6_NEXT] == IPPROTO_HOPOPTS))
		return false;
	out->version = 6;
	out->l4 = INNER_IP6_BYTES;
	out->protocol = packet[INNER_IP6_NEXT];
	out->bare = true;
	skip_extensions(packet, out);
	return true;
}

static uint32_t
transport_bytes(const uint8_t *packet, const struct inner *in)
{
	const uint8_t *l4 = packet + in->l4;
	uint32_t left = in->length - in->l4, head;

	if (in->fragment)
		return 0;
	if (in->protocol == IPPROTO_UDP)
		return left >= INNER_UDP_BYTES && inner_get16(l4 + INNER_UDP_LENGTH) == left
			       ? INNER_UDP_BYTES
			       : 0;
	if (in->protocol != IPPROTO_TCP || left < INNER_TCP_BYTES)
		return 0;
	head = (uint32_t)(l4[INNER_TCP_OFFSET] >> 4) * 4;
	return head >= INNER_TCP_BYTES && head <= left ? head : 0;
}

bool
inner_parse(const uint8_t *packet, size_t bytes, struct inner *out)
{
	uint32_t head;
	bool whole;

	*out = (struct inner){0};
	if (bytes == 0)
		return false;
	switch (packet[0] >> 4) {
	case 4:
		whole = parse4(packet, bytes, out);
		break;
	case 6:
		whole = parse6(packet, bytes, out);
		break;
	default:
		whole = false;
	}
	if (!whole)
		return false;
	head = transport_bytes(packet, out);
	out->payload = head ? out->l4 + head : 0;
	return true;
}

uint32_t
inner_check_offset(const struct inner *in)
{
	return in->protocol == IPPROTO_TCP ? INNER_TCP_CHECK : INNER_UDP_CHECK;
}

uint64_t
inner_pseudo(const uint8_t *packet, const struct inner *in, uint32_t l4_bytes)
{
	uint64_t sum = checksum_number(checksum_number(0, l4_bytes), in->protocol);

	return in->version == 4 ? checksum_add(sum, packet + INNER_IP4_SOURCE, 8)
				: checksum_add(sum, packet + INNER_IP6_SOURCE, 32);
}

void
inner_set_length(uint8_t *packet, const struct inner *in, uint32_t length)
{
	uint16_t check = 0;

	if (in->version == 6) {
		inner_put16(packet + INNER_IP6_LENGTH, (uint16_t)(length - INNER_IP6_BYTES));
		return;
	}
	inner_put16(packet + INNER_IP4_LENGTH, (uint16_t)length);
	memcpy(packet + INNER_IP4_CHECK, &check, sizeof(check));
	check = (uint16_t)~checksum_fold(checksum_add(0, packet, in->l4));
	memcpy(packet + INNER_IP4_CHECK, &check, sizeof(check));
}

bool
inner_sums_right(const uint8_t *packet, const struct inner *in)
{
	uint32_t bytes = in->length - in->l4;

	if (in->version == 4 && checksum_fold(checksum_add(0, packet, in->l4)) != UINT16_MAX)
		return false;
	return checksum_fold(checksum_add(inner_pseudo(packet, in, bytes), packet + in->l4,
					  bytes)) == UINT16_MAX;
}
