/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The word before each packet is asked for always, large packets if the kernel can: what it cannot
 * is refused by TUNSETOFFLOAD with EINVAL, and asked for without. Congestion marks (TSO_ECN) are
 * taken: cutting keeps CWR to the first piece.
 */
#include "overlay/engine/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20 /* Linux 6.2 */
#define TUN_F_USO6 0x40
#endif

static const unsigned long flags_of[] = {
	[TUN_PLAIN] = 0,
	[TUN_TSO] = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
	[TUN_USO] = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
};

static int
set_offload(struct tun *t, int fd, enum tun_offload most, struct err *err)
{
	for (t->offload = most;; t->offload--) {
		if (ioctl(fd, TUNSETOFFLOAD, flags_of[t->offload]) == 0)
			return 0;
		if (errno != EINVAL || t->offload == TUN_PLAIN)
			return err_sys(err, errno, "cannot set what the TUN device %s offloads",
				       t->name);
	}
}

int
tun_open(struct tun *t, int fd, const char *name, enum tun_offload most, struct err *err)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE};
	int header = sizeof(struct virtio_net_hdr), native = 0;

	*t = (struct tun){.fd = -1};
	if (!text_copy(request.ifr_name, sizeof(request.ifr_name), name))
		return err_set(err, ERR_INVALID, "\"%s\" is too long for a device's name", name);
	if (ioctl(fd, TUNSETIFF, &request) < 0) {
		err_sys(err, errno, "cannot open the TUN device %s", name);
		return err->code == EPERM ? err_fix(err, "CAP_NET_ADMIN is needed") : -1;
	}
	memcpy(t->name, request.ifr_name, sizeof(t->name));
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
		return err_sys(err, errno, "cannot set the header's size of the TUN device %s",
			       t->name);
	/* A later queue could find what an earlier user left there. */
	if (ioctl(fd, TUNSETVNETLE, &native) < 0 && errno != EINVAL)
		return err_sys(err, errno, "cannot set the byte order of the TUN device %s",
			       t->name);
	if (set_offload(t, fd, most, err) < 0)
		return -1;
	t->fd = fd;
	return 0;
}

int
tun_adopt(struct tun *t, int fd, enum tun_offload most, struct err *err)
{
	struct ifreq request = {0};

	*t = (struct tun){.fd = -1};
	if (ioctl(fd, TUNGETIFF, &request) < 0)
		return err_sys(err, errno, "this is no queue of a TUN device");
	memcpy(t->name, request.ifr_name, sizeof(t->name));
	if (set_offload(t, fd, most, err) < 0)
		return -1;
	t->fd = fd;
	return 0;
}

void
tun_close(struct tun *t)
{
	fd_close(&t->fd);
}

int
tun_set_mtu(const struct tun *t, uint32_t mtu, struct err *err)
{
	defer_close int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_mtu = (int)mtu};

	if (mtu < TUN_MTU_MIN || mtu > TUN_MTU_MAX)
		return err_set(err, ERR_INVALID, "%u is no MTU of a tunnel: %d to %d", mtu,
			       TUN_MTU_MIN, TUN_MTU_MAX);
	memcpy(request.ifr_name, t->name, sizeof(request.ifr_name));
	if (control < 0 || ioctl(control, SIOCSIFMTU, &request) < 0)
		return err_sys(err, errno, "cannot set the MTU of %s to %u", t->name, mtu);
	return 0;
}

ssize_t
tun_read(const struct tun *t, struct virtio_net_hdr *header, void *packet)
{
	struct iovec iov[] = {{header, sizeof(*header)}, {packet, TUN_PACKET_MAX}};
	ssize_t n;

	do
		n = readv(t->fd, iov, 2);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -1;
	n -= (ssize_t)sizeof(*header);
	if (n < 0)
		errno = EBADMSG;
	return n < 0 ? -1 : n;
}

int
tun_write(const struct tun *t, const struct iovec *iov, int count)
{
	ssize_t n;

	do
		n = writev(t->fd, iov, count);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}
