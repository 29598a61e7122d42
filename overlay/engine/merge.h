/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ENGINE_MERGE_H
#define OVERLAY_ENGINE_MERGE_H

/*
 * Decrypted packets on their way to a TUN: those that follow one another in a flow of TCP or UDP
 * are handed to the kernel as one (what GRO does for a network card), with one writev and without
 * moving payload: an iovec for struct virtio_net_hdr, one for the first packet, whose headers are
 * changed where they stand, one for the payload of each further packet.
 *
 * Joined is only what the kernel takes apart again into the same packets, but for IPv4's id where
 * fragmenting is forbidden (RFC 6864: it says nothing then), and whose checksums are right: the
 * kernel makes new ones. All else goes alone, as it came. Packets of one flow stay in order; those
 * of different flows may overtake each other.
 *
 *     merge_reset(m); while (merge_add(m, packet, &inner)) ...; n = merge_finish(m);
 *     for (i < n) writev(tun, m->runs[i].iov, m->runs[i].iov_count);
 *
 * Threading: pure; one owner.
 */

#include <sys/uio.h>
#include "overlay/engine/inner.h"

enum {
	MERGE_PACKETS_MAX = 256, /* at once; four buffers of UDP_GRO */
	MERGE_BYTES_MAX = 65535, /* of a joined packet */
	MERGE_UDP_MAX = 64,      /* datagrams of UDP in one: what older kernels take */
	MERGE_LOOK_MAX = 16,     /* runs that are looked at for one to go on with */
};

enum merge_sums { MERGE_UNKNOWN, MERGE_RIGHT, MERGE_WRONG };

struct merge_packet {
	uint8_t *data;
	struct inner inner;
	int next; /* of its run; -1: the last */
};

struct merge_run {
	struct iovec *iov; /* after merge_finish */
	int iov_count;
	uint32_t packets;
	uint32_t bytes; /* of the packet that comes out */
	/* private */
	struct virtio_net_hdr header;
	int first, last;
	uint32_t size;              /* payload of each packet but the last */
	uint32_t sequence;          /* of TCP: what comes next */
	enum merge_sums first_sums; /* of the first packet */
	bool open;                  /* more may follow */
};

struct merge {
	bool tcp, udp;
	unsigned packet_count, run_count;
	struct merge_packet packets[MERGE_PACKETS_MAX];
	struct merge_run runs[MERGE_PACKETS_MAX];
	struct iovec iov[2 * MERGE_PACKETS_MAX];
};

/* tcp, udp: what the TUN's kernel takes joined (tun_open). No clean-up is needed. */
void merge_init(struct merge *m, bool tcp, bool udp);
void merge_reset(struct merge *m);
/* inner: inner_parse of data, of which it came back true. data is borrowed until the runs are
 * written, and changed by merge_finish. False: full, nothing was added. */
bool merge_add(struct merge *m, uint8_t *data, const struct inner *inner);
/* Makes the runs ready; gives how many there are. Nothing may be added until merge_reset. */
unsigned merge_finish(struct merge *m);

#endif
