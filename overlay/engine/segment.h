/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ENGINE_SEGMENT_H
#define OVERLAY_ENGINE_SEGMENT_H

/*
 * What was read from a TUN, cut into packets that fit the tunnel. The kernel hands over up to
 * 64 KiB of one flow as one packet, with a word before it (struct virtio_net_hdr, in the machine's
 * byte order) that says how it is to be cut and which checksum is still to be made.
 *
 * The packets are written where they are sealed and sent from:
 *
 *     |<---------------- stride --------------->|<---------------- stride ...
 *     | head 16 | packet | zeros to 16 | tag 16 | head 16 | packet | ...
 *
 * so that one run is one send with UDP_SEGMENT: all datagrams of a run have the length `stride`,
 * but the last one, which may be shorter. Padding never makes a packet longer than the MTU
 * (WireGuard, 5.4.6). Room for head and tag is left as it was.
 *
 * Each datagram's plaintext is at out + i * stride + SEGMENT_HEAD and as long as the datagram
 * without SEGMENT_HEAD and SEGMENT_TAIL.
 * Threading: pure; a struct segment has one owner.
 */

#include "overlay/engine/inner.h"

enum {
	SEGMENT_HEAD = 16,
	SEGMENT_TAIL = 16,
	SEGMENT_RUN_MAX = 64,      /* datagrams: what older kernels take at once */
	SEGMENT_RUN_BYTES = 65507, /* of IPv4's greatest datagram */
	SEGMENT_TCP_MIN = 8,       /* payload bytes, as Linux: else one write is 65,000 packets */
	SEGMENT_UDP_MAX = 128,     /* datagrams of one packet */
};

enum segment_result {
	SEGMENT_OK,
	SEGMENT_MALFORMED,   /* header and packet do not agree */
	SEGMENT_UNSUPPORTED, /* a kind of cutting that was never offered to the kernel */
	SEGMENT_TOO_LONG,    /* for one datagram */
};

struct segment {
	const uint8_t *packet; /* borrowed until the last run */
	struct inner inner;    /* where from, where to */
	uint32_t mtu;
	uint32_t size;              /* payload bytes of each packet; all when it is not to be cut */
	uint32_t at;                /* payload bytes that were taken */
	uint32_t index;             /* packets that were made */
	uint32_t sum_start, sum_at; /* a checksum to be made in a packet that is not cut; 0: none */
	bool cut, done;
};

struct segment_run {
	uint32_t count;
	uint32_t stride; /* bytes of each datagram but the last */
	uint32_t last;   /* bytes of the last one */
};

/* bytes: of the packet. Nothing is left to be done unless it is SEGMENT_OK. */
enum segment_result segment_begin(struct segment *s, const struct virtio_net_hdr *header,
				  const uint8_t *packet, size_t bytes, uint32_t mtu);
/* Writes the next run; out has room for SEGMENT_RUN_BYTES. False: there is none. */
bool segment_next(struct segment *s, uint8_t *out, struct segment_run *run);
/* How many packets are still to be made, and how long the longest is. */
uint32_t segment_left(const struct segment *s);
uint32_t segment_longest(const struct segment *s);
/* Bytes of datagram i, and of all. */
uint32_t segment_bytes(const struct segment_run *run, uint32_t i);
uint32_t segment_run_bytes(const struct segment_run *run);

#endif
