/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ENGINE_TUN_H
#define OVERLAY_ENGINE_TUN_H

/*
 * One queue of a TUN device (Linux: Documentation/networking/tuntap.rst): packets without a word of
 * the protocol before them, but with a struct virtio_net_hdr in the machine's byte order. The first
 * queue that is opened makes the device, in the network namespace in which its /dev/net/tun was
 * opened; it goes with the last one. Making it takes CAP_NET_ADMIN there.
 *
 * Threading: a queue may be read by one thread while others write; opening and closing have one
 * owner.
 */

#include <linux/virtio_net.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include "base/err.h"

enum {
	TUN_PACKET_MAX = 65575, /* what can be read: IPv6's greatest */
	TUN_MTU_MIN = 1280,     /* of IPv6 (RFC 8200) */
	TUN_MTU_MAX = 65475,    /* with WireGuard's header and tag in one datagram of IPv4 */
};

/* What the kernel may hand over, and takes: each has what the one before has. */
enum tun_offload {
	TUN_PLAIN, /* whole packets */
	TUN_TSO,   /* large ones of TCP, unfinished checksums */
	TUN_USO,   /* large ones of UDP: Linux 6.2 */
};

struct tun {
	int fd; /* -1: closed */
	enum tun_offload offload;
	char name[IFNAMSIZ];
};

/* fd: of /dev/net/tun, fresh; it is the queue's when this succeeds, and else still the caller's.
 * name: of the device; "%d" in it is the first free number. most: not more than that is asked for;
 * what the kernel lacks is left out. Offloads are the device's: each queue asks for the same. */
int tun_open(struct tun *t, int fd, const char *name, enum tun_offload most,
	     struct err *err) MUST_CHECK;
/* A queue that was opened so earlier, by a program that this one follows. Errors as above. */
int tun_adopt(struct tun *t, int fd, enum tun_offload most, struct err *err) MUST_CHECK;
void tun_close(struct tun *t);
/* In the network namespace of the caller. TUN_MTU_MIN to TUN_MTU_MAX. */
int tun_set_mtu(const struct tun *t, uint32_t mtu, struct err *err) MUST_CHECK;
/* packet: room for TUN_PACKET_MAX. Gives its bytes; -1 with errno. Waits unless the descriptor is
 * non-blocking. */
ssize_t tun_read(const struct tun *t, struct virtio_net_hdr *header, void *packet);
/* iov[0] is a struct virtio_net_hdr (struct merge_run). -1 with errno: it is lost. */
int tun_write(const struct tun *t, const struct iovec *iov, int count);

#endif
