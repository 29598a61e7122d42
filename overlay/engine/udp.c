/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket and its receiving half; udp_send.c has the other one. recvmmsg with a buffer for
 * UDP_GRO each: from how they were joined (a control message) follows where they part.
 */
#include "overlay/engine/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "base/mem.h"

enum { CONTROL_BYTES = CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)) };

struct udp_inbox {
	struct udp_received received[UDP_INBOX_MAX];
	struct mmsghdr messages[UDP_INBOX_MAX];
	struct iovec iov[UDP_INBOX_MAX];
	struct sockaddr_storage from[UDP_INBOX_MAX];
	union {
		struct cmsghdr align;
		uint8_t bytes[CONTROL_BYTES];
	} control[UDP_INBOX_MAX];
	uint8_t data[UDP_INBOX_MAX][UDP_INBOX_BYTES];
};

/* The kernel gives what it may when the administrator's limit cannot be passed. What somebody gave
 * who could pass it is not taken back. */
static void
set_one(int fd, int force, int plain)
{
	static const int room = UDP_KERNEL_BYTES;
	int has = 0;
	socklen_t length = sizeof(has);

	if (getsockopt(fd, SOL_SOCKET, plain, &has, &length) == 0 && has >= room)
		return;
	if (setsockopt(fd, SOL_SOCKET, force, &room, sizeof(room)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, plain, &room, sizeof(room));
}

void
udp_set_room(int fd)
{
	set_one(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_one(fd, SO_SNDBUFFORCE, SO_SNDBUF);
}

/* Datagrams are never cut into fragments, here or on the way, and what the kernel believes of the
 * path is not asked: how large they may be is found out by probes (overlay/probe.h). */
static int
set_whole(const struct udp *u)
{
	static const int probe4 = IP_PMTUDISC_PROBE, probe6 = IPV6_PMTUDISC_PROBE, on = 1;

	if (!u->v6)
		return setsockopt(u->fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe4, sizeof(probe4));
	if (setsockopt(u->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &probe6, sizeof(probe6)) < 0)
		return -1;
	return setsockopt(u->fd, IPPROTO_IPV6, IPV6_DONTFRAG, &on, sizeof(on));
}

int
udp_set_fwmark(const struct udp *u, uint32_t fwmark)
{
	return setsockopt(u->fd, SOL_SOCKET, SO_MARK, &fwmark, sizeof(fwmark));
}

int
udp_adopt(struct udp *u, int fd, const struct udp_config *c, struct err *err)
{
	static const int on = 1;
	int size = 0;
	socklen_t length = sizeof(size);

	*u = (struct udp){.fd = fd, .v6 = c->v6};
	if ((c->v6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on))
		   : setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on))) < 0) {
		err_sys(err, errno, "cannot ask a socket for the addresses of its datagrams");
		goto refused;
	}
	if (set_whole(u) < 0) {
		err_sys(err, errno, "cannot keep a socket's datagrams whole");
		goto refused;
	}
	if (c->fwmark && udp_set_fwmark(u, c->fwmark) < 0) {
		err_sys(err, errno, "cannot mark a socket's packets with %u", c->fwmark);
		goto refused;
	}
	udp_set_room(fd);
	u->gso = !c->no_gso && getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, &length) == 0;
	u->gro = !c->no_gro && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) == 0;
	return 0;
refused:
	u->fd = -1;
	return -1;
}

int
udp_open(struct udp *u, const struct udp_config *c, struct err *err)
{
	defer_close int fd = socket(c->v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(c->port)};
	struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(c->port)};
	static const int on = 1;
	int bound = -1;

	*u = (struct udp){.fd = -1};
	if (fd < 0)
		return err_sys(err, errno, "cannot make a UDP socket");
	if (!c->v6)
		bound = bind(fd, (struct sockaddr *)&any4, sizeof(any4));
	else if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0)
		bound = bind(fd, (struct sockaddr *)&any6, sizeof(any6));
	if (bound < 0)
		return err_sys(err, errno, "cannot bind to UDP port %u of IPv%d", c->port,
			       c->v6 ? 6 : 4);
	if (udp_adopt(u, fd, c, err) < 0)
		return -1;
	(void)fd_take(&fd);
	return 0;
}

void
udp_close(struct udp *u)
{
	fd_close(&u->fd);
}

uint16_t
udp_port(const struct udp *u)
{
	struct sockaddr_storage at = {0};
	socklen_t length = sizeof(at);
	struct addr a;

	if (getsockname(u->fd, (struct sockaddr *)&at, &length) < 0 ||
	    !addr_from_sockaddr((struct sockaddr *)&at, length, &a))
		return 0;
	return a.port;
}

/* ---- receiving ---- */

struct udp_inbox *
udp_inbox_new(void)
{
	struct udp_inbox *in = mem_zalloc(MEM_OVERLAY, sizeof(*in));

	if (!in)
		return NULL;
	for (unsigned i = 0; i < UDP_INBOX_MAX; i++)
		in->iov[i] = (struct iovec){in->data[i], UDP_INBOX_BYTES};
	return in;
}

void
udp_inbox_free(struct udp_inbox *in)
{
	mem_free(in);
}

static void
read_control(struct msghdr *m, struct udp_received *out)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
			int size;

			memcpy(&size, CMSG_DATA(c), sizeof(size));
			if (size > 0 && (uint32_t)size < out->bytes)
				out->stride = (uint32_t)size;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			/* Not the header's: an answer to a broadcast has a source of ours. */
			addr_from_v4_be(info.ipi_spec_dst.s_addr, 0, &out->to.address);
			out->to.interface = (unsigned)info.ipi_ifindex;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(out->to.address.ip, &info.ipi6_addr, sizeof(out->to.address.ip));
			out->to.interface = info.ipi6_ifindex;
		}
	}
}

static void
read_message(struct udp_inbox *in, unsigned i)
{
	struct msghdr *m = &in->messages[i].msg_hdr;
	struct udp_received *out = &in->received[i];
	uint32_t bytes = in->messages[i].msg_len;

	*out = (struct udp_received){.data = in->data[i]};
	if (m->msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
	    !addr_from_sockaddr(m->msg_name, m->msg_namelen, &out->from))
		return;
	out->bytes = out->stride = bytes;
	read_control(m, out);
	out->count = bytes ? (bytes + out->stride - 1) / out->stride : 0;
}

int
udp_recv(const struct udp *u, struct udp_inbox *in, bool wait, const struct udp_received **list_out)
{
	for (unsigned i = 0; i < UDP_INBOX_MAX; i++)
		in->messages[i].msg_hdr = (struct msghdr){
			.msg_name = &in->from[i],
			.msg_namelen = sizeof(in->from[i]),
			.msg_iov = &in->iov[i],
			.msg_iovlen = 1,
			.msg_control = &in->control[i],
			.msg_controllen = sizeof(in->control[i].bytes),
		};
	int n = recvmmsg(u->fd, in->messages, UDP_INBOX_MAX, wait ? MSG_WAITFORONE : MSG_DONTWAIT,
			 NULL);
	for (int i = 0; i < n; i++)
		read_message(in, (unsigned)i);
	*list_out = in->received;
	return n;
}

uint8_t *
udp_datagram(const struct udp_received *r, uint32_t i, uint32_t *bytes_out)
{
	uint32_t at = i * r->stride;

	*bytes_out = i + 1 < r->count ? r->stride : r->bytes - at;
	return r->data + at;
}
